"""What a flat model computes from its own numbers, and models of some of its nodes that have these computations inside.

A part of a model that reads such a result computes it itself: an engine does so once, when it makes a session, and sees
a constant. Not here: the numbers (constants.py), and which nodes run together (split.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import helper

from .constants import is_constant
from .graphs import driven, is_recurrent, place_of, reads, recurrent_functions

if TYPE_CHECKING:
    from rnnkernels.parameters import Array

    from .constants import Constants
    from .graphs import Flat


class Fixed:
    """The constants of a flat model.

    Parameters
    ----------
    flat : Flat
    constants : Constants
        Of the graphs that are taken apart.
    """

    def __init__(self, flat: Flat, constants: Constants) -> None:
        self._flat, self._constants = flat, constants
        self._functions = recurrent_functions(flat.model)  # those that could not be inlined
        self._tensors: dict[str, Any] = {}
        self._nodes: dict[str, Any] = {}
        loose: set[str] = set()
        while more := self._find(loose):
            loose |= more

    def is_barrier(self, node: Any) -> bool:
        """Whether a node, or one inside, is recurrent: no engine runs it with others."""
        return is_recurrent(node) or (node.domain, node.op_type) in self._functions

    def computes(self, node: Any) -> bool:
        """Whether a node computes with constants alone, so that it belongs to whoever reads it."""
        return any(name in self._nodes for name in node.output)

    def array(self, name: str) -> Array | None:
        """Return a constant's numbers, which nobody can change; None of what is no constant."""
        try:
            found: Array = self._constants.find("", name).view()
        except ValueError:
            return None
        found.flags.writeable = False
        return found

    def model(self, nodes: list[Any], wanted: list[str]) -> tuple[Any, dict[str, Array], list[str]]:
        """Return a model of nodes, its large initializers, and the names of its inputs, which have no types."""
        graph = onnx.GraphProto(name="part")
        made = {name for node in nodes for name in node.output}
        large: dict[str, Array] = {}
        inputs: list[str] = []
        before: list[Any] = []
        seen: set[str] = set()
        waiting = [name for node in reversed(nodes) for name in reversed(reads(node))]
        while waiting:
            name = waiting.pop()
            if name in made or name in seen:
                continue
            producer = self._nodes.get(name)
            if producer is not None:
                missing = [each for each in producer.input if each and each not in seen and each not in made]
                if missing:
                    waiting += [name, *missing]
                    continue
                made.update(producer.output)
                before.append(producer)
            elif name in self._tensors:
                self._add_tensor(graph, self._tensors[name], large)
            else:
                inputs.append(name)
                graph.input.add(name=name)
            seen.add(name)
        graph.node.extend([*before, *nodes])
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        of = self._flat.model
        options = {"opset_imports": of.opset_import, "functions": of.functions, "ir_version": max(of.ir_version, 4)}
        return helper.make_model(graph, **options), large, inputs

    def _add_tensor(self, graph: Any, tensor: Any, large: dict[str, Array]) -> None:
        if isinstance(tensor, onnx.SparseTensorProto):
            graph.sparse_initializer.append(tensor)
            return
        graph.initializer.append(tensor)
        if place_of(tensor) is not None:
            large[tensor.name] = self._flat.array(tensor)

    def _find(self, loose: set[str]) -> set[str]:
        """Find what is computed from constants, and return what a step asks for and cannot be had as numbers."""
        self._tensors, self._nodes = {}, {}
        asked: list[str] = []
        for graph in driven(self._flat.model.graph):
            self._tensors |= {tensor.values.name: tensor for tensor in graph.sparse_initializer}
            self._tensors |= {tensor.name: tensor for tensor in graph.initializer}
            asked += [value.name for value in graph.output]
            for node in graph.node:
                if self.is_barrier(node):
                    asked += reads(node)
                elif is_constant(node, self._known) and loose.isdisjoint(node.output):
                    self._nodes |= dict.fromkeys((name for name in node.output if name), node)
        return {name for name in asked if name in self._nodes and self.array(name) is None}

    def _known(self, name: str) -> bool:
        return name in self._tensors or name in self._nodes
