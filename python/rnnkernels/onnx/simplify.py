"""A flat model without what need not be decided or moved while it runs: branches that are always the same, and copies.

Exporters of scripted modules write an If for each question about a shape. Where the answer is known, the nodes of the
branch take its place, and a graph that had to be left at each such node runs in one piece.
"""

from __future__ import annotations

import math
from typing import Any

from onnx import helper, numpy_helper

from .constants import Constants, is_constant
from .graphs import Flat, bodies, copied, driven, is_driven, replace
from .shapes import known_shapes, types_of

_SMALL = 1024  # elements
_ROUNDS = 8  # of inference: a branch that is decided may tell a shape that decides the next


def simplify(flat: Flat) -> tuple[Constants, dict[str, Any], bool]:
    """Simplify a model in place.

    Parameters
    ----------
    flat : Flat
        No input has an initializer.

    Returns
    -------
    constants : Constants
        Those of the graphs that are taken apart.
    types : dict of str to onnx.TypeProto
        See `types_of`.
    of_shapes : bool
        Whether constants depend on the shapes that inputs are declared with.
    """
    graph = flat.model.graph
    constants = Constants((), None, {opset.domain: opset.version for opset in flat.model.opset_import})
    of_shapes = False
    for _ in range(_ROUNDS):
        _read(flat, constants)
        types = types_of(flat.model)
        shapes = {name: array for each in driven(graph) for name, array in known_shapes(each, types, constants).items()}
        constants.give(shapes)
        of_shapes = of_shapes or bool(shapes)
        folded = _fold(graph, constants, set(shapes))
        if not _settle(graph, constants) and not folded:
            break
    _drop_copies(graph)
    return constants, types, of_shapes


def _read(flat: Flat, constants: Constants) -> None:
    for graph in driven(flat.model.graph):
        large = [tensor for tensor in graph.initializer if flat.is_large(tensor)]
        constants.give({tensor.name: flat.array(tensor) for tensor in large})
        constants.read([tensor for tensor in graph.initializer if not flat.is_large(tensor)])
        constants.read(graph.node)


def _fold(graph: Any, constants: Constants, small: set[str]) -> bool:
    """Write down the small tensors that nodes compute from such, and return whether there were any.

    Inference knows a shape that depends on such a tensor where the tensor stands there.
    """
    small.update(tensor.name for tensor in graph.initializer if math.prod(tensor.dims) <= _SMALL)
    kept, found = [], False
    for node in graph.node:
        values = _values(node, constants, small)
        small.update(values)
        if values and node.op_type != "Constant":
            graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
            found = True
            continue
        for _, inner in bodies(node) if is_driven(node) else ():
            found |= _fold(inner, constants, set(small))
        kept.append(node)
    if len(kept) < len(graph.node):
        kept = [copied(node) for node in kept]  # those of `graph.node` go with it
        del graph.node[:]
        graph.node.extend(kept)
    return found


def _values(node: Any, constants: Constants, small: set[str]) -> dict[str, Any]:
    """Return the results of a node that computes small tensors from such, by name; none of another."""
    names = [name for name in node.output if name]
    if not small.issuperset(names) and not is_constant(node, small.__contains__):
        return {}
    try:
        values = {name: constants.find("", name) for name in names}
    except ValueError:  # no engine is here for it: it stays, and is run with the others
        return {}
    return values if all(each.size <= _SMALL and each.dtype.kind in "biuf" for each in values.values()) else {}


def _settle(graph: Any, constants: Constants) -> bool:
    """Put the nodes of a branch in the place of an If whose condition is known, and return whether there was one."""
    waiting, kept, found = list(reversed(graph.node)), [], False
    while waiting:
        node = waiting.pop()
        branch = _chosen(node, constants)
        if branch is not None:
            found = True
            graph.initializer.extend(branch.initializer)
            graph.sparse_initializer.extend(branch.sparse_initializer)
            pairs = zip(branch.output, node.output, strict=True)
            copies = [helper.make_node("Identity", [value.name], [name]) for value, name in pairs if name]
            waiting += reversed([*branch.node, *copies])
            continue
        for _, inner in bodies(node) if is_driven(node) else ():
            found |= _settle(inner, constants)
        kept.append(node)
    if found:
        kept = [copied(node) for node in kept]  # those of `graph.node` go with it
        del graph.node[:]
        graph.node.extend(kept)
    return found


def _chosen(node: Any, constants: Constants) -> Any:
    if node.op_type != "If" or node.domain not in ("", "ai.onnx"):
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
                kept.append(copied(node))
        if len(kept) < len(each.node):
            del each.node[:]
            each.node.extend(kept)
    if names:
        replace(graph, names)
