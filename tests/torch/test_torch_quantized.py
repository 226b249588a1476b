"""Layers with int8 weights: `rnnkernels.Prepared`'s bits in torch.nn's manners, through files, copies and compilers."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from problems import FORMS
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.rnn import pack_padded_sequence
from torch_compare import CELLS, NAMES, leaves

import rnnkernels as rk
import rnnkernels.torch as rnn
from rnnkernels.torch import packed

T, B, I, H = 6, 3, 33, 20  # noqa: E741

quantizing = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:torch.quantize_per_tensor", "error:torch.ao.quantization. rnnkernels"
)


def numpy_of(layer: Any, end: str = "") -> dict[str, Any]:
    """A layer's parameters for rnnkernels' functions."""
    return {name.removesuffix(end): p.detach().numpy() for name, p in layer.named_parameters() if name.endswith(end)}


def input_of(name: str) -> Any:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*((B, I) if name.endswith("Cell") else (T, B, I)), generator=generator)


def layer_of(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return getattr(nn, name)(I, H, **options)


def same(mine: Any, other: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(leaves(mine), leaves(other), strict=True))


def projected(cell: str) -> dict[str, Any]:
    return {"proj_size": 7} if rk.cell_info(cell)["projected"] else {}


@pytest.mark.parametrize("cell", FORMS)
def test_any_cell_has_the_bits_of_a_prepared_layer(cell: str) -> None:
    torch.manual_seed(0)
    size = H if rk.cell_info(cell)["direct"] else I
    layer = rnn.Recurrent(cell, size, H, **projected(cell))
    prepared = rk.Prepared(cell, numpy_of(layer, "_l0"), weights="int8")
    assert rnn.quantize(layer).replaced == {"": "Quantized"}
    x = torch.randn(T, B, size)
    output, state = layer(x)
    expected, final = prepared.forward(x.numpy())
    np.testing.assert_array_equal(output.numpy(), expected)
    for mine, theirs in zip(leaves(state), final, strict=True):
        np.testing.assert_array_equal(mine[0].numpy(), theirs)
    lengths, resets = [6, 2, 0], torch.rand(T, B) < 0.3
    begun = tuple(torch.rand_like(s) for s in leaves(state))
    options = {"lengths": lengths, "resets": resets.numpy(), "reset_state": tuple(s[0].numpy() for s in begun)}
    given = begun if len(begun) > 1 else begun[0]
    output, state = layer(x, given, lengths=lengths, resets=resets, reset_state=given)
    expected, final = prepared.forward(x.numpy(), tuple(s[0].numpy() for s in begun), **options)
    np.testing.assert_array_equal(output.numpy(), expected)
    for mine, theirs in zip(leaves(state), final, strict=True):
        np.testing.assert_array_equal(mine[0].numpy(), theirs)
    if not rk.cell_info(cell)["direct"] and not rk.cell_info(cell)["elements"]:
        tokens = torch.randint(0, size, (T, B))
        full = rnn.Recurrent(cell, size, H, **projected(cell))
        table = rk.Prepared(cell, numpy_of(full, "_l0"), weights="int8", tokens=True)
        rnn.quantize(full)
        np.testing.assert_array_equal(full(tokens)[0].numpy(), table.forward(tokens.numpy())[0])


@pytest.mark.parametrize("name", NAMES)
def test_torch_nns_layers_and_ours_become_the_same(name: str) -> None:
    theirs = layer_of(name).eval()
    ours, x = copy.deepcopy(theirs), input_of(name)
    with torch.no_grad():
        exact = theirs(x)
    rnn.swap(ours)
    for layer in (theirs, ours):
        report = rnn.quantize(layer)
        assert str(report) == f"(the model itself): {type(layer).__name__}, on rnnkernels with int8 weights"
        assert type(layer) is (rnn.QuantizedCell if name in CELLS else rnn.Quantized)
        assert rnn.quantize(layer).already == rnn.swap(layer).already == {"": type(layer).__name__}
        assert list(layer.parameters()) == []
    found = theirs(x)
    assert same(found, ours(x))
    for mine, other in zip(leaves(found), leaves(exact), strict=True):
        assert mine.shape == other.shape
        assert 0 < (mine - other).abs().max() < 0.02
    with torch.no_grad():
        state = tuple(torch.rand_like(s) for s in leaves(exact)[-(2 if "LSTM" in name else 1) :])
        given = state if "LSTM" in name else state[0]
        assert same(theirs(x, given), theirs(x, hx=given))
        assert not same(theirs(x, given), theirs(x))
    with pytest.raises(TypeError, match=r"^hx: expected None beside state"):
        theirs(x, given, hx=given)


@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bidirectional": True}, {"bias": False}], ids=str)
@pytest.mark.parametrize("proj_size", [0, 7])
def test_layers_directions_and_arrangements(options: dict[str, Any], proj_size: int) -> None:
    layer = layer_of("LSTM", num_layers=2, proj_size=proj_size, dropout=0.1, **options).eval()
    exact, x = copy.deepcopy(layer), torch.randn(T, B, I)
    rnn.swap(exact)
    rnn.quantize(layer)
    layer.flatten_parameters()
    sizes = torch.tensor([6, 2, 4])
    packing = (
        pack_padded_sequence(x, sizes, options.get("batch_first", False), enforce_sorted=False)
        if not options.get("batch_first")
        else x
    )
    with torch.no_grad():
        for given in (x, x[0], packing):
            for mine, other in zip(leaves(layer(given)), leaves(exact(given)), strict=True):
                assert mine.shape == other.shape
                assert not mine.is_floating_point() or (mine - other).abs().max() < 0.03
    if not options.get("batch_first"):
        ragged = layer(packing)
        for row, steps in enumerate(sizes.tolist()):
            alone = layer(x[:steps, row : row + 1])
            for mine, other in zip(leaves(ragged[1]), leaves(alone[1]), strict=True):
                assert torch.equal(mine[:, row : row + 1], other)


def test_a_term_and_masks_that_are_expected() -> None:
    layer = rnn.Recurrent("gru", I, H, zoneout=0.2, recurrent_dropout=0.1).eval()
    noise = rk.Noise(0, 0.2, recurrent_dropout=0.1)
    prepared = rk.Prepared("gru", numpy_of(layer, "_l0"), weights="int8", noise=noise)
    rnn.quantize(layer)
    x, term = torch.randn(T, B, I), torch.randn(B, 3 * H)
    expected = prepared.forward(x.numpy(), term=term.numpy())[0]
    np.testing.assert_array_equal(layer(x, term=term)[0].numpy(), expected)
    lengths = torch.tensor([6, 4, 2])
    packing = pack_padded_sequence(x, lengths)
    np.testing.assert_array_equal(
        layer(packing)[1][0].numpy(), prepared.forward(x.numpy(), lengths=lengths.numpy())[1][0]
    )
    with pytest.raises(NotImplementedError, match=r"no masks, which are drawn in training: .* model\.eval\(\)"):
        layer.train()(x)
    with pytest.raises(
        NotImplementedError, match=r"expected evaluation, model\.eval\(\), got training with dropout 0.1"
    ):
        rnn.Quantized(layer_of("GRU", num_layers=2, dropout=0.1))(x)


def test_a_call_that_needs_gradients_raises() -> None:
    layer, x = rnn.Quantized(layer_of("LSTM")), torch.randn(T, B, I, requires_grad=True)
    state = torch.zeros(1, B, H), torch.zeros(1, B, H, requires_grad=True)
    for given in ((x,), (x.detach(), state), (pack_padded_sequence(x, torch.tensor([6, 4, 2])),)):
        with pytest.raises(NotImplementedError, match=r"int8 weights are for inference: .* requires a gradient"):
            layer(*given)
        with torch.no_grad():
            assert not layer(*given)[1][0].requires_grad
    cell = rnn.QuantizedCell(layer_of("GRUCell"))
    with pytest.raises(NotImplementedError, match=r"torch.QuantizedCell: int8 weights are for inference"):
        cell(x[0])


class Tagger(nn.Module):  # type: ignore[misc]
    """A model with layers at several depths, one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"rnn": nn.LSTM(I, H, 2, bidirectional=True), "norm": nn.LayerNorm(2 * H)})
        self.decoder = rnn.Recurrent("mut3", 2 * H, H)
        self.again = self.decoder
        self.cell = rnn.GRUCell(H, H)
        self.head = nn.Linear(H, 4)

    def forward(self, x: Any) -> Any:
        hidden = self.decoder(self.encoder["norm"](self.encoder["rnn"](x)[0]))[0]
        return self.head(self.cell(hidden[-1]))


