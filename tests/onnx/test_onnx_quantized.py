"""Nodes whose weights are integers: DynamicQuantizeLSTM, and weights behind DequantizeLinear."""

# ruff: noqa: N806 (arrays have the names of the standard)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_nodes import GATES, OUTPUTS, Array, Node, check, draw, expected, info, wrap
from onnx_quantized import dynamic_model, dynamic_node, error_of, feeds, floats, quantized, session

import rnnkernels as rk
import rnnkernels.onnx as ro
from rnnkernels.onnx import operators

if TYPE_CHECKING:
    from pathlib import Path

NEWEST = onnx.defs.onnx_opset_version()


# ---- DynamicQuantizeLSTM ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 100), ("int8", 3)])
def test_zero_points_are_computed_with_as_floats(dtype: str, zero: int) -> None:
    rng = np.random.default_rng(1)
    for k in range(20):
        node = draw(rng, "LSTM")
        arrays = quantized(node, dtype, columns=bool(k % 2), zero=zero)
        exact = floats(node, arrays)
        found = ro.run_model(dynamic_model(arrays, node.attributes), feeds(arrays))
        check(found, expected(exact), exact)


@pytest.mark.parametrize("columns", [True, False], ids=["scales of columns", "one scale"])
@pytest.mark.parametrize(("dtype", "zero"), [("int8", 0), ("uint8", 128)])
def test_int8_rows_are_computed_with_as_int8(dtype: str, zero: int, columns: bool) -> None:
    """To the bit what a prepared layer of the same integers gives."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        node = draw(rng, "LSTM")
        arrays = quantized(node, dtype, columns=columns, zero=zero)
        model = dynamic_model(arrays, node.attributes)
        found = ro.run_model(model, feeds(arrays))
        layer = ro.from_node(model.graph.node[0], model)
        for d, part in enumerate(layer.directions):
            assert part.quantized is not None
            state = [arrays.get(f"initial_{name}") for name in "hc"]
            zeros = np.zeros(found.Y_h.shape[1:], np.float32)
            prepared = rk.Prepared(part.cell, part.quantized)
            assert prepared.weights == "int8"
            output, ended = prepared.forward(
                arrays["X"],
                [zeros if each is None else each[d] for each in state],
                lengths=arrays.get("sequence_lens"),
                reverse=part.reverse,
            )
            assert found.Y[:, d].tobytes() == output.tobytes()
            assert [found.Y_h[d].tobytes(), found.Y_c[d].tobytes()] == [each.tobytes() for each in ended]
        assert error_of(found, expected(floats(node, arrays))) < 0.02


def test_no_row_and_no_later_step_changes_a_result() -> None:
    node = draw(np.random.default_rng(11), "LSTM", direction="forward")
    for name in ("sequence_lens", "initial_h", "initial_c"):
        node.arrays.pop(name, None)
    node.arrays["X"] = np.random.default_rng(12).standard_normal((6, 4, node.sizes[2]), dtype=np.float32)
    arrays = quantized(node)
    rep = ro.prepare(dynamic_model(arrays, node.attributes))
    first = rep.run(arrays["X"]).Y
    for louder in (np.s_[-1], np.s_[:, 1:]):
        x = arrays["X"].copy()
        x[louder] *= 100
        again = rep.run(x).Y
        assert again.tobytes() != first.tobytes()
        same = np.s_[:-1] if louder == np.s_[-1] else np.s_[:, :, :1]
        np.testing.assert_array_equal(again[same], first[same])


def test_onnx_runtime_is_further_from_float64() -> None:
    """The same answers within its error, whatever the node; ours is the smaller one."""
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(3)
    errors = []
    for k in range(40):
        node = draw(rng, "LSTM")
        node.attributes["hidden_size"] = node.sizes[3]  # it needs it
        node.arrays.pop("sequence_lens", None)
        dtype, zero = (("int8", 0), ("uint8", 128), ("uint8", 90))[k % 3]
        arrays = quantized(node, dtype, columns=k % 4 > 1, zero=zero)
        model = dynamic_model(arrays, node.attributes)
        wanted = expected(floats(node, arrays))
        given = feeds(arrays)
        each = [error_of(found, wanted) for found in (ro.run_model(model, given), session(model).run(None, given))]
        assert max(each) < 0.05
        errors.append(each)
    ours, theirs = np.sqrt(np.mean(np.square(errors), axis=0))
    assert ours <= 0.8 * theirs


@pytest.mark.parametrize("columns", [True, False], ids=["scales of columns", "one scale"])
@pytest.mark.parametrize("dtype", ["QInt8", "QUInt8"])
def test_models_of_onnx_runtimes_quantizer(dtype: str, columns: bool, tmp_path: Path) -> None:
    """`quantize_dynamic` writes models whose LSTMs run here; those of int8 have parameters of int8."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    node = draw(np.random.default_rng(10), "LSTM", direction="bidirectional", input_forget=None)
    node.arrays.pop("sequence_lens", None)
    node.attributes["hidden_size"] = node.sizes[3]
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    onnx.save(node.model(initializers=True), before)
    weight_type = getattr(quantization.QuantType, dtype)
    quantization.quantize_dynamic(str(before), str(after), per_channel=columns, weight_type=weight_type)
    model = onnx.load(after)
    (proto,) = model.graph.node
    assert proto.op_type == "DynamicQuantizeLSTM"
    layer = ro.from_node(proto, model)
    assert dtype == "QUInt8" or all(part.quantized is not None for part in layer.directions)
    for mine, theirs in zip(layer.directions, ro.from_node(node.proto(), node.arrays).directions, strict=True):
        assert_quantized(mine)
        for name, array in theirs.params.items():
            np.testing.assert_allclose(mine.params[name], array, atol=2 / 127)
    found = ro.run_model(model, feeds(node.arrays))
    assert error_of(found, expected(node)) < 0.02


