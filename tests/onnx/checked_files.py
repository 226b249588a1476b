"""`rnnkernels.onnx.check`: what is wrong with a file is said in words, what is right is the same.

Run by test_onnx_check.py.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import rnnkernels.onnx as ro
from rnnkernels import convert

torch = pytest.importorskip("torch")
import rnnkernels.torch as rnn  # noqa: E402 - needs PyTorch

if TYPE_CHECKING:
    from pathlib import Path

Module: Any = torch.nn.Module
T, B, I, H = 5, 3, 4, 4  # noqa: E741
Tensors = dict[str, Any]


class First(Module):  # type: ignore[misc]
    """A layer, of whose results the outputs alone are wanted."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Any) -> Any:
        return self.layer(*inputs)[0]


def module_of(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return First(getattr(torch.nn, kind)(I, H, **options))


X = np.random.default_rng(0).standard_normal((T, B, I)).astype(np.float32)
CELLS = {"RNN": "rnn_tanh", "LSTM": "lstm", "GRU": "gru"}
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}


def node_of(module: Any, name: str = "top", number: int = 0) -> tuple[Any, Tensors]:
    """The right node of a module's layer, the first or another of those that are stacked, and its weights."""
    layer = module.layer
    params = convert.from_torch(CELLS[type(layer).__name__], layer.state_dict(), stacked=True)
    ways = (f"_l{number}", f"_l{number}_reverse")[: 2 if layer.bidirectional else 1]
    parts = [
        ro.Direction(
            CELLS[type(layer).__name__],
            {n.removesuffix(way): a for n, a in params.items() if n.endswith(way)},
            bool(reverse),
        )
        for reverse, way in enumerate(ways)
    ]
    node, tensors = ro.to_node(ro.Layer(tuple(parts)), name)
    return node, {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in tensors}


def model_of(node: Any, tensors: Tensors, *more: str, before: tuple[Any, ...] = ()) -> Any:
    """A file of one node: its Y (T, D, B, H) as a layer gives it (T, B, D*H). `more`: inputs beside x."""
    info = helper.make_tensor_value_info
    for at, name in enumerate(node.input):
        node.input[at] = "x" if name == "X" else name
    nodes = [
        *before,
        node,
        helper.make_node("Transpose", [node.output[0]], ["turned"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["turned", "shape"], ["y"]),
    ]
    tensors = tensors | {"shape": np.array([0, 0, -1], np.int64)}
    inputs = [info("x", 1, ["T", "B", I]), *(info(name, 1, [1, "B", H]) for name in more)]
    made = [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items()]
    graph = helper.make_graph(nodes, "g", inputs, [info("y", 1, ["T", "B", "O"])], made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def set_attribute(node: Any, **values: Any) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name not in values]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in values.items())])


def set_input(node: Any, at: int, name: str) -> None:
    while len(node.input) <= at:
        node.input.append("")
    node.input[at] = name


def blocks(array: Any, gates: int) -> list[Any]:
    """Rows of gates, (gates, H, ...), of the first direction: views."""
    return np.split(array[0], gates)


# ---- what is right


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", CELLS)
def test_a_right_file_is_the_same(kind: str, bidirectional: bool) -> None:
    module = module_of(kind, bidirectional=bidirectional)
    report = ro.check(model_of(*node_of(module)), module, torch.from_numpy(X), raise_on_difference=True)
    assert report.same
    assert [node.layer for node in report.nodes] == ["layer", "layer, reverse"][: 1 + bidirectional]
    assert all(node.difference < 1e-6 and not node.remarks for node in report.nodes)
    assert report.outputs["y"] < 1e-6
    assert not report.missing
    assert str(report).startswith("the same\n  node top, layer layer: the same, to ")