def quantized_tagger(seed: int) -> Any:
    torch.manual_seed(seed)
    model = Tagger().eval()
    report = rnn.quantize(model)
    assert report.replaced == {"encoder.rnn": "Quantized", "decoder": "Quantized", "cell": "QuantizedCell"}
    return model


def test_a_state_dict_has_the_integers_and_loads() -> None:
    model, other, x = quantized_tagger(0), quantized_tagger(1), torch.randn(T, B, I)
    assert model.again is model.decoder
    with torch.no_grad():
        expected, before = model(x), other(x)
        state = model.state_dict()
        assert state["encoder.rnn.weight_ih_l1_reverse"].dtype == torch.int8
        assert state["encoder.rnn.weight_ih_l1_reverse_scale"].shape == (4 * H,)
        assert state["decoder.bias_hh_l0"].dtype == torch.float32
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        other.load_state_dict(torch.load(file))
        assert torch.equal(other(x), expected)
        assert not torch.equal(before, expected)
        with pytest.raises(RuntimeError, match=r"weight_hh_l0"):
            other.load_state_dict(Tagger().state_dict() | {"decoder.weight_hh_l0": torch.zeros(1)})


def test_safetensors_hold_it() -> None:
    of_torch = pytest.importorskip("safetensors.torch")
    layer, x = rnn.Quantized(layer_of("GRU")), torch.randn(T, B, I)
    read = of_torch.load(of_torch.save(layer.state_dict()))
    other = rnn.Quantized(layer_of("GRU").apply(lambda m: m.reset_parameters()))
    other.load_state_dict(read)
    assert same(other(x), layer(x))
    params = {
        name.removesuffix("_scale").removesuffix("_l0") + "_scale" * name.endswith("_scale"): value.numpy()
        for name, value in read.items()
    }
    np.testing.assert_array_equal(rk.Prepared("gru", params).forward(x.numpy())[0], layer(x)[0].numpy())


