"""What the reference is given, as arrays of float64 or complex128: errors begin with the argument's name.

Not here: shapes of parameters, which only their products settle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels._scalars import as_items, as_number, as_text, check_mapping, shown
from rnnkernels.equations.cell import equations_of

from .cells import CELLS, Array, Cell, State
from .equations import cell_of, hidden_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

__all__ = ["as_input", "as_parameters", "as_positive", "as_states", "exact", "find_cell", "state_widths"]


def find_cell(cell: Any) -> Cell:
    """Return a cell's states and its function: that of `rnnkernels.reference.cells`, or what its equations say.

    Raises TypeError or ValueError where a cell has neither.
    """
    if as_text("cell", cell) in CELLS:
        return CELLS[cell]
    equations = equations_of(cell)
    if equations is None:
        raise ValueError(f"cell: expected one of {', '.join(CELLS)}, or a cell from equations, got {shown(cell)}")
    return cell_of(equations)


def exact(name: str, value: Any, shape: tuple[int, ...] = ()) -> Array:
    """Return numbers as float64 or complex128; `shape`: what their last axes have to be."""
    array = _numbers(name, value)
    if shape and array.shape[-len(shape) :] != shape:
        raise ValueError(f"{name}: expected shape (..., {', '.join(map(str, shape))}), got {array.shape}")
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _numbers(name: str, value: Any) -> npt.NDArray[Any]:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError):
        array = None
    if array is None or array.dtype.kind not in "iufc":
        raise TypeError(f"{name}: expected an array of numbers, got {shown(value)}")
    return array


def as_parameters(cell: str, params: Any) -> dict[str, Array]:
    """Return a cell's parameters, (..., rows, columns) and (..., rows)."""
    check_mapping("params", params)
    recurrent = equations_of(cell) is None  # equations need not have a weight of the state
    arrays = {name: exact(f"params[{name!r}]", value) for name, value in params.items()}
    if "weight_ih" not in arrays or (recurrent and not {"weight_hh", "weight_diagonal"} & set(arrays)):
        raise ValueError(
            f"params: expected weight_ih and what the cell has beside it, got {', '.join(map(str, arrays))}"
        )
    for name, array in arrays.items():
        if array.ndim < 1 + (name.startswith("weight_") and name != "weight_diagonal"):
            raise ValueError(f"params[{name!r}]: expected a matrix, or a vector of a bias, got shape {array.shape}")
    return arrays


def state_widths(cell: str, arrays: Mapping[str, Array]) -> list[int]:
    """Return the units of each of a cell's states, by its parameters."""
    equations = equations_of(cell)
    if equations is not None:
        return [hidden_size(equations, arrays)] * len(equations.states)
    first = arrays["weight_hh" if "weight_hh" in arrays else "weight_diagonal"].shape[-1]
    others = arrays["weight_hr"].shape[-1] if "weight_hr" in arrays else first
    return [first, *[others] * (len(find_cell(cell).states) - 1)]


def as_input(x: Any, size: int) -> Array:
    """Return vectors (..., T, B, I); of tokens (T, B) the unit vectors."""
    array = _numbers("x", x)
    if array.dtype.kind not in "iu":
        if array.ndim < 3 or array.shape[-1] != size:
            raise ValueError(f"x: expected shape (..., T, B, I = {size}), got {array.shape}")
        return exact("x", array)
    if array.ndim != 2:
        raise ValueError(f"x: expected shape (T, B) of tokens, got {array.shape}")
    if array.size and not (array.min() >= 0 and array.max() < size):
        raise ValueError(f"x: expected tokens in [0, {size}), got {array.min()} to {array.max()}")
    return np.asarray(np.eye(size)[array])


def as_states(
    name: str, state: Sequence[npt.ArrayLike] | None, names: tuple[str, ...], batch: int, widths: Sequence[int]
) -> State:
    """Return states (..., B, their units); zeros where there are none."""
    if state is None:
        return tuple(np.zeros((batch, width)) for width in widths)
    parts = as_items(name, state, f"a tuple of arrays ({', '.join(names)})")
    if len(parts) != len(names):
        raise ValueError(f"{name}: expected {len(names)} arrays ({', '.join(names)}), got {len(parts)}")
    return tuple(exact(f"{name}[{k}]", part, (batch, widths[k])) for k, part in enumerate(parts))


def as_positive(name: str, value: Any) -> float:
    """Return a number above 0."""
    number = as_number(name, value)
    if not number > 0:
        raise ValueError(f"{name}: expected a number above 0, got {shown(value)}")
    return number
