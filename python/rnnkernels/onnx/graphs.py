"""A model's graphs: what a node reads, and the same model in a form that can be taken apart.

`flat` returns a model in which a name means one value everywhere: local functions that hold recurrent nodes are
inlined, and names of branches and loops that mean something else elsewhere are changed. Large initializers are kept
beside it, so that it can be copied and written as bytes. Not here: values (constants.py), types and shapes (shapes.py),
and where the parts run (split.py).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import onnx
from onnx import TensorProto, inliner, numpy_helper

from .cells import UnsupportedError
from .nodes import computed_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rnnkernels.parameters import Array

_LARGE = 1 << 16  # bytes: initializers from here on are kept beside the model, where NumPy has their type
_KEPT = {
    TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64, TensorProto.INT8,
    TensorProto.UINT8,
}  # fmt: skip


class Flat(NamedTuple):
    """A model whose names mean one value each, and its large initializers by the name of their place."""

    model: Any
    large: dict[str, Array]

    def is_large(self, tensor: Any) -> bool:
        """Whether an initializer's numbers are beside the model."""
        return place_of(tensor) in self.large

    def array(self, tensor: Any) -> Array:
        """Return an initializer's numbers."""
        kept = place_of(tensor)
        found: Array = numpy_helper.to_array(tensor) if kept is None else self.large[kept]
        return found


def place_of(tensor: Any) -> str | None:
    """Return where the numbers of a large initializer are; None where the tensor has them itself."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return None
    return next(str(entry.value) for entry in tensor.external_data if entry.key == "location")


def loaded(model: Any) -> Any:
    """Return a model, or that of a file with the files of its own initializers.

    Raises
    ------
    TypeError, ValueError
        If it is neither.
    """
    if isinstance(model, onnx.ModelProto):
        return model
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(f"model: expected an onnx.ModelProto or a path, got {type(model).__name__}")
    path = Path(model)
    if not path.is_file():
        raise ValueError(f"model: expected a file, got {str(path)!r}, which is none")
    return onnx.load(str(path))


def bodies(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the graphs of a node, each with its attribute's name."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.name, attribute.g
        for at, graph in enumerate(attribute.graphs):
            yield f"{attribute.name}[{at}]", graph


def path_of(path: str, node: Any) -> str:
    """Return the path of a node in a graph of a path: its name behind it, or its first result's."""
    own = node.name or next((name for name in node.output if name), node.op_type)
    return f"{path}/{own}" if path else str(own)


def reads(node: Any) -> list[str]:
    """Return the names that a node reads, those that its graphs take from around it among them, each once."""
    found = dict.fromkeys(name for name in node.input if name)
    for _, graph in bodies(node):
        found |= dict.fromkeys(_free(graph))
    return list(found)


def _free(graph: Any) -> Iterator[str]:
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {tensor.values.name for tensor in graph.sparse_initializer}
    for node in graph.node:
        yield from (name for name in reads(node) if name not in own)
        own.update(node.output)
    yield from (value.name for value in graph.output if value.name not in own)


def is_recurrent(node: Any) -> bool:
    """Whether a node, or one in its graphs, runs on our kernels."""
    return computed_by(node) is not None or any(holds_recurrent(graph) for _, graph in bodies(node))


def holds_recurrent(graph: Any) -> bool:
    """Whether a graph or a function has a recurrent node, at any depth."""
    return any(is_recurrent(node) for node in graph.node)


def flat(model: Any) -> Flat:
    """Return a model that computes the same, whose names can be looked up without knowing where they stand.

    Raises
    ------
    UnsupportedError
        If an initializer lies in a file that was not read.
    """
    large: dict[str, Array] = {}
    copy = _without(model, "graph")
    copy.graph.CopyFrom(_light(model.graph, large))
    copy = inlined(copy)
    _rename(copy.graph, {}, _own_names(copy.graph), top=True)
    return Flat(copy, large)


def inlined(model: Any) -> Any:
    """Return a model without calls of local functions that hold recurrent nodes, where their opsets are the model's."""
    recurrent = recurrent_functions(model)
    if not recurrent:
        return model
    try:
        return inliner.inline_selected_functions(model, sorted(recurrent))
    except RuntimeError:  # some are of another opset: these stay as they are
        return model