def test_copies_and_pickles_are_of_their_own() -> None:
    model, x = quantized_tagger(0), torch.randn(T, B, I)
    with torch.no_grad():
        expected = model(x)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(other(x), expected)
            other.decoder.weight_hh_l0.neg_()  # in place: what was packed is packed again
            assert not torch.equal(other(x), expected)
            assert torch.equal(model(x), expected)


def test_a_layer_is_packed_once_and_let_go() -> None:
    packed._packed.clear()
    layer, x = rnn.Quantized(layer_of("GRU", num_layers=2)), torch.randn(T, B, I)
    layer(x), layer(x[:2])
    assert len(packed._packed) == 2
    made = {id(entry.layer) for entry in packed._packed.values()}
    layer.eval()(x)
    assert {id(entry.layer) for entry in packed._packed.values()} == made
    layer.weight_ih_l0_scale.mul_(2)
    layer(x)
    assert len(packed._packed) == 2
    assert len({id(entry.layer) for entry in packed._packed.values()} & made) == 1
    del layer
    rnn.QuantizedCell(layer_of("GRUCell"))(x[0])
    assert len(packed._packed) == 1


def test_hooks_and_attributes_stay() -> None:
    layer = layer_of("LSTM")
    layer.mine, calls = "kept", []
    layer.register_forward_hook(lambda *_: calls.append(1))
    model = nn.ModuleDict({"layer": layer})
    rnn.quantize(model)
    assert model["layer"] is layer
    layer(torch.randn(T, B, I))
    assert (layer.mine, calls, layer.hidden_size, layer.num_layers) == ("kept", [1], H, 1)
    assert repr(layer) == f"Quantized('lstm', {I}, {H})"
    twin = rnn.Quantized(layer_of("LSTM"))
    assert (twin.training, twin.eval().training) == (True, False)


