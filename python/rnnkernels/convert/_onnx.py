"""ONNX: the arrays W, R, B and P of one RNN, GRU or LSTM node. Attributes and graphs are not here, nor is `onnx`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels._scalars import as_flag

from ._layers import as_arrays, expect_shape, join, split
from ._layouts import Arrays, from_layout, layout_of, reorder, to_layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnkernels.parameters import Array, Params

# Gates with a peephole, in ONNX' order and in that of weight_diagonal.
_THEIRS = "iof"
_OURS = {"lstm_peephole": "ifo", "lstm_cifg": "io"}


def from_onnx(cell: str, arrays: Mapping[str, Any], *, stacked: bool = False) -> Params:
    """Return parameters from those of a node.

    Parameters
    ----------
    cell : {"rnn_tanh", "rnn_relu", "lstm", "lstm_peephole", "lstm_cifg", "gru", "gru_reset_before"}
        What the node's attributes say: ``"lstm_peephole"`` where it has P, ``"lstm_cifg"`` with ``input_forget=1``,
        ``"gru"`` with ``linear_before_reset=1``, ``"gru_reset_before"`` with 0.
    arrays : mapping of str to array_like
        ``W`` (D, G·H, I), ``R`` (D, G·H, H), optionally ``B`` (D, 2·G·H), and ``P`` (D, 3·H) where the cell has
        peepholes, with D directions, 1 or 2. Gates are i o f c, z r h. Of ``"lstm_cifg"`` P is optional, and the
        rows of f, which ONNX does not read, are dropped.
    stacked : bool, default False
        Give one direction the names of a `rnnkernels.Stack` of one layer, too.

    Returns
    -------
    dict of str to ndarray
        Copies. Two directions have the names of a bidirectional `rnnkernels.Stack` of one layer.

    Raises
    ------
    TypeError
        If something is no mapping, or no array of float32 or float64.
    ValueError
        If ONNX has no such cell, or names or shapes do not fit it.
    """
    layout = layout_of("ONNX", cell)
    stacked = as_flag("stacked", stacked)
    needed, optional = ["W", "R"], ["B"]
    if cell in _OURS:
        (optional if cell == "lstm_cifg" else needed).append("P")
    found = as_arrays("arrays", arrays, needed, optional)
    first, second = found["W"], found["R"]
    gates = len(layout.gates)
    hidden = second.shape[2] if second.ndim == 3 else 0
    ways = len(second) if second.ndim else 0
    if ways not in (1, 2) or second.shape != (ways, gates * hidden, hidden) or not hidden:
        raise ValueError(f"arrays['R']: expected shape (D, {gates}*H, H), D 1 or 2, got {second.shape}")
    if first.ndim != 3 or first.shape[:2] != second.shape[:2] or not first.shape[2]:
        raise ValueError(f"arrays['W']: expected shape ({ways}, {gates * hidden}, I), got {first.shape}")
    if "B" in found:
        expect_shape("arrays['B']", found["B"], (ways, 2 * gates * hidden), f"(D, {2 * gates}*H)")
    if "P" in found:
        expect_shape("arrays['P']", found["P"], (ways, 3 * hidden), "(D, 3*H)")
    layer = []
    for way in range(ways):
        biases = np.split(found["B"][way], 2) if "B" in found else (None, None)
        params = from_layout(cell, layout, Arrays(first[way], second[way], *biases))
        if cell in _OURS:
            peepholes = found["P"][way] if "P" in found else np.zeros(3 * hidden, first.dtype)
            params["weight_diagonal"] = reorder(peepholes, _THEIRS, _OURS[cell])
        layer.append(params)
    return join([layer], stacked=stacked)


def to_onnx(cell: str, params: Mapping[str, Any]) -> dict[str, Array]:
    """Return the arrays of a node from parameters: `from_onnx` the other way, in the same bits.

    Parameters
    ----------
    cell
        As in `from_onnx`. The rows of f of ``"lstm_cifg"`` are zeros.
    params : mapping of str to array_like
        Of one layer of one or two directions: one node.

    Returns
    -------
    dict of str to ndarray
        ``W``, ``R``, with biases ``B``, with peepholes ``P``.

    Raises
    ------
    TypeError, ValueError
        If the parameters do not fit the cell, are of several layers, or ONNX has no such cell.
    """
    layout = layout_of("ONNX", cell)
    layers, _ = split(cell, params)
    if len(layers) > 1:
        raise ValueError(f"params: expected one layer, as a node is one, got {len(layers)}")
    made = [to_layout(cell, layout, way) for way in layers[0]]
    found = {"W": np.stack([m.weight_ih for m in made]), "R": np.stack([m.weight_hh for m in made])}
    biases = [np.concatenate([m.bias_ih, m.bias_hh]) for m in made if m.bias_ih is not None and m.bias_hh is not None]
    if len(biases) == len(made):
        found["B"] = np.stack(biases)
    elif biases:
        raise ValueError("params: expected biases in both directions or in none, got them in one")
    if cell in _OURS:
        found["P"] = np.stack([reorder(way["weight_diagonal"], _OURS[cell], _THEIRS) for way in layers[0]])
    return found
