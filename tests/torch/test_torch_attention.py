"""`AttentionRecurrent` against its definition, row by row and place by place; its derivatives, and its manners."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import rnnkernels.torch as rnn

FORMS: dict[str, dict[str, Any]] = {
    "additive": {},
    "gated": {"gated": True, "attention_size": 7},
    "location": {"location": (1, 3), "attention_size": 2},
    "location-sums": {"location": (2, 5), "gated": True},
    "bilinear": {"scores": "bilinear"},
    "dot": {"scores": "dot", "attention_size": 6},
    "no-bias": {"bias": False, "gated": True},
}
CELLS = ("lstm", "gru", "rnn_tanh", "gru_reset_before", "mgu", "indrnn", "slstm", "lstm_layer_norm", "gru_layer_norm")
T, B, I, D, H, L = 5, 3, 2, 3, 5, 4  # noqa: E741


def make(cell: str = "lstm", size: tuple[int, int, int] = (I, D, H), **options: Any) -> rnn.AttentionRecurrent:
    torch.manual_seed(0)
    layer = rnn.AttentionRecurrent(cell, *size, dtype=torch.float64, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(2)  # so that weights are not all alike
    return layer


def arrays(layer: rnn.AttentionRecurrent, steps: int = T, batch: int = B, places: int = L) -> tuple[Any, ...]:
    """x, features, mask: the first place of each row may be looked at."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    mask = torch.rand(batch, places, generator=generator) < 0.7
    mask[:, 0] = True
    return normal(steps, batch, layer.input_size), normal(batch, places, layer.feature_size), mask


# ---- the definition ----------------------------------------------------------------------------------


def definition(
    layer: rnn.AttentionRecurrent,
    x: torch.Tensor,
    features: torch.Tensor,
    mask: torch.Tensor,
    places: Any = None,
    resets: Any = None,
) -> Any:
    """One row: x (T, I), features (L, D), mask (L,) → output, state, weights, contexts; the cell is a kernel's."""
    p = dict(layer.named_parameters())
    size = x.shape[1] + features.shape[1]
    cell = rnn.RecurrentCell(
        layer.cell, size, layer.hidden_size, layer.bias, proj_size=layer.proj_size, dtype=torch.float64
    )
    cell.load_state_dict({name: p[name] for name in cell.state_dict()})
    zeros = tuple(x.new_zeros(width) for width in layer._widths)
    now = zeros
    seen = [x.new_zeros(len(features)) for _ in range(2)]
    outputs, weights, contexts = [], [], []
    for t, x_t in enumerate(x):
        if resets is not None and resets[t]:
            now, seen = zeros, [x.new_zeros(len(features)) for _ in range(2)]
        h = now[0]
        query = p["weight_query"] @ h + p.get("bias_query", 0)
        scores = []
        for i, a in enumerate(features):
            if layer.scores == "bilinear":
                scores.append(query @ a)
            elif layer.scores == "dot":
                scores.append(query @ (p["weight_key"] @ a) / math.sqrt(layer.attention_size))
            else:
                inner = p["weight_key"] @ a + query
                if layer.location is not None:
                    channels, width = layer.location
                    for c in range(channels):
                        for k in range(width):
                            at = i + k - width // 2
                            if 0 <= at < len(features):
                                inner = inner + p["weight_location"][:, c, k] * seen[c][at]
                scores.append(p["score"] @ torch.tanh(inner))
        powers = torch.where(mask, torch.stack(scores).exp(), 0.0)
        alpha = powers / powers.sum()
        context = (
            features[places[t]] if places is not None else sum(w * a for w, a in zip(alpha, features, strict=True))
        )
        if layer.gated:
            context = context * torch.sigmoid(p["weight_beta"][0] @ h + p.get("bias_beta", torch.zeros(1))[0])
        seen = [alpha, seen[1] + alpha]
        now = cell(torch.cat((x_t, context)), now[0] if len(now) == 1 else now)
        now = now if isinstance(now, tuple) else (now,)
        outputs.append(now[0])
        weights.append(alpha)
        contexts.append(context)
    return torch.stack(outputs), now, torch.stack(weights), torch.stack(contexts)


def check_rows(layer: rnn.AttentionRecurrent, lengths: Any = None, resets: Any = None) -> None:
    """Check a call, a row at a time."""
    x, features, mask = arrays(layer)
    output, state, attention = layer(x, features, mask=mask, lengths=lengths, resets=resets)
    states = state if isinstance(state, tuple) else (state,)
    for b in range(x.shape[1]):
        steps = len(x) if lengths is None else lengths[b]
        drawn = None if attention.places is None else attention.places[:steps, b]
        cut = None if resets is None else resets[:, b]
        expected, final, weights, contexts = definition(
            layer, x[:steps, b], features[b], mask[b], places=drawn, resets=cut
        )
        torch.testing.assert_close(output[:steps, b], expected)
        torch.testing.assert_close(attention.weights[:steps, b], weights)
        torch.testing.assert_close(attention.contexts[:steps, b], contexts)
        torch.testing.assert_close(tuple(s[b] for s in states), final)
        for beyond in (output, attention.weights, attention.contexts):
            assert (beyond[steps:, b] == 0).all()
        if drawn is not None:
            assert (attention.places[steps:, b] == -1).all()
            assert (attention.log_probs[steps:, b] == 0).all()
            chosen = weights.gather(1, drawn[:, None])[:, 0]
            torch.testing.assert_close(attention.log_probs[:steps, b], chosen.log())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("hard", [False, True])
