"""What callers of the attending recurrence pass, as the backend reads it: names, dtypes, shapes and layouts settled.

Shapes are checked here, all of them: errors name the argument, what was expected and what came. Not here: the cell's
own parameters and states, which are checked as those of any layer (`rnnkernels._arguments`, the extension).
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnnkernels._arguments import (
    as_floats,
    as_input,
    as_layer,
    as_parameters,
    fits_shape,
    kind_of_array,
)
from rnnkernels._arrays import device_frame, frame_of
from rnnkernels._call import Attention
from rnnkernels._scalars import as_integer, check_mapping, shown
from rnnkernels.parameters import state_widths, x_width

from .parameters import NAMES, check_cell

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from rnnkernels._arguments import Fits
    from rnnkernels.parameters import Array, Layer, Params

# What a parameter of the attention cannot be without.
_WITH = {"score": "weight_key", "bias_beta": "weight_beta", "weight_location": "score"}


class Given(NamedTuple):
    """A cell and what it attends to: all of a call but x, its states and the order of its rows."""

    cell: str
    layer: Layer
    settings: tuple[float, ...]
    attention: Attention
    params: Params  # of the attention
    inputs: int  # I
    kind: Any  # of all floats: NumPy's dtype, or what stands for it on a GPU

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of each state."""
        return state_widths(self.cell, self.layer.weight_ih, self.layer.weight_hh)

    @property
    def row(self) -> int:
        """Numbers of a row of x."""
        return x_width(self.cell, self.inputs, self.widths[-1])

    @property
    def batch(self) -> int:
        """B, of the features."""
        return len(self.attention.features)


def take(
    cell: str,
    features: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    mask: npt.ArrayLike | None,
    settings: tuple[float, ...],
    hard: int | str | None,
) -> Given:
    """Check and settle what does not change from step to step; the keys are made here."""
    check_cell(cell)
    check_mapping("params", params)
    own = {name: params[name] for name in params if name not in NAMES}
    arrays = as_parameters(cell, own)
    _check_names(set(params))
    dtype = kind_of_array("params['weight_ih']", arrays["weight_ih"])
    layer = as_layer(cell, arrays)
    rows, columns = _matrix("params['weight_ih']", "(G*H, I + D)", layer.weight_ih)
    places = _as_features(features, dtype, columns)
    width = state_widths(cell, layer.weight_ih, layer.weight_hh)[0] if rows else 0
    found = _of_attention(params, dtype, places.shape[2], width)
    key = found.get("weight_key")
    attention = Attention(
        keys=places if key is None else product(places, key.T),
        features=places,
        mask=None if mask is None else _as_mask(mask, places),
        weight_query=found["weight_query"],
        bias_query=found.get("bias_query"),
        score=found.get("score"),
        weight_beta=found["weight_beta"][0] if "weight_beta" in found else None,
        bias_beta=found.get("bias_beta"),
        weight_location=found.get("weight_location"),
        scale=1.0 if key is None or "score" in found else 1.0 / math.sqrt(len(key)),
        hard=None if hard is None else (_as_seed(hard), 0),
    )
    return Given(cell, layer, settings, attention, found, columns - places.shape[2], dtype)


def _as_seed(hard: int | str) -> int | None:
    """Return the seed of what hard attention draws, None where it takes the likeliest place."""
    if not isinstance(hard, str):
        return as_integer("hard", hard, 0, 2**64 - 1)
    if hard != "greedy":
        raise ValueError(f"hard: expected a seed or 'greedy', got {shown(hard)}")
    return None


