"""What callers pass, turned into what the kernels read: names, dtypes and layouts settled.

Shapes and tokens are checked where they are used, in the extension. Errors name the argument in the caller's words,
what was expected and what came.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._arrays import FLOATS, adopt, device_frame, frame_of
from .parameters import BIASES, NAMES, Array, Layer, Params, cell_info, parameter_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt


def as_parameters(cell: str, params: Mapping[str, npt.ArrayLike]) -> Params:
    """Return a layer's parameters as contiguous arrays of one dtype; the biases may be absent."""
    weights, biases = _names(cell)
    try:
        names = set(params)
        missing = [name for name in weights if name not in names]
    except TypeError:
        raise TypeError(f"params: expected a mapping of names to arrays, got {type(params).__name__}") from None
    unknown = sorted(map(str, names.difference(weights, biases)))
    if missing or unknown:
        expected = f"{', '.join(weights)} and optionally {', '.join(biases)}"
        found = [f"no {name}" for name in missing] + [f"an unknown {name!r}" for name in unknown]
        raise ValueError(f"params: expected {expected}; got {', '.join(found)}")
    first = params["weight_ih"]
    dtype = kind_of_array("params['weight_ih']", first)
    return {name: as_floats(f"params[{name!r}]", params[name], dtype) for name in NAMES if name in names}


class DeviceKind(NamedTuple):
    """What the arrays of a call are, on a GPU: of which library, where, of which dtype."""

    frame: Any
    dtype: Any

    def take(self, name: str, value: Any, *, tokens: bool = False) -> Any:
        """Return the array in C order, or raise where it is of another kind; `tokens`: integers will do."""
        value = adopt(name, value)
        frame = device_frame(value)
        if frame is not self.frame:
            got = f"a {kind_of(value)}" + ("" if frame is None else f" on GPU {frame.device}")
            raise TypeError(f"{name}: expected an array on GPU {self.frame.device}, as the parameters, got {got}")
        if value.dtype != self.dtype:
            if not (tokens and frame.holds_integers(value)):
                raise TypeError(f"{name}: expected dtype {self.dtype}, the parameters', got {value.dtype}")
            value = frame.as_int64(value)
        return frame.contiguous(value)


# NumPy's dtype, or what stands for it on a GPU.
Kind = np.dtype[Any] | DeviceKind


_HOST_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def kind_of_array(name: str, first: Any) -> Any:
    """Return what all floats of a call are, from the first of them."""
    if not isinstance(first, np.ndarray):
        first = adopt(name, first)
        frame = device_frame(first)
        if frame is not None:
            if frame.name(first.dtype) not in FLOATS:
                raise TypeError(f"{name}: expected dtype {', '.join(FLOATS)}, got {first.dtype}")
            return DeviceKind(frame, first.dtype)
    dtype = first.dtype if isinstance(first, np.ndarray) else _HOST_FLOATS[1]
    if dtype not in _HOST_FLOATS:
        raise TypeError(f"{name}: expected dtype float32 or float64, got {dtype}")
    return dtype


@cache
def _names(cell: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of a cell's weights, and of its biases."""
    shapes = parameter_shapes(cell, 1, 1, proj_size=1 if cell_info(cell)["projected"] else None)
    return tuple(name for name in shapes if name not in BIASES), tuple(name for name in shapes if name in BIASES)


def as_layer(cell: str, params: Params) -> Layer:
    """Return the parameters as the extension takes them, with an empty weight_hh where there is none."""
    if "weight_hh" in params:
        return Layer(*map(params.get, NAMES))  # type: ignore[arg-type]  # faster than by name
    weight_ih = params["weight_ih"]
    width = max(len(weight_ih) // cell_info(cell)["rows"][0] if weight_ih.ndim else 0, 1)
    return Layer(weight_hh=frame_of(weight_ih).empty((0, width), weight_ih.dtype), **params)


def as_settings(cell: str, cell_clip: float | None) -> tuple[float, ...]:
    """Return a cell's settings in its order, none where none was given; raise where it has none of a name."""
    if cell_clip is None:
        return ()
    if isinstance(cell_clip, bool) or not isinstance(cell_clip, (int, float, np.floating, np.integer)):
        raise TypeError(f"cell_clip: expected a number, got {cell_clip!r}")
    if "cell_clip" not in cell_info(cell)["settings"]:
        raise ValueError(f"cell_clip: {cell} has none, got {cell_clip}")
    if not cell_clip > 0:
        raise ValueError(f"cell_clip: expected a number above 0, got {cell_clip}")
    return (float(cell_clip),)


def as_floats(name: str, value: npt.ArrayLike, dtype: Kind) -> Array:
    """`value` as an array the kernels can read: itself where it is one already, else a copy."""
    if type(dtype) is DeviceKind:
        return dtype.take(name, value)  # type: ignore[no-any-return]
    if isinstance(value, np.ndarray):
        if value.dtype != dtype:
            raise TypeError(f"{name}: expected dtype {dtype}, the parameters', got {value.dtype}")
        if type(value) is np.ndarray and value.flags.c_contiguous and value.flags.aligned:
            return value
    try:
        if value is None:  # NumPy would read it as NaN
            raise TypeError("no array at all")
        return np.require(np.asarray(value, dtype=dtype), requirements=["C", "A"])
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array of {dtype}, got {kind_of(value)}: {error}") from None


def as_input(name: str, value: npt.ArrayLike, dtype: Kind) -> Array:
    """X as the kernels take it: floats of the parameters' dtype, or tokens as int64."""
    if type(dtype) is DeviceKind:
        return dtype.take(name, value, tokens=True)  # type: ignore[no-any-return]
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array of numbers, got {kind_of(value)}: {error}") from None
    if array.dtype.kind not in "iu" or (array.size == 0 and not isinstance(value, np.ndarray)):
        return as_floats(name, value, dtype)
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 2**63:
        raise ValueError(f"{name}: expected tokens below the input size, got {int(array.max())}")
    return np.require(array, dtype=np.int64, requirements=["C", "A"])


def as_step(x_t: npt.ArrayLike, dtype: Kind, *, tokens: bool | None = None) -> Array:
    """One step's input as a sequence of one: (1, B, I), or tokens (1, B); `tokens` where only one kind is taken."""
    inputs = as_input("x_t", x_t, dtype)
    if tokens is None:
        tokens = inputs.dtype != (dtype.dtype if type(dtype) is DeviceKind else dtype)
    if inputs.ndim != (1 if tokens else 2):
        raise ValueError(f"x_t: expected shape {'(B,) of tokens' if tokens else '(B, I)'}, got {inputs.shape}")
    one: Array = inputs[np.newaxis]
    return one


def as_states(
    name: str, state: Sequence[npt.ArrayLike] | None, names: tuple[str, ...], dtype: Kind
) -> tuple[Array, ...] | None:
    if state is None:
        return None
    if isinstance(state, np.ndarray) or not hasattr(state, "__len__"):
        raise TypeError(f"{name}: expected a tuple of arrays ({', '.join(names)}), got {kind_of(state)}")
    if len(state) != len(names):
        raise ValueError(f"{name}: expected {len(names)} arrays ({', '.join(names)}), got {len(state)}")
    return tuple(as_floats(f"{name}[{i}]", part, dtype) for i, part in enumerate(state))


def kind_of(value: object) -> str:
    return type(value).__name__
