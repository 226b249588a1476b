"""`torch.onnx.export`: a call of our operator as an RNN, GRU or LSTM node of the ONNX standard.

`torch.onnx.export` runs an exported program once more, to record it in operators that ONNX has. The recorder meets
`rnnkernels::forward` here, in a rule of its own, and records a node of the standard, with PyTorch's operators around it
that put weights into ONNX's order. Lengths and batch stay symbols. Anything else that records keeps our operator.

Not here: nodes that are run (`rnnkernels.onnx`), and arrays of weights in ONNX's order (`rnnkernels.convert`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode

from rnnkernels._asked import Asked
from rnnkernels.convert._layouts import gates_of
from rnnkernels.parameters import cell_info

from . import operators
from .operators import Given, Tensor, Tensors


class Node(NamedTuple):
    """The node that computes a cell."""

    operator: str
    attributes: dict[str, Any]


def _lstm(*activations: str) -> Node:
    identity = {"activation_alpha": [1.0], "activation_beta": [0.0]} if "Affine" in activations else {}
    return Node("LSTM", {"activations": list(activations), **identity} if activations else {})


_NODES = {
    "rnn_tanh": Node("RNN", {"activations": ["Tanh"]}),
    "rnn_relu": Node("RNN", {"activations": ["Relu"]}),
    "gru": Node("GRU", {"linear_before_reset": 1}),
    "gru_reset_before": Node("GRU", {"linear_before_reset": 0}),
    "lstm": _lstm(),
    "lstm_projected": _lstm(),
    "lstm_peephole": _lstm(),
    "lstm_peephole_projected": _lstm(),
    "lstm_cifg": Node("LSTM", {"input_forget": 1}),
    "lstm_niaf": _lstm("Sigmoid", "Affine", "Tanh"),
    "lstm_noaf": _lstm("Sigmoid", "Tanh", "Affine"),
}

_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")

# Gates and peepholes in ONNX's order, under our names.
_GATES = {"RNN": "a", "GRU": "zrn", "LSTM": "iofg"}
_PEEPHOLES = "iof"

# What a call may ask for; anything else has to be what it is by default. Memory is a matter of training, products of
# the machine that the file runs on.
_SERVED = {"cell", "reverse", "lengths", "noise", "memory", "products"}


def to_node(asked: Asked, given: Given) -> tuple[Tensor, Tensors, Tensors, Tensor]:
    """Record a node of ONNX for a call of `rnnkernels::forward`, and return what the operator returns.

    Raises
    ------
    NotImplementedError
        If no node of the standard computes what is asked for, or this PyTorch cannot record one.
    """
    _check(asked, given)
    node = _NODES[asked.cell]
    named: dict[str, Any] = dict(zip(given.names, given.weights, strict=True))
    x, weight_ih, weight_hh = given.x, named["weight_ih"], named["weight_hh"]  # (T, B, I), (G·H, I), (G·H, P)
    hidden = weight_hh.shape[0] // len(gates_of(asked.cell))
    if not x.is_floating_point():
        x = (x.unsqueeze(-1) == torch.arange(weight_ih.shape[1], device=x.device)).to(weight_ih.dtype)
    begun = given.state or []  # each (B, H)
    state = [s.unsqueeze(0) for s in begun]
    projection = named.get("weight_hr")  # (P, H)
    if projection is not None:
        if state:
            x, weight_ih = _with_first_state(asked, x, weight_ih, begun[0] @ weight_hh.T)
            state[0] = x.new_zeros(1, x.shape[1], hidden)
        weight_hh = weight_hh @ projection
    order = gates_of(asked.cell), _GATES[node.operator]
    biases = [_reorder(named[name], *order) for name in ("bias_ih", "bias_hh") if name in named]
    inputs: dict[str, Any] = {
        "X": x,
        "W": _reorder(weight_ih, *order).unsqueeze(0),
        "R": _reorder(weight_hh, *order).unsqueeze(0),
        "B": torch.cat(biases).unsqueeze(0) if biases else None,
        "sequence_lens": None if asked.lengths is None else asked.lengths.to(torch.int32),
        "initial_h": state[0] if state else None,
    }
    if len(state) > 1:
        inputs["initial_c"] = state[1]
    if "weight_diagonal" in named:
        peepholes = "".join(cell_info(asked.cell)["diagonals"])
        inputs["P"] = _reorder(named["weight_diagonal"], peepholes, _PEEPHOLES).unsqueeze(0)
    output, final = _record(node, asked.reverse, inputs, hidden, len(cell_info(asked.cell)["states"]))
    if projection is not None:
        output, final[0] = output @ projection.T, final[0] @ projection.T
    if asked.lengths is not None:
        # The standard does not say where a row without steps ends. Here it ends where it began.
        ran = (asked.lengths > 0).unsqueeze(-1)
        begun = given.state or [0.0] * len(final)
        final = [torch.where(ran, s, first) for s, first in zip(final, begun, strict=True)]
    return output, final, [], weight_ih.new_empty(0, dtype=torch.uint8)


def _record(node: Node, reverse: bool, inputs: dict[str, Any], hidden: int, states: int) -> tuple[Tensor, Tensors]:
    """Record a node; return its output (T, B, H) and its final states, each (B, H)."""
    x = inputs["X"]
    steps, batch = x.shape[:2]
    output, *final = torch.onnx.ops.symbolic_multi_out(
        node.operator,
        [inputs.get(name) for name in _INPUTS],
        {**node.attributes, "direction": "reverse" if reverse else "forward", "hidden_size": hidden},
        dtypes=[x.dtype] * (1 + states),
        shapes=[[steps, 1, batch, hidden], *[[1, batch, hidden]] * states],
    )
    # PyTorch records the node on the CPU, wherever its inputs are.
    return output.squeeze(1).to(x.device), [s.squeeze(0).to(x.device) for s in final]


def _check(asked: Asked, given: Given) -> None:
    if not hasattr(torch.onnx, "ops"):
        raise NotImplementedError(f"torch.onnx.export: expected PyTorch 2.8 or later, got {torch.__version__}")
    if "weight_ih_scale" in given.names:
        raise NotImplementedError("torch.onnx.export: expected float weights, got int8; torch.export takes these")
    if asked.cell not in _NODES:
        raise NotImplementedError(
            f"torch.onnx.export: expected a cell that ONNX has an operator for, one of {', '.join(_NODES)}; got "
            f"{asked.cell}, which torch.export takes"
        )
    if asked.batch_sizes is not None:
        raise NotImplementedError(
            "torch.onnx.export: expected a padded batch, got a PackedSequence, which ONNX does not have; "
            "rnnkernels.torch.Recurrent takes lengths"
        )
    if asked.noise is not None and asked.noise.masks and (asked.noise.keeps_units or not asked.noise.expected):
        raise NotImplementedError(
            "torch.onnx.export: expected a layer without masks inside, or dropout alone and evaluation: model.eval()"
        )
    usual = Asked(asked.cell)
    wrong = [name for name in Asked._fields if name not in _SERVED and getattr(asked, name) != getattr(usual, name)]
    if wrong == ["all_states"] and len(cell_info(asked.cell)["states"]) == 1:
        wrong = []  # its states are its output
    if given.term is not None:
        wrong.append("term")
    if wrong:
        raise NotImplementedError(f"torch.onnx.export: ONNX's operators have no {', '.join(wrong)}; torch.export has")


def _reorder(tensor: Tensor, have: str, want: str) -> Tensor:
    """Return blocks of rows (G·H, ...) in another order of gates; a gate that is not there becomes zeros."""
    if have == want:
        return tensor
    hidden = len(tensor) // len(have)
    # Slices, which the exporter folds: it does not fold a split.
    blocks = {gate: tensor[k * hidden : (k + 1) * hidden] for k, gate in enumerate(have)}
    zeros = torch.zeros_like(tensor[:hidden])
    return torch.cat([blocks.get(gate, zeros) for gate in want])


def _with_first_state(asked: Asked, x: Tensor, weight_ih: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
    """Return x and weights with the first state's part of the gates as more inputs, which are 0 after the first step.

    ONNX's LSTM has no projection: its recurrent weights are W_hh W_hr, and its h is not projected yet. An initial h
    (B, P) is no projection of anything; its `product` W_hh h (B, G·H) is what the first step adds to its gates.
    """
    at = torch.arange(x.shape[0], device=x.device).unsqueeze(-1)  # (T, 1)
    if not asked.reverse:
        first = at == 0
    elif asked.lengths is None:
        first = at == x.shape[0] - 1
    else:
        first = at == asked.lengths - 1  # (T, B)
    more = torch.where(first.unsqueeze(-1), product, torch.zeros_like(product))  # (T, B, G·H)
    identity = torch.eye(len(weight_ih), dtype=x.dtype, device=x.device)
    return torch.cat([x, more], -1), torch.cat([weight_ih, identity], -1)


def _rule(mode: Any, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    if not torch.onnx.is_in_onnx_export():
        return mode.__torch_dispatch__(function, types, args, kwargs)
    asked, given, _ = operators._read(args)
    with mode:
        return to_node(asked, given)


if hasattr(torch.library, "register_torch_dispatch"):  # from PyTorch 2.5 on
    torch.library.register_torch_dispatch("rnnkernels::forward", ProxyTorchDispatchMode, _rule)