def test_other_functions_and_clip() -> None:
    rng = np.random.default_rng(4)
    node = draw(rng, "LSTM", activations=["HardSigmoid", "Softsign", "Tanh"], clip=0.8, direction="reverse")
    arrays = quantized(node, "uint8", zero=120)
    exact = floats(node, arrays)
    check(ro.run_model(dynamic_model(arrays, node.attributes), feeds(arrays)), expected(exact), exact)


def test_weights_are_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    node = draw(np.random.default_rng(5), "LSTM")
    arrays = quantized(node)
    rep = ro.prepare(dynamic_model(arrays, node.attributes))
    monkeypatch.setattr(operators, "Prepared", None)
    first = rep.run(feeds(arrays))
    second = rep.run(feeds(arrays))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def test_one_node() -> None:
    node = draw(np.random.default_rng(6), "LSTM")
    arrays = quantized(node)
    found = ro.run_node(dynamic_node(arrays, node.attributes), arrays)
    whole = ro.run_model(dynamic_model(arrays, node.attributes), feeds(arrays))
    assert [a.tobytes() for a in found] == [b.tobytes() for b in whole]


def test_a_node_in_a_local_function() -> None:
    """Its caller says the direction."""
    node = draw(np.random.default_rng(13), "LSTM", direction="bidirectional")
    arrays = quantized(node)
    inner = dynamic_node(arrays, node.attributes)
    attribute = next(a for a in inner.attribute if a.name == "direction")
    attribute.ClearField("s")
    attribute.ref_attr_name = "way"
    names = [name for name in inner.input if name]
    model = dynamic_model(arrays, node.attributes)
    imports = [*model.opset_import, helper.make_opsetid("local", 1)]
    body = (names, list(inner.output), [inner], list(model.opset_import), ["way"])
    call = helper.make_node("Recur", names, list(inner.output), domain="local", way="bidirectional")
    expected_values = ro.run_model(model, feeds(arrays))
    model.graph.node[0].CopyFrom(call)
    functions = [helper.make_function("local", "Recur", *body)]
    outer = helper.make_model(model.graph, opset_imports=imports, functions=functions, ir_version=8)
    found = ro.run_model(outer, feeds(arrays))
    assert [a.tobytes() for a in found] == [b.tobytes() for b in expected_values]


