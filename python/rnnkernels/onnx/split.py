"""A model as steps: its recurrent nodes on our kernels, and between them as few runs of an engine as can be.

A node runs with all others that wait for the same recurrent nodes. What a graph computes from constants goes to every
part that reads it, so that an engine sees constants. Branches and loops with recurrent nodes are taken apart likewise.
Not here: the steps (steps.py) and the engines (engines.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
from onnx import helper

from .cells import DEFAULTS, UnsupportedError
from .constants import is_constant
from .engines import NUMPY, ONNXRUNTIME, OURS, Numpy, Refused
from .graphs import (
    Flat,
    bodies,
    copied,
    driven,
    flat,
    is_driven,
    is_recurrent,
    path_of,
    place_of,
    reads,
    recurrent_functions,
)
from .nodes import INPUTS, STORED, WEIGHTS, check_opset, computed_by, of_node, read_attributes
from .operators import COMPUTED
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
        Why ONNX Runtime does not run it, where it should.
    """

    where: str
    path: str
    operators: dict[str, int]
    why: str = ""

    def __str__(self) -> str:
        said = ", ".join(f"{name} x{count}" if count > 1 else name for name, count in self.operators.items())
        return " ".join([f"{self.where}:", *([f"{self.path!r}:"] if self.path else []), said]) + (
            f" ({self.why})" if self.why else ""
        )


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
        self._flat, self._types, self._constants, self._engines = copy, types, constants, engines
        self._opsets = {opset.domain: opset.version for opset in copy.model.opset_import}
        self._functions = recurrent_functions(copy.model)  # those that could not be inlined
        self._places: dict[str, int] = {}
        self._tensors: dict[str, Any] = {}
        self._fixed: dict[str, Any] = {}
        self._find_fixed()
        graphs = enumerate(driven(copy.model.graph))
        self._makers = {name: (node, at) for at, graph in graphs for node in graph.node for name in node.output if name}

    def place(self, name: str) -> int:
        """Return where a value is, a constant's with the constant there."""
        if name not in self._places:
            self._places[name] = len(self.values)
            self.values.append(self._constant(name))
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

    def _find_fixed(self) -> None:
        """Find what is computed from constants, and never try again what cannot be found as a number."""
        loose: set[str] = set()
        while True:
            self._tensors, self._fixed = {}, {}
            asked: list[str] = []
            for graph in driven(self._flat.model.graph):
                sparse = {tensor.values.name: tensor for tensor in graph.sparse_initializer}
                self._tensors |= {tensor.name: tensor for tensor in graph.initializer} | sparse
                asked += [value.name for value in graph.output]
                for node in graph.node:
                    if self._is_barrier(node):
                        asked += reads(node)
                    elif self._is_fixed(node) and loose.isdisjoint(node.output):
                        self._fixed |= dict.fromkeys((name for name in node.output if name), node)
            more = {name for name in asked if name in self._fixed and self._constant(name) is None}
            if not more:
                return
            loose |= more

    def _is_barrier(self, node: Any) -> bool:
        return is_recurrent(node) or (node.domain, node.op_type) in self._functions

    def _is_fixed(self, node: Any) -> bool:
        return is_constant(node, lambda name: name in self._tensors or name in self._fixed)

    def _constant(self, name: str) -> Array | None:
        try:
            found: Array = self._constants.find("", name)
        except ValueError:
            return None
        return found

    def _stages(self, graph: Any, outputs: Sequence[str]) -> list[tuple[list[Any], list[Any]]]:
        """Return the other nodes and the recurrent ones of each stage; what nobody needs is in none."""
        needed, kept = set(outputs), []
        for node in reversed(graph.node):
            fixed = any(name in self._fixed for name in node.output)
            if not fixed and not needed.isdisjoint(name for name in node.output if name):
                needed.update(self._asked(node))
                kept.append(node)
        ready: dict[str, int] = {}
        stages: list[tuple[list[Any], list[Any]]] = [([], [])]
        for node in reversed(kept):
            at = max((ready.get(name, 0) for name in self._asked(node)), default=0)
            barrier = self._is_barrier(node)
            ready |= dict.fromkeys(node.output, at + barrier)
            if at + barrier >= len(stages):
                stages.append(([], []))
            stages[at][barrier].append(node)
        return stages

    def _asked(self, node: Any) -> list[str]:
        """Return what a node reads and is not known before."""
        names = reads(node)
        if not self._is_barrier(node):
            return names
        embedding = self._embedding(node)
        if embedding is not None:
            names = [embedding.tokens, *(name for name in names if name != node.input[0])]
        return [name for name in names if self._constant(name) is None]

    def _embedding(self, node: Any) -> _Embedding | None:
        """Return what picks a recurrent node's X from a table, where the table times W is small enough to be kept."""
        if node.op_type not in _FLOATING or node.domain not in ("", "ai.onnx"):
            return None
        here = next(self._makers[name][1] for name in node.output if name)

        def made(name: str) -> Any:
            maker, there = self._makers.get(name, (None, here))
            return maker if there == here else None

        maker, turned = made(node.input[0]), False
        if maker is not None and maker.op_type == "Transpose":
            turned = [list(a.ints) for a in maker.attribute] == [[1, 0, 2]]
            maker = made(maker.input[0]) if turned else None
        if maker is None or maker.op_type != "Gather" or any(a.i != 0 for a in maker.attribute):
            return None
        table, W = (self._constant(name) for name in (maker.input[0], node.input[1]))
        if table is None or W is None or table.ndim != 2 or W.ndim != 3 or W.shape[2] != table.shape[1]:
            return None
        if table.dtype != W.dtype or W.dtype not in COMPUTED or not len(table):
            return None
        if len(table) * W.shape[0] * W.shape[1] * W.itemsize > _LARGEST_TABLE:
            return None
        return _Embedding(maker.input[1], table, turned)

    # ---- steps

    def _others(self, nodes: list[Any], wanted: list[str], path: str, where: str = "", why: str = "") -> Step:
        """Return a step of nodes that an engine runs; NumPy where the list of parts is told what to say."""
        model, large, inputs = self._model(nodes, wanted)
        operators = dict(Counter(node.op_type for node in nodes).most_common())
        for engine in (Numpy(),) if where else self._engines:
            try:
                call = engine.make(model, large, self._types)
            except Refused as error:
                why = f"{engine.title}: {error}"
                continue
            self.parts.append(Part(where or engine.name, path, operators, why))
            return Others(call, {name: self.place(name) for name in inputs}, {n: self.place(n) for n in wanted})
        raise UnsupportedError(f"model: {why}")

    def _model(self, nodes: list[Any], wanted: list[str]) -> tuple[Any, dict[str, Array], list[str]]:
        """Return a model of nodes, its large initializers, and the names of its inputs."""
        graph = onnx.GraphProto(name="part")
        made = {name for node in nodes for name in node.output}
        large: dict[str, Array] = {}
        inputs: list[str] = []
        before: list[Any] = []
        seen: set[str] = set()
        waiting = [name for node in reversed(nodes) for name in reversed(reads(node))]
        while waiting:
            name = waiting.pop()
            producer = self._fixed.get(name)
            if name in made or (name in seen and producer is None):
                continue
            if producer is not None:
                missing = [n for n in producer.input if n and n not in seen and n not in made]
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
        roles = WEIGHTS if node.op_type in _FLOATING else STORED
        weights = {role: self._constant(names[role]) if names.get(role) else None for role in roles}
        if any(weights[role] is None for role in roles if names.get(role)):
            return self._others([node], [name for name in node.output if name], path, OURS)
        settings = read_attributes(node.op_type, {a.name: helper.get_attribute_value(a) for a in node.attribute})
        embedding = self._embedding(node)
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
        if dims is None:
            return None
        return np.zeros((0, *(dim or 0 for dim in dims)), helper.tensor_dtype_to_np_dtype(known.tensor_type.elem_type))


class _Embedding(NamedTuple):
    tokens: str
    table: Array
    turned: bool


_WHOLE = "it has recurrent nodes inside, and only If, Loop and functions of the model's opset are taken apart"
_BRANCHES = ("then_branch", "else_branch")
_VARIABLE = ("X", "sequence_lens", "initial_h", "initial_c")
_LARGEST_TABLE = 1 << 25  # bytes of an embedding's table times W
_FLOATING = tuple(DEFAULTS)  # operators whose weights are floats


def _set_dims(value: Any, shape: Sequence[int] | None) -> None:
    if shape is not None:
        value.type.CopyFrom(helper.make_tensor_type_proto(value.type.tensor_type.elem_type, shape))


def _refill(field: Any, values: list[Any]) -> None:
    kept = [copied(value) for value in values]
    del field[:]
    field.extend(kept)
