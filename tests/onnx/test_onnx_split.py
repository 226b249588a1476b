"""Models that are taken apart at their recurrent nodes: the whole's answers, whatever the graph; what runs where."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import RUNTIMES, H, agrees, constant, draw_x, model, recurrent, same, tensor, value, weights, whole

import rnnkernels.onnx as ro

T, B = 5, 3
BOTH = pytest.mark.parametrize("runtime", RUNTIMES)
X = value("x", "T", "B", H)


def node(operator: str, inputs: Any, *outputs: str, **more: Any) -> Any:
    return helper.make_node(operator, inputs, list(outputs), **more)


def where(rep: Any) -> list[str]:
    return [part.where for part in rep.parts]


# ---- straight graphs -------------------------------------------------------------------------------------------------


@BOTH
def test_no_recurrent_node(runtime: str) -> None:
    proto = model([node("Mul", ["x", "x"], "y"), node("Neg", ["y"], "z")], [X], [value("z", None, None, None)])
    rep = agrees(proto, {"x": draw_x(T, B, H)}, runtime)
    assert where(rep) == [runtime]
    assert rep.parts[0].operators == {"Mul": 1, "Neg": 1}


@BOTH
def test_a_result_that_is_an_output_and_anothers_input(runtime: str) -> None:
    nodes = [
        node("Neg", ["x"], "n"),
        recurrent("a", "n", "y", "h", "c"),
        node("Squeeze", ["y", "one"], "s"),
        recurrent("b", "s", "", "h2", operator="GRU", linear_before_reset=1),
        node("Identity", ["h"], "copy"),
        node("Add", ["h", "h2"], "sum"),
    ]
    tensors = [*weights("a"), *weights("b", operator="GRU", seed=1), tensor("one", [1])]
    outputs = [
        value(name, *[None] * n) for name, n in (("y", 4), ("h", 3), ("c", 3), ("sum", 3), ("copy", 3), ("x", 3))
    ]
    proto = model(nodes, [X], outputs, tensors)
    rep = agrees(proto, {"x": draw_x(T, B, H)}, runtime)
    assert where(rep) == [runtime, "rnnkernels", runtime, "rnnkernels", runtime]
    assert [part.path for part in rep.parts if part.where == "rnnkernels"] == ["a", "b"]
    assert "5 parts" in repr(rep)
    assert "rnnkernels: 'b': GRU" in repr(rep)


@BOTH
def test_two_in_parallel_wait_for_one_part(runtime: str) -> None:
    nodes = [
        node("Neg", ["x"], "n"),
        recurrent("a", "n", "ya"),
        recurrent("b", "x", "yb", operator="RNN"),
        node("Abs", ["x"], "p"),
        recurrent("c", "p", "yc", operator="GRU"),
        node("Sum", ["ya", "yb", "yc"], "out"),
    ]
    tensors = [*weights("a"), *weights("b", operator="RNN"), *weights("c", operator="GRU")]
    proto = model(nodes, [X], [value("out", *[None] * 4)], tensors)
    rep = agrees(proto, {"x": draw_x(T, B, H)}, runtime)
    assert where(rep) == [runtime, *["rnnkernels"] * 3, runtime]
    assert rep.parts[0].operators == {"Neg": 1, "Abs": 1}


@BOTH
def test_constants_stay_constants_behind_a_recurrent_node(runtime: str) -> None:
    """A shape that is computed from constants goes to the part that reads it; nobody's nodes go."""
    nodes = [
        constant("rows", [0, 0]),
        constant("all", [-1]),
        node("Concat", ["rows", "all"], "shape", axis=0),
        node("Exp", ["x"], "nobody"),
        recurrent("a", "x", "y"),
        node("Transpose", ["long"], "wide"),
        node("MatMul", ["y", "wide"], "m"),
        node("Reshape", ["m", "shape"], "flat"),
        node("Identity", ["shape"], "seen"),
    ]
    tensors = [*weights("a"), tensor("long", draw_x(600, H, seed=7))]  # more than is folded
    proto = model(nodes, [X], [value("flat", *[None] * 3), value("seen", None, kind="i")], tensors)
    rep = agrees(proto, {"x": draw_x(T, B, H)}, runtime)
    assert where(rep) == ["rnnkernels", runtime]
    assert rep.parts[1].operators == {"MatMul": 1, "Reshape": 1}