def product(rows: Array, weight: Array) -> Array:
    """Return (B, L, K) times (K, N), each row of the batch by itself: its bits do not depend on the others.

    NumPy's warnings are left out: what stands at a place that nobody looks at may be anything.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        made: Array = rows @ weight
    return made


def _check_names(names: set[Any]) -> None:
    """Raise ValueError where parameters of the attention are there without what they are used with."""
    if "weight_query" not in names:
        raise ValueError("params: expected weight_query beside the cell's, got none")
    for name, other in _WITH.items():
        if name in names and other not in names:
            raise ValueError(f"params[{name!r}]: expected {other} with it, got none")


def _matrix(name: str, symbols: str, array: Array) -> tuple[int, int]:
    if array.ndim != 2:
        raise ValueError(f"{name}: expected shape {symbols}, got {array.shape}")
    return int(array.shape[0]), int(array.shape[1])


def _as_features(features: npt.ArrayLike, dtype: Any, columns: int) -> Array:
    """Return what is attended to, (B, L, D)."""

    def fits(name: str, shape: tuple[int, ...]) -> None:
        if len(shape) != 3 or shape[1] < 1:
            raise ValueError(f"{name}: expected shape (B, L, D) with L at least 1, got {tuple(shape)}")
        if not 1 <= shape[2] <= columns:
            raise ValueError(
                f"{name}: expected shape (B, L, D) with D from 1 to the {columns} columns of params['weight_ih'], "
                f"got {tuple(shape)}"
            )

    return _checked("features", features, dtype, fits)


def _of_attention(params: Mapping[str, npt.ArrayLike], dtype: Any, features: int, width: int) -> Params:
    """Return the parameters of the attention; D numbers of a place, H units of h."""
    bilinear = "weight_key" not in params
    query = _taken("weight_query", params, dtype, partial(_fits_query, features if bilinear else None, width))
    size = len(query)  # A
    shapes = {
        "bias_query": ("(A,)", (size,)),
        "weight_key": ("(A, D)", (size, features)),
        "score": ("(A,)", (size,)),
        "weight_beta": ("(1, H)", (1, width)),
        "bias_beta": ("(1,)", (1,)),
    }
    found = {"weight_query": query}
    for name, wanted in shapes.items():
        if name in params:
            found[name] = _taken(name, params, dtype, fits_shape(*wanted))
    if "weight_location" in params:
        found["weight_location"] = _taken("weight_location", params, dtype, partial(_fits_location, size))
    return found


def _taken(which: str, params: Mapping[str, npt.ArrayLike], dtype: Any, fits: Fits) -> Array:
    """Return a parameter, whose shape has been asked for whether it was copied or not."""
    return _checked(f"params[{which!r}]", params[which], dtype, fits)


def _checked(name: str, value: npt.ArrayLike, dtype: Any, fits: Fits) -> Array:
    array = as_floats(name, value, dtype, fits)
    fits(name, array.shape)
    return array


def _fits_query(size: int | None, width: int, name: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError where weight_query is not (A, H); of bilinear scores A is D."""
    if len(shape) != 2 or shape[0] < 1 or shape[1] != width:
        raise ValueError(f"{name}: expected shape (A, H) with H = {width}, got {tuple(shape)}")
    if size is not None and shape[0] != size:
        raise ValueError(f"{name}: expected shape (D, H) = {(size, width)}, got {tuple(shape)}")


def _fits_location(size: int, name: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError where weight_location is not (A, C, K)."""
    if len(shape) != 3 or shape[0] != size or shape[1] not in (1, 2) or shape[2] % 2 == 0:
        raise ValueError(
            f"{name}: expected shape (A, C, K) with A = {size}, C = 1 or 2 and an odd K, got {tuple(shape)}"
        )


def _as_mask(mask: npt.ArrayLike, features: Array) -> Array:
    """Return where a row may look, as the backend takes it: 1 and 0, beside the features."""
    frame = frame_of(features)
    batch, places = features.shape[:2]
    if device_frame(mask) is not None:
        mask = frame_of(mask).to_host(mask)
    try:
        found = np.asarray(mask)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"mask: expected booleans, got {shown(mask)}: {error}") from None
    if found.dtype != np.bool_:
        raise TypeError(f"mask: expected booleans, got {found.dtype}")
    if found.shape != (batch, places):
        raise ValueError(f"mask: expected shape (B, L) = {(batch, places)}, got {found.shape}")
    without = np.flatnonzero(~found.any(axis=1))
    if len(without):
        raise ValueError(f"mask: expected a place to look at in every row, got none in row {without[0]}")
    whole: Array = frame.zeros(found.shape, features.dtype) + frame.from_host(found)
    return whole


def as_steps(x: npt.ArrayLike, given: Given) -> Array:
    """Return a sequence of inputs: (T, B, I), or tokens (T, B), of which the extension says whether they are inputs."""
    size = given.row
    array = as_input("x", x, given.kind, (size,))
    if array.dtype != given.layer.weight_ih.dtype:
        if array.ndim != 2:
            raise ValueError(f"x: expected shape (T, B) of tokens, got {array.shape}")
    elif array.ndim != 3 or array.shape[2] != size:
        known = f" = {(*array.shape[:2], size)}" if array.ndim == 3 else ""
        raise ValueError(f"x: expected shape (T, B, I){known}, got {array.shape}")
    if array.shape[1] != given.batch:
        raise ValueError(
            f"features: expected shape (B, L, D) with B = {array.shape[1]}, that of x, "
            f"got {given.attention.features.shape}"
        )
    return array


def as_sequence(
    name: str, value: npt.ArrayLike | None, symbols: str, shape: tuple[int, ...], dtype: Any
) -> Array | None:
    """Return a gradient of what has a value at every step, or None."""
    return None if value is None else _checked(name, value, dtype, fits_shape(symbols, shape))
