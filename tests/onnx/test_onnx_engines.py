"""What runs the other operators: which engine, with which settings, what is said where one cannot; embeddings."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx_graphs import RUNTIMES, H, agrees, draw_x, model, recurrent, same, tensor, value, weights, whole

import rnnkernels as rk
import rnnkernels.onnx as ro
from rnnkernels.onnx import operators

T, B, V = 5, 3, 7
BOTH = pytest.mark.parametrize("runtime", RUNTIMES)
X = value("x", "T", "B", H)


def node(operator: str, inputs: Any, *outputs: str, **more: Any) -> Any:
    return helper.make_node(operator, inputs, list(outputs), **more)


def around() -> Any:
    """An LSTM between other nodes."""
    nodes = [node("Neg", ["x"], "n"), recurrent("a", "n", "y"), node("Mul", ["y", "y"], "out")]
    return model(nodes, [X], [value("out", *[None] * 4)], weights("a"))


# ---- engines ---------------------------------------------------------------------------------------------------------


def test_without_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ro.run_model(around(), draw_x(T, B, H))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    rep = ro.prepare(around())
    same(list(rep.run(draw_x(T, B, H))), list(wanted))
    assert [part.where for part in rep.parts] == ["numpy", "rnnkernels", "numpy"]
    assert not any(part.why for part in rep.parts)
    with pytest.raises(
        ro.UnsupportedError, match=r"runtime: 'onnxruntime' is not installed: pip install 'rnnkernels\[onnx\]'"
    ):
        ro.prepare(around(), runtime="onnxruntime")


def test_runtime_is_one_of_two() -> None:
    with pytest.raises(ValueError, match="runtime: expected one of onnxruntime, numpy, got 'torch'"):
        ro.prepare(around(), runtime="torch")
    with pytest.raises(TypeError, match="runtime: expected one of onnxruntime, numpy, got 1"):
        ro.prepare(around(), runtime=1)


def test_sessions_are_made_once_with_our_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    made = []

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc, name-defined]
        def __init__(self, data: bytes, options: Any, **more: Any) -> None:
            made.append(options)
            super().__init__(data, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(rk, "num_threads", lambda: 3)
    rep = ro.prepare(around())
    for steps in (2, 3):
        rep.run(draw_x(steps, B, H))
    assert [options.intra_op_num_threads for options in made] == [3, 3]
    assert {options.get_session_config_entry("session.intra_op.allow_spinning") for options in made} == {"0"}


def test_arrays_pass_without_a_copy() -> None:
    """A result is the session's own memory where ONNX Runtime gives that away, and no later run writes to it."""
    pytest.importorskip("onnxruntime")
    (plain,) = whole(model([node("Neg", ["x"], "n")], [X], [value("n", *[None] * 3)]), {"x": draw_x(T, B, H)})
    rep = ro.prepare(around(), runtime="onnxruntime")
    taken = rep.run(draw_x(T, B, H)).out
    assert taken.flags.owndata == plain.flags.owndata
    before = taken.copy()
    rep.run(draw_x(T, B, H, seed=9))
    assert taken.tobytes() == before.tobytes()


@pytest.mark.parametrize("runtime", [None, "onnxruntime", "numpy"])
def test_what_onnx_runtime_cannot_run(runtime: str | None) -> None:
    """Its packages for inference lack the operators of training, which the evaluator has."""
    pytest.importorskip("onnxruntime")
    domain = "ai.onnx.preview.training"
    names = ["rate", "count", "p", "y", "v"]
    learn = node(
        "Momentum", names, "out", "v1", domain=domain, alpha=0.9, beta=1.0, mode="standard", norm_coefficient=0.0
    )
    tensors = [*weights("a"), tensor("rate", np.float32(0.1)), tensor("count", np.int64(1))]
    inputs = [X, *(value(name, *[None] * 4) for name in ("p", "v"))]
    imports = [helper.make_opsetid(domain, 1)]
    proto = model([recurrent("a", "x", "y"), learn], inputs, [value("out", *[None] * 4)], tensors, imports=imports)
    if runtime == "onnxruntime":
        with pytest.raises(ro.UnsupportedError, match=r"model: ONNX Runtime .*: .*Momentum"):
            ro.prepare(proto, runtime=runtime)
        assert not ro.is_compatible(proto, runtime=runtime)
        return
    rep = ro.prepare(proto, runtime=runtime)
    assert [part.where for part in rep.parts] == ["rnnkernels", "numpy"]
    assert bool(rep.parts[1].why) == (runtime is None)
    p = draw_x(T, 1, B, H)
    y = ro.run_node(
        proto.graph.node[0], {"x": draw_x(T, B, H), **{t.name: onnx.numpy_helper.to_array(t) for t in weights("a")}}
    ).y
    np.testing.assert_allclose(
        rep.run({"x": draw_x(T, B, H), "p": p, "v": 0 * p}).out, p - np.float32(0.1) * y, atol=1e-6
    )


