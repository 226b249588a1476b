"""Weights as integers of 8 bits: how a layer's are made, `quantize_params`, and how they are taken again.

A matrix is int8 under its own name, beside it `<name>_scale`, float32, one number for each row; biases and element-wise
weights stay float32. Such a dict is plain arrays, so ``numpy.savez`` and safetensors hold it as it is. What is computed
with it is the kernels' (`Prepared`, `PreparedStack`); docs/low_precision.md says what the integers cost.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._arguments import DeviceKind, as_parameters, fits_parameters, kind_of, kind_of_array
from ._scalars import check_mapping
from .parameters import Array, Params, cell_info

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

__all__ = ["quantize_params"]

# What is quantised: the matrices, in the order in which the extension takes their scales.
MATRICES = ("weight_ih", "weight_hh", "weight_gg", "weight_hr")
LARGEST = 127  # -128 has no opposite, and is not used
LEAST = np.float32(2.0**-100)  # a row without a larger number counts as zeros

_SCALE = "_scale"
_END = re.compile(r"_l\d+(_reverse)?(?=$|_scale$)")  # what a name of a stack has behind that of a layer's parameter

Scales = tuple["Array | None", ...]  # of each of MATRICES, (rows,)


class Opened(NamedTuple):
    """A layer's parameters as float32, and the scales of the integers that they were; None where they were floats."""

    params: Params
    scales: Scales | None


def quantize_params(cell: str, params: Mapping[str, npt.ArrayLike]) -> Params:
    """Return parameters whose weight matrices are integers of 8 bits, with a scale for each row.

    With s the largest magnitude in a row of a matrix, divided by 127 in float32, the row's integers are round(w / s),
    half to even, and w is then about q s, within s / 2. A row of zeros, of nothing above 2⁻¹⁰⁰, has the scale 0.

    Parameters
    ----------
    cell : str
        One of `cells`.
    params : mapping of str to array_like
        Of a layer, as in `rnnkernels.forward`, or of a `Stack`: float32.

    Returns
    -------
    dict of str to ndarray
        Of each matrix (``weight_ih``, ``weight_hh`` and, where the cell has them, ``weight_gg``, ``weight_hr``) the
        integers under its own name, int8 of its own shape, and ``<name>_scale`` (rows,) of float32; everything else as
        it was, float32. `Prepared` and `PreparedStack` take it.

    Raises
    ------
    TypeError
        If a parameter is not float32, or is quantised already.
    ValueError
        If the cell is unknown or has heads, a parameter is missing or unknown, a shape does not fit, or a weight is no
        finite number.
    """
    check_without_heads("cell", cell)
    check_mapping("params", params)
    found: Params = {}
    for end, layer in layers_of(params).items():
        try:
            arrays = _float32(cell, layer)
        except (TypeError, ValueError) as error:
            raise of_layer(error, end) from None
        for name, array in arrays.items():
            found[name + end] = array
            if name in MATRICES:
                found[name + end], found[f"{name}{end}{_SCALE}"] = _quantize(array)
    return found