def test_integers_as_parameters() -> None:
    """The floats are the integers times their scales, and both are the node's own."""
    node = draw(np.random.default_rng(7), "LSTM", direction="bidirectional", input_forget=None)
    for dtype, zero in (("int8", 0), ("uint8", 128), ("uint8", 90)):
        arrays = quantized(node, dtype, zero=zero)
        exact = floats(node, arrays)
        layer = ro.from_node(dynamic_node(arrays, node.attributes), arrays)
        assert_floats(layer, exact)
        for part in layer.directions:
            assert (part.quantized is None) == (zero == 90)
            assert_quantized(part)


def assert_floats(layer: ro.Layer, exact: Node) -> None:
    wanted = ro.from_node(exact.proto(), exact.arrays)
    assert len(layer.directions) == len(wanted.directions)
    for mine, theirs in zip(layer.directions, wanted.directions, strict=True):
        assert (mine.cell, mine.reverse, list(mine.params)) == (theirs.cell, theirs.reverse, list(theirs.params))
        for name, array in theirs.params.items():
            assert mine.params[name].tobytes() == array.tobytes(), name


def assert_quantized(part: ro.Direction) -> None:
    """Check that the integers are those of the floats."""
    if part.quantized is None:
        return
    for name, array in part.params.items():
        kept, scale = part.quantized[name], part.quantized.get(f"{name}_scale")
        assert (scale is None) == (array.ndim != 2)
        if scale is not None:
            assert kept.dtype == np.int8
            assert scale.dtype == np.float32
            assert scale.shape == array.shape[:1]
            kept = kept.astype(np.float32) * scale[:, None]
        assert kept.tobytes() == array.tobytes(), name


def test_an_integer_of_minus_128_is_no_row_of_ours() -> None:
    node = draw(np.random.default_rng(8), "LSTM", direction="forward", input_forget=None)
    arrays = quantized(node)
    arrays["R"] = arrays["R"].copy()
    arrays["R"][0, 0, 0] = -128
    (part,) = ro.from_node(dynamic_node(arrays, node.attributes), arrays).directions
    assert part.quantized is None
    exact = floats(node, arrays)
    check(ro.run_model(dynamic_model(arrays, node.attributes), feeds(arrays)), expected(exact), exact)


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"W": np.float32}, TypeError, "W: expected int8 or uint8, got float32"),
    ({"R": np.int16}, TypeError, "R: expected int8 or uint8, got int16"),
    ({"W": (1, 5, 16)}, ValueError, r"W: expected shape \(directions, I, 4\*H\) = \(2, 5, 16\), got \(1, 5, 16\)"),
    ({"R": (2, 4, 12)}, ValueError, r"R: expected shape \(directions, H, 4\*H\) = \(2, 4, 16\), got \(2, 4, 12\)"),
    ({"R": (4, 16)}, ValueError, r"R: expected 3 dimensions, got shape \(4, 16\)"),
    ({"W": (2, 16, 5)}, ValueError, r"W: expected shape \(directions, I, 4\*H\) = \(2, 16, 16\), got \(2, 16, 5\)"),
    ({"W_scale": None}, ValueError, "W_scale: expected an array, got none"),
    ({"W_scale": (16,)}, ValueError, r"W_scale: expected shape .* = \(2,\) or .* = \(2, 16\), got \(16,\)"),
    ({"R_scale": np.float64}, TypeError, "R_scale: expected float32, got float64"),
    ({"B": np.float64}, TypeError, "B: expected float32, got float64"),
    ({"R_zero_point": (2,)}, ValueError, r"R_zero_point: expected shape \(2, 16\), R_scale's, got \(2,\)"),
    ({"W_zero_point": np.uint8}, TypeError, "W_zero_point: expected dtype int8, W's, got uint8"),
    ({"B": (2, 16)}, ValueError, r"B: expected shape \(directions, 2\*gates\*H\) = \(2, 32\), got \(2, 16\)"),
]