def test_every_cell(cell: str, hard: bool) -> None:
    layer = make(cell, hard=hard)
    check_rows(layer)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hard", [False, True])
def test_every_form(form: str, hard: bool) -> None:
    layer = make(hard=hard, **FORMS[form])
    resets = torch.rand(T, B, generator=torch.Generator().manual_seed(2)) < 0.4
    check_rows(layer)
    check_rows(layer, lengths=[3, T, 1], resets=resets)


@pytest.mark.parametrize("cell", ["lstm_projected", "mut1", "mut2"])
def test_cells_with_sizes_of_their_own(cell: str) -> None:
    layer = make(cell, (2, 3, 5), proj_size=3 if cell == "lstm_projected" else 0)
    check_rows(layer)


# ---- manners -----------------------------------------------------------------------------------------


def test_batch_first_tokens_and_an_input_of_nothing() -> None:
    layer, first = make(size=(7, D, H)), make(size=(7, D, H), batch_first=True)
    _, features, mask = arrays(layer)
    tokens = torch.randint(0, 7, (T, B), generator=torch.Generator().manual_seed(3))
    resets = torch.rand(T, B, generator=torch.Generator().manual_seed(2)) < 0.4
    output, state, attention = layer(tokens, features, mask=mask, resets=resets)
    vectors = torch.nn.functional.one_hot(tokens, 7).double()
    torch.testing.assert_close(layer(vectors, features, mask=mask, resets=resets)[0], output)
    turned, same, looked = first(tokens.T, features, mask=mask, resets=resets.T)
    torch.testing.assert_close(turned.transpose(0, 1), output)
    torch.testing.assert_close(same, state)
    torch.testing.assert_close(looked.weights.transpose(0, 1), attention.weights)
    torch.testing.assert_close(looked.contexts.transpose(0, 1), attention.contexts)
    check_rows(make(size=(0, D, H)))


def test_states_are_handed_on() -> None:
    """Two calls are one, where scores do not see the steps before."""
    layer = make(gated=True)
    x, features, _ = arrays(layer)
    output, final, _ = layer(x, features)
    first, state, _ = layer(x[:2], features)
    second, again, _ = layer(x[2:], features, state)
    torch.testing.assert_close(torch.cat((first, second)), output)
    torch.testing.assert_close(again, final)


def test_rows_without_steps_keep_their_state() -> None:
    layer = make(location=(2, 3))
    x, features, _ = arrays(layer)
    state = tuple(torch.randn(2, B, H, dtype=torch.float64))
    resets = torch.ones(T, B, dtype=torch.bool)
    _, final, _ = layer(x, features, state, lengths=[0, 0, 0], resets=resets)
    torch.testing.assert_close(final, state)
    replaced, _, _ = layer(x, features, state, resets=resets, reset_state=state)
    torch.testing.assert_close(replaced[0], layer(x[:1], features, state)[0][0])


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes_and_autocast(dtype: torch.dtype) -> None:
    layer = make(hard=True, location=(1, 3))
    x, features, mask = arrays(layer)
    output, _, attention = layer(x, features, mask=mask, seed=1)
    narrow = layer.to(dtype)
    got, _, looked = narrow(x.to(dtype), features.to(dtype), mask=mask, seed=1)
    assert got.dtype == looked.weights.dtype == dtype
    torch.testing.assert_close(got.double(), output, rtol=0.03, atol=0.03)
    if dtype == torch.float32:
        assert torch.equal(looked.places, attention.places)
        with torch.autocast("cpu", torch.bfloat16):
            assert narrow(x.float(), features.bfloat16())[0].dtype == torch.bfloat16


def test_masked_places_and_padding_hold_anything() -> None:
    """What may not be looked at is not, whatever it is; gradients there are zeros."""
    layer = make(location=(1, 3))
    x, features, mask = arrays(layer)
    output = layer(x, features, mask=mask, lengths=[2, T, 0])[0]
    features = features.masked_fill(~mask[:, :, None], 1e30).requires_grad_()
    other = layer(x, features, mask=mask, lengths=[2, T, 0])[0]
    assert torch.equal(output, other)
    other.square().sum().backward()
    assert (features.grad[~mask] == 0).all()
    assert (features.grad[2] == 0).all()


# ---- hard attention ----------------------------------------------------------------------------------


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
