"""The weights of a node's direction as a cell's parameters, and back: the same numbers, their gates in another order.

ONNX's rows: RNN one gate, GRU z r h, LSTM i o f c, peepholes i o f; B holds the biases of W, then those of R. Ours are
in the order of the cell's table. Not here: attributes (nodes.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rnnkernels._call import present
from rnnkernels.convert._layouts import gates_of, reorder
from rnnkernels.parameters import Array, Params, cell_info

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .nodes import Attributes

# ONNX's order, in our names: its h and c are our n and g.
GATES = {"RNN": "a", "GRU": "zrn", "LSTM": "iofg"}
PEEPHOLES = "iof"


def to_params(operator: str, cell: str, weights: Mapping[str, Array | None]) -> Params:
    """Return a cell's parameters: copies.

    Parameters
    ----------
    operator, cell : str
    weights : mapping of str to (ndarray or None)
        One direction's ``W`` (G·H, I), ``R`` (G·H, H), ``B`` (2·G·H,) or None, ``P`` (3·H,) or None: zeros.
    """
    W, R, B, P = (weights.get(name) for name in "WRBP")
    W, R = present(W, "W"), present(R, "R")
    params = {"weight_ih": reorder_rows(operator, cell, W), "weight_hh": reorder_rows(operator, cell, R)}
    if B is not None:
        of_w, of_r = (reorder_rows(operator, cell, bias) for bias in np.split(B, 2))
        params |= {"bias_ih": of_w, "bias_hh": of_r}
    diagonals = "".join(cell_info(cell)["diagonals"])
    if diagonals:
        if P is None:
            P = np.zeros(len(PEEPHOLES) * R.shape[-1], R.dtype)
        params["weight_diagonal"] = reorder(P, PEEPHOLES, diagonals)
    return params


def reorder_rows(operator: str, cell: str, array: Array) -> Array:
    """Return rows of an operator's order, (G*H, ...), in a cell's order: a copy."""
    return reorder(array, GATES[operator], gates_of(cell))


def from_params(operator: str, cell: str, params: Mapping[str, Array]) -> dict[str, Array]:
    """Return one direction's ``W``, ``R`` and, where the cell has them, ``B`` and ``P``; a gate it lacks is zeros.

    Scales of integers, a number for each row, come back as ``W_scale`` and ``R_scale``.
    """
    theirs, ours = GATES[operator], gates_of(cell)
    W, R = (reorder(params[name], ours, theirs) for name in ("weight_ih", "weight_hh"))
    found = {"W": W, "R": R}
    for role, name in (("W_scale", "weight_ih_scale"), ("R_scale", "weight_hh_scale")):
        if name in params:
            found[role] = reorder(params[name], ours, theirs)
    given = [params[name] for name in ("bias_ih", "bias_hh") if name in params]
    if given:
        none = np.zeros_like(given[0])
        biases = [reorder(params.get(name, none), ours, theirs) for name in ("bias_ih", "bias_hh")]
        found["B"] = np.concatenate(biases)
    if "weight_diagonal" in params:
        found["P"] = reorder(params["weight_diagonal"], "".join(cell_info(cell)["diagonals"]), PEEPHOLES)
    return found


def check_shapes(attributes: Attributes, arrays: Mapping[str, Array | None]) -> None:
    """Raise TypeError or ValueError, by the input's name, where a node's inputs do not fit together.

    Parameters
    ----------
    attributes : Attributes
    arrays : mapping of str to (ndarray or None)
        By ONNX's names. `X` may be missing: the weights alone are looked at then.
    """
    operator, D = attributes.operator, len(attributes.reverse)
    for name in ("W", "R"):
        array = arrays.get(name)
        if array is None:
            raise ValueError(f"{name}: expected an array, got none")
        if array.ndim != 3:
            raise ValueError(f"{name}: expected 3 dimensions, got shape {array.shape}")
    W, R, X = present(arrays["W"], "W"), present(arrays["R"], "R"), arrays.get("X")
    G, H, I = len(GATES[operator]), R.shape[2], W.shape[2]  # noqa: E741
    if H < 1 or I < 1:
        raise ValueError(f"W, R: expected sizes of at least 1, got input_size {I} and hidden_size {H}")
    if attributes.hidden_size not in (None, H):
        raise ValueError(f"R: expected hidden_size {attributes.hidden_size} columns, got {H}")
    shapes: dict[str, tuple[int, ...]] = {"W": (D, G * H, I), "R": (D, G * H, H), "B": (D, 2 * G * H), "P": (D, 3 * H)}
    names = {"W": "(directions, gates*H, I)", "R": "(directions, gates*H, H)", "B": "(directions, 2*gates*H)",
             "P": "(directions, 3*H)"}  # fmt: skip
    if X is not None:
        if X.ndim != 3:
            raise ValueError(f"X: expected 3 dimensions, got shape {X.shape}")
        T, B = X.shape[:2] if attributes.layout == 0 else X.shape[1::-1]
        of_state = (D, B, H) if attributes.layout == 0 else (B, D, H)
        shapes |= {"X": (T, B, I) if attributes.layout == 0 else (B, T, I), "sequence_lens": (B,)}
        shapes |= {"initial_h": of_state, "initial_c": of_state}
    for name, array in arrays.items():
        if array is None:
            continue
        if name in {"P", "initial_c"} and operator != "LSTM":
            raise ValueError(f"{name}: {operator} has no such input")
        if array.shape != shapes[name]:
            of = f"{names[name]} = " if name in names else ""
            raise ValueError(f"{name}: expected shape {of}{shapes[name]}, got {array.shape}")
    _check_dtypes(arrays)
    lengths = arrays.get("sequence_lens")
    if lengths is not None and lengths.size and not (0 <= lengths.min() and lengths.max() <= T):
        raise ValueError(f"sequence_lens: expected 0 to seq_length = {T}, got {lengths.min()} to {lengths.max()}")


def _check_dtypes(arrays: Mapping[str, Array | None]) -> None:
    W = present(arrays["W"], "W")
    _check_floats("W", W)
    for name, array in arrays.items():
        if array is None:
            continue
        if name == "sequence_lens":
            if array.dtype.kind not in "iu":
                raise TypeError(f"sequence_lens: expected integers, got {array.dtype}")
        elif array.dtype != W.dtype:
            _check_floats(name, array)
            raise TypeError(f"{name}: expected dtype {W.dtype}, W's, got {array.dtype}")


def _check_floats(name: str, array: Array) -> None:
    if array.dtype.name not in {"float64", "float32", "float16", "bfloat16"}:
        raise TypeError(f"{name}: expected floats, got {array.dtype}")
