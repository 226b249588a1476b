"""Masks inside the recurrence of `AttentionRecurrent`: those of `rnnkernels.attention`, and what they can be under."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch_attending import FORMS, B, T, arrays, function_of, make, seeded

import rnnkernels as rk
from rnnkernels import attention

RATES: dict[str, Any] = {"zoneout": (0.3, 0.2), "recurrent_dropout": 0.25, "weight_dropout": 0.2}
KINDS: dict[str, dict[str, Any]] = {
    "zoneout": {"zoneout": (0.3, 0.2)},
    "dropout": {"recurrent_dropout": 0.3},
    "dropout-of-steps": {"recurrent_dropout": 0.3, "per_step": True},
    "weights": {"weight_dropout": 0.3},
    "all": RATES,
}
RAGGED: dict[str, Any] = {"lengths": [3, T, 0], "resets": torch.arange(T * B).view(T, B) % 4 == 0}


def next_seed(seed: int) -> int:
    """The seed that a layer draws next, after `torch.manual_seed(seed)`."""
    torch.manual_seed(seed)
    found = int(torch.randint(0, 2**63 - 1, (), dtype=torch.int64))
    torch.manual_seed(seed)
    return found


def of_numpy(layer: Any, inputs: Any, seed: int, **options: Any) -> tuple[list[Any], list[Any]]:
    """What `rk.attention` gives with these masks, and its gradients of the sum of squares of what it gives."""
    x, features, mask = (t.detach().numpy() for t in inputs)
    params = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    noise = rk.Noise(
        seed,
        zoneout=layer.zoneout,
        recurrent_dropout=layer.recurrent_dropout,
        per_step=layer.per_step,
        weight_dropout=layer.weight_dropout,
        expected=not layer.training,
    )
    given: dict[str, Any] = {name: np.asarray(value) for name, value in options.items()}
    run = attention.forward(layer.cell, x, features, params, mask=mask, noise=noise, **given)
    grads = attention.backward(
        run, 2 * run.output, [2 * s for s in run.state], d_weights=2 * run.weights, d_contexts=2 * run.contexts
    )
    results = [run.output, *run.state, run.weights, run.contexts]
    return results, [grads.x, grads.features, *(grads.params[name] for name in params)]


def of_torch(layer: Any, inputs: Any, **options: Any) -> tuple[list[Any], list[Any]]:
    x, features, mask = inputs
    x, features = x.clone().requires_grad_(), features.clone().requires_grad_()
    output, final, looked = layer(x, features, mask=mask, **options)
    results = [output, *final, looked.weights, looked.contexts]
    wanted = [x, features, *layer.parameters()]
    grads = torch.autograd.grad(sum(r.square().sum() for r in results), wanted, allow_unused=True)
    return results, [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, grads, strict=True)]


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_masks_are_those_of_the_numpy_side(kind: str, ragged: bool, training: bool) -> None:
    """Forward and backward, in training by the seed that is drawn from PyTorch's generator."""
    layer = make(location=(1, 3), **KINDS[kind]).train(training)
    inputs, options = arrays(layer), RAGGED if ragged else {}
    wanted, wanted_grads = of_numpy(layer, inputs, next_seed(3), **options)
    results, grads = of_torch(layer, inputs, **options)
    for found, exact in zip(results, wanted, strict=True):
        np.testing.assert_allclose(found.detach().numpy(), exact, rtol=1e-12, atol=1e-14)
    for found, exact in zip(grads, wanted_grads, strict=True):
        np.testing.assert_allclose(found.numpy(), exact, rtol=1e-10, atol=1e-12)
    plain = make(location=(1, 3)).train(training)
    alike = torch.equal(plain(*inputs[:2], mask=inputs[2], **options)[0], results[0])
    assert alike == (not training and kind not in {"zoneout", "all"})  # dropouts keep what they leave scaled up


