"""What callers pass, turned into what the kernels read: names, dtypes and layouts settled.

Shapes and tokens are checked where they are used, in the extension; the shape of what has to be copied first, here:
a view of a few bytes can be larger than the machine. Errors name the argument in the caller's words, what was expected
and what came. Not here: what can be read where it lies (`_arrays`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from ._arrays import FLOATS, INT64, adopt, device_frame, frame_of, in_place, readable
from ._scalars import as_choice, as_items, as_number, check_mapping
from .equations.cell import equations_of, with_settings
from .parameters import (
    BIASES,
    NAMES,
    Array,
    Layer,
    Params,
    cell_info,
    parameter_shapes,
    shapes_of,
    state_widths,
    x_width,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

Shape = tuple[int, ...]

# Raises ValueError where the array of a name has a shape that does not fit. Asked before an array is copied alone: of
# an array that is taken in place the extension says the same.
Fits: TypeAlias = "Callable[[str, Shape], None]"


def as_parameters(cell: str, params: Mapping[str, npt.ArrayLike]) -> Params:
    """Return a layer's parameters as contiguous arrays of one dtype; the biases may be absent."""
    weights, biases = _names(cell)
    if type(params) is not dict:
        check_mapping("params", params)
    names = set(params)
    missing = [name for name in weights if name not in names]
    if missing or len(names) > len(weights) + sum(name in names for name in biases):
        _refuse_names(weights, biases, names, missing)
    first = params["weight_ih"]
    dtype = kind_of_array("params['weight_ih']", first)
    found = {}
    for name in NAMES:
        if name in names:
            value = params[name]
            if not (type(value) is np.ndarray and in_place(value, dtype)):
                value = as_floats(f"params[{name!r}]", value, dtype, partial(_fits_parameter, cell, params, name))
            found[name] = value
    return found


def _refuse_names(weights: Sequence[str], biases: Sequence[str], names: set[Any], missing: Sequence[str]) -> None:
    """Raise ValueError for the names of parameters."""
    unknown = sorted(map(str, names.difference(weights, biases)))
    expected = f"{', '.join(weights)} and optionally {', '.join(biases)}"
    found = [f"no {name}" for name in missing] + [f"an unknown {name!r}" for name in unknown]
    hint = "; those of a Stack are for its own methods" if any(name.endswith("_l0") for name in unknown) else ""
    raise ValueError(f"params: expected {expected}; got {', '.join(found)}{hint}")


def _fits_parameter(cell: str, params: Mapping[str, Any], which: str, name: str, shape: Shape) -> None:
    """Raise ValueError where a parameter's shape is not that of the cell, by I and H as the others have them."""
    first = np.shape(params["weight_ih"])
    second = np.shape(params["weight_hr" if "weight_hr" in params else "weight_hh"]) if "weight_hh" in params else None
    for matrix, of in (("weight_ih", first), ("weight_hr" if "weight_hr" in params else "weight_hh", second)):
        if of is not None and (len(of) != 2 or of[1] < 1):
            raise ValueError(f"params[{matrix!r}]: expected two dimensions, the second at least 1, got {of}")
    info = cell_info(cell)
    hidden = first[0] // info["rows"][0] if second is None else second[1]
    width = second[0] if "weight_hr" in params and second is not None else hidden
    wanted = shapes_of(info, first[1], hidden, width)[which]
    if shape != wanted:
        raise ValueError(f"{name}: expected shape {wanted}, by the shapes of the weights, got {shape}")


def fits_parameters(cell: str, params: Params) -> None:
    """Raise ValueError where a parameter's shape is not that of the cell: what the extension says of a call's."""
    for name, array in params.items():
        _fits_parameter(cell, params, name, f"params[{name!r}]", tuple(array.shape))


class DeviceKind(NamedTuple):
    """What the arrays of a call are, on a GPU: of which library, where, of which dtype."""

    frame: Any
    dtype: Any

    def take(self, name: str, value: Any, fits: Fits | None = None, *, tokens: bool = False) -> Any:
        """Return the array in C order, or raise where it is of another kind; `tokens`: integers will do."""
        value = adopt(name, value)
        frame = device_frame(value)
        if frame is not self.frame:
            got = f"a {kind_of(value)}" + ("" if frame is None else f" on GPU {frame.device}")
            raise TypeError(f"{name}: expected an array on GPU {self.frame.device}, as the parameters, got {got}")
        integers = tokens and frame.holds_integers(value)
        if fits is not None and not integers and not frame.in_order(value):
            fits(name, tuple(value.shape))
        if value.dtype != self.dtype:
            if not integers:
                raise TypeError(f"{name}: expected dtype {self.dtype}, the parameters', got {value.dtype}")
            value = frame.as_int64(value)
        return frame.contiguous(value)