@BOTH
@pytest.mark.parametrize("shape", [(T, B), (0, B), (T, 0), (1, 1)], ids=str)
def test_zero_lengths(runtime: str, shape: tuple[int, int]) -> None:
    nodes = [
        node("Neg", ["x"], "n"),
        recurrent("a", "n", "y", "h", inputs=["lengths"], direction="bidirectional"),
        node("Mul", ["y", "y"], "out"),
    ]
    inputs = [X, value("lengths", "B")]
    inputs[1].type.tensor_type.elem_type = TensorProto.INT32
    proto = model(nodes, inputs, [value("out", *[None] * 4), value("h", *[None] * 3)], weights("a", directions=2))
    steps, batch = shape
    feeds = {"x": draw_x(*shape, H), "lengths": np.arange(batch, dtype=np.int32) % (steps + 1)}
    wanted = (
        None if steps and batch else [np.zeros((steps, 2, batch, H), np.float32), np.zeros((2, batch, H), np.float32)]
    )
    agrees(proto, feeds, runtime, wanted)


@BOTH
def test_inputs_and_results_that_are_left_out(runtime: str) -> None:
    nodes = [
        node("Neg", ["c0"], "c"),
        recurrent("a", "x", "", "", "end", inputs=["", "", "c"]),
        node("Clip", ["end", "", "most"], "out"),
    ]
    inputs = [X, value("c0", 1, "B", H)]
    proto = model(nodes, inputs, [value("out", *[None] * 3)], [*weights("a"), tensor("most", np.float32(0.1))])
    agrees(proto, {"x": draw_x(T, B, H), "c0": draw_x(1, B, H, seed=2)}, runtime)


@BOTH
def test_initializers_that_are_inputs(runtime: str) -> None:
    """Constants until a run gives them another value, in the graph's nodes and in a recurrent node alike."""
    nodes = [node("Mul", ["x", "factor"], "n"), recurrent("a", "n", "y"), node("Mul", ["y", "factor"], "out")]
    tensors = [*weights("a"), tensor("factor", np.float32(2))]
    inputs = [X, value("factor"), value("a.W", 1, 4 * H, H)]
    proto = model(nodes, inputs, [value("out", *[None] * 4)], tensors)
    feeds = {"x": draw_x(T, B, H)}
    rep = agrees(proto, feeds, runtime)
    assert rep.input_names == ("x",)
    for more in (
        {"factor": np.float32(3)},
        {"a.W": draw_x(1, 4 * H, H)},
        {"a.W": draw_x(1, 4 * H, H), "factor": np.float32(1)},
    ):
        for _ in range(2):
            given = {**feeds, **{name: np.asarray(array) for name, array in more.items()}}
            same(list(rep.run(given)), whole(proto, given))
    same(list(rep.run(feeds)), whole(proto, feeds))


@BOTH
def test_texts_and_sequences_go_past_a_recurrent_node(runtime: str) -> None:
    nodes = [
        node("SplitToSequence", ["x"], "parts", axis=0, keepdims=1),
        node("Identity", ["words"], "said"),
        recurrent("a", "x", "y"),
        node("SequenceAt", ["parts", "first"], "part"),
        node("Squeeze", ["y", "first_axis"], "flat"),
        node("Mul", ["part", "flat"], "out"),
    ]
    tensors = [*weights("a"), tensor("first", np.int64(0)), tensor("first_axis", [1])]
    inputs = [X, value("words", None, kind="s")]
    outputs = [value("out", *[None] * 3), value("said", None, kind="s")]
    proto = model(nodes, inputs, outputs, tensors)
    feeds = {"x": draw_x(T, B, H), "words": np.array(["one", "two"], object)}
    agrees(proto, feeds, runtime)


@BOTH
def test_random_numbers_are_drawn_in_every_run(runtime: str) -> None:
    nodes = [node("RandomNormalLike", ["like"], "noise"), recurrent("a", "noise", "y"), node("Neg", ["y"], "out")]
    proto = model(nodes, [], [value("out", *[None] * 4)], [*weights("a"), tensor("like", draw_x(T, B, H))])
    rep = ro.prepare(proto, runtime=runtime)
    first, second = (rep.run({}).out for _ in range(2))
    assert first.tobytes() != second.tobytes()


def test_a_sparse_initializer() -> None:
    dense = np.zeros((H,), np.float32)
    dense[1] = 3
    sparse = helper.make_sparse_tensor(tensor("scale", np.array([3], np.float32)), tensor("places", [1]), [H])
    nodes = [recurrent("a", "x", "y"), node("Mul", ["y", "scale"], "out")]
    given, feeds = ([X], [value("out", *[None] * 4)]), draw_x(T, B, H)
    wanted = ro.run_model(model(nodes, *given, [*weights("a"), tensor("scale", dense)]), feeds)
    proto = model(nodes, *given, weights("a"), sparse=[sparse])
    pytest.importorskip("onnxruntime")
    same(list(ro.run_model(proto, draw_x(T, B, H))), list(wanted))