def test_masks_follow_pytorch_generator_and_stop_in_evaluation() -> None:
    layer = make("gru", zoneout=0.3, recurrent_dropout=0.2)
    x, features, mask = arrays(layer)

    def run() -> Any:
        return layer(x, features, mask=mask)[0]

    torch.manual_seed(1)
    first, other = run(), run()
    torch.manual_seed(1)
    assert torch.equal(run(), first)
    assert not torch.equal(other, first)
    layer.eval()
    assert torch.equal(run(), run())


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("form", ["location-sums", "bilinear"])
def test_derivatives(form: str) -> None:
    """In evaluation of any order, by any way; of masks that are drawn first ones in reverse mode."""
    layer = make("gru", (1, 2, 2), **FORMS[form], zoneout=0.3, recurrent_dropout=0.2).eval()
    run, inputs = function_of(layer, sizes=(2, 1, 2))
    assert torch.autograd.gradcheck(run, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(run, inputs)
    values = tuple(t.detach() for t in inputs)

    def of_features(features: Any) -> Any:
        return run(values[0], features, *values[2:])[0]

    torch.testing.assert_close(torch.func.vmap(of_features)(values[1][None])[0], of_features(values[1]))
    layer.train()

    def same_masks(*given: Any) -> Any:
        torch.manual_seed(4)
        return run(*given)

    assert torch.autograd.gradcheck(same_masks, inputs)
    created = torch.autograd.grad(same_masks(*inputs)[0].sum(), inputs[1], create_graph=True)[0]
    plain = torch.autograd.grad(same_masks(*inputs)[0].sum(), inputs[1])[0]
    assert torch.equal(created.detach(), plain)
    with pytest.raises(NotImplementedError, match="first derivatives alone"):
        created.sum().backward()
    with pytest.raises(NotImplementedError, match="first derivatives alone"):
        torch.func.jvp(run, values, values)
    with pytest.raises(NotImplementedError, match=r"masks .* belong to rows"):
        torch.func.vmap(of_features, randomness="same")(values[1][None])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("hard", [False, True])
def test_a_compiled_layer_is_the_eager_one(hard: bool, ragged: bool, training: bool) -> None:
    layer = make(hard=hard, gated=True, **RATES).train(training)
    options = seeded(layer) | (RAGGED | {"lengths": torch.tensor(RAGGED["lengths"])} if ragged else {})
    inputs = arrays(layer)
    torch.manual_seed(5)
    eager = of_torch(layer, inputs, **options)
    torch._dynamo.reset()  # there is a limit of how often one piece of code is compiled
    torch.manual_seed(5)
    compiled = of_torch(torch.compile(layer, fullgraph=True, backend="aot_eager"), inputs, **options)
    torch.testing.assert_close(compiled, eager, rtol=0, atol=0)


@pytest.mark.parametrize("rates", [RATES, {"recurrent_dropout": 0.5}], ids=str)
def test_the_operators_are_whole(rates: dict[str, Any]) -> None:
    """The size of what is kept is the fake's: states beside the mixed ones where units keep their value."""
    layer = make(**rates)
    x, features, mask = arrays(layer)
    calls = []

    class Record(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function.namespace == "rnnkernels":
                calls.append((function, args))
            return function(*args, **(kwargs or {}))

    with Record():
        layer(x, features.requires_grad_(), mask=mask)[0].sum().backward()
    assert len(calls) == 2
    for function, args in calls:
        alone = torch.utils._pytree.tree_map_only(
            torch.Tensor, lambda t: t.detach().clone().requires_grad_(t.is_floating_point()), args
        )
        tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
        torch.library.opcheck(function, alone, test_utils=tests[: 3 if function is calls[0][0] else 2])


def test_an_exported_program_has_the_expectation() -> None:
    layer = make("gru", zoneout=0.4, recurrent_dropout=0.3).eval()
    x, features, _ = arrays(layer)
    program = torch.export.export(layer, (x, features))
    torch.testing.assert_close(program.module()(x, features)[0], layer(x, features)[0])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stepper_has_the_masks_of_a_call(kind: str, training: bool) -> None:
    layer = make(location=(2, 3), **KINDS[kind]).train(training)
    x, features, mask = arrays(layer)
    torch.manual_seed(6)
    output, _, looked = layer(x, features, mask=mask)
    torch.manual_seed(6)
    step = layer.stepper(features, mask=mask)
    for _ in range(2):
        for t in range(T):
            assert torch.equal(step(x[t]), output[t].detach())
            assert torch.equal(step.weights, looked.weights[t].detach())
        step.reset()


def test_rates_are_checked_and_shown() -> None:
    with pytest.raises(ValueError, match="zoneout: expected 2 rates"):
        make(zoneout=(0.1,))
    with pytest.raises(ValueError, match=r"recurrent_dropout: expected a number in \[0, 1\)"):
        make(recurrent_dropout=1.0)
    layer = make("gru", zoneout=0.1, weight_dropout=0.5, gated=True)
    assert repr(layer).endswith("scores='additive', zoneout=(0.1,), gated=True, weight_dropout=0.5)")