@pytest.mark.parametrize(("change", "kind", "message"), WRONG, ids=lambda case: str(case)[:40])
def test_what_does_not_fit_is_refused(change: dict[str, Any], kind: type[Exception], message: str) -> None:
    arrays: dict[str, Array] = {
        "X": np.zeros((3, 2, 5), np.float32),
        "W": np.zeros((2, 5, 16), np.int8),
        "R": np.zeros((2, 4, 16), np.int8),
    }
    for name in ("W", "R"):
        arrays |= {f"{name}_scale": np.ones((2, 16), np.float32), f"{name}_zero_point": np.zeros((2, 16), np.int8)}
    arrays["B"] = np.zeros((2, 32), np.float32)
    for name, value in change.items():
        if value is None:
            del arrays[name]
        elif isinstance(value, tuple):
            arrays[name] = np.zeros(value, arrays[name].dtype if name in arrays else np.float32)
        else:
            arrays[name] = arrays[name].astype(value)
    attributes = {"direction": "bidirectional", "hidden_size": 4}
    with pytest.raises(kind, match=message):
        ro.run_model(dynamic_model(arrays, attributes), feeds(arrays))
    with pytest.raises(kind, match=message):
        ro.from_node(dynamic_node(arrays, attributes), arrays)


def test_inputs_of_another_dtype_are_refused() -> None:
    node = draw(np.random.default_rng(14), "LSTM", direction="forward")
    arrays = quantized(node)
    wide = {"X": arrays["X"].astype(np.float16)}
    rep = ro.prepare(dynamic_model({**arrays, **wide}, node.attributes))
    with pytest.raises(TypeError, match="X: expected float32, got float16"):
        rep.run({**feeds(arrays), **wide})


def test_attributes_that_it_has_not() -> None:
    node = draw(np.random.default_rng(9), "LSTM", direction="forward")
    arrays = quantized(node)
    with pytest.raises(ValueError, match="layout: DynamicQuantizeLSTM has no such attribute"):
        ro.prepare(dynamic_model(arrays, {**node.attributes, "layout": 1}))
    with pytest.raises(ValueError, match="R: expected hidden_size 77 rows, got"):
        ro.from_node(dynamic_node(arrays, {**node.attributes, "hidden_size": 77}), arrays)


# ---- behind DequantizeLinear -----------------------------------------------------------------------------------------

# How scales lie along W and R, (D, rows, columns): the axis and the blocks, whether a row has one scale, and the opset.
WAYS: dict[str, tuple[int | None, int, bool, int]] = {
    "one": (None, 0, True, 10),
    "rows": (1, 0, True, 13),
    "directions": (0, 0, True, 13),
    "columns": (2, 0, False, 13),
    "blocks of a row": (2, 2, False, 21),
    "rows as blocks": (2, 8, True, 21),
    "blocks of rows": (1, 4, False, 21),
}


def behind(node: Node, way: str, dtype: str = "int8", *, zero: int = 0) -> tuple[list[Any], list[Any]]:
    """Nodes that make W and R of integers, and these with their scales and zero points."""
    axis, block, _, _ = WAYS[way]
    rng = np.random.default_rng(0)
    nodes, tensors = [], []
    for name in ("W", "R"):
        shape = node.arrays[name].shape
        of_scale: tuple[int, ...] = () if axis is None else (shape[axis],)
        if axis is not None and block:
            of_scale = (*shape[:axis], -(-shape[axis] // block), *shape[axis + 1 :])
        scale = rng.uniform(0.002, 0.004, of_scale).astype(np.float32)
        values = {f"{name}_q": rng.integers(-100, 100, shape) + (128 if dtype == "uint8" else 0)}
        values[f"{name}_zero"] = np.full(of_scale, zero)
        tensors += [numpy_helper.from_array(value.astype(dtype), key) for key, value in values.items()]
        tensors.append(numpy_helper.from_array(scale, f"{name}_scale"))
        more = {} if axis is None else {"axis": axis}
        more |= {"block_size": block} if block else {}
        given = [f"{name}_{what}" for what in ("q", "scale", "zero")]
        nodes.append(helper.make_node("DequantizeLinear", given, [name], **more))
    return nodes, tensors


def model_of(node: Node, nodes: list[Any], tensors: list[Any], opset: int, *given: Any) -> Any:
    results = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * (4 if n == "Y" else 3)) for n in
               OUTPUTS[node.operator]]  # fmt: skip
    inputs = [info(name, array) for name, array in node.arrays.items() if name not in ("W", "R")]
    return wrap(helper.make_graph([*nodes, node.proto()], "g", [*inputs, *given], results, tensors), opset)


