"""A flat model without what need not be decided or moved while it runs: branches that are always the same, and copies.

Exporters of scripted modules write an If for each question about a shape. Where the answer is known, the nodes of the
branch take its place, and a graph that had to be left at each such node runs in one piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx import helper

from .constants import Constants
from .graphs import Flat, bodies, driven, is_driven, replace
from .shapes import known_shapes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def simplify(flat: Flat, types: Mapping[str, Any]) -> tuple[Constants, bool]:
    """Simplify a model in place, and return the constants of its graphs, and whether some are of inputs' shapes.

    Parameters
    ----------
    flat : Flat
        Graph inputs that have an initializer keep it: whoever may be given another value is no input any more, or has
        no initializer.
    types : mapping of str to onnx.TypeProto
    """
    graph = flat.model.graph
    constants = _constants(flat)
    shapes = [tensor for each in driven(graph) for tensor in known_shapes(each, types, constants).values()]
    if shapes:
        constants = _constants(flat, shapes)
    _settle(graph, constants)
    _drop_copies(graph)
    return constants, bool(shapes)


def _constants(flat: Flat, first: list[Any] | None = None) -> Constants:
    opsets = {opset.domain: opset.version for opset in flat.model.opset_import}
    graphs = list(driven(flat.model.graph))
    parts: list[Any] = list(first or ())
    for graph in graphs:
        parts += [tensor for tensor in graph.initializer if not flat.is_large(tensor)]
        parts += graph.node
    constants = Constants(parts, None, opsets)
    large = (tensor for graph in graphs for tensor in graph.initializer if flat.is_large(tensor))
    constants.give({tensor.name: flat.array(tensor) for tensor in large})
    return constants


def _settle(graph: Any, constants: Constants) -> None:
    """Put the nodes of a branch in the place of an If whose condition is known."""
    waiting, kept = list(reversed(graph.node)), []
    while waiting:
        node = waiting.pop()
        branch = _chosen(node, constants)
        if branch is not None:
            graph.initializer.extend(branch.initializer)
            graph.sparse_initializer.extend(branch.sparse_initializer)
            pairs = zip(branch.output, node.output, strict=True)
            copies = [helper.make_node("Identity", [value.name], [name]) for value, name in pairs if name]
            waiting += reversed([*branch.node, *copies])
            continue
        if is_driven(node):
            for _, inner in bodies(node):
                _settle(inner, constants)
        kept.append(node)
    kept = [_copied(node) for node in kept]  # those of `graph.node` go with it
    del graph.node[:]
    graph.node.extend(kept)


def _copied(node: Any) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    return copy


def _chosen(node: Any, constants: Constants) -> Any:
    if node.op_type != "If" or not is_driven(node):
        return None
    try:
        condition = constants.find("cond", node.input[0])
    except ValueError:
        return None
    if condition.size != 1:
        return None
    return dict(bodies(node))["then_branch" if condition.item() else "else_branch"]


def _drop_copies(graph: Any) -> None:
    """Read what an Identity copies in the place of the copy."""
    names: dict[str, str] = {}
    for each in driven(graph):
        kept = []
        for node in each.node:
            if node.op_type == "Identity" and node.domain in ("", "ai.onnx"):
                names[node.output[0]] = names.get(node.input[0], node.input[0])
            else:
                kept.append(_copied(node))
        if len(kept) < len(each.node):
            del each.node[:]
            each.node.extend(kept)
    if names:
        replace(graph, names)