def test_types_that_numpy_lacks_stay_out_of_onnx_runtime() -> None:
    pytest.importorskip("onnxruntime")
    nodes = [
        node("Cast", ["x"], "wide", to=TensorProto.FLOAT),
        recurrent("a", "wide", "y"),
        node("Cast", ["y"], "out", to=TensorProto.BFLOAT16),
    ]
    proto = model(nodes, [X], [helper.make_tensor_value_info("out", TensorProto.BFLOAT16, [None] * 4)], weights("a"))
    rep = ro.prepare(proto)
    assert [part.where for part in rep.parts] == ["onnxruntime", "rnnkernels", "numpy"]
    assert "'out' is BFLOAT16, which NumPy does not have" in rep.parts[2].why
    assert rep.parts[2].why in repr(rep)


@BOTH
def test_inputs_that_do_not_fit_are_named(runtime: str) -> None:
    nodes = [node("MatMul", ["x", "square"], "n"), recurrent("a", "n", "y"), node("Add", ["y", "z"], "out")]
    proto = model(nodes, [value("x", "T", "B", "I"), value("z", "K", H)], [value("out", *[None] * 4)],
                  [*weights("a"), tensor("square", np.eye(H, dtype=np.float32))])  # fmt: skip
    rep = ro.prepare(proto, runtime=runtime)
    good = {"x": draw_x(T, B, H), "z": draw_x(B, H)}
    rep.run(good)
    for wrong in ({"x": draw_x(T, B, H + 1)}, {"z": draw_x(B + 1, H)}):
        if runtime == "numpy":  # in the evaluator's words
            with pytest.raises((TypeError, ValueError)):
                rep.run({**good, **wrong})
        else:
            with pytest.raises(ValueError, match="inputs: ONNX Runtime could not run the model on them: "):
                rep.run({**good, **wrong})
    with pytest.raises(TypeError, match="x: expected dtype float32, got float64"):
        rep.run({**good, "x": np.zeros((T, B, H))})


def test_weights_are_packed_when_the_model_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    rep = ro.prepare(around())
    monkeypatch.setattr(operators, "Prepared", None)
    rep.run(draw_x(T, B, H))


# ---- embeddings ------------------------------------------------------------------------------------------------------


def embedded(way: str) -> Any:
    turned = "turned" in way
    more: dict[str, Any] = {"layout": 1} if "batch" in way else {}
    nodes = [node("Gather", ["table", "tokens"], "e" if turned else "x", axis=0)]
    if turned:
        nodes.append(node("Transpose", ["e"], "x", perm=[1, 0, 2]))
    nodes.append(recurrent("a", "x", "y", "h", inputs=["lengths", "h0"], direction="bidirectional", **more))
    nodes.append(node("Mul", ["y", "y"], "out"))
    lengths = helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"])
    inputs = [value("tokens", None, None, kind="i"), lengths, value("h0", None, None, H)]
    tensors = [*weights("a", directions=2), tensor("table", draw_x(V, H, seed=3))]
    return model(nodes, inputs, [value("out", *[None] * 4), value("h", *[None] * 3)], tensors)


@BOTH
@pytest.mark.parametrize("way", ["plain", "turned", "batch", "turned batch"])
def test_embeddings(runtime: str, way: str) -> None:
    """The table comes multiplied by W; its tokens may count from the end."""
    proto, rng = embedded(way), np.random.default_rng(5)
    turned, layout = "turned" in way, "batch" in way
    tokens = rng.integers(-V, V, (B, T) if turned != layout else (T, B))
    feeds = {
        "tokens": tokens,
        "lengths": np.array([T, 2, 1], np.int32),
        "h0": draw_x(B, 2, H) if layout else draw_x(2, B, H),
    }
    wanted = list(ReferenceEvaluator(proto, new_ops=ro.ops).run(None, feeds))
    rep = agrees(proto, feeds, runtime, wanted)
    assert rep.parts[0].operators == {"Gather": 1, "LSTM": 1}
    if not layout:
        same(list(rep.run(feeds)), whole(proto, feeds))
    for wrong in (V, -V - 1):
        with pytest.raises(ValueError, match=rf"Gather: expected indices from -{V} to {V - 1}, got"):
            rep.run({**feeds, "tokens": np.full_like(tokens, wrong)})
    with pytest.raises(ValueError, match="initial_h: expected shape"):
        rep.run({**feeds, "h0": draw_x(2, B + 1, H)})