def test_what_layers_between_are_given() -> None:
    module = module_of("LSTM", num_layers=2, bidirectional=True)
    (lower, tensors), (upper, more) = node_of(module, "lower"), node_of(module, "upper", 1)
    lower.input[0], upper.input[0] = "x", "between"
    lower.output[:] = [f"lower.{name}" for name in lower.output]
    names = [f"layer, layer {k}{way}" for k in (0, 1) for way in ("", ", reverse")]
    for off, causes in ((0, ()), (1, ("its input differs already, by up to 1",))):
        between = (
            lower,
            helper.make_node("Transpose", [lower.output[0]], ["rows"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", ["rows", "shape"], ["right"]),
            helper.make_node("Add", ["right", "off"], ["between"]),
        )
        report = ro.check(model_of(upper, tensors | more | {"off": np.float32(off)}, before=between), module, X)
        assert [node.layer for node in report.nodes] == names
        assert [node.causes for node in report.nodes] == [(), (), causes, causes]


def test_modes_and_hooks_are_put_back() -> None:
    module = torch.nn.Sequential(torch.nn.Dropout(0.5), module_of("GRU"))
    module[0].eval()
    before = [each.training for each in module.modules()]
    assert ro.check(model_of(*node_of(module[1])), module, X).same
    assert [each.training for each in module.modules()] == before
    assert not any(each._forward_hooks for each in module.modules())


# ---- what is wrong: one change of a right file each


def gate_order(node: Any, tensors: Tensors) -> None:
    for name in ("top.W", "top.R"):
        i, o, f, c = blocks(tensors[name], 4)
        tensors[name] = np.concatenate([i, f, c, o])[None]
    i, o, f, c, *of_r = np.split(tensors["top.B"][0], 8)
    tensors["top.B"] = np.concatenate([i, f, c, o, *(of_r[k] for k in (0, 2, 3, 1))])[None]


def forget_bias(node: Any, tensors: Tensors) -> None:
    tensors["top.B"][0, 2 * H : 3 * H] += 1


def another_bias(node: Any, tensors: Tensors) -> None:
    tensors["top.B"][0, 0] += 1


def no_bias(node: Any, tensors: Tensors) -> None:
    node.input[3] = ""


def z_turned(node: Any, tensors: Tensors) -> None:
    for name in ("top.W", "top.R"):
        tensors[name][0, :H] *= -1


def transposed(node: Any, tensors: Tensors) -> None:
    tensors["top.R"] = np.concatenate([block.T for block in blocks(tensors["top.R"], 4)])[None]


def other_weights(node: Any, tensors: Tensors) -> None:
    tensors["top.W"][0, H] += 0.25


def rounded(node: Any, tensors: Tensors) -> None:
    for name in ("top.W", "top.R"):
        tensors[name] = np.round(tensors[name] * 254) / np.float32(254)


def biases_added(node: Any, tensors: Tensors) -> None:
    of_w, of_r = np.split(tensors["top.B"], 2, axis=1)
    tensors["top.B"] = np.concatenate([of_w + of_r, 0 * of_r], axis=1)


def peepholes(node: Any, tensors: Tensors) -> None:
    tensors["top.P"] = np.full((1, 3 * H), 0.5, np.float32)
    set_input(node, 7, "top.P")


def constant_state(node: Any, tensors: Tensors) -> None:
    tensors["h"] = np.full((1, B, H), 0.5, np.float32)
    set_input(node, 5, "h")


def short_rows(node: Any, tensors: Tensors) -> None:
    tensors["n"] = np.array([T, 2, 1], np.int32)
    set_input(node, 4, "n")


WRONG: dict[str, tuple[str, Any, str]] = {
    "reset": (
        "GRU",
        lambda node, _: set_attribute(node, linear_before_reset=0),
        "linear_before_reset = 0, the layer's equations need 1",
    ),
    "gate order": ("LSTM", gate_order, "gate order: where ONNX has i o f c its rows are those of i f c o"),
    "forget bias": ("LSTM", forget_bias, "forget bias: B: the bias of gate f is 1 more"),
    "another bias": ("LSTM", another_bias, "B: the bias of gate i differs by up to 1"),
    "no bias": ("GRU", no_bias, "B: it has no bias for gate r, the layer has one of up to"),
    "z turned": ("GRU", z_turned, "W, R: gate z has the opposite sign: z lets the new state in"),
    "transposed": ("LSTM", transposed, "R: gate i, f, c, o is transposed, gate by gate"),
    "other weights": ("LSTM", other_weights, "W: gate o differs by up to 0.25, of numbers up to"),
    "rounded": ("GRU", rounded, "W: gate r, z, h differs by up to 0.00"),
    "biases added": ("GRU", biases_added, "B: both biases of gate h are added on one side: the reset has to keep them"),
    "peepholes": ("LSTM", peepholes, "P: it has peepholes, up to 0.5, the layer has none"),
    "input_forget": (
        "LSTM",
        lambda node, _: set_attribute(node, input_forget=1),
        "input_forget = 1, the layer's equations need 0",
    ),
    "activations": (
        "LSTM",
        lambda node, _: set_attribute(node, activations=["HardSigmoid", "Tanh", "Tanh"]),
        "activations = HardSigmoid(0.2, 0.5), Tanh, Tanh; the layer has Sigmoid, Tanh, Tanh",
    ),
    "clip": ("GRU", lambda node, _: set_attribute(node, clip=0.25), "clip = 0.25, the layer has none"),
    "direction": (
        "RNN",
        lambda node, _: set_attribute(node, direction="reverse"),
        "direction: it runs in reverse, the layer's weights run forward",
    ),
    "state": ("GRU", constant_state, "initial_h: it is a constant, the state before the first step differs, off by up"),
    "lengths": ("GRU", short_rows, "sequence_lens: 1 to 5 of 5 steps, the layer ran all"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_named(name: str) -> None:
    kind, change, words = WRONG[name]
    module = module_of(kind)
    node, tensors = node_of(module)
    change(node, tensors)
    report = ro.check(model_of(node, tensors), module, X)
    assert not report.same
    (found,) = report.nodes
    assert found.causes[0].startswith(words)
    assert found.difference > 1e-4
    said = f"  node top, layer layer: {found.causes[0]}"
    assert said in str(report)
    assert f"outputs differ by up to {found.difference:.2g}" in str(report)
    if name not in ("no bias", "rounded"):  # each gate's, each matrix's
        assert len(found.causes) == 1
    with pytest.raises(ro.DifferenceError, match="1 of 1 directions of nodes differ") as caught:
        ro.check(model_of(node, tensors), module, X, raise_on_difference=True)
    assert str(caught.value) == str(report)
    assert caught.value.report.nodes == report.nodes


def test_a_node_that_is_none_of_onnx_is_said() -> None:
    """Its attributes are no ONNX: nothing runs it, and the report says why."""
    module = module_of("GRU")
    node, tensors = node_of(module)
    set_attribute(node, clip=-1.0)
    report = ro.check(model_of(node, tensors), module, X)
    assert not report.same
    assert report.nodes[0].remarks[0] == "its weights were not compared: clip: expected a number above 0, got -1.0"


def test_layout_that_its_input_has_not() -> None:
    """ONNX Runtime does not take layout = 1: what ran the file is said."""
    module = module_of("GRU")
    node, tensors = node_of(module)
    set_attribute(node, layout=1)
    report = ro.check(model_of(node, tensors), module, X)
    assert report.nodes[0].causes == ("layout = 1: its X has batch and time the other way round than the layer's",)
    assert report.by == "rnnkernels.onnx"
    assert not report.same


def test_directions_that_changed_places() -> None:
    module = module_of("LSTM", bidirectional=True)
    node, tensors = node_of(module)
    for name in ("top.W", "top.R", "top.B"):
        tensors[name] = np.ascontiguousarray(tensors[name][::-1])
    report = ro.check(model_of(node, tensors), module, X)
    assert [node.layer for node in report.nodes] == ["layer, reverse", "layer"]
    assert [node.causes for node in report.nodes] == [
        ("direction: it runs forward, the layer's weights run in reverse",),
        ("direction: it runs in reverse, the layer's weights run forward",),
    ]


def test_directions_of_other_numbers_keep_their_places() -> None:
    module = module_of("LSTM", bidirectional=True)
    node, tensors = node_of(module)
    rounded(node, tensors)
    report = ro.check(model_of(node, tensors), module, X)
    assert [node.layer for node in report.nodes] == ["layer", "layer, reverse"]
    assert all("rounded to fewer digits" in cause for node in report.nodes for cause in node.causes)


def test_a_state_that_the_file_does_not_take() -> None:
    module, h = module_of("GRU"), np.full((1, B, H), 0.5, np.float32)
    node, tensors = node_of(module)
    report = ro.check(model_of(node, tensors), module, (X, h), feeds={"x": X})
    assert report.nodes[0].causes == ("initial_h: the state before the first step is missing: zeros, off by up to 0.5",)
    set_input(node, 5, "h")
    assert ro.check(model_of(node, tensors, "h"), module, (X, h)).same
    baked = ro.check(model_of(node, tensors | {"h": h}), module, (X, h), feeds={"x": X})
    assert baked.same
    assert baked.nodes[0].remarks == (
        "initial_h is a constant for a batch of 3: no other batch runs",
        "initial_h is a constant, and the layer was given a state: right only if it is always the same",
    )


class Packed(Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.GRU(I, H)

    def forward(self, x: Any, lengths: Any) -> Any:
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths)
        return torch.nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0])[0]


def test_lengths_that_the_file_ignores() -> None:
    module, lengths = Packed(), torch.tensor([5, 4, 2])
    node, tensors = node_of(module)
    report = ro.check(model_of(node, tensors), module, (torch.from_numpy(X), lengths), feeds={"x": X})
    assert report.nodes[0].causes == ("sequence_lens is missing: the layer ran rows of 2 to 5 of 5 steps",)
    set_input(node, 4, "n")
    right = ro.check(
        model_of(node, tensors | {"n": lengths.numpy().astype(np.int32)}), module, (X, lengths), feeds={"x": X}
    )
    assert right.same
    assert right.nodes[0].remarks == ("sequence_lens is a constant: rows of other lengths run as those",)
    wrong = ro.check(model_of(node, tensors | {"n": np.full(3, 3, np.int32)}), module, (X, lengths), feeds={"x": X})
    assert wrong.nodes[0].causes == ("sequence_lens: 3, the layer ran 2 to 5",)


def test_sizes_that_are_baked_in() -> None:
    module = module_of("GRU")
    node, tensors = node_of(module)
    tensors["zeros"] = np.zeros((1, B, H), np.float32)
    set_input(node, 5, "zeros")
    model = model_of(node, tensors)
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.array([T, B, H]), "shape"))
    for size, number in zip(model.graph.input[0].type.tensor_type.shape.dim, X.shape, strict=True):
        size.dim_value = number
    report = ro.check(model, module, X)
    assert report.same
    assert report.nodes[0].remarks[0] == "initial_h is a constant of zeros for a batch of 3: no other batch runs"
    assert report.nodes[0].remarks[1].endswith("has the constant shape (5, 3, 4): time 5 and batch 3 may be baked in")
    assert report.notes == ("input x: its sizes (5, 3, 4) are fixed: other batches and lengths are refused",)
    # At other inputs such a file does not run: that is said, and is no error.
    other = ro.check(model, module, X[:2])
    assert not other.same
    assert other.by == "nothing"
    assert other.notes[0].startswith("ONNX Runtime")
    assert "output y: was not seen" in str(other)


