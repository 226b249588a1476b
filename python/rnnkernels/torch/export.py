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

# Gates and peepholes in ONNX's order, under our names.
_GATES = {"RNN": "a", "GRU": "zrn", "LSTM": "iofg"}
_PEEPHOLES = "iof"

# What a call may ask for; anything else has to be what it is by default. Memory is a matter of training.
_SERVED = {"cell", "reverse", "lengths", "noise", "memory"}


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
    x, W, R = given.x, named["weight_ih"], named["weight_hh"]  # (T, B, I), (G·H, I), (G·H, P)
    hidden = R.shape[0] // len(gates_of(asked.cell))
    if not x.is_floating_point():
        x = (x.unsqueeze(-1) == torch.arange(W.shape[1], device=x.device)).to(W.dtype)
    state = [s.unsqueeze(0) for s in given.state or ()]  # each (1, B, H)
    projection = named.get("weight_hr")  # (P, H)
    if projection is not None:
        if state:
            x, W = _with_first_state(asked, x, W, given.state[0] @ R.T)
            state[0] = x.new_zeros(1, x.shape[1], hidden)
        R = R @ projection
    order = gates_of(asked.cell), _GATES[node.operator]
    biases = [_reorder(named[name], *order) for name in ("bias_ih", "bias_hh") if name in named]
    diagonal = named.get("weight_diagonal")
    lengths = None if asked.lengths is None else asked.lengths.to(torch.int32)
    inputs = (
        x,
        _reorder(W, *order).unsqueeze(0),
        _reorder(R, *order).unsqueeze(0),
        torch.cat(biases).unsqueeze(0) if biases else None,
        lengths,
        *(state or (None,)),
    )
    if diagonal is not None:
        peepholes = _reorder(diagonal, "".join(cell_info(asked.cell)["diagonals"]), _PEEPHOLES).unsqueeze(0)
        inputs = (*inputs, *[None] * (7 - len(inputs)), peepholes)
    steps, batch = x.shape[:2]
    states = [[1, batch, hidden]] * len(cell_info(asked.cell)["states"])
    output, *final = torch.onnx.ops.symbolic_multi_out(
        node.operator,
        inputs,
        {**node.attributes, "direction": "reverse" if asked.reverse else "forward", "hidden_size": hidden},
        dtypes=[W.dtype] * (1 + len(states)),
        shapes=[[steps, 1, batch, hidden], *states],
    )
    output, *final = (t.to(x.device) for t in (output.squeeze(1), *(s.squeeze(0) for s in final)))
    if projection is not None:
        output, final[0] = output @ projection.T, final[0] @ projection.T
    if asked.lengths is not None:
        # The standard does not say where a row without steps ends. Here it ends where it began.
        ran = (asked.lengths > 0).unsqueeze(-1)
        final = [torch.where(ran, s, begun) for s, begun in zip(final, given.state or [0.0] * len(final), strict=True)]
    return output, final, [], W.new_empty(0, dtype=torch.uint8)


def _check(asked: Asked, given: Given) -> None:
    if not hasattr(torch.onnx, "ops"):
        raise NotImplementedError(f"torch.onnx.export: expected PyTorch 2.8 or later, got {torch.__version__}")
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
    wrong = [name for name in Asked._fields if name not in _SERVED and getattr(asked, name) != Asked._field_defaults[name]]
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


def _with_first_state(asked: Asked, x: Tensor, W: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
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
    return torch.cat([x, more], -1), torch.cat([W, torch.eye(len(W), dtype=W.dtype, device=W.device)], -1)


def _rule(mode: Any, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    if not torch.onnx.is_in_onnx_export():
        return mode.__torch_dispatch__(function, types, args, kwargs)
    asked, given, _ = operators._read(args)
    with mode:
        return to_node(asked, given)


if hasattr(torch.library, "register_torch_dispatch"):  # from PyTorch 2.5 on
    torch.library.register_torch_dispatch("rnnkernels::forward", ProxyTorchDispatchMode, _rule)
