"""`term` of `Recurrent` and `RecurrentCell`: what is added in every step, as in `rnnkernels.forward` and `Stack`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from problems import FORMS

import rnnkernels as rk
import rnnkernels.torch as rnn

T, B, SIZE = 6, 4, 5
LENGTHS = [6, 0, 3, 5]
RESETS = torch.arange(T * B).view(T, B) % 5 == 0
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # of the layer, of the call
    "dense": ({}, {}),
    "lengths": ({}, {"lengths": LENGTHS}),
    "resets": ({}, {"resets": RESETS, "lengths": LENGTHS}),
    "states": ({"memory": "states"}, {"lengths": LENGTHS}),
    "replay": ({"memory": "replay"}, {}),
}


def made(cell: str, *rows: int, **options: Any) -> tuple[Any, torch.Tensor, list[torch.Tensor]]:
    """A layer, x, and a term for each of its layers and directions."""
    torch.manual_seed(0)
    size = 3 if rk.cell_info(cell)["projected"] else 0
    layer = rnn.Recurrent(cell, SIZE, SIZE, proj_size=size, dtype=torch.float64, **options)
    x = torch.randn(T, *rows, SIZE, dtype=torch.float64, requires_grad=True)
    gates = len(layer.weight_ih_l0)
    terms = [torch.randn(*rows, gates, dtype=torch.float64, requires_grad=True) for _ in layer._all_weights]
    return layer, x, terms


def many(states: Any) -> tuple[Any, ...]:
    return states if isinstance(states, tuple) else (states,)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cell", FORMS)
def test_it_is_that_of_rnnkernels(cell: str, case: str) -> None:
    of_layer, options = CASES[case]
    layer, x, (term,) = made(cell, B, **of_layer)
    params = {name.removesuffix("_l0"): p.detach().numpy() for name, p in layer.named_parameters()}
    given: dict[str, Any] = {name: np.asarray(value) for name, value in options.items()}
    run = rk.forward(cell, x.detach().numpy(), params, term=term.detach().numpy(), **given, **of_layer)
    output, _ = layer(x, term=term, **options)
    np.testing.assert_array_equal(output.detach().numpy(), run.output)
    grads = rk.backward(run, 2 * run.output)
    d_x, d_term, *d_params = torch.autograd.grad(output.square().sum(), [x, term, *layer.parameters()])
    np.testing.assert_array_equal(d_x.numpy(), grads.x)
    np.testing.assert_array_equal(d_term.numpy(), grads.term)
    for name, found in zip(params, d_params, strict=True):
        np.testing.assert_array_equal(found.numpy(), grads.params[name])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_each_layer_and_direction_has_its_own(bidirectional: bool) -> None:
    layer, x, terms = made("gru", B, num_layers=2, bidirectional=bidirectional)
    given: list[Any] = list(terms)
    given[1] = None
    output = layer(x, term=given)[0]
    one = output
    for number, named in enumerate(layer._all_weights):
        # A bias is a term that all rows share.
        bias = getattr(layer, named["bias_ih"])
        assert not torch.equal(layer(x, term=[t if k != number else None for k, t in enumerate(terms)])[0], one)
        shared = torch.randn_like(bias)
        rows: list[Any] = [None] * len(terms)
        rows[number] = shared.expand(B, -1)
        wanted = layer(x, term=rows)[0]
        with torch.no_grad():
            bias += shared
            torch.testing.assert_close(layer(x)[0], wanted)
            bias -= shared
    if not bidirectional:
        assert torch.equal(layer(x, term=terms[0])[0], layer(x, term=[terms[0], None])[0])


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_packed_and_unbatched_and_batch_first(cell: str) -> None:
    lengths = [3, 6, 1, 5]
    layer, x, (term,) = made(cell, B)
    output, final = layer(x, lengths=lengths, term=term)
    rows = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    packed, same = layer(rows, term=term)
    torch.testing.assert_close(torch.nn.utils.rnn.pad_packed_sequence(packed)[0], output)
    torch.testing.assert_close(many(same), many(final))
    wanted, found = (torch.autograd.grad(r.square().sum(), term)[0] for r in (output, packed.data))
    torch.testing.assert_close(found, wanted)
    alone = layer(x[:, 1], term=term[1])[0]
    torch.testing.assert_close(alone, output[:, 1])
    layer.batch_first = True
    torch.testing.assert_close(layer(x.transpose(0, 1), lengths=lengths, term=term)[0].transpose(0, 1), output)


def test_steps_of_a_cell_are_the_sequence() -> None:
    layer, x, (term,) = made("lstm", B)
    step = rnn.RecurrentCell("lstm", SIZE, SIZE, dtype=torch.float64)
    step.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    output, state = layer(x, term=term)[0], None
    for t in range(T):
        state = step(x[t], state, term=term)
        assert torch.equal(state[0], output[t])
    assert torch.equal(step(x[0, 1], term=term[1])[0], output[0, 1])


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_derivatives_and_transforms() -> None:
    layer, x, (term,) = made("gru", B)
    x, term = (t[..., :2, :].detach().requires_grad_() for t in (x[:2], term))

    def run(x: Any, term: Any) -> Any:
        return layer(x, term=term)[0]

    assert torch.autograd.gradcheck(run, (x, term), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(run, (x, term))
    each = torch.func.vmap(torch.func.grad(lambda term: run(x, term).sum()))(torch.stack([term, 2 * term]))
    torch.testing.assert_close(each[0], torch.autograd.grad(run(x, term).sum(), term)[0])


@pytest.mark.parametrize("packed", [False, True])
def test_a_compiled_layer_is_the_eager_one(packed: bool) -> None:
    layer, x, terms = made("lstm", B, num_layers=2)

    def results(module: Any) -> Any:
        given = torch.nn.utils.rnn.pack_padded_sequence(x.detach(), [6, 5, 3, 1]) if packed else x
        output, final = module(given, term=terms)
        output = output.data if packed else output
        return output, *final, *torch.autograd.grad(output.square().sum(), terms if packed else [x, *terms])

    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")  # of a packed batch the term says B
        torch.testing.assert_close(results(compiled), results(layer), rtol=0, atol=0)


def test_other_dtypes_and_autocast() -> None:
    layer, x, (term,) = made("gru", B)
    wanted = layer(x, term=term)[0]
    half = layer.bfloat16()(x.bfloat16(), term=term.bfloat16())[0]
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), wanted, rtol=0.03, atol=0.03)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer.float()(x.float(), term=term.bfloat16())[0]
    torch.testing.assert_close(mixed.double(), wanted, rtol=0.03, atol=0.03)


def test_what_does_not_fit_is_refused() -> None:
    layer, x, (term,) = made("gru", B)
    both, _, terms = made("gru", B, num_layers=2, bidirectional=True)
    calls: list[tuple[Any, Any, type[Exception], str]] = [
        (layer, term[:2], ValueError, r"term: expected shape \(B, G\*H\) = \(4, 15\), got \(2, 15\)"),
        (layer, term[0], ValueError, r"term: expected shape \(B, G\*H\) = \(4, 15\), got \(15,\)"),
        (layer, term.float(), TypeError, r"term: expected dtype torch.float64, the parameters', got torch.float32"),
        (layer, [term, term], ValueError, r"term: expected 1, one for each layer and direction, got 2"),
        (layer, 3, TypeError, r"term: expected a tensor or None for each of 1 layers and directions, got 3"),
        (both, terms[0], TypeError, r"term: expected a tensor or None for each of 4 layers and directions, got one"),
        (both, [terms[0].numpy, None, None, None], TypeError, r"term: expected a tensor, got"),
    ]
    for module, given, error, match in calls:
        with pytest.raises(error, match=f"^{match}"):
            module(x, term=given)
    step = rnn.RecurrentCell("gru", SIZE, SIZE, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^term: expected shape \(G\*H,\) = \(15,\), got \(4, 15\)"):
        step(x[0, 0], term=term)