def test_what_is_left_and_why() -> None:
    class Mine(nn.LSTM):  # type: ignore[misc]
        """A class of a user's own."""

    broken = layer_of("GRU")
    with torch.no_grad():
        broken.weight_hh_l0[3, 4] = float("nan")
    model = nn.ModuleDict(
        {
            "mine": Mine(I, H),
            "normed": nn.utils.parametrizations.weight_norm(layer_of("GRU"), "weight_hh_l0"),
            "wide": nn.GRU(I, H, dtype=torch.float64),
            "short": rnn.LSTM(I, H, dtype=torch.bfloat16),
            "meta": nn.GRU(I, H, device="meta"),
            "broken": broken,
            "pruned": prune.random_unstructured(layer_of("GRU"), "weight_hh_l0", 0.5),
            "looking": rnn.AttentionRecurrent("lstm", I, 2, H),
            "good": nn.RNN(I, H),
        }
    )
    before = copy.deepcopy({name: p for name, p in model.named_parameters() if "good" not in name})
    report = rnn.quantize(model)
    assert report.replaced == {"good": "Quantized"}
    assert {path: why.partition(":")[0] for path, why in report.left.items()} == {
        "mine": f"{__name__}.test_what_is_left_and_why.<locals>.Mine is a class of its own",
        "normed": "it is parametrized",
        "wide": "its weight_ih_l0 is torch.float64 on cpu, where int8 is made of float32 on the cpu",
        "short": "its weight_ih_l0 is torch.bfloat16 on cpu, where int8 is made of float32 on the cpu",
        "meta": "its weight_ih_l0 is torch.float32 on meta, where int8 is made of float32 on the cpu",
        "broken": "its weight_hh_l0 has numbers that are not finite",
        "pruned": "its weight_hh_l0 is no parameter",
        "looking": "it looks at features",
    }
    assert [name for name, _ in model.named_parameters()] == list(before)
    with pytest.raises(
        ValueError, match=r"^layer: expected one that rnnkernels.torch.quantize takes, got .* not finite"
    ):
        rnn.Quantized(broken)
    with pytest.raises(ValueError, match=r"^layer: .* it becomes a QuantizedCell"):
        rnn.Quantized(layer_of("GRUCell"))
    assert rnn.unswap(model).left["good"] == "torch.nn has no class in the place of Quantized"


