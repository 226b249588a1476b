"""Layers and their names: one layer's parameters under plain names, several under those of `rnnkernels.Stack`.

Also what every converter checks: that arrays are arrays of one dtype, that ours fit their cell.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels._arguments import as_parameters, host_float
from rnnkernels._arrays import spelled
from rnnkernels._scalars import check_mapping
from rnnkernels.parameters import NAMES, cell_info, parameter_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rnnkernels.parameters import Array, Params

# [layer][direction]: the parameters of one under plain names, forward first.
Layers = list[list["Params"]]

_STACKED = re.compile(r"(.+)_l([0-9]{1,9})(_reverse)?")


def as_array(name: str, value: Any) -> Array:
    """Return a library's array or tensor as a NumPy array of float32 or float64, of the same memory where it can be."""
    wanted = f"{name}: expected an array of float32 or float64, got "
    if value is None or isinstance(value, (str, bytes, type)):
        raise TypeError(wanted + type(value).__name__)
    try:
        value = value.detach().cpu() if hasattr(value, "detach") else value
        array = value.numpy() if type(value).__module__.startswith("torch") else np.asarray(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise TypeError(f"{wanted}{type(value).__name__}: {error}") from None
    kind = host_float(array.dtype)
    if kind is None:
        raise TypeError(wanted + f"dtype {array.dtype}")
    return spelled(array, kind)


def as_arrays(what: str, arrays: Any, needed: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Array]:
    """Return a mapping's arrays, or raise where it lacks one, has another, or mixes dtypes."""
    check_mapping(what, arrays)
    missing = [name for name in needed if name not in arrays]
    unknown = sorted(str(name) for name in arrays if name not in needed and name not in optional)
    if missing or unknown:
        found = [f"no {name}" for name in missing] + [f"an unknown {name!r}" for name in unknown]
        expected = ", ".join(needed) + (f" and optionally {', '.join(optional)}" if optional else "")
        raise ValueError(f"{what}: expected {expected}; got {', '.join(found)}")
    present = [name for name in (*needed, *optional) if name in arrays]
    return of_one_dtype({name: as_array(f"{what}[{name!r}]", arrays[name]) for name in present}, what)


def of_one_dtype(arrays: dict[str, Array], what: str) -> dict[str, Array]:
    """Return the arrays, or raise TypeError where their dtypes differ."""
    kinds = {str(array.dtype) for array in arrays.values()}
    if len(kinds) > 1:
        raise TypeError(f"{what}: expected arrays of one dtype, got {' and '.join(sorted(kinds))}")
    return arrays


def expect_shape(name: str, array: Array, shape: tuple[int, ...], symbols: str) -> Array:
    """Return the array, or raise ValueError where its shape is another."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {symbols} = {shape}, got {array.shape}")
    return array


def split(cell: str, params: Mapping[str, Any]) -> tuple[Layers, bool]:
    """Return our parameters layer by layer, checked, and whether their names are those of a stack."""
    check_mapping("params", params)
    found = [_STACKED.fullmatch(str(name)) for name in params]
    if not any(found):
        return [[check(cell, params)]], False
    places: dict[tuple[int, bool], Params] = {}
    for name, match in zip(params, found, strict=True):
        if match is None:
            raise ValueError(f"params: expected names of one layer or of a stack (weight_ih_l0, ...), got {name!r}")
        places.setdefault((int(match[2]), match[3] is not None), {})[match[1]] = params[name]
    count = 1 + max(layer for layer, _ in places)
    ways = (False, True) if any(reverse for _, reverse in places) else (False,)
    layers: Layers = []
    for layer in range(count):
        layers.append([])
        for reverse in ways:
            end = f"_l{layer}" + ("_reverse" if reverse else "")
            if (layer, reverse) not in places:
                raise ValueError(f"params: expected {count} layers of {len(ways)} directions, got no ..{end}")
            layers[-1].append(check(cell, places[layer, reverse], end))
    return layers, True


def join(layers: Layers, *, stacked: bool = False) -> Params:
    """Return parameters under plain names where they are one layer's of one direction, else under a stack's."""
    if not stacked and len(layers) == 1 and len(layers[0]) == 1:
        return layers[0][0]
    ways = ("", "_reverse")
    return {
        f"{name}_l{number}{way}": array
        for number, layer in enumerate(layers)
        for way, params in zip(ways, layer, strict=False)
        for name, array in params.items()
    }


def check(cell: str, params: Mapping[str, Any], end: str = "") -> Params:
    """Return one layer's parameters as arrays that fit the cell; `end` stands behind their names in errors."""
    arrays = as_parameters(cell, {name: as_array(f"params['{name}{end}']", value) for name, value in params.items()})
    info = cell_info(cell)
    first, second = arrays["weight_ih"], arrays.get("weight_hr", arrays.get("weight_hh"))
    rows = len(first) if first.ndim else 0
    hidden = second.shape[1] if second is not None and second.ndim == 2 else rows // info["rows"][0]
    inputs = first.shape[1] if first.ndim == 2 else 0
    if not inputs or not hidden:
        raise ValueError(f"params['weight_ih{end}']: expected shape (G*H, I), got {first.shape}")
    proj = arrays["weight_hr"].shape[0] if info["projected"] else None
    for name, shape in parameter_shapes(cell, inputs, hidden, proj_size=proj).items():
        if name in arrays:
            expect_shape(f"params['{name}{end}']", arrays[name], shape, "that of the cell")
    return {name: arrays[name] for name in NAMES if name in arrays}
