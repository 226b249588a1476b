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
    state: Any = None,
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
    now = state or zeros
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
        context = features[places[t]] if places is not None else sum(w * a for w, a in zip(alpha, features))
        if layer.gated:
            context = context * torch.sigmoid(p["weight_beta"][0] @ h + p.get("bias_beta", torch.zeros(1))[0])
        seen = [alpha, seen[1] + alpha]
        now = cell(torch.cat((x_t, context)), now[0] if len(now) == 1 else now)
        now = now if isinstance(now, tuple) else (now,)
        outputs.append(now[0])
        weights.append(alpha)
        contexts.append(context)
    return torch.stack(outputs), now, torch.stack(weights), torch.stack(contexts)


def check_rows(layer: Any, x: Any, features: Any, mask: Any, lengths: Any = None, resets: Any = None) -> None:
    """Check a call, a row at a time."""
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
        if attention.places is not None:
            assert (attention.places[steps:, b] == -1).all()
            assert (attention.log_probs[steps:, b] == 0).all()
            chosen = weights.gather(1, drawn[:, None])[:, 0]
            torch.testing.assert_close(attention.log_probs[:steps, b], chosen.log())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("hard", [False, True])
def test_every_cell(cell: str, hard: bool) -> None:
    layer = make(cell, hard=hard)
    check_rows(layer, *arrays(layer))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hard", [False, True])
def test_every_form(form: str, hard: bool) -> None:
    layer = make(hard=hard, **FORMS[form])
    resets = torch.rand(T, B, generator=torch.Generator().manual_seed(2)) < 0.4
    check_rows(layer, *arrays(layer))
    check_rows(layer, *arrays(layer), lengths=[3, T, 1], resets=resets)


@pytest.mark.parametrize("cell", ["lstm_projected", "mut1", "mut2"])
def test_cells_with_sizes_of_their_own(cell: str) -> None:
    layer = make(cell, (2, 3, 5), proj_size=3 if cell == "lstm_projected" else 0)
    check_rows(layer, *arrays(layer))
