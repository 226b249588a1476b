"""ONNX nodes as cells and parameters, and back: not a bit changes, and both compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_nodes import GATES, WEIGHTS, Node, draw, info, wrap

import rnnkernels as rk
import rnnkernels.onnx as ro

CELLS = {
    "rnn_tanh": "RNN",
    "rnn_relu": "RNN",
    "gru": "GRU",
    "gru_reset_before": "GRU",
    "lstm": "LSTM",
    "lstm_peephole": "LSTM",
    "lstm_cifg": "LSTM",
    "lstm_niaf": "LSTM",
    "lstm_noaf": "LSTM",
}
DIRECTIONS = [(False,), (True,), (False, True)]


def layer_of(
    cells: tuple[str, ...], reverse: tuple[bool, ...], dtype: str = "float32", bias: bool = True, layout: int = 0
) -> ro.Layer:
    rng = np.random.default_rng(0)
    parameters = [rk.init_params(cell, 5, 7, rng=rng, dtype=dtype, bias=bias) for cell in cells]
    parts = [ro.Direction(*each) for each in zip(cells, parameters, reverse, strict=True)]
    return ro.Layer(tuple(parts), layout)


def assert_same(mine: ro.Layer, theirs: ro.Layer) -> None:
    assert mine.layout == theirs.layout
    assert len(mine.directions) == len(theirs.directions)
    for a, b in zip(mine.directions, theirs.directions, strict=True):
        assert (a.cell, a.reverse, list(a.params)) == (b.cell, b.reverse, list(b.params))
        for name, array in a.params.items():
            assert (array.dtype, array.shape) == (b.params[name].dtype, b.params[name].shape)
            assert array.tobytes() == b.params[name].tobytes()


def model_of(node: Any, tensors: list[Any], x: Any) -> Any:
    element = helper.np_dtype_to_tensor_dtype(x.dtype)
    outputs = [helper.make_tensor_value_info(n, element, [None] * (4 if n == "Y" else 3)) for n in node.output]
    return wrap(helper.make_graph([node], "g", [info("X", x)], outputs, tensors))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reverse", DIRECTIONS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_cell_to_node_and_back(cell: str, reverse: tuple[bool, ...], dtype: str, bias: bool) -> None:
    for layout in (0, 1):
        layer = layer_of((cell,) * len(reverse), reverse, dtype, bias, layout)
        node, tensors = ro.to_node(layer, "top")
        assert node.op_type == CELLS[cell]
        onnx.checker.check_node(node)
        assert_same(ro.from_node(node, tensors), layer)
        # The node computes what the layer says, bit for bit.
        x = np.random.default_rng(1).standard_normal((4, 3, 5)).astype(dtype)
        found = ro.run_model(model_of(node, tensors, x), x)
        time_major = x.swapaxes(0, 1) if layout else x
        for d, part in enumerate(layer.directions):
            run = rk.forward(part.cell, time_major, part.params, reverse=part.reverse, training=False)
            Y = found["Y"].transpose(1, 2, 0, 3) if layout else found["Y"]  # noqa: N806  # (T, D, B, H)
            np.testing.assert_array_equal(Y[:, d], run.output)
            for end, state in zip(found[1:], run.state, strict=True):
                np.testing.assert_array_equal(end[:, d] if layout else end[d], state)


@pytest.mark.parametrize(
    "cells", [("rnn_relu", "rnn_tanh"), ("lstm_noaf", "lstm_peephole"), ("lstm_niaf", "lstm_noaf")]
)
def test_directions_of_different_functions(cells: tuple[str, ...]) -> None:
    layer = layer_of(cells, (False, True))
    assert_same(ro.from_node(*ro.to_node(layer)), layer)


@pytest.mark.parametrize("operator", GATES)
def test_node_to_cell_and_back(operator: str) -> None:
    """The weights, but for an unused forget gate's, and the attributes come back; a missing P may become zeros."""
    rng = np.random.default_rng(2)
    for _ in range(40):
        node = draw(rng, operator, str(rng.choice(["float32", "float64"])), layout=int(rng.integers(2)))
        weights = {name: array for name, array in node.arrays.items() if name in WEIGHTS}
        layer = ro.from_node(node.proto(), weights)
        again, tensors = ro.to_node(layer)
        found = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}
        changed = Node(operator, node.attributes, node.arrays | found)
        if node.attributes.get("input_forget"):
            assert not found.pop("P")[:, 2 * node.sizes[3] :].any()
        else:
            assert found.keys() == weights.keys()
            assert all(found[name].tobytes() == array.tobytes() for name, array in weights.items())
        attributes = {a.name: helper.get_attribute_value(a) for a in again.attribute}
        for name in ("layout", "linear_before_reset", "input_forget"):
            assert attributes.get(name, 0) == node.attributes.get(name, 0)
        changed.attributes = attributes
        before, after = (ro.run_model(n.model(), n.feeds()) for n in (node, changed))
        assert all(mine.tobytes() == theirs.tobytes() for mine, theirs in zip(before, after, strict=True))


