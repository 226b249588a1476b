"""`forward`: what users pass, checked and put in the order of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnkernels import _cpu
from rnnkernels._arguments import _names, check_products, kind_of
from rnnkernels._asked import Asked
from rnnkernels._scalars import as_flag, check_mapping
from rnnkernels.parameters import NAMES, cell_info, parameter_shapes, state_widths, x_width

from ._calls import OnCuda, Static, register, reserve_size
from ._rules import layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FLOATS = ("float32", "float64")
_HALVES = ("bfloat16", "float16")

register()


def forward(
    cell: str,
    x: Any,
    params: Mapping[str, Any],
    state: Sequence[Any] | None = None,
    *,
    lengths: Any = None,
    resets: Any = None,
    reset_state: Sequence[Any] | None = None,
    reverse: bool = False,
    products: str = "full",
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Run one layer over a sequence: `rnnkernels.forward`, as a function of JAX.

    Differentiable in reverse mode with respect to `x` (not tokens), `params`, `state` and `reset_state`. It may be
    called under ``jax.jit``, ``jax.vmap`` and ``jax.grad`` in any order, each gradient once.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells`; static.
    x : array_like, (T, B, I) of the parameters' dtype, or (T, B) of integers
        Vectors, or tokens in [0, I).
    params : mapping of str to array_like
        As in `rnnkernels.forward`. float32, float64 with ``jax_enable_x64``, or bfloat16 or float16. On the CPU these
        are made float32, the whole sequence is computed in it, and results and gradients are rounded once, at the end;
        on a GPU they stay halves in memory, and sums and states between steps are float32.
    state : sequence of array_like, each (B, H), optional
        The states before the first step, h first. Default: zeros.
    lengths : array_like of int, (B,), optional
        Steps of each row, 0 to T; it may be traced. Outputs beyond are zero, and no work is done for what lies beyond.
    resets : array_like of bool, (T, B), optional
        Before which steps a row's state is replaced (an episode's end, say); it may be traced. What lies between two
        resets is run as a sequence of its own, beside the others.
    reset_state : sequence of array_like, each (B, H), optional
        What it is replaced by. Default: zeros.
    reverse : bool, default False
        Run from each row's last step to its first; static.
    products : {"full", "bfloat16"}
        What products multiply, in gradients too, as in `rnnkernels.forward`; static.

    Returns
    -------
    output : Array, (T, B, H)
        h after every step, of the parameters' dtype.
    state : tuple of Array, each (B, H)
        The states after each row's last step, h first; the initial states where it has none.

    Raises
    ------
    TypeError
        If an array has another dtype than the parameters, or is no array of numbers.
    ValueError
        If the cell is unknown, a parameter is missing or unknown, a shape does not fit, or there is a reset state and
        nothing is reset.
    jax.errors.JaxRuntimeError, ValueError
        When it runs: if a token or a length is out of range. Which of the two is JAX's decision; both name it.

    Notes
    -----
    The instruction set is that in use when the call is traced; results are those of `rnnkernels.forward`, bit for bit,
    those of half precisions on the CPU the float32 call's on the same numbers, rounded. On a GPU the kernel
    (`rnnkernels.cuda.set_kernel`) and TF32 (`rnnkernels.cuda.allow_tf32`) are those in use when it is traced, too, and
    ``products="bfloat16"`` is refused when it runs.
    """
    info = cell_info(cell)
    reverse = as_flag("reverse", reverse)
    weights = _as_params(cell, params)
    dtype = weights["weight_ih"].dtype
    check_products(products, np.dtype(np.float64 if dtype == np.float64 else np.float32))
    inputs = _as_input(x, dtype)
    _check_shapes(cell, weights, inputs)
    batch = inputs.shape[1]
    widths = state_widths(cell, weights["weight_ih"], weights.get("weight_hh"))
    shapes = [(batch, width) for width in widths]
    if resets is None and reset_state is not None:
        raise ValueError("reset_state: expected resets with it, got none")
    arrays = [*weights.values(), inputs, *_as_states("state", state, info["states"], dtype, shapes)]
    if lengths is not None:
        arrays.append(_as_lengths(lengths, batch))
    if resets is not None:
        arrays.append(_as_resets(resets, inputs.shape[:2]))
    arrays += _as_states("reset_state", reset_state, info["states"], dtype, shapes)
    half = dtype.name in _HALVES
    if half:
        arrays = [array.astype(np.float32) if array.dtype == dtype else array for array in arrays]
    hidden = weights["weight_ih"].shape[0] // info["rows"][0]
    call = Static(
        Asked(cell, reverse, products=products),
        tuple(weights),
        state is not None,
        lengths is not None,
        resets is not None,
        reset_state is not None,
        _cpu.instruction_set(),
        reserve_size(cell, hidden, str(arrays[0].dtype), dtype.name),
        hidden,
        widths[0],
        OnCuda.now(),
        dtype.name if half else None,
    )
    # NumPy's arrays become JAX's here: once all shapes are known to fit.
    results = layer(call, [a if isinstance(a, jax.Array) else jnp.asarray(a) for a in arrays])
    output, *final = [result.astype(dtype) for result in results] if half else results
    return output, tuple(final)