def _without(message: Any, field: str) -> Any:
    """Return a copy of a message that lacks a field, which is never copied."""
    copy = type(message)()
    for known, value in message.ListFields():
        if known.name == field:
            continue
        if isinstance(value, (int, float, str, bytes)):
            setattr(copy, known.name, value)
        elif hasattr(value, "extend"):
            getattr(copy, known.name).extend(value)
        else:
            getattr(copy, known.name).CopyFrom(value)
    return copy


def _light(graph: Any, large: dict[str, Array]) -> Any:
    copy = _without(graph, "initializer")
    for tensor in graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            raise UnsupportedError(
                f"model: initializer {tensor.name!r} lies in a file of its own, {place_of(tensor)!r}, that was not "
                "read; give the model's path, or what onnx.load returns with load_external_data=True"
            )
        if tensor.ByteSize() < _LARGE or tensor.data_type not in _KEPT:
            copy.initializer.append(tensor)
            continue
        place = f"rnnkernels:{len(large)}"
        large[place] = numpy_helper.to_array(tensor)
        stub = copy.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        stub.data_location = TensorProto.EXTERNAL
        stub.external_data.add(key="location", value=place)
    return copy


def recurrent_functions(model: Any) -> set[tuple[str, str]]:
    """Return the local functions, by domain and name, that hold a recurrent node or call one that does."""
    found: set[tuple[str, str]] = set()
    while True:
        more = {
            (function.domain, function.name)
            for function in model.functions
            if (function.domain, function.name) not in found
            and any(is_recurrent(node) or _calls(node, found) for node in function.node)
        }
        if not more:
            return found
        found |= more


def _calls(node: Any, functions: set[tuple[str, str]]) -> bool:
    return (node.domain, node.op_type) in functions or any(
        _calls(inner, functions) for _, graph in bodies(node) for inner in graph.node
    )


def _own_names(graph: Any) -> set[str]:
    found = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    found |= {tensor.values.name for tensor in graph.sparse_initializer}
    return found | {name for node in graph.node for name in node.output if name}


def _rename(graph: Any, scope: dict[str, str], taken: set[str], *, top: bool = False) -> None:
    """Give every value of the graphs inside a name of its own; `scope` has the new names of those around."""
    scope = dict(scope)

    def define(name: str) -> str:
        if name and not top:
            scope[name] = unused(name, taken)
            taken.add(scope[name])
        return scope.get(name, name)

    if not top:
        inputs = {value.name for value in graph.input}
        for value in graph.input:
            value.name = define(value.name)
        for tensor in graph.initializer:
            tensor.name = scope[tensor.name] if tensor.name in inputs else define(tensor.name)
        for sparse in graph.sparse_initializer:
            sparse.values.name = define(sparse.values.name)
    for node in graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = scope.get(name, name)
        for _, inner in bodies(node):
            _rename(inner, scope, taken)
        for at, name in enumerate(node.output):
            node.output[at] = define(name)
    for value in (*graph.output, *graph.value_info):
        value.name = scope.get(value.name, value.name)
    del graph.quantization_annotation[:]


def copied(message: Any) -> Any:
    """Return a copy that stays when what it is part of goes."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def unused(name: str, taken: set[str]) -> str:
    """Return a name that is not taken."""
    while name in taken:
        name += "_"
    return name


def is_driven(node: Any) -> bool:
    """Whether a branch or a loop has recurrent nodes, so that its graphs are taken apart like the model's own."""
    return node.op_type in ("If", "Loop") and node.domain in ("", "ai.onnx") and is_recurrent(node)


def driven(graph: Any) -> Iterator[Any]:
    """Yield a graph and those in it that are taken apart."""
    yield graph
    for node in graph.node:
        if is_driven(node):
            for _, inner in bodies(node):
                yield from driven(inner)


def replace(graph: Any, names: dict[str, str], *, outputs: bool = True) -> None:
    """Have nodes read other names, and graphs that are taken apart return them; others must return their own."""
    for node in graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = names.get(name, name)
        for _, inner in bodies(node):
            replace(inner, names, outputs=outputs and is_driven(node))
    if outputs:
        for value in graph.output:
            value.name = names.get(value.name, value.name)
