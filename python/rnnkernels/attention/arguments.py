"""What callers of the attending recurrence pass, as the backend reads it: names, dtypes, shapes and layouts settled.

Shapes are checked here, all of them: errors name the argument, what was expected and what came. Not here: the cell's
own parameters and states, which are checked as those of any layer (`rnnkernels._arguments`, the extension).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnnkernels import _serve
from rnnkernels._arguments import (
    DeviceKind,
    as_floats,
    as_input,
    as_layer,
    as_parameters,
    fits_shape,
    kind_of_array,
)
from rnnkernels._arrays import device_frame
from rnnkernels._call import Attention
from rnnkernels._scalars import as_integer, check_mapping, shown
from rnnkernels.parameters import state_widths

from .parameters import NAMES, check_cell

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from rnnkernels.parameters import Array, Layer, Params

# What a parameter of the attention cannot be without.
_WITH = {"score": "weight_key", "bias_beta": "weight_beta", "weight_location": "score"}

_SYMBOLS = {
    "bias_query": "(A,)",
    "weight_key": "(A, D)",
    "score": "(A,)",
    "weight_beta": "(1, H)",
    "bias_beta": "(1,)",
}


class Given(NamedTuple):
    """A cell and what it attends to: all of a call but x, its states and the order of its rows."""

    cell: str
    layer: Layer
    settings: tuple[float, ...]
    attention: Attention
    params: Params  # of the attention
    inputs: int  # I

    @property
    def dtype(self) -> Any:
        """The dtype of every array."""
        return self.layer.weight_ih.dtype

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of each state."""
        return state_widths(self.cell, self.layer.weight_ih, self.layer.weight_hh)

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
    hard: int | None,
) -> Given:
    """Check and settle what does not change from step to step; the keys are made here."""
    check_cell(cell)
    check_mapping("params", params)
    own = {name: params[name] for name in params if name not in NAMES}
    arrays = as_parameters(cell, own)
    _check_names(set(params))
    dtype = kind_of_array("params['weight_ih']", arrays["weight_ih"])
    layer = as_layer(cell, arrays)
    if isinstance(dtype, DeviceKind) or _serve.on_gpu(layer.weight_ih):
        raise NotImplementedError("attention: there is no attending recurrence on a GPU yet; it runs on the CPU")
    rows, columns = _matrix("params['weight_ih']", "(G*H, I + D)", layer.weight_ih)
    places = _as_features(features, dtype, columns)
    width = state_widths(cell, layer.weight_ih, layer.weight_hh)[0] if rows else 0
    found = _of_attention(params, dtype, places.shape[2], width)
    key = found.get("weight_key")
    attention = Attention(
        keys=places if key is None else np.matmul(places, key.T),  # row by row: (L, D) by (D, A)
        features=places,
        mask=None if mask is None else _as_mask(mask, dtype, *places.shape[:2]),
        weight_query=found["weight_query"],
        bias_query=found.get("bias_query"),
        score=found.get("score"),
        weight_beta=found["weight_beta"][0] if "weight_beta" in found else None,
        bias_beta=found.get("bias_beta"),
        weight_location=found.get("weight_location"),
        scale=1.0 if key is None or "score" in found else 1.0 / math.sqrt(len(key)),
        hard=None if hard is None else (as_integer("hard", hard, 0, 2**64 - 1), 0),
    )
    return Given(cell, layer, settings, attention, found, columns - places.shape[2])


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

    array = as_floats("features", features, dtype, fits)
    fits("features", array.shape)
    return array


def _of_attention(params: Mapping[str, npt.ArrayLike], dtype: Any, features: int, width: int) -> Params:
    """Return the parameters of the attention; D numbers of a place, H units of h."""
    size = features  # A

    def fits(name: str, shape: tuple[int, ...]) -> None:
        which = name.partition("'")[2].partition("'")[0]
        if which == "weight_query":
            wrong = len(shape) != 2 or shape[0] < 1 or shape[1] != width
            if wrong:
                raise ValueError(f"{name}: expected shape (A, H) with H = {width}, got {tuple(shape)}")
            if "weight_key" not in params and shape[0] != features:
                raise ValueError(f"{name}: expected shape (D, H) = {(features, width)}, got {tuple(shape)}")
        elif which == "weight_location":
            if len(shape) != 3 or shape[0] != size or shape[1] not in (1, 2) or shape[2] % 2 == 0:
                raise ValueError(
                    f"{name}: expected shape (A, C, K) with A = {size}, C = 1 or 2 and an odd K, got {tuple(shape)}"
                )
        else:
            wanted = {"weight_key": (size, features), "weight_beta": (1, width), "bias_beta": (1,)}
            fits_shape(_SYMBOLS[which], wanted.get(which, (size,)))(name, shape)

    found: Params = {}
    for name in NAMES:  # weight_query first
        if name in params:
            what = f"params[{name!r}]"
            found[name] = as_floats(what, params[name], dtype, fits)
            fits(what, found[name].shape)
            size = len(found["weight_query"])
    return found


def _as_mask(mask: npt.ArrayLike, dtype: Any, batch: int, places: int) -> Array:
    """Return where a row may look, as the backend takes it: 1 and 0."""
    if device_frame(mask) is not None:
        raise TypeError("mask: expected an array on the host, got one on a GPU")
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
    return found.astype(dtype, order="C")


def as_steps(x: npt.ArrayLike, given: Given) -> Array:
    """Return a sequence of inputs: (T, B, I), or tokens (T, B), of which the extension says whether they are inputs."""
    size = given.inputs
    array = as_input("x", x, given.dtype, (size,))
    if array.dtype != given.dtype:
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
    if value is None:
        return None
    fits = fits_shape(symbols, shape)
    array = as_floats(name, value, dtype, fits)
    fits(name, array.shape)
    return array