def test_a_layer_that_did_not_run_is_said() -> None:
    module = module_of("GRU")
    module.layer_of_training = torch.nn.GRU(I, H)
    assert ro.check(model_of(*node_of(module)), module, X).notes == ("layer layer_of_training did not run",)


def test_what_stands_before_a_node_is_told_from_the_node() -> None:
    module = module_of("GRU")
    node, tensors = node_of(module)
    node.input[0] = "scaled"
    scaled = helper.make_node("Add", ["x", "one"], ["scaled"])
    report = ro.check(model_of(node, tensors | {"one": np.float32(1)}, before=(scaled,)), module, X)
    assert report.nodes[0].causes == ("its input differs already, by up to 1",)


def test_a_layer_without_a_node_and_a_node_without_a_layer() -> None:
    module = torch.nn.Sequential(First(torch.nn.GRU(I, H)))
    other = module_of("LSTM")
    report = ro.check(model_of(*node_of(other)), module, X)
    assert report.nodes[0].causes == ("the module has no layer for it",)
    assert report.missing == ("0.layer",)
    assert "output y: has another shape than the module's, or is not finite" not in str(report)
    wide = torch.nn.Sequential(First(torch.nn.GRU(I, H + 1)))
    assert "output y: has another shape than the module's" in str(ro.check(model_of(*node_of(other)), wide, X))
    assert "layer 0.layer: it has no node in the file; exporters write some layers as Gemm" in str(report)


