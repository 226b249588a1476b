"""A model whose recurrent nodes have their weights as initializers, where nodes compute these from constants.

An evaluator would run such nodes, DequantizeLinear above all, in every call, and weights that come new each time are
packed each time. Here this is done once. Not here: nodes in branches, loops and local functions, which stay as they
are, and what depends on an input, an initializer that is an input too among it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import numpy_helper

from .constants import Constants
from .nodes import INPUTS, STORED, computed_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rnnkernels.parameters import Array


def fold(model: Any) -> Any:
    """Return a model that computes the same; the model itself where there is nothing to do."""
    values = _values(model)
    if not values:
        return model
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    graph = folded.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    renamed = {name: _unused(f"{name}/folded", taken) for name in values}
    for node, place, name in _weights(graph):
        node.input[place] = renamed.get(name, name)
    graph.initializer.extend(numpy_helper.from_array(value, renamed[name]) for name, value in values.items())
    _drop(graph, values)
    return folded


def _weights(graph: Any) -> Iterator[tuple[Any, int, str]]:
    """Yield each weight of a graph's recurrent nodes: node, place among its inputs, name."""
    for node in graph.node:
        if computed_by(node) is not None:
            for place, (role, name) in enumerate(zip(INPUTS, node.input, strict=False)):
                if role in STORED and name:
                    yield node, place, name


def _values(model: Any) -> dict[str, Array]:
    """Return the weights that nodes of the graph compute from its constants, by name."""
    graph = model.graph
    made = {name for node in graph.node for name in node.output}
    wanted = dict.fromkeys(name for _, _, name in _weights(graph) if name in made)
    if not wanted:
        return {}
    given = {value.name for value in graph.input}
    fixed = [tensor for tensor in graph.initializer if tensor.name not in given]
    constants = Constants([*fixed, *graph.node], None, {opset.domain: opset.version for opset in model.opset_import})
    found = {}
    for name in wanted:
        try:
            found[name] = constants.find("", name)
        except ValueError:  # it depends on an input, or the evaluator of the model says what is wrong
            continue
    return found


def _drop(graph: Any, values: Iterable[str]) -> None:
    """Remove the nodes that computed `values` and are of no other use."""
    makers = {name: node for node in graph.node for name in node.output if name}
    waiting, before = list(values), set[str]()
    while waiting:
        name = waiting.pop()
        if name in makers and name not in before:
            before.add(name)
            waiting += makers[name].input
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):  # a model's nodes stand behind those that they need
        if needed.isdisjoint(node.output) and not before.isdisjoint(node.output):
            continue
        needed.update(_read_by(node))
        kept.append(node)
    kept.reverse()
    del graph.node[:]
    graph.node.extend(kept)


def _read_by(node: Any) -> Iterator[str]:
    """Yield the names that a node or a graph of its own reads."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from (value.name for value in inner.output)  # which may be a name of the graph around it
            for each in inner.node:
                yield from _read_by(each)


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
