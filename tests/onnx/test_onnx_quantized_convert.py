"""Parameters of int8 as DynamicQuantizeLSTM nodes, and back: not a bit changes; what no operator can say is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_nodes import draw, draw_functions
from onnx_quantized import dynamic_node, error_of, model_around, quantized, session

import rnnkernels as rk
import rnnkernels.onnx as ro

CELLS = ("lstm", "lstm_peephole", "lstm_cifg", "lstm_niaf", "lstm_noaf")
DIRECTIONS = [(False,), (True,), (False, True)]
MATRICES = ("weight_ih", "weight_hh")


def layer_of(cell: str, reverse: tuple[bool, ...], *, bias: bool = True, inputs: int = 5, hidden: int = 7) -> ro.Layer:
    """A layer of int8 whose first row of W is zeros: its scale is 0."""
    rng = np.random.default_rng(0)
    parts = []
    for way in reverse:
        params = rk.init_params(cell, inputs, hidden, rng=rng, dtype="float32", bias=bias)
        params["weight_ih"][0] = 0
        parts.append(ro.Direction(cell, rk.quantize_params(cell, params), way))
    return ro.Layer(tuple(parts))


def floats_of(part: ro.Direction) -> dict[str, Any]:
    """The same numbers as float32."""
    found = dict(part.params)
    for name in MATRICES:
        found[name] = found[name].astype(np.float32) * found.pop(f"{name}_scale")[:, np.newaxis]
    return found


def assert_same(back: ro.Layer, layer: ro.Layer) -> None:
    """Check that integers and scales are those of the layer, and the floats the same numbers, to the bit."""
    assert back.layout == 0
    assert len(back.directions) == len(layer.directions)
    for mine, theirs in zip(back.directions, layer.directions, strict=True):
        assert (mine.cell, mine.reverse) == (theirs.cell, theirs.reverse)
        for found, wanted in ((mine.quantized, theirs.params), (mine.params, floats_of(theirs))):
            assert found is not None
            assert found.keys() == wanted.keys()
            for name, array in wanted.items():
                assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
                assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("reverse", DIRECTIONS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_int8_to_node_and_back(cell: str, reverse: tuple[bool, ...], bias: bool) -> None:
    layer = layer_of(cell, reverse, bias=bias)
    node, tensors = ro.to_node(layer, "top")
    assert (node.op_type, node.domain) == ("DynamicQuantizeLSTM", "com.microsoft")
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}
    assert arrays["top.W"].shape == (len(reverse), 5, 28)
    assert arrays["top.R"].shape == (len(reverse), 7, 28)
    assert arrays["top.W"].dtype == arrays["top.R"].dtype == np.int8
    assert arrays["top.W_scale"].shape == arrays["top.R_zero_point"].shape == (len(reverse), 28)
    assert arrays["top.W_scale"].dtype == np.float32
    assert_same(ro.from_node(node, tensors), layer)
    # The node computes what the prepared layer computes, bit for bit.
    x = np.random.default_rng(1).standard_normal((4, 3, 5), dtype=np.float32)
    model = model_around(node, tensors, {"X": x})
    onnx.checker.check_model(model)
    found = ro.run_model(model, x)
    for d, part in enumerate(layer.directions):
        output, state = rk.Prepared(cell, part.params).forward(x, reverse=part.reverse)
        assert found.Y[:, d].tobytes() == output.tobytes()
        assert [found.Y_h[d].tobytes(), found.Y_c[d].tobytes()] == [each.tobytes() for each in state]


@pytest.mark.parametrize("cell", CELLS)
def test_onnx_runtime_takes_the_node(cell: str) -> None:
    """Its answers, and ours, are near those of the same numbers as floats; those of rows of zeros, too."""
    pytest.importorskip("onnxruntime")
    x = np.random.default_rng(2).standard_normal((6, 3, 5), dtype=np.float32)
    for reverse in DIRECTIONS:
        layer = layer_of(cell, reverse)
        node, tensors = ro.to_node(layer)
        model = model_around(node, tensors, {"X": x})
        floats = ro.Layer(tuple(ro.Direction(p.cell, floats_of(p), p.reverse) for p in layer.directions))
        plain, weights = ro.to_node(floats)
        assert plain.op_type == "LSTM"
        wanted = ro.run_model(model_around(plain, weights, {"X": x}), x)
        assert error_of(session(model).run(None, {"X": x}), wanted) < 0.01
        assert error_of(ro.run_model(model, x), wanted) < 0.01


@pytest.mark.parametrize(("inputs", "hidden"), [(1, 1), (1, 9), (17, 1), (3, 16)])
def test_sizes_of_one_and_beside_a_vector(inputs: int, hidden: int) -> None:
    for reverse in DIRECTIONS:
        layer = layer_of("lstm", reverse, inputs=inputs, hidden=hidden)
        assert_same(ro.from_node(*ro.to_node(layer)), layer)


def test_nodes_of_any_attributes_come_back() -> None:
    """What from_node reads of a node of integers with a scale for each row, to_node writes again."""
    rng = np.random.default_rng(3)
    for k in range(30):
        node = draw(rng, "LSTM", input_forget=None)
        directions = 2 if node.attributes["direction"] == "bidirectional" else 1
        if k % 2:
            node.attributes |= draw_functions(np.random.default_rng(k % 6), "LSTM", directions) | {"clip": 0.5}
        arrays = quantized(node)
        before = ro.from_node(dynamic_node(arrays, node.attributes), arrays)
        parts = [ro.Direction(d.cell, d.quantized or {}, d.reverse) for d in before.directions]
        again, tensors = ro.to_node(ro.Layer(tuple(parts)))
        assert_same(ro.from_node(again, tensors), ro.Layer(tuple(parts)))
        found = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}
        names = [name for name in ("W", "R", "B", "P", "W_scale", "W_zero_point", "R_scale") if name in arrays]
        assert all(found[name].tobytes() == arrays[name].tobytes() for name in names)


def test_floats_of_such_a_node_are_written_as_floats() -> None:
    layer = layer_of("lstm", (False,))
    back = ro.from_node(*ro.to_node(layer))
    node, tensors = ro.to_node(back)
    assert node.op_type == "LSTM"
    assert all(tensor.data_type == onnx.TensorProto.FLOAT for tensor in tensors)


def test_one_bias_comes_back_with_zeros() -> None:
    one, other = layer_of("lstm", (False, True)).directions
    del one.params["bias_hh"]
    for name in ("bias_ih", "bias_hh"):
        del other.params[name]
    first, second = ro.from_node(*ro.to_node(ro.Layer((one, other)))).directions
    assert first.params["bias_ih"].tobytes() == one.params["bias_ih"].tobytes()
    assert not first.params["bias_hh"].any()
    assert not any(second.params[name].any() for name in ("bias_ih", "bias_hh"))
    assert second.params["bias_ih"].dtype == np.float32


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "gru", "gru_reset_before"])
def test_other_operators_have_no_int8(cell: str) -> None:
    operator = "RNN" if cell.startswith("rnn") else "GRU"
    with pytest.raises(
        ro.UnsupportedError,
        match=f"^params: no ONNX operator has {operator}'s weights as int8, DynamicQuantizeLSTM has LSTM's alone: "
        f"expected floats for {cell}$",
    ):
        ro.to_node(layer_of(cell, (True,)))


def test_what_does_not_fit_is_refused() -> None:
    one, other = layer_of("lstm", (False, True)).directions
    with pytest.raises(ro.UnsupportedError, match=r"^layer: DynamicQuantizeLSTM has no layout: expected 0 .* got 1$"):
        ro.to_node(ro.Layer((one,), 1))
    plain = ro.Direction("lstm", floats_of(other), True)
    for pair in ((one, plain), (ro.Direction("lstm", floats_of(one)), other)):
        with pytest.raises(ValueError, match=r"^layer: expected both directions alike, got W of .* (int8|float32) and"):
            ro.to_node(ro.Layer(pair))
    for change, error, message in (
        ({"weight_ih_scale": None}, ValueError, "params: expected weight_ih_scale beside weight_ih, which is int8"),
        (
            {"weight_hh_scale": np.ones(5, np.float32)},
            ValueError,
            r"params\['weight_hh_scale'\]: expected shape \(28,\)",
        ),
        ({"weight_ih_scale": np.ones(28)}, TypeError, r"params\['weight_ih_scale'\]: expected dtype float32"),
        ({"weight_hh": np.zeros((28, 7), np.float32)}, TypeError, r"params\['weight_hh'\]: expected int8"),
        ({"weight_hh": np.full((28, 7), -128, np.int8)}, ValueError, r"params\['weight_hh'\]: .* got -128"),
        ({"bias_ih": np.zeros(3, np.float32)}, ValueError, r"params\['bias_ih'\]: expected shape \(28,\), got \(3,\)"),
        ({"bias_ih": np.zeros(28)}, TypeError, r"params\['bias_ih'\]: expected dtype float32"),
    ):
        params = {name: array for name, array in {**one.params, **change}.items() if array is not None}
        with pytest.raises(error, match=f"^{message}"):
            ro.to_node(ro.Layer((ro.Direction("lstm", params),)))


def test_names_of_inputs_and_outputs() -> None:
    node, tensors = ro.to_node(layer_of("lstm", (False,), bias=False), "top", inputs={"X": "x", "initial_h": "h"})
    scales = ["top.W_scale", "top.W_zero_point", "top.R_scale", "top.R_zero_point"]
    assert list(node.input) == ["x", "top.W", "top.R", "", "", "h", "", "", *scales]
    assert [tensor.name for tensor in tensors] == ["top.W", "top.R", *scales]
    with pytest.raises(ValueError, match="inputs: DynamicQuantizeLSTM has no input P"):
        ro.to_node(layer_of("lstm", (False,)), inputs={"P": "p"})
