"""A model as steps: its recurrent nodes on our kernels, and between them as few runs of an engine as can be.

A node runs with all others that wait for the same recurrent nodes. What a graph computes from constants goes to every
part that reads it, so that an engine sees constants. Branches and loops with recurrent nodes are taken apart likewise.
Not here: the steps (steps.py) and the engines (engines.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from .cells import UnsupportedError
from .embedding import Embeddings
from .engines import NUMPY, ONNXRUNTIME, OURS, Numpy, RefusedError
from .fixed import Fixed
from .graphs import Flat, bodies, copied, driven, flat, is_driven, path_of, reads
from .nodes import FLOATING, INPUTS, STORED, WEIGHTS, check_opset, computed_by, of_node, read_attributes
from .shapes import dims_of, without_dims
from .simplify import simplify
from .steps import Body, Branch, Embedded, Others, Recurrent, Repeat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rnnkernels.parameters import Array

    from .steps import Step


@dataclass(frozen=True)
class Part:
    """What runs together.

    Attributes
    ----------
    where : {"rnnkernels", "onnxruntime", "numpy"}
        Our kernels, ONNX Runtime, or ONNX's reference evaluator.
    path : str
        The branches and loops that it is in, and a recurrent node's name; ``""`` in the model's own graph.
    operators : dict of str to int
        How many nodes of each operator, without those that compute with constants alone.
    why : str
        Why it does not run where, or as fast as, it should.
    """

    where: str
    path: str
    operators: dict[str, int]
    why: str = ""

    def __str__(self) -> str:
        said = ", ".join(f"{name} x{count}" if count > 1 else name for name, count in self.operators.items())
        path, why = f"{self.path!r}: " if self.path else "", f" ({self.why})" if self.why else ""
        return f"{self.where}: {path}{said}{why}"


class Plan:
    """A model's steps.

    Parameters
    ----------
    model : onnx.ModelProto
    engines : sequence
        See `engines_of`.
    given : set of str
        Inputs with an initializer that a run gives another value.
    shapes : mapping of str to tuple of int, optional
        Those that inputs will have.

    Raises
    ------
    UnsupportedError
        If no engine runs a part, or it is no model that can be taken apart.
    """

    def __init__(
        self,
        model: Any,
        engines: Sequence[Any],
        given: Iterable[str] = (),
        shapes: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        copy = flat(model)
        given = set(given)
        initializers = [tensor for tensor in copy.model.graph.initializer if tensor.name not in given]
        initialized = {tensor.name for tensor in initializers}
        inputs = [value for value in copy.model.graph.input if value.name not in initialized]
        _refill(copy.model.graph.initializer, initializers)
        _refill(copy.model.graph.input, inputs)
        for value in inputs:
            _set_dims(value, (shapes or {}).get(value.name))
        _refill(copy.model.graph.input, inputs)
        constants, types, of_shapes = simplify(copy)
        # How many branches are decided in every run: more, where shapes are not known.
        self.undecided = sum(node.op_type == "If" for graph in driven(copy.model.graph) for node in graph.node)
        builder = _Builder(copy, types, constants, engines)
        self.takes = {value.name: builder.place(value.name) for value in inputs}
        self._body = builder.body(copy.model.graph, "")
        self._values = builder.values
        self.parts: tuple[Part, ...] = tuple(builder.parts)
        # Whether inputs must have the dimensions that the model says.
        self.holds_shapes = of_shapes or any(part.where == ONNXRUNTIME for part in self.parts)

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """Return the results in the graph's order, of inputs by name."""
        values = list(self._values)
        for name, value in feeds.items():
            values[self.takes[name]] = value
        return self._body.run(values)


