"""Weights that a graph computes from constants: found wherever they stand, refused where an input is behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nodes import WEIGHTS, Node, draw, info, wrap

import rnnkernels.onnx as ro
from rnnkernels.onnx import cells


def constant(name: str, array: Any) -> Any:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(array), name))


def chains(name: str, array: Any) -> list[list[Any]]:
    """Ways to write an array as nodes."""
    turned = np.ascontiguousarray(array.T)
    halves = np.split(array, [array.shape[-1] // 2], axis=-1)
    return [
        [constant(name, array)],
        [constant(f"{name}_", array), helper.make_node("Identity", [f"{name}_"], [name])],
        [constant(f"{name}_", turned), helper.make_node("Transpose", [f"{name}_"], [name])],
        [
            constant(f"{name}_", array.astype(np.float64)),
            helper.make_node("Cast", [f"{name}_"], [name], to=TensorProto.FLOAT),
        ],
        [
            constant(f"{name}_", array.ravel()),
            constant(f"{name}_shape", np.array(array.shape)),
            helper.make_node("Reshape", [f"{name}_", f"{name}_shape"], [name]),
        ],
        [
            helper.make_node("Concat", [f"{name}_0", f"{name}_1"], [name], axis=-1),  # before what it takes
            *(constant(f"{name}_{k}", half) for k, half in enumerate(halves)),
        ],
        [
            constant(f"{name}_", array[0]),
            constant(f"{name}_axes", np.array([0])),
            helper.make_node("Unsqueeze", [f"{name}_", f"{name}_axes"], [f"{name}_u"]),
            helper.make_node("Identity", [f"{name}_u"], [name]),
        ],
    ]


def one_direction(seed: int = 0, operator: str = "LSTM") -> Node:
    return draw(np.random.default_rng(seed), operator, direction="forward", input_forget=None)


def graph_of(node: Node, nodes: list[Any], name: str = "g") -> Any:
    outputs = [onnx.ValueInfoProto(name=output) for output in node.proto().output]
    given = [info(role, array) for role, array in node.arrays.items() if role not in WEIGHTS]
    return helper.make_graph([*nodes, node.proto()], name, given, outputs)


def assert_found(layer: ro.Layer, node: Node) -> None:
    expected = ro.from_node(node.proto(), node.arrays).directions[0]
    (found,) = layer.directions
    assert found.cell == expected.cell
    for name, array in expected.params.items():
        assert found.params[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("way", range(7))
def test_chains_of_constants(way: int) -> None:
    node = one_direction()
    node.arrays.setdefault("B", np.ones((1, 8 * node.sizes[3]), np.float32))
    nodes = [n for role in WEIGHTS if role in node.arrays for n in chains(role, node.arrays[role])[way]]
    graph = graph_of(node, nodes)
    for given in (graph, wrap(graph, 13), [graph], [*graph.node]):
        assert_found(ro.from_node(graph.node[-1], given), node)


def test_operators_are_those_of_the_models_opset() -> None:
    """Unsqueeze has its axes as an attribute before opset 13."""
    node = one_direction()
    weights = [constant(role, node.arrays[role]) for role in WEIGHTS if role in node.arrays and role != "W"]
    nodes = [
        *weights,
        constant("W_", node.arrays["W"][0]),
        helper.make_node("Unsqueeze", ["W_"], ["W"], axes=[0]),
    ]
    graph = graph_of(node, nodes)
    assert_found(ro.from_node(graph.node[-1], wrap(graph, 11)), node)
    with pytest.raises(
        ValueError, match=r"W: 'W' is computed by Unsqueeze from constants, .*; fold the model's constants"
    ):
        ro.from_node(graph.node[-1], graph)


def branches(first: Node, second: Node, shared: str = "") -> Any:
    """A model with a node in each branch of an If, with weights of its own but for one of the graph around it."""

    def branch(node: Node, name: str) -> Any:
        inside = [role for role in WEIGHTS if role in node.arrays and role != shared]
        nodes = [n for role in inside for n in chains(role, node.arrays[role])[1]]
        outputs = [onnx.ValueInfoProto(name="Y")]
        return helper.make_graph([*nodes, node.proto(("Y",))], name, [], outputs)

    parts = [branch(first, "then"), branch(second, "else")]
    choose = helper.make_node("If", ["choice"], ["out"], then_branch=parts[0], else_branch=parts[1])
    given = [info(role, array) for role, array in first.arrays.items() if role not in WEIGHTS]
    given.append(helper.make_tensor_value_info("choice", TensorProto.BOOL, []))
    tensors = [numpy_helper.from_array(first.arrays[shared], shared)] if shared else []
    graph = helper.make_graph([choose], "g", given, [onnx.ValueInfoProto(name="out")], tensors)
    return wrap(graph)


def test_a_node_in_a_branch() -> None:
    first, second = one_direction(1), one_direction(1)
    second.arrays |= {role: -second.arrays[role] for role in WEIGHTS if role in second.arrays and role != "R"}
    model = branches(first, second, shared="R")
    inner = [attribute.g for attribute in model.graph.node[0].attribute][::-1]  # they come in the order of their names
    for graph, node in zip(inner, (first, second), strict=True):
        assert_found(ro.from_node(graph.node[-1], [graph, model.graph]), node)
    with pytest.raises(ValueError, match=r"node: expected one LSTM like it in the model, found 2; give the graph"):
        ro.from_node(inner[0].node[-1], model)
    inner[0].node[-1].name = "the first"
    assert_found(ro.from_node(inner[0].node[-1], model), first)
    assert_found(ro.from_node(inner[1].node[-1], model), second)
    with pytest.raises(ValueError, match="W: expected an initializer named 'W', got none; where nodes compute it from"):
        ro.from_node(inner[0].node[-1], model.graph.initializer)


def test_what_is_no_constant_is_refused() -> None:
    node = one_direction()
    rest = [constant(role, node.arrays[role]) for role in WEIGHTS if role in node.arrays and role != "W"]
    shape = constant("shape", np.array(node.arrays["W"].shape))
    for nodes, message in (
        ([helper.make_node("Identity", ["X"], ["W"])], "W: 'W' is computed from 'X', which is neither an initializer"),
        (
            [helper.make_node("RandomNormalLike", ["like"], ["W"]), constant("like", node.arrays["W"])],
            "W: 'W' is computed by RandomNormalLike, which is no constant",
        ),
        (
            [helper.make_node("Identity", ["a"], ["W"]), helper.make_node("Identity", ["W"], ["a"])],
            "W: 'W' is computed by Identity, which takes its own result",
        ),
        (
            [helper.make_node("Mine", ["shape"], ["W"], domain="mine"), shape],
            "W: 'W' is computed by Mine from constants",
        ),
    ):
        graph = graph_of(node, [*rest, *nodes])
        with pytest.raises(ValueError, match=message):
            ro.from_node(graph.node[-1], graph)


def test_what_is_refused_names_attribute_and_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MOST", 0)
    node = draw(np.random.default_rng(2), "GRU", direction="forward", clip=1e-6)
    model = node.model()
    for name, named in (("", f"of '{model.graph.node[0].output[0]}'"), ("encoder/1", "'encoder/1'")):
        model.graph.node[0].name = name
        message = (
            rf"^activations: expected at most 0 different cells .* got onnx_gru\(.*\) as one more \[GRU node {named}\]$"
        )
        with pytest.raises(ro.UnsupportedError, match=message):
            ro.run_model(model, node.feeds())
        with pytest.raises(ro.UnsupportedError, match=message):
            ro.from_node(model.graph.node[0], node.arrays)