def test_a_node_in_a_branch_is_compared_by_its_weights() -> None:
    module = module_of("GRU")
    node, tensors = node_of(module)
    set_attribute(node, linear_before_reset=0)
    inner = model_of(node, tensors).graph
    branch = helper.make_graph(inner.node, "then", [], inner.output, inner.initializer)
    info = helper.make_tensor_value_info
    both = helper.make_node("If", ["yes"], ["out"], name="if", then_branch=branch, else_branch=branch)
    graph = helper.make_graph([both], "g", inner.input, [info("out", 1, ["T", "B", "O"])])
    graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    report = ro.check(model, module, X)
    assert {node.node for node in report.nodes} == {"if/then_branch/top", "if/else_branch/top"}
    for node in report.nodes:
        assert node.causes == ("linear_before_reset = 0, the layer's equations need 1",)
        assert np.isnan(node.difference)
    assert report.outputs["out"] > 1e-3
    assert not report.same


# ---- files of exporters


def exported(module: Any, *inputs: Any) -> Any:
    pytest.importorskip("onnxscript")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    return torch.onnx.export(module, inputs, dynamo=True, verbose=False)


class Both(Module):  # type: ignore[misc]
    """Layers of torch.nn and ours, stacked, both ways, batch first, projected."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.lower = torch.nn.LSTM(I, H, 2, bidirectional=True, batch_first=True)
        self.upper = torch.nn.GRU(2 * H, 6, batch_first=True)
        self.ours = rnn.LSTM(6, 5, 2, proj_size=3, bidirectional=True)
        self.cell = rnn.GRUCell(6, 4)
        self.theirs = torch.nn.GRUCell(4, 2)

    def forward(self, x: Any) -> Any:
        y = self.upper(self.lower(x)[0])[0].transpose(0, 1)
        y = self.ours(y)[0]
        return y, self.theirs(self.cell(y[0]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.skipif(not hasattr(torch.onnx, "ops"), reason="this PyTorch does not record nodes of ONNX")
def test_a_model_as_pytorch_exports_it(tmp_path: Path) -> None:
    module = Both()
    x = torch.from_numpy(X)
    program = exported(module, x)
    model = program.model_proto
    for node in model.graph.node:
        if node.op_type == "GRU":  # as onnxscript 0.6 wrote them all; 0.7.2 writes 1
            set_attribute(node, linear_before_reset=1)
    report = ro.check(model, module, (x,))
    assert report.same, str(report)
    assert [node.layer for node in report.nodes] == [
        "lower, layer 0", "lower, layer 0, reverse", "lower, layer 1", "lower, layer 1, reverse", "upper",
        "ours, layer 0", "ours, layer 0, reverse", "ours, layer 1", "ours, layer 1, reverse", "cell",
    ]  # fmt: skip
    assert report.missing == ("theirs",)
    # Of one wrong node what follows is told apart.
    wrong = next(node for node in model.graph.node if node.op_type == "GRU")
    set_attribute(wrong, linear_before_reset=0)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    found = {node.layer: node.causes for node in ro.check(path, module, {"x": x}).nodes}
    assert found["upper"] == ("linear_before_reset = 0, the layer's equations need 1",)
    assert not found["lower, layer 1"]
    assert found["ours, layer 0"][0].startswith("its input differs already")
    assert ro.check(str(path), module, x).nodes == ro.check(path, module, [x]).nodes


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_projected_lstm_that_an_exporter_has_cut() -> None:
    module = First(torch.nn.LSTM(I, 6, proj_size=3))
    node, tensors = node_of(module_of("LSTM"), "cut")
    small = {name: array[:, : len(array[0]) // H * 3] for name, array in tensors.items()}
    small["cut.R"] = small["cut.R"][:, :, :3]
    set_attribute(node, hidden_size=3)
    report = ro.check(model_of(node, small), module, X)
    assert report.nodes[0].causes == (
        "hidden_size = 3 and 4 inputs, the layer has 6 and 4 (3 is its proj_size: ONNX's operators have no projection)",
    )


# ---- arguments


def test_halves_are_compared_as_halves() -> None:
    module = module_of("GRU").half()
    node, tensors = node_of(module_of("GRU"))
    model = model_of(node, {name: array.astype(np.float16) for name, array in tensors.items()})
    model.graph.input[0].type.tensor_type.elem_type = model.graph.output[0].type.tensor_type.elem_type = 10
    report = ro.check(model, module, X.astype(np.float16))
    assert report.tolerance == 1e-2
    assert report.same, str(report)


def test_what_cannot_be_checked_is_refused(tmp_path: Path) -> None:
    module = module_of("GRU")
    model = model_of(*node_of(module))
    (tmp_path / "no").write_bytes(b"\xff" * 64)
    for arguments, error, words in [
        ((str(tmp_path / "none"), module, X), ValueError, "model: expected a file, found none at "),
        ((str(tmp_path / "no"), module, X), ValueError, "model: no ONNX file: "),
        ((model, torch.zeros(1), X), TypeError, "module: expected a torch.nn.Module, got Tensor"),
        ((model, module, X[..., :2]), ValueError, "inputs: the module does not take them: "),
        ((model, module, (X, X[:1])), ValueError, "inputs: expected one for each of the file's inputs, x; got 2: "),
    ]:
        with pytest.raises(error, match=words):
            ro.check(*arguments)
    with pytest.raises(ValueError, match="feeds: expected the file's inputs x; got y"):
        ro.check(model, module, X, feeds={"y": X})
    with pytest.raises(ValueError, match="tolerance: expected a number above 0, got 0"):
        ro.check(model, module, X, tolerance=0.0)


def test_without_pytorch_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"check runs the source with PyTorch: pip install 'rnnkernels\[torch\]'"):
        ro.check("x", None, None)


def test_without_onnx_runtime_it_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    module = module_of("LSTM", bidirectional=True)
    report = ro.check(model_of(*node_of(module)), module, X)
    assert report.by == "rnnkernels.onnx"
    assert report.same