def sized(operator: str) -> Node:
    """A node of 8 inputs and 8 units, so that blocks fit, without W and R of its own."""
    node = draw(np.random.default_rng(1), operator, direction="bidirectional")
    D, G, H = 2, GATES[operator], 8
    node.arrays = {"X": np.random.default_rng(2).standard_normal((4, 3, 8), dtype=np.float32)}
    node.arrays |= {"W": np.zeros((D, G * H, 8), np.float32), "R": np.zeros((D, G * H, H), np.float32)}
    node.attributes["hidden_size"] = H
    return node


def dequantized(model: Any, node: Node) -> Node:
    """The node with the W and R that ONNX's own evaluator computes."""
    graph = helper.make_graph(
        [n for n in model.graph.node if n.op_type != node.operator],
        "weights",
        [],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("W", "R")],
        model.graph.initializer,
    )
    opset = max(model.opset_import[0].version, 19)  # it has no older one
    W, R = ReferenceEvaluator(graph, opsets={"": opset}).run(None, {})
    return Node(node.operator, node.attributes, {**node.arrays, "W": W, "R": R})


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("way", WAYS)
def test_weights_behind_dequantize(way: str, operator: str) -> None:
    """The bits of a node with these numbers as floats, whatever the opset; the integers where a row has one scale."""
    *_, rows, first = WAYS[way]
    if first > NEWEST:
        pytest.skip(f"this onnx has no opset {first}")
    node = sized(operator)
    for dtype, zero in (("int8", 0), ("uint8", 128), ("int8", 60)):
        nodes, tensors = behind(node, way, dtype, zero=zero)
        for opset in {first, max(first, 13), NEWEST}:
            model = model_of(node, nodes, tensors, opset)
            exact = dequantized(model, node)
            rep = ro.prepare(model)
            assert [part.operators for part in rep.parts] == [{operator: 1}]  # nothing else runs
            wanted = ro.run_model(exact.model(), exact.feeds())
            for mine, theirs in zip(rep.run({"X": node.arrays["X"]}), wanted, strict=True):
                assert mine.tobytes() == theirs.tobytes()
            layer = ro.from_node(model.graph.node[-1], model)
            assert_floats(layer, exact)
            for part in layer.directions:
                assert (part.quantized is not None) == (rows and (dtype, zero) != ("int8", 60))
                assert_quantized(part)


@pytest.mark.skipif(NEWEST < 21, reason="this onnx has no integers of 4 bits")
@pytest.mark.parametrize("kind", ["INT4", "UINT4"])
def test_integers_of_four_bits(kind: str) -> None:
    node = sized("LSTM")
    nodes, tensors = behind(node, "rows")
    rng = np.random.default_rng(3)
    zero = 8 if kind == "UINT4" else 0
    for k, tensor in enumerate(tensors):
        if tensor.data_type != TensorProto.FLOAT:
            values = (
                rng.integers(-7, 8, tensor.dims) + zero if tensor.name.endswith("_q") else np.full(tensor.dims, zero)
            )
            tensors[k] = helper.make_tensor(tensor.name, getattr(TensorProto, kind), tensor.dims, values.ravel())
    model = model_of(node, nodes, tensors, 21)
    exact = dequantized(model, node)
    layer = ro.from_node(model.graph.node[-1], model)
    assert_floats(layer, exact)
    for part in layer.directions:
        assert part.quantized is not None
        assert_quantized(part)
    wanted = ro.run_model(exact.model(), exact.feeds())
    assert [a.tobytes() for a in ro.run_model(model, node.arrays["X"])] == [b.tobytes() for b in wanted]


