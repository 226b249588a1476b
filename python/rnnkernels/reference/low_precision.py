"""Products in low precision a second time: what int8 weights and bfloat16 operands compute, in NumPy.

The cells are those of `rnnkernels.reference.cells`, in float64. Only a product is another function here:

    int8       w = s q        s = max |w| / 127 of a row of the matrix, in float32; q = round half even(w / s)
               a = S q_a      of the vector that is multiplied, with m its largest magnitude: S = m / 127,
                              r = a (127 / m), q_a = round half even(r), each operation in float32
               a = S (q_a + p_a / 128)    of x, for gates whose sum is read by more than sigmoids: p_a = round half
                              even((r - q_a) 128)
               product        s * S * sum of q q_a, and for those gates s * S / 128 * sum of q p_a more; the sums in
                              integers. Of a longer vector each 65,536 numbers have an S
    bfloat16   both operands are rounded to 8 significant bits, half to even, and multiplied exactly

A row or a block without a number of at least 2^-100 is zeros; a block with an infinity or a NaN makes a row's products
NaN. A token is no product: its column of weight_ih is taken, s q of int8 weights, and of bfloat16 products rounded.

What the kernels do in float32 behind the integers, a chain of fused multiply-adds, is exact here. So the two agree
within rounding where they quantise the same numbers, which is in one step from the same state. Over many steps a
state's last bit may move an integer by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels._scalars import as_choice, check_mapping
from rnnkernels.noise import check_noise
from rnnkernels.parameters import cell_info

from . import _is_product, _namespace, _prepare, _Product, _Steps
from .arguments import as_positive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from rnnkernels.noise import Noise

    from .cells import Array, State

__all__ = ["SCALE_BLOCK", "forward", "quantize", "quantize_rows", "round_to_bfloat16"]

SCALE_BLOCK = 65536
"""Numbers of a vector that share a scale: all of any real one."""

ARITHMETIC = ("int8", "bfloat16")

_LEAST = np.float32(2.0**-100)
_LARGEST = np.float32(127)


def forward(
    cell: str,
    x: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None = None,
    *,
    arithmetic: str,
    noise: Noise | None = None,
    cell_clip: float = np.inf,
) -> tuple[Array, State]:
    """Run a cell over a sequence, for inference, with products in low precision.

    Parameters
    ----------
    cell, x, params, state, noise, cell_clip
        As `rnnkernels.reference.forward`, real, without leading axes; for ``"int8"`` also parameters that
        `rnnkernels.quantize_params` made.
    arithmetic : {"int8", "bfloat16"}

    Returns
    -------
    output : ndarray, (T, B, H)
        float64.
    state : tuple of ndarray, (B, H)

    Raises
    ------
    TypeError, ValueError
        As `rnnkernels.reference.forward`.
    """
    as_choice("arithmetic", arithmetic, ARITHMETIC)
    check_mapping("params", params)
    check_noise(noise)
    fine = _fine_gates(cell)
    made = {name: _taken(params, name, arithmetic, fine) for name in params if not str(name).endswith("_scale")}
    step, vectors, arrays, initial = _prepare(cell, x, {name: value for name, (value, _) in made.items()}, state)
    take = _Steps(step, noise, initial, training=False)
    products: dict[str, Any] = {name: product for name, (_, product) in made.items() if product is not None}
    if np.asarray(x).dtype.kind in "iu":
        products["weight_ih"] = _Product(arrays["weight_ih"])
    p = _namespace(arrays, products, as_positive("cell_clip", cell_clip))
    now, outputs = initial, []
    for t in range(vectors.shape[0]):
        now = take(t, vectors[t], now, p)
        outputs.append(now[0])
    return np.array(outputs).reshape(vectors.shape[0], *now[0].shape), now


def _fine_gates(cell: str) -> list[bool]:
    """Return of each gate that weight_ih feeds whether its sum is read by more than sigmoids."""
    info = cell_info(cell)
    gates = zip(info["gates"], info["sigmoid"], strict=True)
    return [not sigmoid for (_, of_x, _), sigmoid in gates if of_x == "projected"]


def _taken(params: Mapping[str, Any], name: str, arithmetic: str, fine: Sequence[bool]) -> tuple[Array, Any]:
    """Return a parameter's values in float64 as a token's column has them, and its product; None for a vector."""
    value = np.asarray(params[name])
    if not _is_product(name):
        return value.astype(np.float64), None
    if arithmetic == "bfloat16":
        return round_to_bfloat16(value), _RoundedProduct(value)
    integers, scale = (value, params[f"{name}_scale"]) if value.dtype == np.int8 else quantize(value)
    gates = fine if name == "weight_ih" else [False]
    product = _IntegerProduct(integers, np.asarray(scale), np.repeat(gates, len(integers) // len(gates)))
    return integers * np.asarray(scale, np.float64)[:, np.newaxis], product


def quantize(weight: npt.ArrayLike) -> tuple[Array, Array]:
    """Return the integers of a matrix (R, K), int8, and the scale of each row (R,), float32.

    Parameters
    ----------
    weight : array_like, (R, K)
        Finite numbers, taken as float32.
    """
    w = np.asarray(weight, np.float32)
    most = np.max(np.abs(w), axis=1, initial=np.float32(0))
    scale = np.where(most >= _LEAST, most / _LARGEST, np.float32(0))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = w / scale[:, np.newaxis]
    return np.clip(np.rint(np.where(scale[:, np.newaxis] > 0, ratio, 0)), -127, 127).astype(np.int8), scale


def quantize_rows(vector: npt.ArrayLike) -> tuple[Array, Array, Array]:
    """Return the integers of vectors (..., blocks, block), of int64, what the rounding left, and the scales.

    The scale of each block is (..., blocks); what was left is of the integers' shape, in integers, 128 to one of these.

    Parameters
    ----------
    vector : array_like, (..., K)
        Taken as float32; zeros stand behind the last number. A block with an infinity or a NaN has the scale NaN.
    """
    a = np.asarray(vector, np.float32)
    blocks, block = -(-a.shape[-1] // SCALE_BLOCK), min(SCALE_BLOCK, a.shape[-1])
    behind = [(0, 0)] * (a.ndim - 1) + [(0, blocks * block - a.shape[-1])]
    a = np.pad(a, behind).reshape(*a.shape[:-1], blocks, block)
    most = np.abs(a).max(-1)
    finite = np.isfinite(a).all(-1)
    scaled = finite & (most >= _LEAST)
    divisor = np.where(scaled, most, np.float32(1))
    scale = np.where(scaled, divisor / _LARGEST, np.where(finite, np.float32(0), np.float32(np.nan)))
    exact = np.where(scaled[..., np.newaxis], a, np.float32(0)) * (_LARGEST / divisor)[..., np.newaxis]
    integers = np.rint(exact)
    left = np.rint((exact - integers) * np.float32(128))
    return integers.astype(np.int64), left.astype(np.int64), scale


def round_to_bfloat16(array: npt.ArrayLike) -> Array:
    """Return numbers rounded to 8 significant bits, half to even, in float64; those below 2^-126 are 0.

    Parameters
    ----------
    array : array_like
        Taken as float32.
    """
    a = np.asarray(array, np.float32).astype(np.float64)
    mantissa, exponent = np.frexp(a)
    rounded = np.ldexp(np.rint(np.ldexp(mantissa, 8)), exponent - 8)
    rounded = np.where(np.abs(rounded) >= 2.0**128, np.copysign(np.inf, a), rounded)
    return np.asarray(np.where(np.abs(a) < 2.0**-126, 0 * a, rounded))


class _IntegerProduct(_Product):
    """Product with a matrix of integers (R, K), or some of its rows: (B, K) to (B, R).

    `fine`, (R,): the rows whose sums are of both planes.
    """

    def __init__(self, integers: Array, scale: Array, fine: Array) -> None:
        count = integers.shape[1]
        blocks, block = -(-count // SCALE_BLOCK), min(SCALE_BLOCK, count)
        padded = np.pad(integers.astype(np.int64), ((0, 0), (0, blocks * block - count)))
        self.blocks = padded.reshape(len(integers), blocks, block)
        self.scale, self.fine = scale.astype(np.float64), fine

    def __call__(self, vector: Array, rows: slice = slice(None)) -> Array:
        integers, left, scales = quantize_rows(vector)  # (B, blocks, block) twice, (B, blocks)
        sums = np.einsum("bnk,rnk->brn", integers, self.blocks[rows])
        finer = np.einsum("bnk,rnk->brn", left, self.blocks[rows]) / 128
        sums = sums + np.where(self.fine[rows, np.newaxis], finer, 0)
        return np.asarray((sums * scales.astype(np.float64)[:, np.newaxis]).sum(-1) * self.scale[rows])


class _RoundedProduct(_Product):
    """Product of operands that are rounded to bfloat16."""

    def __init__(self, weight: Array) -> None:
        super().__init__(round_to_bfloat16(weight))

    def __call__(self, vector: Array, rows: slice = slice(None)) -> Array:
        return super().__call__(round_to_bfloat16(vector), rows)
