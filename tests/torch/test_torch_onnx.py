"""Models with our layers under `torch.onnx.export`: nodes of the standard, run by ONNX Runtime at other lengths too."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch
from torch_compare import assert_near, leaves

import rnnkernels.torch as rnn
from rnnkernels._asked import Asked
from rnnkernels.noise import Drawn
from rnnkernels.torch import export, operators

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
if not hasattr(torch.onnx, "ops"):
    pytest.skip("this PyTorch does not record nodes of ONNX", allow_module_level=True)

if TYPE_CHECKING:
    from collections.abc import Callable

# Of PyTorch's exporter and what it calls.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

I, H, P = 4, 6, 3  # noqa: E741
TRACED, OTHERS = (5, 3), ((9, 2), (1, 1), (4, 6))  # (T, B)


class Inputs(NamedTuple):
    x: Any  # (T, B, I)
    tokens: Any  # (T, B)
    lengths: Any  # (B,), from 0 to T
    h: Any  # (2, B, H)
    c: Any  # (2, B, H)
    p: Any  # (2, B, P), states that are projected


DYNAMIC = ({0: "T", 1: "B"}, {0: "T", 1: "B"}, {0: "B"}, {1: "B"}, {1: "B"}, {1: "B"})


def inputs(T: int, B: int) -> Inputs:
    lengths = torch.arange(B) % (T + 1) if B > 1 else torch.tensor([T])
    states = (torch.randn(2, B, width) for width in (H, H, P))
    return Inputs(torch.randn(T, B, I), torch.randint(0, I, (T, B)), lengths, *states)


Case = tuple["Callable[[], Any]", "Callable[[Any, Inputs], Any]"]
CASES: dict[str, Case] = {
    "RNN": (lambda: rnn.RNN(I, H), lambda layer, g: layer(g.x)),
    "RNN, relu, no biases": (lambda: rnn.RNN(I, H, nonlinearity="relu", bias=False), lambda layer, g: layer(g.x)),
    "GRU": (lambda: rnn.GRU(I, H), lambda layer, g: layer(g.x)),
    "GRU, stacked, both ways": (lambda: rnn.GRU(I, H, 2, bidirectional=True), lambda layer, g: layer(g.x)),
    "GRU, state": (lambda: rnn.GRU(I, H, 2), lambda layer, g: layer(g.x, g.h)),
    "LSTM": (lambda: rnn.LSTM(I, H), lambda layer, g: layer(g.x)),
    "LSTM, stacked, both ways": (lambda: rnn.LSTM(I, H, 2, bidirectional=True), lambda layer, g: layer(g.x)),
    "LSTM, state, both ways": (lambda: rnn.LSTM(I, H, bidirectional=True), lambda layer, g: layer(g.x, (g.h, g.c))),
    "LSTM, batch first": (
        lambda: rnn.LSTM(I, H, batch_first=True, dropout=0.5, num_layers=2),
        lambda layer, g: layer(g.x.transpose(0, 1)),
    ),
    "LSTM, one sequence": (lambda: rnn.LSTM(I, H), lambda layer, g: layer(g.x[:, 0])),
    "LSTM, half": (lambda: rnn.LSTM(I, H, dtype=torch.float16), lambda layer, g: layer(g.x.half())),
    "LSTM, projected": (lambda: rnn.LSTM(I, H, 2, proj_size=P), lambda layer, g: layer(g.x)),
    "LSTM, projected, state": (
        lambda: rnn.LSTM(I, H, proj_size=P, bidirectional=True),
        lambda layer, g: layer(g.x, (g.p, g.c)),
    ),
    "RNNCell": (lambda: rnn.RNNCell(I, H), lambda layer, g: layer(g.x[0], g.h[0])),
    "GRUCell": (lambda: rnn.GRUCell(I, H), lambda layer, g: layer(g.x[0])),
    "LSTMCell": (lambda: rnn.LSTMCell(I, H), lambda layer, g: layer(g.x[0], (g.h[0], g.c[0]))),
    "swapped": (lambda: swapped(torch.nn.LSTM(I, H)), lambda layer, g: layer(g.x)),
    "tokens": (lambda: rnn.Recurrent("gru", I, H), lambda layer, g: layer(g.tokens)),
    "dropout inside": (lambda: rnn.Recurrent("gru", I, H, recurrent_dropout=0.5), lambda layer, g: layer(g.x)),
    "all states": (lambda: rnn.Recurrent("gru", I, H), lambda layer, g: layer(g.x, all_states=True)),
    "lengths": (lambda: rnn.Recurrent("lstm", I, H), lambda layer, g: layer(g.x, lengths=g.lengths)),
    "a step": (lambda: rnn.RecurrentCell("lstm_peephole", I, H), lambda layer, g: layer(g.x[0])),
}


def of_cell(cell: str) -> Case:
    size: dict[str, Any] = {"proj_size": P} if cell.endswith("_projected") else {}
    return (
        lambda: rnn.Recurrent(cell, I, H, bidirectional=True, **size),
        lambda layer, g: layer(g.x, state_of(layer, g), lengths=g.lengths),
    )


CASES |= {f"{cell}, lengths, state": of_cell(cell) for cell in export._NODES}


def swapped(model: Any) -> Any:
    rnn.swap(model)
    return model


def state_of(layer: Any, given: Inputs) -> Any:
    first = given.p if layer.proj_size else given.h
    return first if len(layer.state_names) == 1 else (first, given.c)


class Many(torch.nn.Module):  # type: ignore[misc]
    """Every case as one model: an export takes seconds."""

    def __init__(self, cases: dict[str, Case]) -> None:
        super().__init__()
        self.calls = [call for _, call in cases.values()]
        self.layers = torch.nn.ModuleList(make() for make, _ in cases.values())

    def forward(self, *given: Any) -> Any:
        return [leaves(call(layer, Inputs(*given))) for call, layer in zip(self.calls, self.layers, strict=True)]


class File(NamedTuple):
    """A model, and what was exported of it."""

    model: Any
    proto: Any

    def outputs(self, given: tuple[Any, ...]) -> list[Any]:
        session = runtime.InferenceSession(self.proto.SerializeToString(), providers=["CPUExecutionProvider"])
        names = {i.name for i in session.get_inputs()}
        feeds = {f"given_{k}": g.numpy() for k, g in enumerate(given)}
        return list(map(torch.from_numpy, session.run(None, {n: v for n, v in feeds.items() if n in names})))

    @property
    def nodes(self) -> list[Any]:
        return [node for node in self.proto.graph.node if node.op_type in ("RNN", "GRU", "LSTM")]


def exported(model: Any, given: tuple[Any, ...], dynamic: Any, **options: Any) -> File:
    names = [f"given_{k}" for k in range(len(given))]
    program = torch.onnx.export(
        model, given, dynamo=True, dynamic_shapes=dynamic, input_names=names, verbose=False, **options
    )
    return File(model, program.model_proto)


def assert_same(file: File, cases: dict[str, Case], sizes: tuple[int, int]) -> None:
    torch.manual_seed(1)
    given = inputs(*sizes)
    found = file.outputs(given)
    for name, expected in zip(cases, file.model(*given), strict=True):
        for theirs in expected:
            mine = found.pop(0)
            assert mine.shape == theirs.shape, name
            assert_near(mine, theirs, "output", (*sizes, I, H, 2), name)
    assert not found


def test_a_few_layers_at_another_length() -> None:
    cases = {name: CASES[name] for name in ("GRU", "LSTM, projected, state", "lstm_peephole, lengths, state")}
    file = exported(Many(cases).eval(), inputs(*TRACED), (DYNAMIC,), optimize=False)
    for sizes in (TRACED, OTHERS[-1]):
        assert_same(file, cases, sizes)


@pytest.fixture(scope="module")
def file() -> File:
    return exported(Many(CASES).eval(), inputs(*TRACED), (DYNAMIC,), optimize=False)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [TRACED, *OTHERS], ids=str)
def test_every_layer_at_every_length(file: File, sizes: tuple[int, int]) -> None:
    assert_same(file, CASES, sizes)


def test_a_layer_is_a_node_for_each_direction() -> None:
    model = torch.nn.Sequential(rnn.GRU(I, H, 2, bidirectional=True))
    nodes = exported(model, (inputs(*TRACED).x,), (DYNAMIC[0],)).nodes
    attributes = [{a.name: a.i if a.type == a.INT else a.s.decode() for a in node.attribute} for node in nodes]
    assert [node.op_type for node in nodes] == ["GRU"] * 4
    assert [a["direction"] for a in attributes] == ["forward", "reverse"] * 2
    assert all(a["linear_before_reset"] == 1 and a["hidden_size"] == H for a in attributes)


@pytest.mark.slow
def test_sizes_that_are_no_symbols_and_weights_that_are_not_folded() -> None:
    model, x = rnn.LSTM(64, 128), torch.randn(5, 2, 64)
    found = exported(model, (x,), None).outputs((x,))
    for mine, theirs in zip(found, leaves(model(x)), strict=True):
        assert_near(mine, theirs, "output", (5, 2, 64, 128, 1))


@pytest.mark.slow
@pytest.mark.parametrize("opset", [18, 22])
def test_an_exported_program_that_was_saved(opset: int) -> None:
    model, given = rnn.LSTM(I, H, bidirectional=True), (inputs(*TRACED).x,)
    program = torch.export.export(model, given, dynamic_shapes=({0: torch.export.Dim("T"), 1: torch.export.Dim("B")},))
    assert any("rnnkernels.forward" in str(node.target) for node in program.graph.nodes)
    stored = io.BytesIO()
    torch.export.save(program, stored)
    stored.seek(0)
    made = torch.onnx.export(
        torch.export.load(stored), dynamo=True, opset_version=opset, input_names=["given_0"], verbose=False
    )
    assert {o.domain: o.version for o in made.model_proto.opset_import}[""] == opset
    other = (inputs(9, 2).x,)
    for mine, theirs in zip(File(model, made.model_proto).outputs(other), leaves(model(*other)), strict=True):
        assert_near(mine, theirs, "output", (9, 2, I, H, 1))
    assert any("rnnkernels.forward" in str(n.target) for n in program.run_decompositions().graph.nodes)


def test_what_onnx_lacks_is_refused_by_the_export() -> None:
    with pytest.raises(torch.onnx.errors.OnnxExporterError, match=r"expected a cell that ONNX has .*got mgu"):
        exported(rnn.Recurrent("mgu", I, H), (inputs(*TRACED).x,), None)


def given_of(cell: str, **tensors: Any) -> Any:
    layer = rnn.RecurrentCell(cell, I, H)
    names, weights = zip(*layer.named_parameters(), strict=True)
    nothing: dict[str, Any] = {"state": [], "reset_state": [], "term": None}
    return operators.Given(list(names), torch.randn(5, 3, I), list(weights), **(nothing | tensors))


@pytest.mark.parametrize(
    ("asked", "tensors", "words"),
    [
        (Asked("ligru"), {}, "expected a cell that ONNX has an operator for, one of rnn_tanh, .*; got ligru"),
        (Asked("lstm", batch_sizes=torch.tensor([2, 1])), {}, "expected a padded batch, got a PackedSequence"),
        (Asked("lstm", resets=torch.zeros(5, 3, dtype=torch.bool)), {}, "no resets"),
        (Asked("lstm", cell_clip=1.0, all_states=True), {}, "no cell_clip, all_states"),
        (Asked("gru"), {"term": torch.zeros(3, 3 * H)}, "no term"),
        (Asked("gru", noise=Drawn(recurrent_dropout=0.5)), {}, "expected a layer without masks inside"),
        (Asked("gru", noise=Drawn(zoneout=(0.5,), expected=True)), {}, "expected a layer without masks inside"),
    ],
)
def test_what_a_node_cannot_do_is_refused_in_words(asked: Asked, tensors: Any, words: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"torch\.onnx\.export: .*{words}"):
        export.to_node(asked, given_of(asked.cell, **tensors))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_names_the_export_that_works() -> None:
    with pytest.raises(NotImplementedError, match=r"torch\.onnx\.export\(dynamo=True\)"):
        torch.onnx.export(rnn.LSTM(I, H), (inputs(*TRACED).x,), io.BytesIO(), dynamo=False)
