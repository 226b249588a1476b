"""Results changed in place before the backward: gradients are torch.nn's, whoever changes them and however."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch_compare import LAYERS, assert_near, twins

import rnnkernels.torch as rnn
from rnnkernels.torch import kernels

T, B, H = 5, 3, 6
I = 4  # noqa: E741
SIZES = (T, B, I, H, 2)

WAYS: dict[str, Any] = {
    "add_": lambda o: o.add_(1),
    "mul_": lambda o: o.mul_(3),
    "masked_fill_": lambda o: o.masked_fill_(torch.arange(o.numel()).reshape(o.shape) % 3 == 0, 0.0),
    "a piece": lambda o: o[0].zero_(),
    "ReLU": torch.nn.ReLU(inplace=True),
    "Dropout": torch.nn.Dropout(0.5, inplace=True),
    "unrecorded": lambda o: torch.no_grad()(o.mul_)(2),
    "data": lambda o: o.data.mul_(2),
    "another library": lambda o: o.detach().numpy().fill(1),
}
FORMS: dict[str, dict[str, Any]] = {
    "one": {},
    "two": {"num_layers": 2},
    "bidirectional": {"bidirectional": True},
    "batch-first": {"batch_first": True},
    "packed": {},
    "unbatched": {},
}


def train(layer: Any, x: Any, change: Any) -> list[Any]:
    """Gradients of x and the parameters, of a loss of the changed output and the final states."""
    torch.manual_seed(2)
    data = x.data.clone().requires_grad_() if isinstance(x, PackedSequence) else x.clone().requires_grad_()
    output, final = layer(PackedSequence(data, *x[1:]) if isinstance(x, PackedSequence) else data)
    output = output.data if isinstance(output, PackedSequence) else output
    change(output)
    parts = [output, *(final if isinstance(final, tuple) else (final,))]
    sum((p.square() + p).sum() for p in parts).backward()
    return [data.grad, *(p.grad for p in layer.parameters())]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LAYERS)
def test_an_output_changed_in_place_trains_as_with_pytorch(name: str, way: str, form: str) -> None:
    torch.manual_seed(1)
    theirs, ours = twins(name, I, H, **FORMS[form], dtype=torch.float64)
    x = torch.randn(T, B, I, dtype=torch.float64)
    if form == "packed":
        x = pack_padded_sequence(x, torch.tensor([5, 3, 1]))
    elif form == "unbatched":
        x = x[:, 0]
    found, expected = (train(layer, x, WAYS[way]) for layer in (ours, theirs))
    for mine, other in zip(found, expected, strict=True):
        assert_near(mine, other, "gradient", SIZES)


OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "lengths": ({}, {"lengths": [5, 0, 2]}),
    "resets": ({}, {"resets": torch.arange(T * B).reshape(T, B) % 4 == 1}),
    "states": ({"memory": "states"}, {}),
    "replay": ({"memory": "replay"}, {}),
    "states-lengths": ({"memory": "states"}, {"lengths": [5, 0, 2]}),
    "masks": ({"zoneout": 0.3, "recurrent_dropout": 0.2}, {}),
    "bidirectional": ({"bidirectional": True}, {}),
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "mut3", "lstm_layer_norm"])
def test_every_state_of_every_step_may_be_changed(cell: str, option: str) -> None:
    """A constant is added, which no gradient of a sum sees: those of an unchanged call are expected."""
    made, given = OPTIONS[option]
    torch.manual_seed(1)
    layer = rnn.Recurrent(cell, I, H, 2, **made, dtype=torch.float64)
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    found = []
    for changed in (False, True):
        torch.manual_seed(2)
        output, _, every = layer(x, **given, all_states=True)
        states = [output, *(s for of_layer in every for s in of_layer)]
        if changed:
            for state in states:
                state.add_(1)
        weighted = (s * torch.linspace(-1, 1, s.numel(), dtype=s.dtype).reshape(s.shape) for s in states)
        found.append(torch.autograd.grad(sum(w.sum() for w in weighted), [x, *layer.parameters()]))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_second_backward_of_a_kept_graph_is_the_first() -> None:
    layer = rnn.Recurrent("gru", I, H)
    output = layer(torch.randn(T, B, I))[0]
    parameters = list(layer.parameters())
    first = torch.autograd.grad(output.sum(), parameters, retain_graph=True)
    with torch.no_grad():
        output.zero_()
    again = torch.autograd.grad(output.sum(), parameters)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [True]),
        ({"num_layers": 2}, [False, True]),  # the layer below is read by the one above alone
        ({"bidirectional": True}, [False, False]),  # joined, which copies
    ],
    ids=["one", "two", "bidirectional"],
)
def test_only_what_a_user_can_change_is_copied(
    arguments: dict[str, Any], expected: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = []
    plain = kernels.forward

    def watch(spec: Any, x: Any, tensors: Any, keep: bool) -> Any:
        done: Any = plain(spec, x, tensors, keep)
        copied.append(keep and done.output.data_ptr() != done.kept.run.output.ctypes.data)
        return done

    monkeypatch.setattr(kernels, "forward", watch)
    layer, x = rnn.LSTM(I, H, **arguments), torch.randn(T, B, I)
    layer(x)
    assert copied == expected
    copied.clear()
    with torch.no_grad():
        layer(x)
    assert not any(copied)
    copied.clear()
    rnn.LSTMCell(I, H)(x[0])
    assert copied == [False]