def _as_params(cell: str, params: Mapping[str, Any]) -> dict[str, jax.Array]:
    needed, optional = _names(cell)
    check_mapping("params", params)
    missing = [name for name in needed if name not in params]
    unknown = sorted(str(name) for name in params if name not in (*needed, *optional))
    if missing or unknown:
        expected = f"{', '.join(needed)} and optionally {', '.join(optional)}"
        found = [f"no {name}" for name in missing] + [f"an unknown {name!r}" for name in unknown]
        raise ValueError(f"params: expected {expected}; got {', '.join(found)}")
    arrays = {name: _as_array(f"params[{name!r}]", params[name]) for name in NAMES if name in params}
    dtype = arrays["weight_ih"].dtype
    if dtype.name not in (*_FLOATS, *_HALVES):
        raise TypeError(f"params['weight_ih']: expected dtype {', '.join((*_FLOATS, *_HALVES))}, got {dtype}")
    for name, array in arrays.items():
        _check_dtype(f"params[{name!r}]", array, dtype)
    return arrays


def _check_shapes(cell: str, weights: Mapping[str, Any], x: Any) -> None:
    info, first = cell_info(cell), weights["weight_ih"]
    if first.ndim != 2 or 0 in first.shape:
        raise ValueError(f"params['weight_ih']: expected shape (G*H, I) with I at least 1, got {first.shape}")
    second = weights.get("weight_hr", weights.get("weight_hh"))
    if second is not None and (second.ndim != 2 or second.shape[1] < 1):
        name = "weight_hr" if "weight_hr" in weights else "weight_hh"
        raise ValueError(f"params['{name}']: expected two dimensions, H at least 1, got {second.shape}")
    hidden = first.shape[0] // info["rows"][0] if second is None or info["heads"] > 1 else second.shape[1]
    proj = weights["weight_hr"].shape[0] if info["projected"] else None
    for name, shape in parameter_shapes(cell, first.shape[1], hidden, proj_size=proj).items():
        if name in weights and weights[name].shape != shape:
            raise ValueError(f"params['{name}']: expected shape {shape}, got {weights[name].shape}")
    size = x_width(cell, first.shape[1], hidden)
    if x.ndim == 3 and x.shape[2] != size:
        raise ValueError(f"x: expected shape (T, B, I) = {(*x.shape[:2], size)}, got {x.shape}")


def _as_input(x: Any, dtype: Any) -> jax.Array:
    array = _as_array("x", x)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        _check_dtype("x", array, dtype)
        if array.ndim != 3:
            raise ValueError(f"x: expected shape (T, B, I), got {array.shape}")
        return array
    if array.ndim != 2:
        raise ValueError(f"x: expected shape (T, B) of tokens, got {array.shape}")
    return _as_integers("x", array)


def _as_states(
    what: str, state: Sequence[Any] | None, names: tuple[str, ...], dtype: Any, shapes: Sequence[tuple[int, ...]]
) -> list[jax.Array]:
    if state is None:
        return []
    if not isinstance(state, (tuple, list)):
        raise TypeError(f"{what}: expected a tuple of arrays ({', '.join(names)}), got {kind_of(state)}")
    if len(state) != len(names):
        raise ValueError(f"{what}: expected {len(names)} arrays ({', '.join(names)}), got {len(state)}")
    arrays = [_as_array(f"{what}[{k}]", part) for k, part in enumerate(state)]
    for k, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        _check_dtype(f"{what}[{k}]", array, dtype)
        if array.shape != shape:
            raise ValueError(f"{what}[{k}]: expected shape (B, H) = {shape}, got {array.shape}")
    return arrays


def _as_lengths(lengths: Any, batch: int) -> jax.Array:
    array = _as_array("lengths", lengths)
    if not jnp.issubdtype(array.dtype, jnp.integer) and array.size:
        raise TypeError(f"lengths: expected integers, got {array.dtype}")
    if array.shape != (batch,):
        raise ValueError(f"lengths: expected shape (B,) = ({batch},), got {array.shape}")
    return _as_integers("lengths", array)


def _as_resets(resets: Any, shape: tuple[int, ...]) -> jax.Array:
    """Return resets as the kernels' door takes them: a byte each."""
    array = _as_array("resets", resets)
    if array.dtype != np.bool_:
        raise TypeError(f"resets: expected booleans, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"resets: expected shape (T, B) = {shape}, got {array.shape}")
    return array.astype(np.uint8)


def _as_integers(name: str, array: jax.Array) -> jax.Array:
    """Integers as the kernels' door takes them: int32 or, with 64 bits on, int64."""
    wraps = isinstance(array, np.ndarray) and array.size and not jax.config.jax_enable_x64
    if wraps and not -(2**31) <= array.min() <= array.max() < 2**31:
        raise TypeError(f"{name}: expected an array of numbers: integers of more than 32 bits need jax_enable_x64")
    if array.dtype in (np.int32, np.int64):
        return array
    return array.astype(jnp.int64 if jax.config.jax_enable_x64 else jnp.int32)


def _as_array(name: str, value: Any) -> jax.Array:
    """Return an array of JAX's, or one of NumPy's as it is: what it is is looked at before it is copied."""
    if isinstance(value, jax.Array):
        return value
    try:
        if value is None:
            raise TypeError("no array at all")
        if isinstance(value, np.ndarray):
            if value.dtype == np.float64 and not jax.config.jax_enable_x64:  # JAX would round
                raise TypeError("float64 needs jax_enable_x64")
            return value
        return jnp.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name}: expected an array of numbers, got {kind_of(value)}: {error}") from None


def _check_dtype(name: str, array: jax.Array, dtype: Any) -> None:
    if array.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, the parameters', got {array.dtype}")