# NumPy's dtype, or what stands for it on a GPU.
Kind = np.dtype[Any] | DeviceKind


_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def kind_of_array(name: str, first: Any) -> Any:
    """Return what all floats of a call are, from the first of them."""
    if not isinstance(first, np.ndarray):
        first = adopt(name, first)
        frame = device_frame(first)
        if frame is not None:
            if frame.name(first.dtype) not in FLOATS:
                raise TypeError(f"{name}: expected dtype {', '.join(FLOATS)}, got {first.dtype}")
            return DeviceKind(frame, first.dtype)
        return _FLOAT64
    dtype = host_float(first.dtype)
    if dtype is None:
        raise TypeError(f"{name}: expected dtype float32 or float64, got {first.dtype}")
    return dtype


def host_float(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the one of the two float dtypes of the CPU's that a dtype is, however it spells its byte order."""
    if dtype is _FLOAT32 or dtype is _FLOAT64:
        return dtype
    return _FLOAT32 if dtype == _FLOAT32 else _FLOAT64 if dtype == _FLOAT64 else None


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


def x_shape(cell: str, weight_ih: Array) -> Shape:
    """Return the shape of a row of x: of I numbers, and H more for each element-wise input of the cell."""
    info = cell_info(cell)
    if not info["elements"] or weight_ih.ndim != 2:
        return weight_ih.shape[1:]
    return (x_width(cell, weight_ih.shape[1], len(weight_ih) // info["rows"][0]),)


_clipped: dict[tuple[str, float], tuple[str, None]] = {}  # what `settled` has found


def settled(cell: str, cell_clip: float | None) -> tuple[str, float | None]:
    """Return a cell and the limit that is left to ask of it: a cell from equations is another one for each limit.

    Raises
    ------
    TypeError, ValueError
        If such a cell cannot have the limit.
    """
    if cell_clip is None or not isinstance(cell, str):
        return cell, cell_clip
    equations = equations_of(cell)
    if equations is None or "cell_clip" not in dict(equations.settings):
        return cell, cell_clip
    limit = as_number("cell_clip", cell_clip)
    if not limit > 0:
        raise ValueError(f"cell_clip: expected a number above 0, got {cell_clip}")
    found = _clipped.get((cell, limit))
    if found is None:  # traced once
        found = _clipped[cell, limit] = with_settings(cell, cell_clip=limit), None
    return found


def as_settings(cell: str, cell_clip: float | None) -> tuple[float, ...]:
    """Return a cell's settings in its order, none where none was given; raise where it has none of a name."""
    if cell_clip is None:
        return ()
    limit = as_number("cell_clip", cell_clip)
    if "cell_clip" not in cell_info(cell)["settings"]:
        raise ValueError(f"cell_clip: {cell} has none, got {cell_clip}")
    if not limit > 0:
        raise ValueError(f"cell_clip: expected a number above 0, got {cell_clip}")
    return (limit,)


FULL = "full"  # what most calls ask: `is` tells it from anything else at once
PRODUCTS = (FULL, "bfloat16")


def check_products(products: str, dtype: Kind) -> str:
    """Return `products`; raise where it is no choice, or bfloat16 for float64. `_serve` refuses it on a GPU."""
    as_choice("products", products, PRODUCTS)
    if products != "full" and type(dtype) is not DeviceKind and dtype == _FLOAT64:
        raise TypeError(f"products: {products} needs float32 parameters, got float64")
    return products


def as_floats(name: str, value: npt.ArrayLike, dtype: Kind, fits: Fits | None = None) -> Array:
    """`value` as an array the kernels can read: itself where it is one already, else a copy, once its shape fits."""
    if type(value) is np.ndarray and in_place(value, dtype):
        return value
    if type(dtype) is DeviceKind:
        return dtype.take(name, value, fits)  # type: ignore[no-any-return]
    kind: Any = dtype
    if isinstance(value, np.ndarray):
        if value.dtype != kind:
            raise TypeError(f"{name}: expected dtype {kind}, the parameters', got {value.dtype}")
        array = np.asarray(value)  # of a subclass, too
    else:
        try:
            if value is None:  # NumPy would read it as NaN
                raise TypeError("no array at all")
            array = np.asarray(value, dtype=kind)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(f"{name}: expected an array of {kind}, got {kind_of(value)}: {error}") from None
    if fits is not None:
        fits(name, array.shape)
    return readable(array, kind)


def as_input(name: str, value: npt.ArrayLike, dtype: Kind, vector: Shape | None = None, *, steps: bool = True) -> Array:
    """X as the kernels take it: floats of the parameters' dtype, or tokens as int64.

    `vector`: the shape of one step's vector, (I,), where it is known; `steps`: whether there is an axis of time.
    """
    if type(value) is np.ndarray and (in_place(value, dtype) or in_place(value, INT64)):
        return value
    fits = partial(_fits_input, vector, steps)
    if type(dtype) is DeviceKind:
        return dtype.take(name, value, fits, tokens=True)  # type: ignore[no-any-return]
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name}: expected an array of numbers, got {kind_of(value)}: {error}") from None
    if array.dtype.kind not in "iu" or (array.size == 0 and not isinstance(value, np.ndarray)):
        return as_floats(name, value, dtype, fits)
    if array.ndim != 1 + steps:
        raise ValueError(f"{name}: expected shape {'(T, B)' if steps else '(B,)'} of tokens, got {array.shape}")
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 2**63:
        raise ValueError(f"{name}: expected tokens below the input size, got {int(array.max())}")
    return readable(array, INT64)


def _fits_input(vector: Shape | None, steps: bool, name: str, shape: Shape) -> None:
    """Raise ValueError where x does not fit the weights."""
    first = 1 + steps
    if len(shape) != first + 1 or (vector is not None and shape[first:] != vector):
        wanted = "(T, B, I)" if steps else "(B, I)"
        size = "" if len(shape) != first + 1 or vector is None else f" = {(*shape[:first], *vector)}"
        raise ValueError(f"{name}: expected shape {wanted}{size}, got {shape}")


def as_step(x_t: npt.ArrayLike, dtype: Kind, vector: Shape | None = None, *, tokens: bool | None = None) -> Array:
    """One step's input as a sequence of one: (1, B, I), or tokens (1, B); `tokens` where only one kind is taken."""
    inputs = as_input("x_t", x_t, dtype, vector, steps=False)
    if tokens is None:
        tokens = inputs.dtype != (dtype.dtype if type(dtype) is DeviceKind else dtype)
    if inputs.ndim != (1 if tokens else 2):
        raise ValueError(f"x_t: expected shape {'(B,) of tokens' if tokens else '(B, I)'}, got {tuple(inputs.shape)}")
    if vector is not None and not tokens and tuple(inputs.shape[1:]) != vector:
        raise ValueError(f"x_t: expected shape (B, I) = {(len(inputs), *vector)}, got {tuple(inputs.shape)}")
    one: Array = inputs[np.newaxis]
    return one


def of_step(error: TypeError | ValueError) -> TypeError | ValueError:
    """Return an error of a step in its caller's words: what the extension calls x, a step's caller calls x_t."""
    text = str(error)
    return type(error)(f"x_t{text[1:]}") if text.startswith("x:") else error


def as_states(
    name: str,
    state: Sequence[npt.ArrayLike] | None,
    names: tuple[str, ...],
    dtype: Kind,
    fits: Callable[[int, str, Shape], None] | None = None,
) -> tuple[Array, ...] | None:
    """Return the states of a cell, or None; `fits` is given the number of the state, too."""
    if state is None:
        return None
    parts = state if type(state) is tuple else as_items(name, state, f"a tuple of arrays ({', '.join(names)})")
    if len(parts) != len(names):
        raise ValueError(f"{name}: expected {len(names)} arrays ({', '.join(names)}), got {len(parts)}")
    return tuple(
        part
        if type(part) is np.ndarray and in_place(part, dtype)
        else as_floats(f"{name}[{i}]", part, dtype, fits and partial(fits, i))
        for i, part in enumerate(parts)
    )


def fits_rows(widths: Sequence[int], batch: int, i: int, name: str, shape: Shape) -> None:
    """Raise ValueError where the i-th state is not (B, its units); `widths` of all states."""
    _fits_shape("(B, H)", (batch, widths[i]), name, shape)


def fits_batch(widths: Callable[[], Sequence[int]], x: Array, i: int, name: str, shape: Shape) -> None:
    """Raise ValueError where the i-th state does not fit x (T, B, ...); `widths` is asked where it is needed."""
    if x.ndim > 1:
        fits_rows(widths(), int(x.shape[1]), i, name, shape)


def fits_layer(cell: str, params: Params, x: Array) -> Callable[[int, str, Shape], None]:
    """Return what `as_states` asks, for a layer of these parameters and its input."""
    return partial(fits_batch, partial(_widths, cell, params), x)


def _widths(cell: str, params: Params) -> tuple[int, ...]:
    return state_widths(cell, params["weight_ih"], params.get("weight_hh"))


def fits_shape(symbols: str, shape: Shape) -> Fits:
    """Return what `as_floats` asks, of an array whose shape is known."""
    return partial(_fits_shape, symbols, shape)


def _fits_shape(symbols: str, wanted: Shape, name: str, shape: Shape) -> None:
    if tuple(shape) != wanted:
        raise ValueError(f"{name}: expected shape {symbols} = {wanted}, got {tuple(shape)}")


def kind_of(value: object) -> str:
    """Return the name of a value's type."""
    return type(value).__name__
