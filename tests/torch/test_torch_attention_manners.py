"""The manners of `AttentionRecurrent`: layouts, tokens, states, masked places, and what it refuses in words."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch_attending import FORMS, B, D, H, T, arrays, function_of, make

import rnnkernels.torch as rnn


def test_batch_first_and_tokens() -> None:
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


def fillings(dtype: torch.dtype) -> tuple[float, ...]:
    return (math.nan, math.inf, -math.inf, torch.finfo(dtype).max)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_what_stands_where_nobody_looks_reaches_nothing(form: str, hard: bool, dtype: torch.dtype) -> None:
    """Neither a result nor a gradient; nor does what a loss says of its weights. To the last bit, in a stepper too."""
    layer = make(hard=hard, **FORMS[form]).to(dtype)
    x, features, mask = arrays(layer)
    x, features = x.to(dtype), features.to(dtype)
    seed = {"seed": 7} if hard else {}

    def results(features: torch.Tensor, of_masked: float) -> list[Any]:
        given = features.clone().requires_grad_()
        layer.zero_grad()
        output, final, looked = layer(x, given, mask=mask, **seed)
        d_weights = torch.ones_like(looked.weights).masked_fill(~mask, of_masked)
        torch.autograd.backward(
            [output, final[1], looked.weights, looked.contexts],
            [output.detach(), final[1].detach(), d_weights, looked.contexts.detach()],
        )
        step = layer.stepper(features, mask=mask, **seed)
        stepped = [step(x_t) for x_t in x]
        parameters = [p.grad for p in layer.parameters() if p.grad is not None]
        return [output, *final, *looked, *stepped, step.weights, step.context, given.grad, *parameters]

    clean = results(features.masked_fill(~mask[:, :, None], 1.0), 1.0)
    for filling in fillings(dtype):
        found = results(features.masked_fill(~mask[:, :, None], filling), filling)
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(found, clean, strict=True)), filling
    assert (clean[-1 - len([p for p in layer.parameters() if p.grad is not None])][~mask] == 0).all()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", FORMS)
def test_nor_second_derivatives_nor_tangents(form: str, dtype: torch.dtype) -> None:
    layer = make("gru", **FORMS[form]).to(dtype)
    run, inputs = function_of(layer, mask=torch.tensor([[True, False, True], [True, True, False]]))
    values = [t.detach().to(dtype) for t in inputs]
    forbidden = torch.tensor([[False, True, False], [False, False, True]])[:, :, None]

    def found(filling: float) -> list[Any]:
        given = [t.clone().requires_grad_() for t in values]
        given[1] = values[1].masked_fill(forbidden, filling).requires_grad_()
        results = run(*given)
        of_weights = torch.ones(2, 3, dtype=dtype).masked_fill(forbidden[:, :, 0], filling)  # what a loss says of them
        total = sum(r.square().sum() for r in results) + (results[-2] * of_weights).sum()
        first = torch.autograd.grad(total, given, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), given)
        tangents = torch.func.jvp(run, tuple(t.detach() for t in given), tuple(values))[1]
        return [*first, *second, *tangents]

    clean = found(1.0)
    assert all(g.isfinite().all() for g in clean)
    for filling in fillings(dtype):
        assert all(torch.equal(a, b) for a, b in zip(found(filling), clean, strict=True)), filling


def test_what_cannot_be_is_refused_in_words() -> None:
    layer = make(size=(7, D, H))
    x, features, mask = arrays(layer)
    tokens = torch.full((T, B), 7)
    nowhere = mask.clone()
    nowhere[1] = False
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        (r"x: expected tokens in \[0, 7\), got 7", (tokens, features), {}),
        (r"x: expected 3 dimensions, the last of 7", (x[..., :3], features), {}),
        (r"features: expected shape \(B, L, D\) = \(3, 4, 3\), got \(2, 4, 3\)", (x, features[:2]), {}),
        (r"features: .* with at least one place, got \(3, 0, 3\)", (x, features[:, :0]), {}),
        (r"features: expected dtype torch.float64", (x, features.float()), {}),
        (r"mask: expected at least one place .* got none in row 1", (x, features), {"mask": nowhere}),
        (r"mask: expected shape \(B, L\) = \(3, 4\), got \(3, 3\)", (x, features), {"mask": mask[:, 1:]}),
        (r"lengths: expected 0 to T = 5, got 6 at \[1\]", (x, features), {"lengths": [1, 6, 2]}),
        (r"lengths: expected shape \(B,\) = \(3,\), got \(2,\)", (x, features), {"lengths": [1, 5]}),
        (r"resets: expected shape \(T, B\) = \(5, 3\)", (x, features), {"resets": mask}),
        (r"reset_state: expected resets with it", (x, features), {"reset_state": (x, x)}),
        (r"state c: expected shape \(B, H\) = \(3, 5\)", (x, features, (x.new_zeros(B, H), x[0])), {}),
        (r"seed: expected none without hard attention", (x, features), {"seed": 1}),
    ]
    for match, given, options in calls:
        with pytest.raises((TypeError, ValueError), match=match):
            layer(*given, **options)
    with pytest.raises(ValueError, match="x_t: expected tokens"):
        layer.stepper(features)(tokens[0])
    with pytest.raises(ValueError, match=r"x_t: expected shape \(B, I\)"):
        layer.stepper(features)(x[0, :2])
    with pytest.raises(ValueError, match="input_size is 0"):
        make(size=(0, D, H))(tokens, features)
    for cell in ("lstm_projected", "mut1"):
        with pytest.raises(ValueError, match=f"cell: expected one that can attend, got {cell}"):
            rnn.AttentionRecurrent(cell, 2, 3, 5)
