"""Lasagne, by the names of its parameters; and madmom, whose layers were trained with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnnkernels._scalars import as_flag, check_mapping, shown
from rnnkernels.parameters import cell_info

from ._layers import as_arrays, expect_shape, join
from ._layouts import Arrays, fitting, layout_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnkernels.parameters import Array, Params

_LSTM = {"i": "ingate", "f": "forgetgate", "g": "cell", "o": "outgate"}
_GATES = {
    "lstm": _LSTM,
    "lstm_peephole": _LSTM,
    "gru": {"r": "resetgate", "z": "updategate", "n": "hidden_update"},
    "rnn_tanh": {"a": "hid"},
    "rnn_relu": {"a": "hid"},
}
_INITIAL = ("hid_init", "cell_init")
# Under Lasagne's names, attributes of a madmom layer.
_MADMOM = {
    "lstm": {"ingate": "input_gate", "forgetgate": "forget_gate", "cell": "cell", "outgate": "output_gate"},
    "gru": {"resetgate": "reset_gate", "updategate": "update_gate", "hidden_update": "cell"},
}


class FromMadmom(NamedTuple):
    """What `from_madmom` returns.

    Attributes
    ----------
    cell : str
    params : dict of str to ndarray
        Under the names of `rnnkernels.forward`; of a ``BidirectionalLayer`` under those of a `rnnkernels.Stack`.
    initial : tuple of ndarray
        The states before the first step, (H,) each; of a ``BidirectionalLayer`` (2, H), forward first.
    """

    cell: str
    params: Params
    initial: tuple[Array, ...]


def from_lasagne(cell: str, arrays: Mapping[str, Any], *, stacked: bool = False) -> tuple[Params, tuple[Array, ...]]:
    """Return parameters and the trained initial state from the arrays of a Lasagne layer.

    Parameters
    ----------
    cell : {"rnn_tanh", "rnn_relu", "lstm", "lstm_peephole", "gru"}
        ``LSTMLayer`` has peepholes unless it was made with ``peepholes=False``. ``GRULayer`` is `gru`: its reset comes
        behind the product. A ``RecurrentLayer`` is one of the first two, as its nonlinearity says.
    arrays : mapping of str to array_like
        By Lasagne's names: ``W_in_to_updategate`` (I, H), ``W_hid_to_updategate`` (H, H), ``b_updategate`` (H,) and so
        on, of a vanilla layer ``W_in_to_hid``, ``W_hid_to_hid`` and ``b``, of peepholes ``W_cell_to_ingate`` (H,);
        ``hid_init`` and ``cell_init`` (1, H) where they are there.
    stacked : bool, default False
        Give the names of a `rnnkernels.Stack` of one layer.

    Returns
    -------
    params : dict of str to ndarray
        Copies, under the names of `rnnkernels.forward`. A GRU's update gate lets the new state in there: the rows of z
        are negated.
    initial : tuple of ndarray, (H,) each
        The states before the first step, zeros where none were given: repeat them for a batch.

    Raises
    ------
    TypeError
        If something is no mapping, or no array of float32 or float64.
    ValueError
        If Lasagne has no such cell, or names or shapes do not fit it.
    """
    layout = layout_of("Lasagne", cell)
    stacked = as_flag("stacked", stacked)
    check_mapping("arrays", arrays)
    names = [
        (f"W_in_to_{gate}", f"W_hid_to_{gate}", "b" if gate == "hid" else f"b_{gate}")
        for gate in (_GATES[cell][letter] for letter in layout.gates)
    ]
    peepholes = [f"W_cell_to_{_LSTM[gate]}" for gate in "ifo"] if cell == "lstm_peephole" else []
    states = _INITIAL[: len(cell_info(cell)["states"])]
    found = as_arrays("arrays", arrays, [name for gate in names for name in gate] + peepholes, states)
    hidden = len(found[names[0][2]])
    for name in (*[gate[2] for gate in names], *peepholes):
        expect_shape(f"arrays[{name!r}]", found[name], (hidden,), "(H,)")
    for kernel, recurrent, _ in names:
        expect_shape(f"arrays[{recurrent!r}]", found[recurrent], (hidden, hidden), "(H, H)")
        inputs = len(found[names[0][0]])
        expect_shape(f"arrays[{kernel!r}]", found[kernel], (inputs, hidden), "(I, H)")
    weights, inner, bias = (np.concatenate([found[gate[k]] for gate in names], axis=-1) for k in range(3))
    params = fitting(cell, layout, Arrays(weights, inner, bias, None), "arrays")
    if peepholes:
        params["weight_diagonal"] = np.concatenate([found[name] for name in peepholes])
    initial = []
    for name in states:
        state = found.get(name, np.zeros((1, hidden), bias.dtype))
        initial.append(expect_shape(f"arrays[{name!r}]", np.atleast_2d(state), (1, hidden), "(1, H)")[0].copy())
    return join([[params]], stacked=stacked), tuple(initial)


def from_madmom(layer: Any) -> FromMadmom:
    """Return the cell, parameters and trained initial state of a recurrent layer of madmom.

    Parameters
    ----------
    layer : madmom.ml.nn.layers.RecurrentLayer, LSTMLayer, GRULayer or BidirectionalLayer
        With madmom's default activations; others are refused by name. Biases that are one number are taken.

    Returns
    -------
    FromMadmom

    Raises
    ------
    TypeError
        If it is no such layer.
    ValueError
        If an activation is another one, a shape does not fit, or the two directions are not of one cell.
    """
    ways = [layer.fwd_layer, layer.bwd_layer] if hasattr(layer, "fwd_layer") else [layer]
    found = [_of_madmom(way) for way in ways]
    cells = [cell for cell, _, _ in found]
    if len(ways) == 1:
        return FromMadmom(*found[0])
    if cells[0] != cells[1]:
        raise ValueError(f"layer: expected two directions of one cell, got {cells[0]} and {cells[1]}")
    return FromMadmom(
        cells[0],
        join([[params for _, params, _ in found]]),
        tuple(np.stack(states) for states in zip(*(initial for _, _, initial in found), strict=True)),
    )


def _of_madmom(layer: Any) -> tuple[str, Params, tuple[Array, ...]]:
    """Return the same of one direction."""
    if hasattr(layer, "input_gate"):
        kind, cell = "lstm", "lstm"
        if layer.input_gate.peephole_weights is not None:
            cell = "lstm_peephole"
        _expect_activation("layer", layer, "tanh")
    elif hasattr(layer, "update_gate"):
        kind = cell = "gru"
    elif getattr(layer, "recurrent_weights", None) is not None:
        named = {"tanh": "rnn_tanh", "relu": "rnn_relu"}
        kind, cell = "", named[_expect_activation("layer", layer, *named)]
    else:
        raise TypeError(f"layer: expected a recurrent layer of madmom, got {shown(layer)}")
    arrays: dict[str, Any] = {}
    for name, attribute in _MADMOM[kind].items() if kind else [("hid", "")]:
        gate = getattr(layer, attribute) if attribute else layer
        if attribute:
            _expect_activation(f"layer.{attribute}", gate, "tanh" if attribute == "cell" else "sigmoid")
        width = gate.recurrent_weights.shape[1]
        arrays[f"W_in_to_{name}"], arrays[f"W_hid_to_{name}"] = gate.weights, gate.recurrent_weights
        arrays[f"b_{name}" if attribute else "b"] = np.zeros(width, gate.weights.dtype) + gate.bias
        if cell == "lstm_peephole" and attribute != "cell":
            arrays[f"W_cell_to_{name}"] = gate.peephole_weights
    for theirs, ours in (("init", "hid_init"), ("hid_init", "hid_init"), ("cell_init", "cell_init")):
        if getattr(layer, theirs, None) is not None:
            arrays[ours] = getattr(layer, theirs)
    return cell, *from_lasagne(cell, arrays)


def _expect_activation(what: str, layer: Any, *names: str) -> str:
    """Return the name of a layer's activation, or raise ValueError where it is none of these."""
    name = str(getattr(layer.activation_fn, "__name__", layer.activation_fn))
    if name not in names:
        raise ValueError(f"{what}: expected the activation {' or '.join(names)}, got {name}")
    return name