def moved(node: Node) -> tuple[list[Any], list[Any]]:
    """W and R of directions that are dequantised one by one, turned, and put together."""
    rng = np.random.default_rng(4)
    nodes, tensors = [], []

    def tensor(name: str, array: Any) -> str:
        tensors.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    for name in ("W", "R"):
        _, rows, columns = node.arrays[name].shape
        parts = []
        for d in range(2):
            own = f"{name}{d}"
            q = tensor(f"{own}_q", rng.integers(-127, 128, (columns, rows)).astype(np.int8))
            scale = tensor(f"{own}_scale", np.asarray(rng.uniform(0.001, 0.003, rows), np.float32))
            shape, axes = tensor(f"{own}_shape", [1, rows, columns]), tensor(f"{own}_axes", [0])
            nodes += [
                helper.make_node("DequantizeLinear", [q, scale], [f"{own}_a"], axis=1),
                helper.make_node("Transpose", [f"{own}_a"], [f"{own}_b"]),
                helper.make_node("Unsqueeze", [f"{own}_b", axes], [f"{own}_c"]),
                helper.make_node("Reshape", [f"{own}_c", shape], [f"{own}_d"]),
            ]
            parts.append(f"{own}_d")
        nodes.append(helper.make_node("Concat", parts, [name], axis=0))
    return nodes, tensors


def test_integers_that_are_moved() -> None:
    node = sized("LSTM")
    nodes, tensors = moved(node)
    model = model_of(node, nodes, tensors, 17)
    exact = dequantized(model, node)
    layer = ro.from_node(model.graph.node[-1], model)
    assert_floats(layer, exact)
    for d, part in enumerate(layer.directions):
        assert part.quantized is not None
        assert_quantized(part)
        scales = {t.name: numpy_helper.to_array(t) for t in tensors}[f"W{d}_scale"]
        assert sorted(part.quantized["weight_ih_scale"]) == sorted(scales)
    assert len(ro.prepare(model).parts) == 1


@pytest.mark.parametrize("operator", ["Add", "Ceil"])
def test_numbers_that_are_computed_with_are_no_integers(operator: str) -> None:
    node = sized("LSTM")
    nodes, tensors = behind(node, "rows")
    nodes[0].output[0] = "W_before"
    nodes.insert(1, helper.make_node(operator, ["W_before"] * (1 + (operator == "Add")), ["W"]))
    model = model_of(node, nodes, tensors, 17)
    layer = ro.from_node(model.graph.node[-1], model)
    assert [part.quantized for part in layer.directions] == [None, None]
    assert_floats(layer, dequantized(model, node))


def test_weights_that_an_input_may_change_are_not_folded() -> None:
    """An initializer that is an input too may be given another value; so may a scale that is an input alone."""
    node = sized("LSTM")
    nodes, tensors = behind(node, "rows")
    scale = next(numpy_helper.to_array(t) for t in tensors if t.name == "R_scale")
    model = model_of(node, nodes, tensors, 17, info("R_scale", scale))
    rep = ro.prepare(model)
    assert [part.operators for part in rep.parts] == [{"LSTM": 1}]
    first, same, other = (
        rep.run({"X": node.arrays["X"], **more}).Y for more in ({}, {"R_scale": scale}, {"R_scale": 2 * scale})
    )
    assert first.tobytes() == same.tobytes() != other.tobytes()


def test_weights_that_are_read_elsewhere_stay() -> None:
    node = sized("LSTM")
    nodes, tensors = behind(node, "rows")
    branch = helper.make_graph(
        [helper.make_node("Identity", ["W"], ["seen"])],
        "branch",
        [],
        [helper.make_tensor_value_info("seen", TensorProto.FLOAT, [None] * 3)],
    )
    tensors.append(numpy_helper.from_array(np.array(True), "yes"))
    nodes.append(helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=branch))
    model = model_of(node, nodes, tensors, 17)
    model.graph.output.append(helper.make_tensor_value_info("out", TensorProto.FLOAT, [None] * 3))
    model.graph.output.append(helper.make_tensor_value_info("R", TensorProto.FLOAT, [None] * 3))
    names = [n.op_type for n in model.graph.node]
    rep = ro.prepare(model)
    assert [n.op_type for n in model.graph.node] == names  # the caller's model is as it was
    found = rep.run({"X": node.arrays["X"]})
    exact = dequantized(model_of(node, nodes[:2], tensors, 17), node)
    assert found.out.tobytes() == exact.arrays["W"].tobytes()
    assert found.R.tobytes() == exact.arrays["R"].tobytes()