@BOTH
@pytest.mark.parametrize("shared", [False, True])
def test_large_initializers(runtime: str, shared: bool) -> None:
    """They reach their parts, also both of two; the caller's model is as it was."""
    wide = draw_x(H, 20_000, seed=4)
    nodes = [
        node("MatMul", ["x", "wide"], "m"),
        node("Slice", ["m", "zero", "four", "two"], "n"),
        recurrent("a", "n", "y"),
        node("MatMul", ["y", "wide" if shared else "wide2"], "o"),
        node("ReduceSum", ["o", "last"], "out"),
    ]
    small = [("zero", [0]), ("four", [H]), ("two", [2]), ("last", [3])]
    tensors = [*weights("a"), tensor("wide", wide), tensor("wide2", 2 * wide), *(tensor(*each) for each in small)]
    proto = model(nodes, [X], [value("out", *[None] * 4)], tensors)
    before = proto.SerializeToString()
    rep = ro.prepare(proto, runtime=runtime)
    np.testing.assert_allclose(
        rep.run(draw_x(T, B, H)).out, whole(proto, {"x": draw_x(T, B, H)})[0], rtol=1e-3, atol=1e-3
    )
    assert proto.SerializeToString() == before


def test_a_large_initializer_of_a_type_that_numpy_lacks() -> None:
    pytest.importorskip("onnxruntime")
    number = 0x3F80  # 1 in bfloat16
    raw = np.full((H, 20_000), number, np.uint16).tobytes()
    wide = helper.make_tensor("wide", TensorProto.BFLOAT16, (H, 20_000), raw, raw=True)
    nodes = [
        recurrent("a", "x", "y"),
        node("Cast", ["wide"], "floats", to=TensorProto.FLOAT),
        node("MatMul", ["y", "floats"], "m"),
        node("ReduceMax", ["m"], "out", axes=[3]),
    ]
    proto = model(nodes, [X], [value("out", *[None] * 4)], [*weights("a"), wide])
    rep = ro.prepare(proto, runtime="onnxruntime")
    y = ro.run_model(model(nodes[:1], [X], [value("y", *[None] * 4)], weights("a")), draw_x(T, B, H)).y
    np.testing.assert_allclose(rep.run(draw_x(T, B, H)).out, y.sum(3, keepdims=True), rtol=1e-5, atol=1e-5)


