"""products="bfloat16" in PyTorch: of a layer, of a model by `swap`, of autocast; through autograd and compilers."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from problems import FORMS
from torch import nn
from torch_compare import CELLS, NAMES, leaves, one_tensor

import rnnkernels as rk
import rnnkernels.torch as rnn
from rnnkernels import _cpu

T, B, I, H = 5, 3, 33, 20  # noqa: E741


def served() -> bool:
    """Whether the set in use has kernels; else float32 serves."""
    return _cpu.low_kernels("bfloat16")[1] is not None


def same(mine: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(leaves(mine), leaves(other), strict=True))


def with_gradients(layer: Any, x: Any) -> list[Any]:
    """What a layer gives, and the gradients of its parameters and of x."""
    x = x.clone().requires_grad_()
    found = layer(x)
    return [*leaves(found), *torch.autograd.grad(one_tensor(found), [x, *layer.parameters()])]


@pytest.mark.parametrize("cell", FORMS)
def test_a_layer_is_rnnkernels_forward_and_backward(cell: str) -> None:
    torch.manual_seed(0)
    size = H if rk.cell_info(cell)["direct"] else I
    proj: dict[str, Any] = {"proj_size": 7} if rk.cell_info(cell)["projected"] else {}
    layer = rnn.Recurrent(cell, size, H, products="bfloat16", **proj)
    x = torch.randn(T, B, size, requires_grad=True)
    params = {name.removesuffix("_l0"): p.detach().numpy() for name, p in layer.named_parameters()}
    run = rk.forward(cell, x.detach().numpy(), params, products="bfloat16")
    output = layer(x)[0]
    assert output.detach().numpy().tobytes() == run.output.tobytes()
    output.square().sum().backward()
    grads = rk.backward(run, 2 * run.output)
    assert grads.x is not None
    assert x.grad.numpy().tobytes() == grads.x.tobytes()
    for name, p in layer.named_parameters():
        assert p.grad.numpy().tobytes() == grads.params[name.removesuffix("_l0")].tobytes()
    step = rnn.RecurrentCell(cell, size, H, products="bfloat16", **proj)
    step.load_state_dict({name.removesuffix("_l0"): p for name, p in layer.named_parameters()})
    first = step(x[0])
    assert torch.equal(first if isinstance(first, torch.Tensor) else first[0], output[0])
    assert ", products='bfloat16'" in repr(layer)
    assert "products" not in repr(rnn.Recurrent("gru", 2, 2))


@pytest.mark.parametrize("name", NAMES)
def test_swap_hands_it_to_every_layer(name: str) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"layer": getattr(nn, name)(I, H)})
    x = torch.randn(*((B, I) if name in CELLS else (T, B, I)))
    full = copy.deepcopy(model)
    rnn.swap(full)
    exact = with_gradients(full["layer"], x)
    rnn.swap(model, products="bfloat16")
    layer = model["layer"]
    found = with_gradients(layer, x)
    assert layer.products == "bfloat16"
    assert same(found, exact) != served()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert same(with_gradients(other, x), found)
    rnn.unswap(model)
    assert not hasattr(layer, "products")
    rnn.swap(model)
    assert same(with_gradients(layer, x), exact)


@pytest.mark.parametrize("name", [*NAMES, "Recurrent", "RecurrentCell"])
def test_autocast_takes_it(name: str) -> None:
    """In a region of bfloat16, and nowhere else; results are rounded to what torch.nn's are there."""
    torch.manual_seed(0)
    layer = getattr(rnn, name)(*(("lstm_peephole",) if "Recurrent" in name else ()), I, H)
    x = torch.randn(*((B, I) if name.endswith("Cell") else (T, B, I)))
    asked = copy.deepcopy(layer)
    asked.products = "bfloat16"
    for low, like in ((torch.bfloat16, asked), (torch.float16, layer)):
        with torch.autocast("cpu", low):
            found = layer(x)
        for mine, wanted in zip(leaves(found), leaves(like(x)), strict=True):
            assert torch.equal(mine.to(low), wanted.to(low))
    assert layer.products == "full"


@pytest.mark.parametrize("name", ["LSTM", "GRUCell", "Recurrent"])
def test_compiled_and_exported(name: str) -> None:
    torch.manual_seed(0)
    torch._dynamo.config.allow_rnn = True
    layer = rnn.Recurrent("mgu", I, H) if name == "Recurrent" else getattr(rnn, name)(I, H)
    layer.products = "bfloat16"
    x = torch.randn(*((B, I) if name in CELLS else (T, B, I)))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert same(with_gradients(compiled, x), with_gradients(layer, x))
    with torch.autocast("cpu", torch.bfloat16):
        region = torch.compile(layer, fullgraph=True, backend="aot_eager")
        assert same(region(x), layer(x))
    file = io.BytesIO()
    torch.export.save(torch.export.export(layer.eval(), (x,)), file)
    file.seek(0)
    loaded = torch.export.load(file)
    assert any("bfloat16" in map(str, node.args) for node in loaded.graph.nodes)
    assert same(loaded.module()(x), layer(x))


def test_second_derivatives_are_near_those_of_full_products() -> None:
    torch.manual_seed(0)
    layer, x = rnn.Recurrent("lstm", I, H, products="bfloat16"), torch.randn(T, B, I, requires_grad=True)

    def second() -> Any:
        (first,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)[0]

    found = second()
    layer.products = "full"
    exact = second()
    assert (found - exact).abs().max() <= 0.05 * exact.abs().max()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_onnx_file_is_of_full_products() -> None:
    pytest.importorskip("onnxscript")
    layer, x = rnn.LSTM(I, H).eval(), torch.randn(T, B, I)
    layer.products = "bfloat16"
    program = torch.onnx.export(layer, (x,), dynamo=True, verbose=False)
    assert "LSTM" in {node.op_type for node in program.model_proto.graph.node}


def test_wrong_use_is_named() -> None:
    x = torch.randn(T, B, I, dtype=torch.float64)
    for layer in (rnn.Recurrent("gru", I, H, products="bfloat16"), rnn.GRU(I, H)):
        layer.double().products = "bfloat16"
        with pytest.raises(TypeError, match=r"^products: bfloat16 needs float32 parameters, got float64"):
            layer(x)
    wrong = rnn.GRU(I, H)
    wrong.products = "int8"
    with pytest.raises(ValueError, match=r"^products: expected one of full, bfloat16, got 'int8'"):
        wrong(x.float())
    with pytest.raises(ValueError, match=r"^products: expected one of full, bfloat16, got 'float16'"):
        rnn.swap(nn.GRU(I, H), products="float16")
