"""Weights that a graph computes from its own numbers: found by name, computed once, without running the model.

Exporters write them as initializers, as Constant nodes, or as operators on these (Identity, Cast, Transpose, Reshape,
Concat, Slice, Unsqueeze, DequantizeLinear, ...), in the graph of the node or in one around it. Each operator is run by
ONNX's reference evaluator. Of what DequantizeLinear makes, the integers and their scales are found too. Not here:
values that depend on an input, and operators with graphs of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from rnnkernels._scalars import shown

from .dequantize import DequantizeLinear
from .quantized import Stored

if TYPE_CHECKING:
    from rnnkernels.parameters import Array

# What moves numbers and computes none; Concat has several operands, the others one.
_MOVES = {"Concat", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
_MOST_MOVES = 32  # behind a DequantizeLinear; of more its integers are not looked for
_INTEGERS = {"int4", "int8", "uint4", "uint8"}

RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}


def is_constant(node: Any, known: Callable[[str], bool]) -> bool:
    """Whether a node of the standard computes the same each time, with what is known alone."""
    if node.domain not in ("", "ai.onnx") or node.op_type in RANDOM or any(a.HasField("g") for a in node.attribute):
        return False
    names = [name for name in node.input if name]
    return all(map(known, names)) and (bool(names) or node.op_type == "Constant")


class Constants:
    """The numbers of a graph and of those around it, by name.

    Parameters
    ----------
    given : mapping of str to array, onnx.ModelProto, onnx.GraphProto, or iterable
        Of a model: the graph that `node` is in and those around it. An iterable holds tensors, nodes and graphs; of two
        that have a name the first counts.
    node : onnx.NodeProto or None
        Whose inputs are asked for; of no model it is not looked at.
    opsets : dict of str to int, optional
        The versions of operators, by domain. Default: the model's, or the newest.
    """

    def __init__(self, given: Any, node: Any, opsets: dict[str, int] | None = None) -> None:
        self._arrays: dict[str, Array] = {}
        self._nodes: dict[str, Any] = {}
        self._opsets = dict(opsets or {})
        self._parts: dict[str, tuple[str, str] | None] = {}  # of what DequantizeLinear makes
        if isinstance(given, Mapping):
            try:
                self._arrays = {name: np.asarray(value) for name, value in given.items()}
            except (TypeError, ValueError) as error:
                raise TypeError(f"initializers: expected arrays by name, got {shown(given)}: {error}") from None
        elif isinstance(given, onnx.ModelProto):
            self._opsets = {opset.domain: opset.version for opset in given.opset_import}
            self.read(_around(given.graph, node))
        elif isinstance(given, onnx.GraphProto):
            self.read([given])
        elif isinstance(given, Iterable) and not isinstance(given, (str, bytes)):
            self.read(given)
        else:
            expected = "a mapping of names to arrays, a model, a graph, or an iterable of tensors, nodes and graphs"
            raise TypeError(f"initializers: expected {expected}, got {type(given).__name__}")

    def give(self, arrays: Mapping[str, Array]) -> None:
        """Take numbers that are known from elsewhere; they count before others of their names."""
        self._arrays |= arrays

    def find(self, role: str, name: str) -> Array:
        """Return an input's numbers.

        Raises
        ------
        ValueError
            If they depend on an input of the model, or are not here.
        """
        waiting = [name]
        begun: set[str] = set()
        while waiting:
            at = waiting[-1]
            if at in self._arrays:
                waiting.pop()
                continue
            producer = self._nodes.get(at)
            if producer is None:
                raise ValueError(_missing(role, name, at))
            needed = [n for n in producer.input if n and n not in self._arrays]
            if needed and at not in begun:
                begun.add(at)
                waiting += needed
                continue
            self._compute(role, name, producer)
        return self._arrays[name]

    def stored(self, role: str, name: str) -> Stored | None:
        """Return the integers that DequantizeLinear makes an input of, and their scales; None of other numbers.

        A row has one scale or many, whatever axis and blocks the scales belong to.

        Raises
        ------
        ValueError
            As `find`.
        """
        parts = self._stored(role, name, _MOST_MOVES)
        if parts is None or self.find(role, name).dtype != np.float32:
            return None
        integers, scales = (self.find(role, part) for part in parts)
        return Stored(integers.astype(np.int16), scales)

    def _stored(self, role: str, name: str, moves: int) -> tuple[str, str] | None:
        """Return under which names the integers, zero points taken off, and the scales can be found."""
        if name not in self._parts:
            self._parts[name] = self._parts_of(role, name, self._nodes.get(name), moves)
        return self._parts[name]

    def _parts_of(self, role: str, name: str, node: Any, moves: int) -> tuple[str, str] | None:
        if node is None or moves == 0 or node.domain not in ("", "ai.onnx"):
            return None
        integers, scales, ones, one = (f"rnnkernels:{what}:{name}" for what in ("integers", "scales", "ones", "one"))
        if node.op_type == "DequantizeLinear":
            q, scale = (self.find(role, given) for given in node.input[:2])
            if q.dtype.name not in _INTEGERS or scale.dtype != np.float32:
                return None
            self._arrays |= {ones: np.ones_like(q), one: np.ones_like(scale)}
            operands = {integers: [node.input[0], one, *node.input[2:]], scales: [ones, node.input[1]]}
        elif node.op_type in _MOVES:
            count = len(node.input) if node.op_type == "Concat" else 1
            before = [self._stored(role, given, moves - 1) for given in node.input[:count]]
            pairs = [pair for pair in before if pair is not None]
            if len(pairs) < len(before):
                return None
            operands = {integers: [pair[0] for pair in pairs], scales: [pair[1] for pair in pairs]}
            operands = {part: [*names, *node.input[count:]] for part, names in operands.items()}
        else:
            return None
        for part, names in operands.items():
            self._nodes[part] = helper.make_node(node.op_type, names, [part])
            self._nodes[part].attribute.extend(node.attribute)
        return integers, scales

    def _compute(self, role: str, name: str, node: Any) -> None:
        what = f"{role}: {name!r} is computed by {node.op_type}"
        if node.op_type in RANDOM or any(a.HasField("g") or a.graphs for a in node.attribute):
            raise ValueError(f"{what}, which is no constant; expected numbers that no run of the model changes")
        if any(n and n not in self._arrays for n in node.input):
            raise ValueError(f"{what}, which takes its own result: expected a graph without circles")
        domains = dict.fromkeys((node.domain, ""), onnx.defs.onnx_opset_version()) | self._opsets
        given, results = dict.fromkeys(n for n in node.input if n), [n for n in node.output if n]
        infos = ([onnx.ValueInfoProto(name=n) for n in names] for names in (given, results))
        graph = helper.make_graph([node], "constants", *infos)
        try:
            evaluator = ReferenceEvaluator(graph, opsets=domains, new_ops=[DequantizeLinear])
            found = evaluator.run(None, {n: self._arrays[n] for n in given})
        except Exception as error:
            raise ValueError(
                f"{what} from constants, which ONNX's reference evaluator could not do ({type(error).__name__}: "
                f"{error}); fold the model's constants first"
            ) from error
        self._arrays |= {n: np.asarray(value) for n, value in zip(results, found, strict=True)}

    def read(self, parts: Iterable[Any]) -> None:
        """Take tensors, nodes and graphs; what is here already counts before them."""
        for part in parts:
            if isinstance(part, onnx.GraphProto):
                self.read([*part.initializer, *part.node])
            elif isinstance(part, onnx.TensorProto):
                if part.name not in self._nodes:
                    self._arrays.setdefault(part.name, numpy_helper.to_array(part))
            elif isinstance(part, onnx.NodeProto):
                for name in part.output:
                    if name and name not in self._arrays:
                        self._nodes.setdefault(name, part)
            else:
                raise TypeError(f"initializers: expected tensors, nodes and graphs, got {type(part).__name__}")


def _around(graph: Any, node: Any) -> list[Any]:
    """Return the graph that a node is in, then those around it; the whole model's, where it is in none."""
    found = list(_ways(graph, node, []))
    if len(found) > 1:
        raise ValueError(
            f"node: expected one {node.op_type} like it in the model, found {len(found)}; give the graph that it is in "
            "and those around it, [inner, ..., model.graph]"
        )
    return found[0] if found else [graph]


def _ways(graph: Any, node: Any, around: list[Any]) -> Iterable[list[Any]]:
    here = [graph, *around]
    for each in graph.node:
        if each == node:
            yield here
        for attribute in each.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _ways(inner, node, here)


def _missing(role: str, name: str, at: str) -> str:
    if at == name:
        return (
            f"{role}: expected an initializer named {name!r}, got none; where nodes compute it from constants, give "
            "the model or its graphs in the place of the initializers, or fold the model's constants first"
        )
    return (
        f"{role}: {name!r} is computed from {at!r}, which is neither an initializer nor computed from constants here: "
        "an input of the model, or of a graph that was not given"
    )