def layers_of(params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the parameters of each layer and direction by what their names end in: of a single layer, nothing."""
    if not any(isinstance(name, str) and name.startswith("weight_ih_l0") for name in params):
        return {"": {name: params[name] for name in params}}
    found: dict[str, dict[str, Any]] = {}
    for name in params:
        end = _END.search(name) if isinstance(name, str) else None
        if end is None:
            raise ValueError(f"params: expected names that end in _l0, _l1, ..., as a Stack has them, got {name!r}")
        found.setdefault(end[0], {})[name.replace(end[0], "", 1)] = params[name]
    return found


def of_layer(error: TypeError | ValueError, end: str) -> TypeError | ValueError:
    """Return an error of a layer in the words of a stack's parameters, whose names end in `end`."""
    if not end:
        return error
    text = re.sub(r"params\['(\w+?)(_scale)?'\]", rf"params['\1{end}\2']", str(error))
    return type(error)(text.replace("params: expected ", f"params: of layer {end}, expected ", 1))


def opened(cell: str, params: Mapping[str, npt.ArrayLike]) -> Opened:
    """Return a layer's parameters, quantised or not, as the kernels are handed them.

    Raises
    ------
    TypeError, ValueError
        As `rnnkernels.forward`; if some of a layer's matrices are quantised and others are not, or their scales do not
        fit.
    """
    check_mapping("params", params)
    names = set(params)
    if not any(isinstance(name, str) and name.endswith(_SCALE) for name in names) and not any(
        _is_int8(params[name]) for name in MATRICES if name in names
    ):
        return Opened(as_parameters(cell, params), None)
    floats: dict[str, Any] = {name: params[name] for name in params if name not in _scale_names()}
    scales: dict[str, Array] = {}
    for name in MATRICES:
        if name in names:
            floats[name], scales[name] = _dequantize(params, name)
        elif name + _SCALE in names:
            raise ValueError(f"params: expected {name} beside {name}{_SCALE}, got none")
    return Opened(as_parameters(cell, floats), tuple(map(scales.get, MATRICES)))


def check_without_heads(argument: str, cell: str) -> None:
    """Raise ValueError where a cell's recurrent weights have heads, which are not quantised."""
    heads = cell_info(cell)["heads"]
    if heads > 1:
        raise ValueError(f"{argument}: expected other than int8 for a cell with heads, {cell:s} has {heads}")


def check_finite(params: Params) -> None:
    """Raise ValueError where a weight that is to be quantised is no finite number."""
    for name in MATRICES:
        if name in params and not np.isfinite(params[name]).all():
            row = int(np.flatnonzero(~np.isfinite(params[name]).all(-1))[0])
            raise ValueError(f"params[{name!r}]: expected finite numbers to quantise, got others in row {row}")


def _scale_names() -> set[str]:
    return {name + _SCALE for name in MATRICES}


def _is_int8(value: Any) -> bool:
    return getattr(value, "dtype", None) == np.int8


def _float32(cell: str, params: Mapping[str, Any]) -> Params:
    """Return float parameters that can be quantised."""
    for name in params:
        if _is_int8(params[name]) or str(name).endswith(_SCALE):
            raise TypeError(f"params[{name!r}]: expected float32, got what is quantised already")
    arrays = as_parameters(cell, params)
    kind = kind_of_array("params['weight_ih']", arrays["weight_ih"])
    if isinstance(kind, DeviceKind):
        raise TypeError(f"params['weight_ih']: expected an array of NumPy's, got {kind_of(arrays['weight_ih'])}")
    if kind != np.float32:
        raise TypeError(f"params['weight_ih']: expected dtype float32, got {kind}")
    fits_parameters(cell, arrays)
    check_finite(arrays)
    return arrays


def _quantize(weight: Array) -> tuple[Array, Array]:
    """Return the integers (rows, columns) of a matrix, and the scales (rows,)."""
    most = np.abs(weight).max(axis=-1)
    scale = np.where(most < LEAST, np.float32(0), most / np.float32(LARGEST))  # float32
    divisor = np.where(scale > 0, scale, np.float32(1))
    integers = np.rint(weight / divisor[:, np.newaxis])
    integers[scale == 0] = 0
    return np.clip(integers, -LARGEST, LARGEST).astype(np.int8), scale


def _dequantize(params: Mapping[str, Any], name: str) -> tuple[Array, Array]:
    """Return a matrix's values in float32 and its scales (rows,), checked."""
    integers = np.asarray(params[name])
    if integers.dtype != np.int8:
        raise TypeError(
            f"params[{name!r}]: expected int8, as other matrices of the layer are quantised, got {integers.dtype}"
        )
    if integers.ndim != 2:
        raise ValueError(f"params[{name!r}]: expected two dimensions, got shape {integers.shape}")
    if name + _SCALE not in params:
        raise ValueError(f"params: expected {name}{_SCALE} beside {name}, which is int8, got none")
    scale = np.asarray(params[name + _SCALE])
    what = f"params[{name + _SCALE!r}]"
    if scale.dtype != np.float32:
        raise TypeError(f"{what}: expected dtype float32, got {scale.dtype}")
    if scale.shape != integers.shape[:1]:
        raise ValueError(f"{what}: expected shape {integers.shape[:1]}, a number for each row, got {scale.shape}")
    if not (np.isfinite(scale) & (scale >= 0)).all():
        raise ValueError(
            f"{what}: expected finite numbers of at least 0, got {scale[~(scale >= 0) | ~np.isfinite(scale)][0]}"
        )
    if (integers < -LARGEST).any():
        raise ValueError(f"params[{name!r}]: expected integers from -{LARGEST} to {LARGEST}, got -128")
    with np.errstate(over="ignore"):
        weight = integers.astype(np.float32) * scale[:, np.newaxis]
    if not np.isfinite(weight).all():
        raise ValueError(f"{what}: expected scales whose products with the integers are finite, got {scale.max()}")
    return weight, np.ascontiguousarray(scale)
