"""What takes `AttentionRecurrent`: compilers, exporters, counters, copies, several processes, other dtypes."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch_attending import FORMS, B, D, H, I, L, Model, T, arrays, make, seeded

import rnnkernels.torch as rnn

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("form", ["additive", "location-sums", "bilinear", "hard"])
def test_a_compiled_layer_is_the_eager_one(form: str, ragged: bool) -> None:
    layer = make(hard=form == "hard", **FORMS.get(form, {}))
    options: dict[str, Any] = seeded(layer)
    if ragged:
        options |= {"lengths": torch.tensor([2, T, 0]), "resets": torch.rand(T, B) < 0.3}
    torch._dynamo.reset()  # there is a limit of how often one piece of code is compiled
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x, features, mask = arrays(layer)

    def both(module: Any) -> list[Any]:
        layer.zero_grad()
        given = features.clone().requires_grad_()
        output, final, attention = module(x, given, mask=mask, **options)
        loss = output.square().sum() + final[1].sum() + attention.weights.square().sum() + attention.contexts.sum()
        (loss if attention.log_probs is None else loss + attention.log_probs.sum()).backward()
        return [output, *final, *attention, given.grad, *(p.grad for p in layer.parameters())]

    torch.testing.assert_close(both(compiled), both(layer), rtol=0, atol=0)


def test_the_operators_are_whole() -> None:
    """Schemas, fakes and derivatives, by PyTorch's own checks."""
    for options in ({}, {"hard": True}, {"location": (2, 3), "gated": True}, {"scores": "bilinear"}):
        layer = make("gru", **options)
        x, features, mask = arrays(layer)
        calls = []

        class Record(TorchDispatchMode):  # type: ignore[misc]
            def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if function.namespace == "rnnkernels":
                    calls.append((function, args))  # noqa: B023
                return function(*args, **(kwargs or {}))

        with Record():
            layer(x, features.requires_grad_(), mask=mask, **seeded(layer))[0].sum().backward()
        assert [str(function) for function, _ in calls] == [
            "rnnkernels.attend.default",
            "rnnkernels.attend_backward.default",
        ]
        tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")

        def alone(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.detach().clone().requires_grad_(tensor.is_floating_point())

        calls = [(function, torch.utils._pytree.tree_map_only(torch.Tensor, alone, args)) for function, args in calls]
        torch.library.opcheck(calls[0][0], calls[0][1], test_utils=(*tests, "test_autograd_registration"))
        torch.library.opcheck(calls[1][0], calls[1][1], test_utils=tests[:2])


def test_operations_are_counted() -> None:
    layer = make("lstm", (0, D, H), scores="bilinear", bias=False)
    x, features, _ = arrays(layer)
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counted:
        output = layer(x, features)[0]
    products = 4 * H * (H + D) + D * H + L * D + L * D  # the cell's, the query's, scores, contexts
    assert counted.get_total_flops() == 2 * T * B * products
    with torch.utils.flop_counter.FlopCounterMode(display=False) as again:
        output.sum().backward()
    assert again.get_total_flops() == 2 * 2 * T * B * products


def test_an_exported_program_runs() -> None:
    layer = make(location=(1, 3)).eval()
    x, features, mask = arrays(layer)
    steps, batch, places = (torch.export.Dim(name, min=2) for name in ("T", "B", "L"))
    shapes = ({0: steps, 1: batch}, {0: batch, 1: places}, None, {0: batch, 1: places})

    program = torch.export.export(Model(layer), (x, features, None, mask), dynamic_shapes=shapes)
    other, wider, allowed = arrays(layer, 7, 4, 9)
    torch.testing.assert_close(program.module()(other, wider, None, allowed), layer(other, wider, mask=allowed))


def test_torch_fx_makes_a_leaf_of_it() -> None:
    layer = make()
    x, features, mask = arrays(layer)
    model = Model(layer)
    traced = torch.fx.symbolic_trace(model, concrete_args={"state": None})
    assert torch.equal(traced(x, features, None, mask)[0], model(x, features, None, mask)[0])


def test_copies_and_pickles() -> None:
    layer = make(location=(1, 3), gated=True)
    x, features, mask = arrays(layer)
    expected = layer(x, features, mask=mask)[0]
    again = pickle.loads(pickle.dumps(layer))
    for copied in (copy.deepcopy(layer), again):
        assert torch.equal(copied(x, features, mask=mask)[0], expected)
    fresh = rnn.AttentionRecurrent("lstm", I, D, H, location=(1, 3), gated=True, dtype=torch.float64)
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh(x, features, mask=mask)[0], expected)
    assert "location=(1, 3), gated=True" in repr(layer) or "gated=True, location=(1, 3)" in repr(layer)


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_a_model_in_one_process_of_several(tmp_path: Path) -> None:
    """DistributedDataParallel with one process: gradients are those of the layer alone."""
    layer = make(hard=True)
    x, features, mask = arrays(layer)

    def train(module: Any) -> list[Any]:
        layer.zero_grad()
        output, _, attention = module(x, features, mask=mask, seed=1)
        (output.square().sum() + attention.log_probs.sum()).backward()
        return [p.grad.clone() for p in layer.parameters()]

    expected = train(layer)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        assert all(map(torch.equal, train(torch.nn.parallel.DistributedDataParallel(layer)), expected))
    finally:
        torch.distributed.destroy_process_group()


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
    step = narrow.stepper(features.to(dtype), mask=mask, seed=1)
    assert torch.equal(step(x[0].to(dtype)), got[0])
    assert step.weights.dtype == dtype


def test_shapes_are_known_without_values() -> None:
    layer = rnn.AttentionRecurrent("lstm", I, D, H, device="meta", hard=True)
    x, features = torch.empty(T, B, I, device="meta"), torch.empty(B, L, D, device="meta")
    output, _, attention = layer(x, features)
    assert output.shape == (T, B, H)
    assert [part.shape for part in attention] == [(T, B, L), (T, B, D), (T, B), (T, B)]