def test_a_module_that_was_cast_is_refused_in_words() -> None:
    layer = rnn.Quantized(layer_of("GRU")).double()
    with pytest.raises(TypeError, match=r"^weight_ih_scale: expected .* float32 scales .* got torch.float64 on cpu"):
        layer(torch.randn(T, B, I, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"^input: expected dtype torch.float32"):
        layer.float()(torch.randn(T, B, I, dtype=torch.float64))
    with pytest.raises(NotImplementedError, match=r"expected weights to be loaded, not drawn"):
        layer.reset_parameters()


def test_autocast_returns_its_half() -> None:
    layer, x = rnn.Quantized(layer_of("LSTM")), torch.randn(T, B, I)
    with torch.autocast("cpu", torch.bfloat16):
        for given in (x, x.bfloat16()):
            output, (h, c) = layer(given)
            assert (output.dtype, h.dtype, c.dtype) == (torch.bfloat16,) * 3
            assert torch.equal(output, layer(given.float())[0])


def test_inference_mode() -> None:
    x = torch.randn(T, B, I)
    with torch.inference_mode():
        layer = rnn.Quantized(layer_of("GRU"))
        found = layer(x)[0]
    assert torch.equal(found, layer(x)[0])
    state = layer.state_dict()
    layer.load_state_dict({name: -value if name == "weight_ih_l0" else value for name, value in state.items()})
    assert not torch.equal(found, layer(x)[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_exported_and_traced_by_fx() -> None:
    model, x = quantized_tagger(0), torch.randn(T, B, I)
    with torch.no_grad():
        expected = model(x)
        assert torch.equal(torch.compile(model, fullgraph=True, backend="aot_eager")(x), expected)
        batch = torch.export.Dim("B", min=2)
        program = torch.export.export(model, (x,), dynamic_shapes=({1: batch},))
        file = io.BytesIO()
        torch.export.save(program, file)
        file.seek(0)
        loaded = torch.export.load(file)
        assert loaded.state_dict["decoder.weight_hh_l0"].dtype == torch.int8
        assert torch.equal(loaded.module()(x), expected)
        assert torch.equal(loaded.module()(torch.cat([x, x], 1)), torch.cat([expected, expected]))
        layer = nn.Sequential(rnn.Quantized(layer_of("GRU")))
        assert same(torch.fx.symbolic_trace(layer)(x), layer(x))
    with pytest.raises(NotImplementedError, match=r"torch\.jit\.script: .*torch\.Quantized"):
        torch.jit.script(layer)


def test_onnx_has_no_such_node() -> None:
    pytest.importorskip("onnxscript")
    layer = rnn.Quantized(layer_of("GRU")).eval()
    with pytest.raises(torch.onnx.errors.OnnxExporterError) as error:
        torch.onnx.export(layer, (torch.randn(T, B, I),), dynamo=True, verbose=False)
    assert "expected float weights, got int8" in str(error.value.__cause__)


# ---- torch.ao.quantization -----------------------------------------------------------------------------


def model_of(layer: Any) -> Any:
    return nn.ModuleDict({"layer": layer, "head": nn.Linear(H, 2)}).eval()


@quantizing
@pytest.mark.parametrize("name", [*NAMES, "Recurrent", "RecurrentCell"])
def test_quantize_dynamic_finds_our_layers(name: str) -> None:
    layer = getattr(rnn, name)(I, H) if name in NAMES else getattr(rnn, name)("lstm_peephole", I, H)
    calls: list[int] = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    layer.register_forward_pre_hook(lambda *_: calls.append(2))
    model, x = model_of(layer), input_of(name)
    done = torch.ao.quantization.quantize_dynamic(model)
    assert type(model["layer"]) is getattr(rnn, name)
    assert type(done["layer"]) is (rnn.QuantizedCell if name.endswith("Cell") else rnn.Quantized)
    assert type(done["head"]) is not nn.Linear
    found = done["layer"](x)
    assert sorted(calls) == [1, 2]
    rnn.quantize(layer)
    assert same(found, layer(x))
    assert not hasattr(done["layer"], "qconfig")


@quantizing
def test_quantize_dynamic_gives_what_it_was_asked_for() -> None:
    """By default, by our classes, by torch.nn's, by a path; not where it names others."""
    for spec, kind in (
        ({nn.Linear}, rnn.LSTM),
        ({nn.GRU}, rnn.LSTM),
        ({nn.LSTM}, rnn.Quantized),
        ({rnn.LSTM}, rnn.Quantized),
        ({"layer"}, rnn.Quantized),
        (None, rnn.Quantized),
    ):
        done = torch.ao.quantization.quantize_dynamic(model_of(rnn.LSTM(I, H)), spec)
        assert type(done["layer"]) is kind, spec
    done = torch.ao.quantization.quantize_dynamic(model_of(rnn.Quantized(rnn.LSTM(I, H))))
    assert type(done["layer"]) is rnn.Quantized
    theirs = torch.ao.quantization.quantize_dynamic(model_of(nn.LSTM(I, H)))
    assert type(theirs["layer"]) is torch.ao.nn.quantized.dynamic.LSTM


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:torch.quantize_per_tensor")
def test_what_it_cannot_have_is_said() -> None:
    said = r"torch\.ao\.quantization: rnnkernels\.torch\.LSTM stays in floating point"
    with pytest.warns(UserWarning, match=said):
        done = torch.ao.quantization.quantize_dynamic(model_of(rnn.LSTM(I, H)), dtype=torch.float16)
    assert type(done["layer"]) is rnn.LSTM
    with pytest.warns(UserWarning, match=r"rnnkernels\.torch\.AttentionRecurrent stays in floating point"):
        torch.ao.quantization.quantize_dynamic(model_of(rnn.AttentionRecurrent("lstm", I, 2, H)))
    model = model_of(rnn.LSTM(I, H))
    model.qconfig = torch.ao.quantization.default_qconfig
    with pytest.warns(UserWarning, match=said):
        torch.ao.quantization.prepare(model)
    with pytest.raises(ValueError, match=r"^layer: .* its weight_ih_l0 is torch.float64"):
        torch.ao.quantization.quantize_dynamic(model_of(rnn.LSTM(I, H, dtype=torch.float64)))