def test_initializers_of_a_graph_and_half_precision() -> None:
    node = draw(np.random.default_rng(3), "GRU", "float16")
    graph = node.model(initializers=True).graph
    layer = ro.from_node(graph.node[0], graph.initializer)
    wide = ro.from_node(node.proto(), {n: a.astype(np.float32) for n, a in node.arrays.items()})
    assert_same(layer, wide)


def test_names_of_inputs_and_outputs() -> None:
    layer = layer_of(("lstm_peephole",), (False,))
    node, tensors = ro.to_node(layer, "top", inputs={"X": "x", "initial_c": "c"}, outputs=("", "h", ""))
    assert list(node.input) == ["x", "top.W", "top.R", "top.B", "", "", "c", "top.P"]
    assert list(node.output) == ["", "h"]
    assert [t.name for t in tensors] == ["top.W", "top.R", "top.B", "top.P"]
    node, _ = ro.to_node(layer_of(("gru",), (True,), bias=False), inputs={"sequence_lens": "n"})
    assert list(node.input) == ["X", "W", "R", "", "n"]
    assert list(node.output) == ["Y", "Y_h"]


def test_one_bias_comes_back_with_zeros() -> None:
    layer = layer_of(("gru",), (False,))
    del layer.directions[0].params["bias_hh"]
    params = ro.from_node(*ro.to_node(layer)).directions[0].params
    assert not params["bias_hh"].any()
    assert params["bias_ih"].tobytes() == layer.directions[0].params["bias_ih"].tobytes()


def test_every_other_cell_is_refused_by_name() -> None:
    of_nodes = {cell for cell in rk.cells() if cell.startswith("onnx_")}  # those that other tests asked for
    for cell in set(rk.cells()) - set(CELLS) - of_nodes:
        size = 3 if rk.cell_info(cell)["projected"] else None
        params = rk.init_params(cell, 7, 7, rng=0, proj_size=size)
        with pytest.raises(ro.UnsupportedError, match=f"cell: ONNX has no operator for '{cell}'; it has for rnn_tanh"):
            ro.to_node(ro.Layer((ro.Direction(cell, params),)))


def test_what_does_not_fit_is_refused() -> None:
    for cells in [("lstm", "lstm_peephole"), ("gru", "gru_reset_before"), ("lstm_cifg", "lstm_noaf"), ("gru", "lstm")]:
        with pytest.raises(
            ro.UnsupportedError, match=f"one node cannot have a direction of {cells[0]} and one of {cells[1]}"
        ):
            ro.to_node(layer_of(cells, (False, True)))
    one, other = layer_of(("gru",), (False,)).directions[0], rk.init_params("gru", 5, 6)
    with pytest.raises(ValueError, match="layer: expected both directions alike, got W of"):
        ro.to_node(ro.Layer((one, ro.Direction("gru", other, True))))
    for bad in ((one, one), (), (one, one, one)):
        with pytest.raises(ValueError, match="layer: expected one direction, or one forward and one in reverse"):
            ro.to_node(ro.Layer(bad))
    with pytest.raises(ValueError, match="layer: expected layout 0 or 1, got 2"):
        ro.to_node(ro.Layer((one,), 2))
    with pytest.raises(TypeError, match="layer: expected a Layer, got Direction"):
        ro.to_node(one)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="inputs: GRU has no input initial_c"):
        ro.to_node(ro.Layer((one,)), inputs={"initial_c": "c"})
    with pytest.raises(ValueError, match="outputs: expected at least one name, got none"):
        ro.to_node(ro.Layer((one,)), outputs=("",))
    with pytest.raises(ValueError, match=r"params\['bias_ih'\]: expected shape \(21,\), got \(3,\)"):
        ro.to_node(ro.Layer((ro.Direction("gru", one.params | {"bias_ih": np.zeros(3, np.float32)}),)))
    node, tensors = ro.to_node(ro.Layer((one,)))
    with pytest.raises(ValueError, match="R: expected an initializer named 'R', got none"):
        ro.from_node(node, [t for t in tensors if t.name != "R"])
    with pytest.raises(ValueError, match="node: expected an RNN, GRU, LSTM or DynamicQuantizeLSTM, got Add"):
        ro.from_node(helper.make_node("Add", ["a", "b"], ["c"]), [])
    with pytest.raises(TypeError, match=r"initializers: expected a mapping of names to arrays, a model, .*, got int"):
        ro.from_node(node, 3)
    with pytest.raises(TypeError, match="initializers: expected tensors, nodes and graphs, got int"):
        ro.from_node(node, [3])
    with pytest.raises(TypeError, match="W: expected floats, got int64"):
        ro.from_node(node, {t.name: np.zeros(t.dims, np.int64) for t in tensors})
