"""Tools that take models apart: torch.fx has our layers as leaves; TorchScript says why it has not."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch_compare import NAMES, leaves

import rnnkernels.torch as rnn

I, H = 3, 4  # noqa: E741


class Model(nn.Module):  # type: ignore[misc]
    """A layer inside of a model."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(H, 2)

    def forward(self, *given: Any) -> Any:
        found = self.layer(*given)
        return found, self.head(found[0])


def model_of(name: str) -> Any:
    return Model(getattr(rnn, name)(I, H) if name in NAMES else getattr(rnn, name)("lstm", I, H))


def input_of(name: str) -> Any:
    return torch.randn(5, 2, I)[0 if name.endswith("Cell") else slice(None)]


def state_of(name: str) -> Any:
    rows = (2, H) if name.endswith("Cell") else (1, 2, H)
    both = torch.randn(rows), torch.randn(rows)
    return both[0] if name in ("RNN", "GRU", "RNNCell", "GRUCell") else both


def same(mine: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(leaves(mine), leaves(other), strict=True))


# ---- torch.fx ----------------------------------------------------------------------------------------

LAYERS = (*NAMES, "Recurrent", "RecurrentCell")


class One(Model):
    def forward(self, x: Any) -> Any:
        return super().forward(x)


class WithState(Model):
    def forward(self, x: Any, state: Any) -> Any:
        return super().forward(x, state)


class WithStates(Model):
    def forward(self, x: Any, h: Any, c: Any) -> Any:
        return super().forward(x, (h, c))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_a_leaf_of_a_graph(name: str) -> None:
    model, x, state = model_of(name), input_of(name), state_of(name)
    model.__class__ = One
    graph = torch.fx.symbolic_trace(model)
    assert [n.target for n in graph.graph.nodes if n.op == "call_module"] == ["layer", "head"]
    assert graph.layer is model.layer
    assert same(graph(x), model(x))
    model.__class__ = WithStates if isinstance(state, tuple) else WithState
    given = (x, *leaves(state))
    assert same(torch.fx.symbolic_trace(model)(*given), model(*given))


def test_keywords_of_a_layer_are_in_the_graph() -> None:
    class Tagger(Model):
        def forward(self, x: Any, lengths: Any) -> Any:
            return self.layer(x, lengths=lengths, all_states=True)

    model = Tagger(rnn.Recurrent("lstm", I, H))
    x, lengths = input_of("Recurrent"), torch.tensor([2, 5])
    assert same(torch.fx.symbolic_trace(model)(x, lengths), model(x, lengths))


def test_a_layer_whose_weight_is_made_before_each_call() -> None:
    model = One(prune.l1_unstructured(rnn.LSTM(I, H), "weight_hh_l0", 0.5))
    graph = torch.fx.symbolic_trace(model)
    with torch.no_grad():
        model.layer.weight_hh_l0_orig.mul_(2)  # the graph makes the weight again
    x = input_of("LSTM")
    assert same(graph(x), model(x))


def test_hooks_run_once_or_not_at_all() -> None:
    model, x = One(rnn.GRU(I, H)), input_of("GRU")
    model.layer.register_forward_hook(lambda _, __, found: (found[0] * 2, found[1]))
    with pytest.raises(NotImplementedError, match=r"torch\.fx: layer, rnnkernels\.torch\.GRU: .* no forward hooks"):
        torch.fx.symbolic_trace(model)

    class Tracer(torch.fx.Tracer):  # type: ignore[misc]
        def is_leaf_module(self, m: Any, path: str) -> bool:
            return isinstance(m, rnn.GRU) or super().is_leaf_module(m, path)

    graph = torch.fx.GraphModule(model, Tracer().trace(model))
    assert same(graph(x), model(x))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_alone_is_no_graph(name: str) -> None:
    layer = model_of(name).layer
    with pytest.raises(NotImplementedError, match=rf"torch\.fx: expected a model around .* rnnkernels\.torch\.{name}"):
        torch.fx.symbolic_trace(layer, concrete_args=dict.fromkeys(("hx", "state")) if name in NAMES else None)


# ---- TorchScript -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_torchscript_is_refused_in_words(name: str) -> None:
    model = model_of(name)
    with pytest.raises(NotImplementedError, match=rf"torch\.jit\.script: .*torch\.{name}; .*unswap\(model\)"):
        torch.jit.script(model)
    assert type(model.layer) is getattr(rnn, name)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_model_that_was_unswapped_is_scripted() -> None:
    model, x = nn.Sequential(rnn.LSTM(I, H)), input_of("LSTM")
    rnn.unswap(model)
    assert same(torch.jit.script(model)(x), model(x))


# ---- quantisation ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "RNN"])  # torch.nn's RNN it does not quantise
def test_a_model_that_was_unswapped_is_quantised(name: str) -> None:
    model = model_of(name)
    twin = copy.deepcopy(model)
    rnn.unswap(twin)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="torch.ao.quantization: rnnkernels")
        done = torch.ao.quantization.quantize_dynamic(twin)
    assert "quantized.dynamic" in type(done.layer).__module__
    x = input_of(name)
    assert torch.allclose(leaves(done.layer(x))[0], leaves(model.layer(x))[0], atol=0.05)
