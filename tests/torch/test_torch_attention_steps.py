"""Hard attention of `AttentionRecurrent`, and its stepper: what is drawn, and one step after another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch_attending import FORMS, B, D, L, T, arrays, make

from rnnkernels import attention
from rnnkernels.torch import attention as torch_attention
from rnnkernels.torch import attention_loop


def test_a_seed_draws_the_same_places() -> None:
    layer = make(hard=True)
    x, features, _ = arrays(layer, steps=40)

    def places(**options: Any) -> torch.Tensor:
        found: torch.Tensor = layer(x, features, **options)[2].places
        return found

    assert torch.equal(places(seed=3), places(seed=torch.tensor(3)))
    assert not torch.equal(places(seed=3), places(seed=4))
    assert not torch.equal(places(), places())
    torch.manual_seed(9)
    first = places()
    torch.manual_seed(9)
    assert torch.equal(first, places())
    alone = layer(x[:, :1], features[:1], seed=3)[2].places
    assert torch.equal(alone, places(seed=3)[:, :1])


def test_places_are_drawn_by_their_weights() -> None:
    layer = make("rnn_tanh", hard=True)
    x, features, mask = arrays(layer, steps=1, batch=4000)
    x, features, mask = x * 0, features[:1].expand(4000, L, D), mask.fill_(True).index_fill_(1, torch.tensor(1), False)
    attention = layer(x, features, mask=mask, seed=11)[2]
    shares = torch.bincount(attention.places[0], minlength=L) / 4000
    torch.testing.assert_close(shares.double(), attention.weights[0, 0].detach(), atol=0.03, rtol=0)
    assert shares[1] == 0


def test_the_gradient_of_hard_attention_is_reinforces() -> None:
    """Of the context it goes to the place drawn alone; of log p, and of the weights, through the scores."""
    layer = make(hard=True)
    x, features, mask = arrays(layer)
    features.requires_grad_()
    output, _, attention = layer(x, features, mask=mask, seed=2)
    output.sum().backward()
    drawn = torch.zeros(B, L).scatter_(1, attention.places.T, 1.0) > 0
    assert (features.grad[~drawn] == 0).all()
    assert layer.weight_query.grad is None or (layer.weight_query.grad == 0).all()
    layer.zero_grad()
    attention = layer(x, features, mask=mask, seed=2)[2]
    attention.log_probs.sum().backward()
    assert (layer.weight_query.grad != 0).any()


def test_a_seed_is_the_numpy_sides() -> None:
    """All of [0, 2**64), as a number or as the bits of an int64."""
    layer = make(hard=True)
    x, features, _ = arrays(layer, steps=40)
    params = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    for seed, bits in ((3, 3), (2**64 - 5, -5)):
        run = attention.forward("lstm", x.numpy(), features.numpy(), params, hard=seed)
        for given in (seed, torch.tensor(bits)):
            assert torch.equal(layer(x, features, seed=given)[2].places, torch.from_numpy(run.places))
    with pytest.raises(ValueError, match=r"seed: expected .* got 18446744073709551616"):
        layer(x, features, seed=2**64)


@pytest.mark.parametrize("form", FORMS)
def test_greedy_places_are_the_likeliest(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a call, compiled too, in a stepper and in the loop; nothing is drawn, so nobody's generator moves."""
    layer = make(hard=True, **FORMS[form])
    x, features, mask = arrays(layer)
    before = torch.random.get_rng_state()
    output, _, looked = layer(x, features, mask=mask, lengths=[3, T, 1], greedy=True)
    ran = looked.weights.sum(2) > 0
    assert torch.equal(looked.places, torch.where(ran, looked.weights.argmax(2), -1))
    chosen = looked.weights.max(2).values
    torch.testing.assert_close(looked.log_probs, torch.where(ran, chosen, 1.0).log())
    torch._dynamo.reset()  # there is a limit of how often one piece of code is compiled
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    again = compiled(x, features, mask=mask, lengths=torch.tensor([3, T, 1]), greedy=True)
    assert torch.equal(again[0], output)
    whole, _, looked = layer(x, features, mask=mask, greedy=True)
    step = layer.stepper(features, mask=mask, greedy=True)
    for t in range(T):
        torch.testing.assert_close(step(x[t]), whole[t].detach())
        assert torch.equal(step.place, looked.places[t])
    assert torch.equal(torch.random.get_rng_state(), before)
    monkeypatch.setattr(torch_attention, "attend", attention_loop.run)
    torch.testing.assert_close(layer(x, features, mask=mask, greedy=True)[0], whole)


def test_a_greedy_layer_is_a_hard_one() -> None:
    soft, hard = make(), make(hard=True)
    x, features, _ = arrays(soft)

    def run(layer: Any, **options: Any) -> None:
        layer(x, features, **options)

    def decode(layer: Any, **options: Any) -> None:
        layer.stepper(features, **options)

    for call in (run, decode):
        with pytest.raises(ValueError, match=r"^greedy: expected False without hard attention, which hard=True makes"):
            call(soft, greedy=True)
        with pytest.raises(ValueError, match=r"^seed: expected none without hard attention, which hard=True makes"):
            call(soft, seed=1)
        with pytest.raises(ValueError, match=r"^greedy: expected False where there is a seed, got True and 1"):
            call(hard, seed=1, greedy=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hard", [False, True])
def test_a_stepper_takes_the_steps_of_a_call(form: str, hard: bool) -> None:
    layer = make(hard=hard, **FORMS[form])
    x, features, mask = arrays(layer)
    step = layer.stepper(features, mask=mask, seed=5) if hard else layer.stepper(features, mask=mask)
    assert step.weights is None
    for _ in range(2):
        state = None
        for t in range(T):
            h = step(x[t])
            assert not h.requires_grad
            assert step.weights is not None
            if not hard and layer.location is None:
                output, state, attention = layer(x[t : t + 1], features, state, mask=mask)
                torch.testing.assert_close(h, output[0].detach())
                torch.testing.assert_close(step.weights, attention.weights[0].detach())
                torch.testing.assert_close(step.context, attention.contexts[0].detach())
                torch.testing.assert_close(step.state, tuple(s.detach() for s in state))
        if not hard:
            torch.testing.assert_close(h, layer(x, features, mask=mask)[0][-1].detach())
        step.reset()
    if hard:
        assert step.place is None
        step(x[0])
        assert step.place is not None
        assert step.place.shape == (B,)
        expected = features[torch.arange(B), step.place]
        assert layer.gated or torch.equal(step.context, expected)


def test_a_stepper_draws_what_a_call_draws() -> None:
    layer = make(hard=True, location=(2, 3))
    x, features, mask = arrays(layer)
    output, _, attention = layer(x, features, mask=mask, seed=3)
    step = layer.stepper(features, mask=mask, seed=3)
    for t in range(T):
        torch.testing.assert_close(step(x[t]), output[t].detach())
        assert torch.equal(step.place, attention.places[t])
        torch.testing.assert_close(step.weights, attention.weights[t].detach())