@BOTH
def test_an_embedding_that_others_read_or_that_is_large(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node("Gather", ["table", "tokens"], "x"), recurrent("a", "x", "y"), node("Neg", ["x"], "out")]
    tensors = [*weights("a"), tensor("table", draw_x(V, H, seed=3))]
    given = [value("tokens", None, None, kind="i")], [value("y", *[None] * 4), value("out", *[None] * 3)], tensors
    feeds = {"tokens": np.arange(6).reshape(3, 2)}
    rep = agrees(model(nodes, *given), feeds, runtime)
    assert [list(part.operators) for part in rep.parts] == [["Gather", "Neg"], ["Gather", "LSTM"]]
    monkeypatch.setattr("rnnkernels.onnx.embedding.LARGEST", 100)
    rep = agrees(model(nodes, *given), feeds, runtime)
    assert [list(part.operators) for part in rep.parts] == [["Gather", "Neg"], ["LSTM"]]


@BOTH
def test_an_embedding_outside_a_branch(runtime: str) -> None:
    """Its tokens are inside another part: the node takes the rows."""
    inner = helper.make_graph([recurrent("a", "x", "y")], "inner", [], [onnx.ValueInfoProto(name="y")])
    plain = helper.make_graph([node("Identity", ["none"], "z")], "plain", [], [onnx.ValueInfoProto(name="z")])
    nodes = [
        node("Abs", ["signed"], "tokens"),
        node("Gather", ["table", "tokens"], "x"),
        node("If", ["which"], "out", then_branch=inner, else_branch=plain),
    ]
    tensors = [*weights("a"), tensor("table", draw_x(V, H, seed=3)), tensor("none", np.zeros((1, 1, 1, H), np.float32))]
    inputs = [value("signed", None, None, kind="i"), value("which", kind="b")]
    proto = model(nodes, inputs, [value("out", *[None] * 4)], tensors)
    for which in (True, False):
        agrees(proto, {"signed": -np.arange(6).reshape(3, 2), "which": np.array(which)}, runtime)


# ---- operators of the evaluator --------------------------------------------------------------------------------------


def test_conv_is_the_evaluators() -> None:
    rng = np.random.default_rng(6)
    for _ in range(40):
        n = int(rng.integers(1, 3))
        groups, per, out = (int(k) for k in rng.integers(1, 4, 3))
        kernel, size = rng.integers(1, 4, n), rng.integers(9, 13, n)
        attributes: dict[str, Any] = {"group": groups}
        for name, high, count in (("strides", 4, n), ("dilations", 3, n), ("pads", 3, 2 * n)):
            if rng.random() < 0.5:
                attributes[name] = [int(k) for k in rng.integers(int(name != "pads"), high, count)]
        if "pads" not in attributes and "dilations" not in attributes and rng.random() < 0.7:
            attributes["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        x = rng.standard_normal((2, groups * per, *size)).astype(np.float32)
        w = rng.standard_normal((groups * out, per, *kernel)).astype(np.float32)
        b = [rng.standard_normal(groups * out).astype(np.float32)] if rng.random() < 0.5 else []
        names = ["x", "w", "b"][: 2 + len(b)]
        conv = node("Conv", names, "y", **attributes)
        given = dict(zip(names, (x, w, *b), strict=True))
        infos = [onnx.ValueInfoProto(name=name) for name in names]
        graph = helper.make_graph([conv], "g", infos, [onnx.ValueInfoProto(name="y")])
        (wanted,) = ReferenceEvaluator(graph, opsets={"": 17}).run(None, given)
        (found,) = ro.run_node(conv, given, opset_version=17)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"X, W: expected shapes of 1 groups that fit|Shape inconsistencies"):
        ro.run_node(node("Conv", ["x", "w"], "y"), [np.zeros((1, 2, 9), np.float32), np.zeros((1, 3, 2), np.float32)])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_sigmoid_is_the_equation(dtype: str) -> None:
    x = np.array([-1e4, -90, -5, -0.5, 0, 1, 20, 1e4], dtype)
    (found,) = ro.run_node(node("Sigmoid", ["x"], "y"), [x])
    assert found.dtype == x.dtype
    with np.errstate(over="ignore"):
        wanted = 1 / (1 + np.exp(-x.astype(np.float64)))
    np.testing.assert_allclose(found, wanted, rtol=0, atol={"float16": 1e-3, "float32": 1e-7, "float64": 1e-15}[dtype])
