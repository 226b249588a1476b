"""Products in low precision a second time: what int8 weights and bfloat16 products compute, in NumPy.

Exact where the kernels are (the numbers that stand for weights and activations, their integer sums), float64 where
they round: scales, sums of bfloat16 products, the cell.

    int8      out = init + scale_w * sum over blocks of scale_b * sum over the block's k of q_a q_w
              q_w = round(w / scale_w), scale_w = max |w| / 127 of a row of the weight
              q_a = round(a * (127 / m)), scale_b = m / 127, m = max |a| of a block of a row of activations
    bfloat16  out = init + sum over k of a' w', the numbers nearest to a and w that have 8 bits

A block is 8 numbers of what ``weight_ih`` multiplies, of everything else the whole row. A token multiplies nothing: it
is a row of ``scale_w * q_w``. Scales and q are computed in float32, each operation rounded once, to the nearest even.

Not here: anything but forward runs without noise (`rnnkernels.reference`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels import reference as full

from .arguments import as_positive
from .cells import Array, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt


INPUT_BLOCK = 8
"""Numbers of x that share a scale."""
LONGEST_BLOCK = 65536
"""Numbers of any other row that do."""
LEAST = np.float32(2.0**-100)
"""The largest of a row, or of a block, below which all of it counts as zeros."""

MATRICES = ("weight_ih", "weight_hh", "weight_gg", "weight_hr")


def bfloat16(a: npt.ArrayLike) -> Array:
    """Round to the nearest bfloat16, to even in a tie; float64. Numbers below 2^-126 become zeros."""
    exact = np.asarray(np.asarray(a, np.float32), np.float64)
    mantissa, exponent = np.frexp(exact)
    rounded = np.ldexp(np.rint(np.ldexp(mantissa, 8)), exponent - 8)
    return np.where(np.abs(rounded) < 2.0**-126, 0.0, rounded)


def weight_scales(weight: npt.ArrayLike) -> Array:
    """Scale of each row of a weight (R, K): float32 (R,)."""
    largest = np.abs(np.asarray(weight, np.float32)).max(axis=-1, initial=0)
    return np.where(largest < LEAST, np.float32(0), largest / np.float32(127))


def quantise_weight(weight: npt.ArrayLike, scale: Array) -> Array:
    """`weight` (R, K) as integers in [-127, 127], float64."""
    divisor = np.where(scale == 0, np.float32(1), scale)[:, None]
    q = np.clip(np.rint(np.asarray(weight, np.float32) / divisor), -127, 127)
    return np.asarray(np.where(scale[:, None] == 0, 0, q), np.float64)


def quantise(a: npt.ArrayLike, block: int) -> tuple[Array, Array]:
    """Activations (..., K): integers (..., K) and the scale of each block (..., blocks), as float64.

    A block that is not finite has zeros and a scale of NaN.
    """
    numbers = np.asarray(a, np.float32)
    count = -(-numbers.shape[-1] // block)
    q, scales = np.zeros(numbers.shape), np.zeros((*numbers.shape[:-1], count))
    for number in range(count):
        part = slice(number * block, (number + 1) * block)
        here = numbers[..., part]
        most = np.abs(here).max(axis=-1, keepdims=True)
        scaled = np.isfinite(most) & (most >= LEAST)
        m = np.where(scaled, most, np.float32(1))
        inverse = np.float32(127) / m
        q[..., part] = np.where(scaled, np.rint(np.where(scaled, here, np.float32(0)) * inverse), 0)
        scale = np.where(scaled, m / np.float32(127), np.float32(0))
        scales[..., number] = np.where(np.isfinite(most), scale, np.float32(np.nan))[..., 0]
    return q, scales


class Bfloat16Product:
    """Product with a weight (R, K), or some of its rows, of operands rounded to bfloat16."""

    def __init__(self, weight: Array) -> None:
        self.weight = bfloat16(weight)

    def __call__(self, vector: Array, rows: slice = slice(None)) -> Array:
        """(..., B, K) to (..., B, R)."""
        return np.asarray(bfloat16(vector) @ self.weight[rows].T)


class Int8Product:
    """Product with an int8 weight (R, K), or some of its rows; `block` 0: with unit vectors, which stay as they are."""

    def __init__(self, weight: Array, scale: Array, block: int) -> None:
        self.weight, self.scale, self.block = quantise_weight(weight, scale), np.asarray(scale, np.float64), block

    def __call__(self, vector: Array, rows: slice = slice(None)) -> Array:
        """(..., B, K) to (..., B, R)."""
        weight, scale = self.weight[rows], self.scale[rows]
        if self.block == 0:
            return np.asarray(vector @ (weight * scale[:, None]).T)
        q, scales = quantise(vector, self.block)
        total = np.zeros((*q.shape[:-1], len(weight)))
        for number in range(scales.shape[-1]):
            part = slice(number * self.block, (number + 1) * self.block)
            total = total + scales[..., number, None] * (q[..., part] @ weight[:, part].T)
        return total * scale


def forward(
    cell: str,
    x: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None = None,
    *,
    weights: str = "full",
    scales: Mapping[str, Array] | None = None,
    cell_clip: float = np.inf,
) -> tuple[Array, State]:
    """Run a cell over a sequence, its products in low precision.

    Parameters
    ----------
    cell, x, params, state, cell_clip
        As for `rnnkernels.reference.forward`, real, without leading axes.
    weights : str
        "int8", or anything else for bfloat16 products.
    scales : mapping of str to ndarray, (R,), optional
        Of int8 weights, by the weight's name; by default `weight_scales`.

    Returns
    -------
    output : ndarray, (T, B, H)
    state : tuple of ndarray, (B, H)

    Raises
    ------
    TypeError, ValueError
        As for `rnnkernels.reference.forward`.
    """
    tokens = np.asarray(x).dtype.kind in "iu"
    step, vectors, arrays, states = full._prepare(cell, x, params, state)
    made: dict[str, Any] = {}
    for name in MATRICES:
        if name not in arrays:
            continue
        if weights != "int8":
            made[name] = Bfloat16Product(arrays[name])
            continue
        block = LONGEST_BLOCK if name != "weight_ih" else 0 if tokens else INPUT_BLOCK
        scale = weight_scales(arrays[name]) if scales is None else scales[name]
        made[name] = Int8Product(arrays[name], scale, block)
    p = full._namespace(arrays, made, as_positive("cell_clip", cell_clip))
    outputs = []
    for x_t in vectors:
        states = step(x_t, states, p)
        outputs.append(states[0])
    if not outputs:
        return np.zeros((0, *states[0].shape), states[0].dtype), states
    return np.stack(outputs), states
