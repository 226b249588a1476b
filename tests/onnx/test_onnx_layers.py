"""`layers`: every recurrent node with its path and weights, wherever it stands; steps that are decomposed, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import H, constant, draw_x, model, recurrent, tensor, value, weights

import rnnkernels.onnx as ro

X = value("x", "T", "B", H)


def node(operator: str, inputs: Any, *outputs: str, **more: Any) -> Any:
    return helper.make_node(operator, inputs, list(outputs), **more)


def nested() -> Any:
    """Nodes in the graph, in a branch of a branch, and in a loop; the weights come in several ways."""
    w, r, b = (numpy_helper.to_array(each) for each in weights("a"))
    made = [
        constant("deep.w", w[0].T.copy()),
        node("Transpose", ["deep.w"], "deep.t"),
        node("Unsqueeze", ["deep.t", "axis"], "deep.W"),
        constant("deep.r0", r[:, :5]),
        constant("deep.r1", r[:, 5:]),
        node("Concat", ["deep.r0", "deep.r1"], "deep.R", axis=1),
        recurrent("deep", "x", "y"),
    ]
    plain = helper.make_graph([node("Identity", ["none"], "z")], "plain", [], [onnx.ValueInfoProto(name="z")])
    inner = helper.make_graph(made, "inner", [], [onnx.ValueInfoProto(name="y")])
    middle = helper.make_graph(
        [node("If", ["which"], "v", name="second", then_branch=plain, else_branch=inner)],
        "middle", [], [onnx.ValueInfoProto(name="v")],
    )  # fmt: skip
    body = helper.make_graph(
        [recurrent("round", "state", "", "after", operator="GRU"), node("Identity", ["going"], "next")],
        "body",
        [value("at", kind="i"), value("going", kind="b"), value("state", 1, None, H)],
        [value("next", kind="b"), value("after", 1, None, H)],
    )
    nodes = [
        recurrent("a", "x", "first"),
        node("If", ["which"], "out", name="one", then_branch=middle, else_branch=plain),
        node("Loop", ["three", "", "h0"], "end", name="again", body=body),
        node("LSTM", ["x", "given", "a.R"], "own", hidden_size=H),
    ]
    tensors = [*weights("a"), tensor("deep.B", b), *weights("round", operator="GRU"), tensor("axis", [0])]
    tensors += [tensor("none", np.zeros((1, 1, 1, H), np.float32)), tensor("three", np.int64(3))]
    inputs = [X, value("which", kind="b"), value("h0", 1, None, H), value("given", 1, 4 * H, H)]
    outputs = [value(name, *[None] * n) for name, n in (("first", 4), ("out", 4), ("end", 3), ("own", 4))]
    return model(nodes, inputs, outputs, tensors)


def test_nodes_everywhere() -> None:
    proto = nested()
    found = ro.layers(proto)
    assert [(each.operator, each.path) for each in found] == [
        ("LSTM", "a"),
        ("LSTM", "own"),
        ("LSTM", "one/then_branch/second/else_branch/deep"),
        ("GRU", "again/body/round"),
    ]
    first, own, deep, again = found
    for one, other in zip(ro.from_node(first).directions, ro.from_node(deep).directions, strict=True):
        assert one.cell == other.cell == "lstm"
        for name, array in one.params.items():
            np.testing.assert_array_equal(other.params[name], array)
    assert ro.from_node(again).directions[0].cell == "gru_reset_before"
    assert [graph.name for graph in deep.graphs] == ["inner", "middle", "graph"]
    assert {name: array.shape for name, array in deep.weights.items()} == {
        "W": (1, 16, 4),
        "R": (1, 16, 4),
        "B": (1, 32),
    }
    assert list(own.weights) == ["R"]
    assert "W: expected an initializer named 'given', got none" in own.missing["W"]
    assert "given" in repr(found)
    with pytest.raises(ValueError, match="W: expected an initializer named 'given', got none"):
        ro.from_node(own)
    given = {"given": draw_x(1, 4 * H, H), "a.R": own.weights["R"]}
    assert ro.from_node(own, given).directions[0].cell == "lstm"
    assert found[1:3][0] is own
    assert not found.decomposed
    with pytest.raises(TypeError, match=r"model: expected an onnx.ModelProto or a path, got GraphProto"):
        ro.layers(proto.graph)


def test_a_path(tmp_path: Any) -> None:
    onnx.save(nested(), tmp_path / "nested.onnx")
    assert [each.path for each in ro.layers(tmp_path / "nested.onnx")] == [each.path for each in ro.layers(nested())]


def test_integers_behind_dequantize_of_an_old_opset() -> None:
    q = np.random.default_rng(2).integers(-127, 128, (1, 4 * H, H)).astype(np.int8)
    nodes = [
        node("DequantizeLinear", ["q", "scale"], "d"),
        node("Slice", ["d", "zero", "end", "one"], "s"),
        node("Squeeze", ["s"], "flat", axes=[0]),
        node("Reshape", ["flat", "shape"], "w"),
        node("Cast", ["w"], "a.W", to=TensorProto.FLOAT),
        recurrent("a", "x", "y"),
    ]
    tensors = [each for each in weights("a") if each.name != "a.W"]
    small = {"zero": [0], "one": [1], "end": [4 * H], "shape": [1, 4 * H, H]}
    tensors += [tensor("q", q), tensor("scale", np.float32(0.5)), *(tensor(name, each) for name, each in small.items())]
    (found,) = ro.layers(model(nodes, [X], [value("y", *[None] * 4)], tensors, opset=11))
    np.testing.assert_array_equal(found.weights["W"], q.astype(np.float32) * 0.5)


def test_a_function_is_found_for_each_call() -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    inside = [helper.make_node("LSTM", ["u", "w", "a.R"], ["z"], hidden_size=H, name="cell")]
    inside.insert(0, constant("a.R", draw_x(1, 4 * H, H)))
    recur = helper.make_function("local", "Recur", ["u", "w"], ["z"], inside, imports)
    nodes = [node("Recur", ["x", w], z, domain="local") for w, z in (("w1", "z1"), ("w2", "z2"))]
    both = [draw_x(1, 4 * H, H, seed=seed) for seed in (3, 4)]
    tensors = [tensor("w1", both[0]), tensor("w2", both[1])]
    outputs = [value(name, *[None] * 4) for name in ("z1", "z2")]
    proto = model(nodes, [X], outputs, tensors, imports=[helper.make_opsetid("local", 1)], functions=[recur])
    found = ro.layers(proto)
    for each, w in zip(found, both, strict=True):
        np.testing.assert_array_equal(each.weights["W"], w)


# ---- decomposed ------------------------------------------------------------------------------------------------------


def lstm_step() -> list[Any]:
    return [
        node("Gemm", ["x", "W", "b"], "wx", name="wx", transB=1),
        node("MatMul", ["h", "R"], "rh", name="rh"),
        node("Add", ["wx", "rh"], "gates"),
        node("Split", ["gates"], "i_", "f_", "g_", "o_", axis=1, num_outputs=4),
        *(node("Sigmoid", [f"{k}_"], k, name=k) for k in "ifo"),
        node("Tanh", ["g_"], "g", name="g"),
        node("Mul", ["f", "c"], "fc", name="fc"),
        node("Mul", ["i", "g"], "ig", name="ig"),
        node("Add", ["fc", "ig"], "c1", name="c1"),
        node("Tanh", ["c1"], "t", name="t"),
        node("Mul", ["o", "t"], "h1", name="h1"),
    ]


def gru_step(*, lerp: bool) -> list[Any]:
    last = (
        [node("Sub", ["h", "n"], "d"), node("Mul", ["d", "z"], "m"), node("Add", ["m", "n"], "h1", name="h1")]
        if lerp
        else [
            node("Sub", ["one", "z"], "rest"),
            node("Mul", ["rest", "n"], "new"),
            node("Mul", ["z", "h"], "kept"),
            node("Add", ["new", "kept"], "h1", name="h1"),
        ]
    )
    return [
        node("MatMul", ["x", "W"], "wx", name="wx"),
        node("MatMul", ["h", "R"], "rh", name="rh"),
        node("Split", ["wx"], "zx", "rx", "nx", axis=1, num_outputs=3),
        node("Split", ["rh"], "zh", "rr", "nh", axis=1, num_outputs=3),
        node("Add", ["zx", "zh"], "z_"),
        node("Add", ["rx", "rr"], "r_"),
        node("Sigmoid", ["z_"], "z", name="z"),
        node("Sigmoid", ["r_"], "r", name="r"),
        node("Mul", ["r", "nh"], "rn"),
        node("Add", ["nx", "rn"], "n_"),
        node("Tanh", ["n_"], "n", name="n"),
        *last,
    ]


def stepped(nodes: list[Any], *outputs: str) -> Any:
    names = ("x", "h", "c", "W", "R", "b", "one")
    return model(
        nodes, [value(name, None, None) for name in names], [value(name, None, None) for name in outputs], opset=18
    )


def test_decomposed_steps_are_named() -> None:
    found = ro.layers(stepped(lstm_step(), "h1", "c1"))
    assert not len(found)
    (one,) = found.decomposed
    assert (one.operator, one.path) == ("LSTM", "h1")
    assert one.nodes == ("wx", "rh", "i", "f", "g", "o", "fc", "ig", "c1", "t", "h1")
    assert "decomposed LSTM 'h1'" in repr(found)
    for lerp in (True, False):
        (one,) = ro.layers(stepped(gru_step(lerp=lerp), "h1")).decomposed
        assert (one.operator, one.path) == ("GRU", "h1")
        assert one.nodes[:3] == ("wx", "rh", "z") or set(one.nodes[:2]) == {"wx", "rh"}


def test_what_only_looks_like_a_step_is_not_named() -> None:
    for at, other in ((4, "Relu"), (5, "Relu"), (7, "Relu"), (12, "Add"), (10, "Sub")):
        nodes = lstm_step()
        nodes[at].op_type = other
        assert not ro.layers(stepped(nodes, "h1", "c1")).decomposed
    given = [value(name, None, None) for name in ("i_", "f_", "g_", "o_", "c")]
    assert not ro.layers(model(lstm_step()[4:], given, [value("h1", None, None)], opset=18)).decomposed
