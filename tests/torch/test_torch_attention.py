"""`AttentionRecurrent` against its definition, row by row and place by place, and against its loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch_attending import CELLS, FORMS, B, D, H, T, arrays, make, seeded

import rnnkernels.torch as rnn
from rnnkernels.torch import attention, attention_loop

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
    cell = rnn.RecurrentCell(layer.cell, size, layer.hidden_size, layer.bias, dtype=torch.float64)
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


def test_an_input_of_nothing() -> None:
    check_rows(make(size=(0, D, H)))


# ---- the kernels and the loop ------------------------------------------------------------------------

# T, B, I, D, H, L: vectors of many widths, not all of them filled.
SHAPES = [
    (5, 3, 2, 3, 5, 4),
    (3, 2, 0, 7, 17, 1),
    (7, 5, 19, 33, 13, 21),
    (1, 1, 1, 1, 1, 1),
    (0, 2, 3, 4, 5, 6),
    (4, 0, 3, 4, 5, 6),
    (2, 4, 16, 16, 16, 16),
]


def found(layer: rnn.AttentionRecurrent, inputs: Any, **options: Any) -> tuple[list[Any], list[Any]]:
    """Results of a call, and the gradients of a random sum of them in inputs and parameters."""
    x, features, mask = inputs
    x, features = x.clone().requires_grad_(), features.clone().requires_grad_()
    batch = x.shape[1]
    generator = torch.Generator().manual_seed(4)
    state = [torch.randn(batch, width, generator=generator, dtype=x.dtype) for width in layer._widths]
    reset = [torch.randn(batch, width, generator=generator, dtype=x.dtype) for width in layer._widths]
    for s in (*state, *reset):
        s.requires_grad_()
    more = {"reset_state": tuple(reset) if len(reset) > 1 else reset[0]} if "resets" in options else {}
    given = tuple(state) if len(state) > 1 else state[0]
    output, final, attention = layer(x, features, given, mask=mask, **options, **more)
    finals = list(final) if isinstance(final, tuple) else [final]
    results = [output, *finals, attention.weights, attention.contexts]
    results += [] if attention.log_probs is None else [attention.log_probs]
    total = sum((r * torch.randn(r.shape, generator=generator, dtype=r.dtype)).sum() for r in results)
    wanted = [x, features, *state, *(reset if more else ()), *layer.parameters()]
    grads = torch.autograd.grad(total, wanted, allow_unused=True)
    zeros = [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, grads, strict=True)]
    return [*results, attention.places], zeros


def check_against_the_loop(
    layer: rnn.AttentionRecurrent, inputs: Any, patch: pytest.MonkeyPatch, **options: Any
) -> None:
    ours, gradients = found(layer, inputs, **options)
    with patch.context() as patched:
        patched.setattr(attention, "attend", attention_loop.run)
        expected, expected_gradients = found(layer, inputs, **options)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hard", [False, True])
def test_the_loop_agrees(shape: tuple[int, ...], form: str, hard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, batch, *sizes, places = shape
    layer = make("gru", (sizes[0], sizes[1], sizes[2]), hard=hard, **FORMS[form])
    check_against_the_loop(layer, arrays(layer, steps, batch, places), monkeypatch, **seeded(layer))


@pytest.mark.parametrize("cell", CELLS)
def test_the_loop_agrees_for_every_cell(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(cell, (3, 9, 11))
    check_against_the_loop(layer, arrays(layer, places=10), monkeypatch)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hard", [False, True])
def test_the_loop_agrees_on_ragged_batches(form: str, hard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make("lstm", (3, 9, 11), hard=hard, **FORMS[form])
    inputs = arrays(layer, 9, 5, 6)
    resets = torch.rand(9, 5, generator=torch.Generator().manual_seed(2)) < 0.3
    for options in ({"lengths": [4, 9, 0, 1, 6]}, {"resets": resets}, {"lengths": [4, 9, 0, 1, 6], "resets": resets}):
        check_against_the_loop(layer, inputs, monkeypatch, **options, **seeded(layer))


def test_the_clip_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make("lstm", cell_clip=0.1)
    check_against_the_loop(layer, arrays(layer), monkeypatch)
    assert (layer(*arrays(layer)[:2])[1][1].abs() <= 0.1).all()