def test_external_data(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = model(
        [recurrent("a", "x", "y"), node("Mul", ["y", "y"], "out")], [X], [value("out", *[None] * 4)], weights("a")
    )
    wanted = ro.run_model(proto, draw_x(T, B, H))
    file = tmp_path / "model.onnx"
    onnx.save(proto, file, save_as_external_data=True, location="numbers.bin", size_threshold=16)
    for path in (file, str(file)):
        same(list(ro.prepare(path).run(draw_x(T, B, H))), list(wanted))
    monkeypatch.chdir(tmp_path)  # where onnx's checker finds the numbers
    named = (
        r"model: initializer 'a\.W' lies in a file of its own, 'numbers\.bin', that was not read; give the model's path"
    )
    with pytest.raises(ro.UnsupportedError, match=named):
        ro.prepare(onnx.load(file, load_external_data=False))
    with pytest.raises(ValueError, match=r"model: expected a file, got '.*nothing.onnx', which is none"):
        ro.prepare(tmp_path / "nothing.onnx")


# ---- branches and loops ----------------------------------------------------------------------------------------------


def branch(name: str, nodes: Any, output: str, *tensors: Any) -> Any:
    return helper.make_graph(list(nodes), name, [], [onnx.ValueInfoProto(name=output)], list(tensors))


def chosen(condition: str, *, shadowed: bool = False) -> Any:
    """An If with an LSTM in one branch, a GRU behind another node in the other; both read `n` of the graph around."""
    inner = "m" if shadowed else "k"
    left = [recurrent("a", "n", "y"), node("Mul", ["y", "scale"], "left")]
    yes = branch("yes", left, "left", tensor("scale", np.float32(2)))
    right = [node("Mul", ["n", "scale"], inner), recurrent("b", inner, "y", operator="GRU")]
    no = branch("no", right, "y", tensor("scale", np.float32(3)), *weights("b", operator="GRU"))
    return node("If", [condition], "out", then_branch=yes, else_branch=no)


@BOTH
@pytest.mark.parametrize("taken", [True, False])
def test_branches(runtime: str, taken: bool) -> None:
    """Names of one branch stand in the other, too, for other numbers; weights are those of the graph around."""
    nodes = [node("Neg", ["x"], "n"), chosen("which"), node("Neg", ["out"], "end")]
    inputs = [X, value("which", kind="b")]
    proto = model(nodes, inputs, [value("end", *[None] * 4)], weights("a"))
    rep = agrees(proto, {"x": draw_x(T, B, H), "which": np.array(taken)}, runtime)
    found = [(part.where, part.path, list(part.operators)) for part in rep.parts]
    name = "out"
    assert found == [
        (runtime, "", ["Neg"]),
        ("rnnkernels", f"{name}/then_branch/a", ["LSTM"]),
        (runtime, f"{name}/then_branch", ["Mul"]),
        (runtime, f"{name}/else_branch", ["Mul"]),
        ("rnnkernels", f"{name}/else_branch/b", ["GRU"]),
        (runtime, "", ["Neg"]),
    ]


@BOTH
def test_a_branch_that_is_always_taken_is_no_branch(runtime: str) -> None:
    nodes = [node("Neg", ["x"], "n"), node("Shape", ["x"], "shape"), node("Gather", ["shape", "last"], "size")]
    nodes += [node("Equal", ["size", "four"], "which"), chosen("which")]
    tensors = [*weights("a"), tensor("last", np.int64(2)), tensor("four", np.int64(H))]
    proto = model(nodes, [X], [value("out", *[None] * 4)], tensors)
    rep = agrees(proto, {"x": draw_x(T, B, H)}, runtime)
    assert [(part.where, part.path) for part in rep.parts] == [(runtime, ""), ("rnnkernels", "a"), (runtime, "")]
    with pytest.raises(ValueError, match=r"x: expected shape \(any, any, 4\) as the model says, got \(5, 3, 5\)"):
        rep.run(draw_x(T, B, 5))


@BOTH
def test_a_branch_that_the_shapes_of_the_first_call_decide(runtime: str) -> None:
    nodes = [node("Neg", ["x"], "n"), node("Shape", ["x"], "shape"), node("Gather", ["shape", "first"], "steps")]
    nodes += [node("Equal", ["steps", "five"], "which"), chosen("which")]
    tensors = [*weights("a"), tensor("first", np.int64(0)), tensor("five", np.int64(T))]
    proto = model(nodes, [X], [value("out", *[None] * 4)], tensors)
    rep = ro.prepare(proto, runtime=runtime)
    assert len(rep.parts) == 5
    for steps in (T, T, T + 1, 2, T):
        feeds = {"x": draw_x(steps, B, H)}
        same(list(rep.run(feeds)), whole(proto, feeds))
    assert [(part.where, part.path) for part in rep.parts] == [(runtime, ""), ("rnnkernels", "a"), (runtime, "")]


def body(nodes: Any, outputs: list[str], *tensors: Any) -> Any:
    inputs = [value("at", kind="i"), value("going", kind="b"), value("state", *[None] * 3)]
    infos = [onnx.ValueInfoProto(name=name) for name in outputs]
    return helper.make_graph(list(nodes), "body", inputs, infos, list(tensors))


def looped(rounds: str, going: str, *, stop: bool = False) -> Any:
    """A loop around an LSTM whose state goes round; `stop`: until its first number is too small."""
    nodes = [
        recurrent("a", "x", "y", "after", inputs=["", "state"]),
        node("Cast", ["at"], "number", to=TensorProto.FLOAT),
        node("Mul", ["y", "number"], "kept"),
        node("ReduceMax", ["after"], "top", keepdims=0),
        node("Less", ["top", "limit"] if stop else ["limit", "top"], "again"),
        node("Identity", ["again" if stop else "going"], "next"),
    ]
    return node("Loop", [rounds, going, "h0"], "h", "all", body=body(nodes, ["next", "after", "kept"]))


@BOTH
@pytest.mark.parametrize(
    ("rounds", "going", "stop"), [(3, "yes", False), (0, "yes", False), (9, "", True), (3, "no", False)], ids=str
)
def test_loops(runtime: str, rounds: int, going: str, stop: bool) -> None:
    tensors = [*weights("a"), tensor("h0", np.zeros((1, B, H), np.float32)), tensor("limit", np.float32(0.2))]
    tensors += [tensor("yes", np.array(True)), tensor("no", np.array(False))]
    nodes = [looped("rounds", going, stop=stop), node("Neg", ["all"], "out")]
    inputs = [value("x", T, B, H), value("rounds", kind="i")]
    proto = model(nodes, inputs, [value("h", *[None] * 3), value("out", *[None] * 5)], tensors)
    feeds = {"x": draw_x(T, B, H), "rounds": np.array(rounds)}
    rep = agrees(proto, feeds, runtime)
    assert ("rnnkernels", "h/body/a") in [(part.where, part.path) for part in rep.parts]


@BOTH
def test_a_branch_in_a_loop_without_a_count(runtime: str) -> None:
    """The loop ends by its condition; the branch has names that the loop's body has, too."""
    nodes = [
        node("Neg", ["state"], "n"),
        chosen("going", shadowed=True),
        node("Squeeze", ["out", "ones"], "m"),
        node("ReduceMax", ["m"], "top", keepdims=0),
        node("Add", ["state", "m"], "after"),
        node("Less", ["top", "limit"], "next"),
    ]
    inner = body(nodes, ["next", "after"], tensor("ones", [1]))
    tensors = [*weights("a"), tensor("yes", np.array(True)), tensor("limit", np.float32(-9))]
    proto = model([node("Loop", ["", "yes", "x"], "end", body=inner)], [X], [value("end", *[None] * 3)], tensors)
    rep = agrees(proto, {"x": draw_x(T, B, H)}, runtime)
    assert any(part.path == "end/body/out/then_branch/a" for part in rep.parts)


@BOTH
def test_a_scan_runs_in_numpy_and_says_so(runtime: str) -> None:
    nodes = [
        node("Unsqueeze", ["slice", "zero"], "one"),
        recurrent("a", "one", "y", "after", inputs=["", "state"]),
        node("Squeeze", ["y", "both"], "flat"),
    ]
    inputs, outputs = [value("state", 1, B, H), value("slice", B, H)], [value("after", 1, B, H), value("flat", B, H)]
    tensors = [*weights("a"), tensor("zero", [0]), tensor("both", [0, 1])]
    step = helper.make_graph(nodes, "step", inputs, outputs, tensors)
    scan = node("Scan", ["h0", "x"], "h", "out", num_scan_inputs=1, body=step)
    proto = model([scan], [value("h0", 1, B, H), value("x", T, B, H)], [value("out", T, B, H)])
    feeds = {"h0": draw_x(1, B, H), "x": draw_x(T, B, H)}
    rep = ro.prepare(proto, runtime=runtime)
    same(list(rep.run(feeds)), whole(proto, feeds))
    assert where(rep) == ["numpy"]
    assert "only If, Loop and functions of the model's opset are taken apart" in rep.parts[0].why


# ---- local functions -------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("opset", [17, 15])
def test_local_functions(runtime: str, opset: int) -> None:
    """One with an LSTM, called twice and from another; of another opset than the model's it runs in NumPy."""
    names = ["u", "w", "r"]
    inner = [
        node("Neg", ["u"], "v"),
        node("LSTM", ["v", "w", "r"], "y", hidden_size=H),
        node("Squeeze", ["y", "axis"], "z"),
    ]
    make = helper.make_function
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    recur = make("local", "Recur", names, ["z"], [constant("axis", [1]), *inner], imports)
    twice = make(
        "local",
        "Twice",
        names,
        ["z"],
        [node("Recur", names, "q", domain="local"), node("Recur", ["q", "w", "r"], "z", domain="local")],
        imports,
    )
    plain = make("local", "Plain", ["u"], ["z"], [node("Mul", ["u", "u"], "z")], imports)
    nodes = [node("Plain", ["x"], "p", domain="local"), node("Twice", ["p", "a.W", "a.R"], "q", domain="local"),
             node("Plain", ["q"], "out", domain="local")]  # fmt: skip
    proto = model(
        nodes,
        [X],
        [value("out", *[None] * 3)],
        weights("a"),
        imports=[helper.make_opsetid("local", 1)],
        functions=[recur, twice, plain],
    )
    rep = ro.prepare(proto, runtime=runtime)
    feeds = {"x": draw_x(T, B, H)}
    same(list(rep.run(feeds)), whole(proto, feeds))
    assert where(rep).count("rnnkernels") == (2 if opset == 17 else 0)
    assert ("numpy" in where(rep)) == (opset != 17 or runtime == "numpy")
