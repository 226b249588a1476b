"""Derivatives of `AttentionRecurrent`: of any order, by transforms, and what happens to tensors on the way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch_attending import FORMS, arrays, function_of, make, seeded

from rnnkernels.torch import attention_loop


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck(form: str) -> None:
    layer = make(size=(2, 2, 3), **(FORMS[form] | {"attention_size": 2}))
    mask = torch.tensor([[True, False, True], [True, True, True]])
    assert torch.autograd.gradcheck(*function_of(layer, mask, lengths=[3, 2]))
    assert torch.autograd.gradcheck(*function_of(layer))


@pytest.mark.parametrize("hard", [False, True])
def test_second_derivatives(hard: bool) -> None:
    """Of hard attention with places that are drawn whatever moves a little."""
    layer = make("gru", (1, 2, 2), hard=hard, location=(2, 3), gated=True)
    run, inputs = function_of(layer, sizes=(2, 1, 2), **seeded(layer))
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_forward_mode_and_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make("gru", location=(1, 3))
    run, inputs = function_of(layer)
    values = tuple(t.detach() for t in inputs)
    tangents = tuple(torch.randn_like(v) for v in values)
    results, ahead = torch.func.jvp(run, values, tangents)
    back = tuple(torch.randn_like(r) for r in results)
    with monkeypatch.context() as patched:
        patched.setattr(attention_loop, "run", None)  # first derivatives are the kernels'
        gradients = torch.func.vjp(run, *values)[1](back)
        numbers = tuple(range(len(values)))
        again = torch.func.grad(
            lambda *given: sum((r * b).sum() for r, b in zip(run(*given), back, strict=True)), numbers
        )(*values)
    eager = torch.autograd.grad(run(*inputs), inputs, back)
    torch.testing.assert_close(gradients, eager)
    torch.testing.assert_close(again, eager)
    left = sum((a * b).sum() for a, b in zip(ahead, back, strict=True))
    right = sum((a * b).sum() for a, b in zip(gradients, tangents, strict=True))
    torch.testing.assert_close(left, right)

    def loss(x: Any, features: Any) -> Any:
        return run(x[:, None], features[None], *(v[:1] if k < 1 else v for k, v in enumerate(values[2:])))[0].sum()

    each = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), (1, 0), (1, 0))(*values[:2])
    x, features = (t.detach().requires_grad_() for t in values[:2])
    expected = torch.autograd.grad(run(x, features, *values[2:])[0].sum(), (x, features))
    torch.testing.assert_close(each, expected)


def test_results_changed_in_place_are_noticed() -> None:
    layer = make()
    x, features, _ = arrays(layer)
    for k in range(2):
        output, _, attention = layer(x, features)
        (output if k == 0 else attention.weights).add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            output.sum().backward()


def test_a_backward_frees_what_its_forward_kept() -> None:
    layer = make()
    x, features, _ = arrays(layer)
    output = layer(x, features)[0]
    output.sum().backward(retain_graph=True)
    assert output.grad_fn.kept is not None
    output.sum().backward()
    assert output.grad_fn.kept is None
    with pytest.raises(RuntimeError, match="a second time"):
        output.sum().backward()


def test_weights_may_leave_their_place_between_forward_and_backward() -> None:
    """As under FSDP, whose weights are gathered anew for the backward; the old place holds anything by then."""
    layer = make()
    x, features, mask = arrays(layer)
    layer(x, features, mask=mask)[0].square().sum().backward()
    expected = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda tensor: tensor):
        loss = layer(x, features, mask=mask)[0].square().sum()
    for tensor in (*layer.parameters(), x, features):
        tensor.data.fill_(float("nan"))
    loss.backward()
    assert all(torch.equal(p.grad, e) for p, e in zip(layer.parameters(), expected, strict=True))