class _Builder:
    def __init__(self, copy: Flat, types: dict[str, Any], constants: Any, engines: Sequence[Any]) -> None:
        self.values: list[Any] = []  # constants that steps take, each in its place
        self.parts: list[Part] = []
        self._types, self._engines = types, engines
        self._opsets = {opset.domain: opset.version for opset in copy.model.opset_import}
        self._places: dict[str, int] = {}
        self._fixed = Fixed(copy, constants)
        self._embeddings = Embeddings(copy.model.graph, self._fixed)

    def place(self, name: str) -> int:
        """Return where a value is, a constant's with the constant there."""
        if name not in self._places:
            self._places[name] = len(self.values)
            self.values.append(self._fixed.array(name))
        return self._places[name]

    def body(self, graph: Any, path: str) -> Body:
        """Return the steps of a graph."""
        steps: list[Step] = []
        outputs = [value.name for value in graph.output]
        stages = self._stages(graph, outputs)
        for at, (others, barriers) in enumerate(stages):
            if others:
                behind = [*barriers, *(node for nodes, more in stages[at + 1 :] for node in (*nodes, *more))]
                later = {name for node in behind for name in self._asked(node)} | set(outputs)
                wanted = [name for node in others for name in node.output if name in later]
                steps.append(self._others(others, wanted, path))
            steps += [self._barrier(node, path) for node in barriers]
        return Body(steps, [self.place(name) for name in outputs])

    # ---- which nodes run when

    def _stages(self, graph: Any, outputs: Sequence[str]) -> list[tuple[list[Any], list[Any]]]:
        """Return the other nodes and the recurrent ones of each stage; what nobody needs is in none."""
        needed, kept = set(outputs), []
        for node in reversed(graph.node):
            if not self._fixed.computes(node) and not needed.isdisjoint(name for name in node.output if name):
                needed.update(self._asked(node))
                kept.append(node)
        ready: dict[str, int] = {}
        stages: list[tuple[list[Any], list[Any]]] = [([], [])]
        for node in reversed(kept):
            at = max((ready.get(name, 0) for name in self._asked(node)), default=0)
            barrier = int(self._fixed.is_barrier(node))
            ready |= dict.fromkeys(node.output, at + barrier)
            if at + barrier >= len(stages):
                stages.append(([], []))
            stages[at][barrier].append(node)
        return stages

    def _asked(self, node: Any) -> list[str]:
        """Return what a node reads and is not known before."""
        names = reads(node)
        if not self._fixed.is_barrier(node):
            return names
        embedding = self._embeddings.of(node)
        if embedding is not None:
            names = [embedding.tokens, *(name for name in names if name != node.input[0])]
        return [name for name in names if self._fixed.array(name) is None]

    # ---- steps

    def _others(self, nodes: list[Any], wanted: list[str], path: str, where: str = "", why: str = "") -> Step:
        """Return a step of nodes that an engine runs; NumPy where the list of parts is told what to say."""
        model, large, inputs = self._fixed.model(nodes, wanted)
        operators = dict(Counter(node.op_type for node in nodes).most_common())
        for engine in (Numpy(),) if where else self._engines:
            try:
                call = engine.make(model, large, self._types)
            except RefusedError as error:
                why = f"{engine.title}: {error}"
                continue
            self.parts.append(Part(where or engine.name, path, operators, why))
            return Others(call, {name: self.place(name) for name in inputs}, {n: self.place(n) for n in wanted})
        raise UnsupportedError(f"model: {why}")

    def _barrier(self, node: Any, path: str) -> Step:
        inside = path_of(path, node)
        if computed_by(node) is not None:
            return self._recurrent(node, inside)
        if is_driven(node):
            return self._if(node, inside) if node.op_type == "If" else self._loop(node, inside)
        return self._others([node], [name for name in node.output if name], path, NUMPY, _WHOLE)

    def _recurrent(self, node: Any, path: str) -> Step:
        check_opset(node.op_type, self._opsets)
        names = dict(zip(INPUTS, node.input, strict=False))
        self._tell_types(node)
        roles = WEIGHTS if node.op_type in FLOATING else STORED
        weights = {role: self._fixed.array(names[role]) if names.get(role) else None for role in roles}
        if any(weights[role] is None for role in roles if names.get(role)):
            return self._others([node], [name for name in node.output if name], path, OURS, _CHANGING)
        settings = read_attributes(node.op_type, {a.name: helper.get_attribute_value(a) for a in node.attribute})
        embedding = self._embeddings.of(node)
        if embedding is not None:
            names["X"] = embedding.tokens
        takes = [self.place(n) if (n := names.get(role)) else None for role in _VARIABLE]
        gives = self._gives(node)
        step: Step
        try:
            if embedding is None:
                step = Recurrent(settings, weights, takes, gives)
            else:
                step = Embedded(settings, weights, embedding.table, takes, gives, embedding.turned)
        except UnsupportedError as error:
            raise of_node(error, node) from None
        self.parts.append(Part(OURS, path, {**({"Gather": 1} if embedding else {}), node.op_type: 1}))
        return step

    def _tell_types(self, node: Any) -> None:
        """Add the types of a recurrent node's results, where inference has none."""
        known = self._types.get(node.input[0])
        for name, rank in zip(node.output, (4, 3, 3), strict=False):
            if name and known is not None and known.HasField("tensor_type"):
                element = known.tensor_type.elem_type
                self._types.setdefault(name, helper.make_tensor_type_proto(element, [None] * rank))

    def _if(self, node: Any, path: str) -> Step:
        graphs = dict(bodies(node))
        branches = [graphs[name] for name in _BRANCHES]
        then, other = (self.body(graph, f"{path}/{name}") for graph, name in zip(branches, _BRANCHES, strict=True))
        for graph in branches:
            self._same_types([value.name for value in graph.output], node.output)
        return Branch(self.place(node.input[0]), (then, other), self._gives(node))

    def _loop(self, node: Any, path: str) -> Step:
        ((_, graph),) = bodies(node)
        most, condition, *initial = [*node.input, "", ""][: max(2, len(node.input))]
        inner = [value.name for value in graph.input]
        for name, element in zip(inner, (onnx.TensorProto.INT64, onnx.TensorProto.BOOL), strict=False):
            self._types.setdefault(name, helper.make_tensor_type_proto(element, None))
        self._same_types(initial, inner[2:])
        takes = [self.place(name) for name in inner]
        body = self.body(graph, f"{path}/body")
        body = Body(body.steps, body.gives, takes)
        made = [value.name for value in graph.output][1 + len(initial) :]
        self._same_types(initial, node.output)
        for name, each in zip(node.output[len(initial) :], made, strict=False):
            if name and (known := self._types.get(each)) is not None and known.HasField("tensor_type"):
                self._types.setdefault(name, helper.make_tensor_type_proto(known.tensor_type.elem_type, None))
        return Repeat(
            self.place(most) if most else None,
            self.place(condition) if condition else None,
            [self.place(name) for name in initial],
            body,
            self._gives(node),
            [self._none_of(name) for name in made],
        )

    def _gives(self, node: Any) -> list[int | None]:
        return [self.place(name) if name else None for name in node.output]

    def _same_types(self, known: Iterable[str], names: Iterable[str]) -> None:
        """Let values have the types of others, where inference has none."""
        for name, other in zip(names, known, strict=False):
            if name and other in self._types:
                self._types.setdefault(name, without_dims(self._types[other]))

    def _none_of(self, name: str) -> Array | None:
        """Return a loop's results of no rounds, where each round would make `name`."""
        known = self._types.get(name)
        dims = dims_of(known)
        if known is None or dims is None:
            return None
        shape = [0, *(dim or 0 for dim in dims)]
        return np.zeros(shape, helper.tensor_dtype_to_np_dtype(known.tensor_type.elem_type))


_WHOLE = "it has recurrent nodes inside, and only If, Loop and functions of the model's opset are taken apart"
_CHANGING = "its weights may change from call to call, and are packed when they do"
_BRANCHES = ("then_branch", "else_branch")
_VARIABLE = ("X", "sequence_lens", "initial_h", "initial_c")


def _set_dims(value: Any, shape: Sequence[int] | None) -> None:
    if shape is not None:
        value.type.CopyFrom(helper.make_tensor_type_proto(value.type.tensor_type.elem_type, shape))


def _refill(field: Any, values: list[Any]) -> None:
    kept = [copied(value) for value in values]
    del field[:]
    field.extend(kept)
