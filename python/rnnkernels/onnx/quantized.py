"""Weights that a node stores as integers: as floats, and as int8 with a scale for each row where they are that.

A `DynamicQuantizeLSTM` (com.microsoft) has its W and R turned, (directions, I, 4*H) and (directions, H, 4*H), of int8
or uint8, with a scale and a zero point for each direction or for each column. Here rows are rows again.
Not here: integers behind DequantizeLinear (constants.py finds those), and running a node (operators.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rnnkernels._call import present
from rnnkernels.quantized import LARGEST

from .weights import GATES, reorder_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnkernels.parameters import Array, Params

    from .nodes import Attributes

_FLOATS = ("X", "B", "initial_h", "initial_c", "P", "W_scale", "R_scale")


class Stored(NamedTuple):
    """A matrix of each direction, w = integers * scales, element by element.

    Attributes
    ----------
    integers : ndarray, (D, rows, columns) of integers
        Their zero points are taken off.
    scales : ndarray, (D, rows, columns) of float32
    """

    integers: Array
    scales: Array

    def floats(self) -> Array:
        """Return the matrices as floats, (D, rows, columns): what DequantizeLinear makes, to the bit."""
        return self.integers.astype(np.float32) * self.scales


def from_inputs(weights: Mapping[str, Array | None]) -> dict[str, Stored]:
    """Return W and R of a DynamicQuantizeLSTM that `shapes_of` has seen."""
    found = {}
    for name in ("W", "R"):
        q, scale = present(weights[name], name), present(weights[f"{name}_scale"], f"{name}_scale")
        zero = weights[f"{name}_zero_point"]
        integers = q.astype(np.int16)
        if zero is not None:
            integers -= _of_columns(zero).astype(np.int16)
        turned = integers.swapaxes(1, 2)
        found[name] = Stored(turned, np.broadcast_to(_of_columns(scale), q.shape).swapaxes(1, 2))
    return found


def to_inputs(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return the inputs of a DynamicQuantizeLSTM; its zero points are 0.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        By the node's names, W (D, 4*H, I) and R (D, 4*H, H) of int8, a scale for each of their rows.
    """
    found = dict(arrays)
    for name in ("W", "R"):
        found[name] = np.ascontiguousarray(arrays[name].swapaxes(1, 2))
        found[f"{name}_zero_point"] = np.zeros(arrays[f"{name}_scale"].shape, np.int8)
    return found


def to_quantized(
    operator: str, cell: str, stored: Mapping[str, Stored | None], at: int, params: Params
) -> Params | None:
    """Return a direction's parameters with int8 matrices, as `rnnkernels.quantize_params` does.

    None where a scale serves less than a row or is negative, an integer is beyond 127 when its zero point is taken
    off, or a weight is not finite.

    Parameters
    ----------
    operator, cell : str
    stored : mapping of str to (Stored or None)
        W and R.
    at : int
        The direction.
    params : dict of str to ndarray
        The direction's parameters as floats: those that are no matrices stay as they are.
    """
    found = dict(params)
    for role, name in (("W", "weight_ih"), ("R", "weight_hh")):
        each = stored.get(role)
        if each is None:
            return None
        integers, scales = each.integers[at], each.scales[at]
        row = scales[:, :1]
        if (scales != row).any() or not (row >= 0).all() or np.abs(integers).max(initial=0) > LARGEST:
            return None
        if not np.isfinite(params[name]).all():
            return None
        found[name] = reorder_rows(operator, cell, integers.astype(np.int8))
        found[f"{name}_scale"] = reorder_rows(operator, cell, row[:, 0])
    return found


def shapes_of(attributes: Attributes, arrays: Mapping[str, Array | None]) -> dict[str, Array]:
    """Return W and R of a DynamicQuantizeLSTM as an LSTM has them, of 0s without memory of their own.

    Parameters
    ----------
    attributes : Attributes
    arrays : mapping of str to (ndarray or None)
        By the node's names; those beside the weights may be missing.

    Raises
    ------
    TypeError, ValueError
        By the input's name, where integers, scales and zero points do not fit together, or the others are not float32.
    """
    check_floats(arrays)
    for name in ("W", "R"):
        array = arrays.get(name)
        if array is None:
            raise ValueError(f"{name}: expected an array, got none")
        if array.ndim != 3:
            raise ValueError(f"{name}: expected 3 dimensions, got shape {array.shape}")
        if array.dtype.name not in {"int8", "uint8"}:
            raise TypeError(f"{name}: expected int8 or uint8, got {array.dtype}")
    W, R = present(arrays["W"], "W"), present(arrays["R"], "R")
    D, I, H = len(attributes.reverse), W.shape[1], R.shape[1]  # noqa: E741
    G = len(GATES[attributes.operator])
    if H < 1 or I < 1:
        raise ValueError(f"W, R: expected sizes of at least 1, got input_size {I} and hidden_size {H}")
    if attributes.hidden_size not in (None, H):
        raise ValueError(f"R: expected hidden_size {attributes.hidden_size} rows, got {H}")
    for name, array, of in (("W", W, "I"), ("R", R, "H")):
        expected = (D, array.shape[1], G * H)
        if array.shape != expected:
            raise ValueError(f"{name}: expected shape (directions, {of}, 4*H) = {expected}, got {array.shape}")
        scale, zero = arrays.get(f"{name}_scale"), arrays.get(f"{name}_zero_point")
        if scale is None:
            raise ValueError(f"{name}_scale: expected an array, got none")
        if scale.shape not in ((D,), (D, G * H)):
            raise ValueError(
                f"{name}_scale: expected shape (directions,) = {(D,)} or (directions, 4*H) = {(D, G * H)}, "
                f"got {scale.shape}"
            )
        if zero is None:
            continue
        if zero.dtype != array.dtype:
            raise TypeError(f"{name}_zero_point: expected dtype {array.dtype}, {name}'s, got {zero.dtype}")
        if zero.shape != scale.shape:
            raise ValueError(f"{name}_zero_point: expected shape {scale.shape}, {name}_scale's, got {zero.shape}")
    nothing = np.zeros((), np.float32)
    return {"W": np.broadcast_to(nothing, (D, G * H, I)), "R": np.broadcast_to(nothing, (D, G * H, H))}


def check_floats(arrays: Mapping[str, Array | None]) -> None:
    """Raise TypeError, by the input's name, where one beside a DynamicQuantizeLSTM's matrices is not float32."""
    for name in _FLOATS:
        array = arrays.get(name)
        if array is not None and array.dtype != np.float32:
            raise TypeError(f"{name}: expected float32, got {array.dtype}")


def _of_columns(array: Array) -> Array:
    """Return what stands for each direction or each column as (D, 1, 1) or (D, 1, columns)."""
    return array.reshape(len(array), 1, -1)
