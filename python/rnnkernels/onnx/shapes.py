"""What is known of a flat model's values before it runs: their types, their shapes, and shapes that are constants.

Types are those of ONNX's own inference; what a file says beside its graph's inputs may be wrong and is taken for a
type only. Not here: what ONNX Runtime finds out beyond that (engines.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, shape_inference

from .graphs import bodies, copied

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rnnkernels.parameters import Array

    from .constants import Constants

_SEQUENCES = {"seq": "sequence_type", "optional": "optional_type"}


def types_of(model: Any) -> dict[str, Any]:
    """Return the type of each value of a flat model whose type can be inferred."""
    bare = copied(model)
    told: dict[str, Any] = {}
    for graph in _graphs(bare.graph):
        values = [*graph.value_info, *graph.output, *(graph.input if graph is not bare.graph else ())]
        told |= {value.name: without_dims(value.type) for value in values if value.type.WhichOneof("value")}
        del graph.value_info[:]
        for value in values:
            if dims_of(value.type):  # a single number stays one: a loop's counter
                value.type.tensor_type.ClearField("shape")
    try:
        inferred = shape_inference.infer_shapes(bare, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError):  # a node that contradicts itself: its run says so
        inferred = bare
    found = {}
    for graph in _graphs(inferred.graph):
        for value in (*graph.value_info, *graph.output, *graph.input):
            if value.type.WhichOneof("value"):
                found[value.name] = value.type
        for tensor in graph.initializer:
            found[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    return told | found


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for _, inner in bodies(node):
            yield from _graphs(inner)


def without_dims(known: Any) -> Any:
    """Return a type that says nothing of a tensor's dimensions."""
    found = copied(known)
    if found.HasField("tensor_type"):
        found.tensor_type.ClearField("shape")
    return found


def dims_of(known: Any) -> list[int | None] | None:
    """Return a tensor's dimensions, None for one that is open; None where their number is."""
    if known is None or not known.HasField("tensor_type") or not known.tensor_type.HasField("shape"):
        return None
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in known.tensor_type.shape.dim]


def known_shapes(graph: Any, types: Mapping[str, Any], constants: Constants) -> dict[str, Array]:
    """Return what nodes of a graph make of shapes alone, by name: a rank, a dimension that is not open."""
    found: dict[str, Array] = {}
    shapes: dict[str, list[int | None]] = {}
    for node in graph.node:
        value = None
        if node.op_type == "Shape" and node.domain in ("", "ai.onnx") and not node.attribute:
            dims = dims_of(types.get(node.input[0]))
            if dims is None:
                continue
            shapes[node.output[0]] = dims
            if None not in dims:
                value = np.array(dims, np.int64)
        elif node.op_type == "Size" and node.input[0] in shapes:
            value = np.array(len(shapes[node.input[0]]), np.int64)
        elif node.op_type == "Gather" and node.input[0] in shapes:
            value = _gathered(shapes[node.input[0]], node, constants)
        if value is not None:
            found[node.output[0]] = value
    return found


def _gathered(dims: list[int | None], node: Any, constants: Constants) -> Any:
    try:
        places = constants.find("indices", node.input[1])
    except ValueError:
        return None
    if places.size and not (-len(dims) <= places.min() and places.max() < len(dims)):
        return None
    picked = [dims[int(place)] for place in places.ravel()]
    return None if None in picked else np.array(picked, np.int64).reshape(places.shape)


def type_named(text: str) -> Any | None:
    """Return the type that ONNX Runtime writes as ``tensor(float)`` or ``seq(tensor(int64))``, None of others."""
    kind, _, inside = text.partition("(")
    found = onnx.TypeProto()
    if kind in _SEQUENCES:
        of = type_named(inside[:-1])
        if of is None:
            return None
        getattr(found, _SEQUENCES[kind]).elem_type.CopyFrom(of)
        return found
    name = inside[:-1].upper()
    if kind != "tensor" or name not in onnx.TensorProto.DataType.keys():  # noqa: SIM118  # an enum of protobuf
        return None
    found.tensor_type.elem_type = onnx.TensorProto.DataType.Value(name)
    return found
