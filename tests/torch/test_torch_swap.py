"""`swap`: which layers of a model it takes, what it leaves, and that a model is the same one after it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch_compare import CELLS, NAMES, assert_near, leaves

import rnnkernels.torch as rnn

SIZES = (5, 3, 4, 6, 2)


class Tagger(nn.Module):  # type: ignore[misc]
    """A model with layers at several depths, one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"rnn": nn.LSTM(4, 6, 2, bidirectional=True), "norm": nn.LayerNorm(12)})
        self.decoder = nn.ModuleList([nn.GRU(12, 6), nn.RNN(6, 6, nonlinearity="relu")])
        self.again = self.decoder[1]
        self.cell = nn.LSTMCell(6, 6)

    def forward(self, x: Any) -> Any:
        y = self.encoder["norm"](self.encoder["rnn"](x)[0])
        for layer in (*self.decoder, self.again):
            y = layer(y)[0]
        return self.cell(y[-1])[0]


def outputs(model: Any, x: Any) -> list[Any]:
    torch.manual_seed(5)
    return leaves(model(x))


def assert_same(actual: Any, expected: Any, quantity: str = "output") -> None:
    for mine, other in zip(actual, expected, strict=True):
        assert_near(mine, other, quantity, SIZES)


def test_a_nested_model() -> None:
    torch.manual_seed(0)
    model, x = Tagger(), torch.randn(5, 3, 4)
    expected, twin = outputs(model, x), copy.deepcopy(model)
    before = {path: id(module) for path, module in model.named_modules()}
    params = {name: id(p) for name, p in model.named_parameters()}
    report = rnn.swap(model)
    assert report.replaced == {
        "encoder.rnn": "LSTM",
        "decoder.0": "GRU",
        "decoder.1": "RNN",
        "cell": "LSTMCell",
    }
    assert report.left == {}
    assert str(report).splitlines()[0] == "encoder.rnn: LSTM, on rnnkernels"
    assert {path: id(module) for path, module in model.named_modules()} == before
    assert {name: id(p) for name, p in model.named_parameters()} == params
    assert model.again is model.decoder[1]
    assert type(model.encoder["rnn"]) is rnn.LSTM
    assert repr(model) == repr(twin)
    assert_same(outputs(model, x), expected)
    again = rnn.swap(model, allow_torch=True)
    assert (again.replaced, again.left, again.already) == ({}, {}, report.replaced)
    assert str(again) == "nothing to do for 4 layers, on rnnkernels already"
    assert not any(model.get_submodule(path).allow_torch for path in again.already)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other.encoder["rnn"]) is rnn.LSTM
        assert all(torch.equal(a, b) for a, b in zip(outputs(other, x), outputs(model, x), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_itself(name: str) -> None:
    layer = getattr(nn, name)(4, 6)
    report = rnn.swap(layer)
    assert report.replaced == {"": name}
    assert str(report) == f"(the model itself): {name}, on rnnkernels"
    assert type(layer) is getattr(rnn, name)


@pytest.mark.parametrize("optimiser", ["SGD", "AdamW"])
def test_an_optimiser_made_before_goes_on(optimiser: str) -> None:
    torch.manual_seed(0)
    model, x = Tagger().double(), torch.randn(5, 3, 4, dtype=torch.float64)
    twin = copy.deepcopy(model)
    made = [getattr(torch.optim, optimiser)(m.parameters(), 0.01) for m in (model, twin)]
    for step in range(4):
        if step == 2:
            rnn.swap(model)
        for m, opt in zip((model, twin), made, strict=True):
            opt.zero_grad()
            m(x).square().mean().backward()
            opt.step()
    assert all(torch.allclose(a, b, 1e-9, 1e-9) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    made[0].load_state_dict(made[1].state_dict())


def test_hooks_modes_and_attributes_stay() -> None:
    layer = nn.GRU(4, 6).eval()
    layer.my_own = "kept"
    layer.weight_hh_l0.requires_grad_(False)
    calls: list[Any] = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    rnn.swap(layer)
    layer(torch.randn(2, 1, 4))
    assert (layer.my_own, layer.training, layer.weight_hh_l0.requires_grad, calls) == ("kept", False, False, [1])


@pytest.mark.parametrize("name", NAMES)
def test_a_parametrized_layer(name: str) -> None:
    torch.manual_seed(0)
    layer = getattr(nn, name)(4, 6)
    weight = "weight_hh" if name in CELLS else "weight_hh_l0"
    nn.utils.parametrizations.weight_norm(layer, weight)
    x = torch.randn(*((3,) if name in CELLS else (5, 3)), 4)
    expected = outputs(layer, x)
    report = rnn.swap(nn.Sequential(layer))
    assert report.replaced == {"0": name}
    assert isinstance(layer, getattr(rnn, name))
    assert nn.utils.parametrize.is_parametrized(layer, weight)
    assert_same(outputs(layer, x), expected)
    if name in CELLS:  # torch.nn's layers too have no copy after a call: they hold a weight that is no leaf
        assert_same(outputs(copy.deepcopy(layer), x), expected)
    nn.utils.parametrize.remove_parametrizations(layer, weight)
    assert isinstance(layer, getattr(rnn, name))
    assert_same(outputs(layer, x), expected)


class Mine(nn.LSTM):  # type: ignore[misc]
    """A class of a user's own."""


def test_what_is_left_and_why() -> None:
    model = nn.ModuleDict(
        {
            "mine": Mine(4, 6),
            "base": nn.RNNCellBase(4, 6, True, 1),
            "complex": nn.RNN(4, 6, dtype=torch.complex64),
            "good": nn.GRU(4, 6),
            "meta": nn.GRU(4, 6, device="meta"),
            "short": nn.LSTM(4, 6, dtype=torch.bfloat16),
        }
    )
    report = rnn.swap(model)
    assert report.replaced == {"good": "GRU", "meta": "GRU", "short": "LSTM"}
    assert report.left["mine"].endswith("Mine is a class of its own")
    assert report.left["base"].endswith("RNNCellBase is a class of its own")
    assert "complex64" in report.left["complex"]
    assert type(model["mine"]) is Mine
    assert type(model["complex"]) is nn.RNN
    assert f"mine: left, {report.left['mine']}" in str(report).splitlines()
    assert rnn.swap(model, allow_torch=True).replaced == {"complex": "RNN"}
    assert model["complex"](torch.randn(2, 1, 4, dtype=torch.complex64))[0].dtype == torch.complex64
    model["meta"].to_empty(device="cpu")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_what_torchscript_compiled_is_left() -> None:
    scripted = torch.jit.script(nn.LSTM(4, 6))
    model = nn.Sequential(scripted, nn.GRU(4, 6))
    report = rnn.swap(model)
    assert set(report.replaced) == {"1"}
    assert type(model[0]) is type(scripted)
    assert report.left == {"0": "it is compiled by TorchScript"}
    assert rnn.swap(scripted).left == {"": "it is compiled by TorchScript"}


@pytest.mark.parametrize("wrong", [None, [nn.GRU(1, 1)], nn.GRU, "model"])
def test_what_is_no_model(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"model: expected a torch.nn.Module, got "):
        rnn.swap(wrong)


# ---- back --------------------------------------------------------------------------------------------


def test_a_model_that_is_swapped_and_back_is_the_model() -> None:
    torch.manual_seed(0)
    model, x = Tagger(), torch.randn(5, 3, 4)
    expected, twin = outputs(model, x), copy.deepcopy(model)
    replaced = rnn.swap(model, allow_torch=True).replaced
    kept = {path: vars(module) for path, module in model.named_modules()}
    report = rnn.unswap(model)
    assert (report.replaced, report.left, report.already) == (replaced, {}, {})
    assert str(report).splitlines()[0] == "encoder.rnn: LSTM, on torch.nn"
    for (path, mine), theirs in zip(model.named_modules(), twin.modules(), strict=True):
        assert type(mine) is type(theirs)
        assert vars(mine) is kept[path]
        assert vars(mine).keys() == vars(theirs).keys()
    assert all(torch.equal(a, b) for a, b in zip(outputs(model, x), expected, strict=True))
    again = rnn.unswap(model)
    assert (again.replaced, again.left, again.already) == ({}, {}, replaced)
    assert str(again) == "nothing to do for 4 layers, on torch.nn already"
    assert rnn.swap(model).replaced == replaced


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_that_was_made_as_ours_goes_back(name: str) -> None:
    layer = getattr(rnn, name)(4, 6)
    assert rnn.unswap(layer).replaced == {"": name}
    assert type(layer) is getattr(nn, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_parametrized_layer_goes_back(name: str) -> None:
    layer = getattr(nn, name)(4, 6)
    weight = "weight_hh" if name in CELLS else "weight_hh_l0"
    nn.utils.parametrizations.weight_norm(layer, weight)
    x = torch.randn(*((3,) if name in CELLS else (5, 3)), 4)
    expected = outputs(layer, x)
    rnn.swap(layer)
    assert rnn.swap(layer).already == {"": name}
    assert rnn.unswap(layer).replaced == {"": name}
    assert not isinstance(layer, getattr(rnn, name))
    assert all(torch.equal(a, b) for a, b in zip(outputs(layer, x), expected, strict=True))
    nn.utils.parametrize.remove_parametrizations(layer, weight)
    assert type(layer) is getattr(nn, name)


class Ours(rnn.GRU):
    """A class of a user's own, on these kernels."""


def test_what_does_not_go_back_and_what_is_there() -> None:
    model = nn.ModuleList([Ours(4, 6), Mine(4, 6), rnn.Recurrent("mgu", 4, 6), rnn.RecurrentCell("mgu", 4, 6)])
    report = rnn.unswap(model)
    assert report.replaced == {}
    assert report.already == {"1": "Mine"}
    assert report.left["0"].endswith("Ours is a class of its own")
    assert report.left["2"] == "torch.nn has no class in the place of Recurrent"
    assert report.left["3"] == "torch.nn has no class in the place of RecurrentCell"
    report = rnn.swap(model)
    assert report.already == {"0": "Ours", "2": "Recurrent", "3": "RecurrentCell"}
    assert list(report.left) == ["1"]
    assert [type(module).__name__ for module in model] == ["Ours", "Mine", "Recurrent", "RecurrentCell"]
    with pytest.raises(TypeError, match=r"model: expected a torch.nn.Module, got "):
        rnn.unswap([])


# ---- what swap sets, and what it refuses in words ----------------------------------------------------


def test_memory_of_a_swapped_layer() -> None:
    torch.manual_seed(0)
    model, x = Tagger(), torch.randn(5, 3, 4)
    expected = gradients(model, x)
    rnn.swap(model, memory="states")
    assert [model.get_submodule(path).memory for path in ("encoder.rnn", "decoder.0", "decoder.1")] == ["states"] * 3
    kept = {}
    for memory in ("states", "replay", "all"):  # an attribute, at any time
        model.encoder["rnn"].memory = memory
        assert_same(gradients(model, x), expected, "gradient")
        run = model.encoder["rnn"](x)[0].grad_fn
        while not hasattr(run, "kept"):
            run = run.next_functions[0][0]
        kept[memory] = type(run.kept.run).__name__
    assert kept == {"states": "States", "replay": "Pieces", "all": "Whole"}
    model.encoder["rnn"].memory = "some"
    with pytest.raises(ValueError, match=r"^memory: expected one of all, states, replay, got 'some'"):
        model(x)
    rnn.unswap(model)
    assert not hasattr(model.encoder["rnn"], "memory")


def gradients(model: Any, x: Any) -> list[Any]:
    model.zero_grad()
    model(x).square().sum().backward()
    return [p.grad for p in model.parameters()]


@pytest.mark.parametrize("option", ["memory", "products"])
def test_choices_are_checked(option: str) -> None:
    model = nn.GRU(4, 6)
    with pytest.raises(ValueError, match=rf"^{option}: expected"):
        rnn.swap(model, **{option: "some"})  # type: ignore[arg-type]
    assert type(model) is nn.GRU
    with pytest.raises(TypeError, match=r"^trust_versions: expected"):
        rnn.swap(model, trust_versions="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "cell"), [("LSTM", "'lstm'"), ("GRU", "'gru'"), ("RNN", "'rnn_tanh'")])
def test_lengths_name_the_layer_that_has_them(name: str, cell: str) -> None:
    torch.manual_seed(0)
    layer = getattr(nn, name)(4, 6, 2)
    rnn.swap(layer)
    x, lengths = torch.randn(5, 3, 4), torch.tensor([5, 2, 4])
    theirs = rf"^{name}\.forward\(\) got an unexpected keyword argument"
    with pytest.raises(TypeError, match=rf"{theirs} 'lengths'; rnnkernels\.torch\.Recurrent\({cell}, 4, 6, "):
        layer(x, lengths=lengths)
    with pytest.raises(TypeError, match=rf"{theirs} 'resets'; .*state_dict$"):
        layer(x, None, resets=None, reset_state=None)
    with pytest.raises(TypeError, match=rf"{theirs} 'hidden'$"):
        layer(x, hidden=None)
    taking = rnn.Recurrent(cell.strip("'"), 4, 6, 2)
    taking.load_state_dict(layer.state_dict())
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, final = layer(packed)
    assert_same(leaves(taking(x, lengths=lengths)[1]), leaves(final))
    assert_same([taking(x, lengths=lengths)[0]], [nn.utils.rnn.pad_packed_sequence(output)[0]])


# ---- exported with allow_torch -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", NAMES)
def test_allow_torch_lets_torchscript_have_pytorchs_layers(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(getattr(nn, name)(4, 6))
    layer, x = model[0], torch.randn(*((3,) if name in CELLS else (5, 3)), 4)
    expected = outputs(model, x)
    rnn.swap(model, allow_torch=True)
    traced = torch.jit.trace(model, (x,), check_trace=False)
    assert_same(outputs(traced, x), expected)
    with pytest.warns(UserWarning, match=rf"rnnkernels\.torch\.{name} is torch\.nn\.{name} now, in the model"):
        scripted = torch.jit.script(model)
    assert all(torch.equal(a, b) for a, b in zip(outputs(scripted, x), expected, strict=True))
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(scripted.parameters(), layer.parameters(), strict=True))
    assert type(layer) is getattr(rnn, name)
    rnn.swap(model)
    assert {id(p) for p in model.parameters()} == {id(p) for p in layer.parameters()}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_class_of_a_users_own_is_no_script() -> None:
    layer = Ours(4, 6)
    layer.allow_torch = True
    with pytest.raises(NotImplementedError, match=r"torch\.jit\.script: expected layers of torch\.nn"):
        torch.jit.script(layer)
