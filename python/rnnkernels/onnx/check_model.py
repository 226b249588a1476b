"""What the recurrent nodes of a file compute in one run: each node, each direction, a `Half`.

What a node takes and gives is made an output of the graph, and the graph is run by ONNX Runtime where it is installed
and takes the file, else by `rnnkernels.onnx`. Nodes in branches, loops and local functions are found, and what they
compute is not seen.

Not here: the source (check_module.py), and what is said of the two (check_causes.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
from onnx import helper

from .backend import prepare
from .constants import Constants
from .convert import Direction, from_node
from .nodes import INPUTS, STORED, Attributes, computed_by, read_attributes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rnnkernels.parameters import Array

_OUTPUTS = ("Y", "Y_h", "Y_c")
_RANKS = {"X": 3, "sequence_lens": 1, "initial_h": 3, "initial_c": 3, "Y": 4, "Y_h": 3, "Y_c": 3}
_MOVES = {"Identity", "Squeeze", "Transpose", "Unsqueeze", "Reshape"}  # from Y to what a layer gives
_MOST_MOVES = 6


@dataclass(frozen=True, eq=False)
class Half:
    """One direction of one node.

    Attributes
    ----------
    node : str
        Its name, or its first result's; of one in a branch or a loop behind the names around it.
    operator : str
    direction : Direction or None
        Its cell and weights; None where nobody can tell.
    fault : str
        Why `direction` is None.
    settings : Attributes
    at : int
        Which direction of the node.
    top : bool
        Whether it is a node of the graph itself: it runs once.
    arrays : dict of str to ndarray
        What it took and gave, by ONNX's names, time first, its own direction: X (T, B, I), initial_h (B, H), Y
        (T, B, H), Y_h (B, H), sequence_lens (B,). What was not seen is missing.
    given : set of str
        The inputs that the node names.
    constants : set of str
        Those that no input of the file changes.
    reshaped : tuple of (str, tuple of int)
        Nodes behind it that reshape what it gives to sizes that are constants.
    """

    node: str
    operator: str
    direction: Direction | None
    fault: str
    settings: Attributes
    at: int
    top: bool
    given: frozenset[str]
    constants: frozenset[str]
    arrays: dict[str, Array] = field(default_factory=dict)
    reshaped: tuple[tuple[str, tuple[int, ...]], ...] = ()


class RanFile(NamedTuple):
    """A run of a file.

    Attributes
    ----------
    halves : list of Half
        In the order of the graph.
    outputs : dict of str to (ndarray or None)
        None where the file did not run.
    by : str
        What ran it; where nothing did, what was said.
    notes : list of str
    """

    halves: list[Half]
    outputs: dict[str, Array | None]
    by: str
    notes: list[str]


class _Seen(NamedTuple):
    node: Any
    name: str
    graphs: list[Any]  # that it is in, and those around it; empty in a local function

    @property
    def top(self) -> bool:
        return len(self.graphs) == 1


def run_file(model: Any, feeds: Sequence[Any] | Mapping[str, Any]) -> RanFile:
    """Run a model and return what its recurrent nodes did.

    Raises
    ------
    ValueError
        If the inputs are not as many as the file's.
    """
    named = _named(model.graph, feeds)
    seen = list(_recurrent(model))
    constants = Constants(model.graph, None, {opset.domain: opset.version for opset in model.opset_import})
    wanted = _wanted(model.graph, [each.node for each in seen if each.top])
    by, notes, values = _run(_with_outputs(model, wanted), named)
    outputs = {value.name: values.get(value.name) for value in model.graph.output}
    halves: list[Half] = []
    for each in seen:
        halves += _halves(model, each, constants if each.top else None, values | named)
    return RanFile(halves, outputs, by, notes + _fixed_inputs(model.graph))


def input_names(graph: Any) -> tuple[str, ...]:
    """Return the names of what a graph must be given."""
    initialized = {tensor.name for tensor in graph.initializer}
    return tuple(value.name for value in graph.input if value.name not in initialized)


def _named(graph: Any, feeds: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    names = input_names(graph)
    if not isinstance(feeds, dict):
        if len(feeds) != len(names):
            raise ValueError(
                f"inputs: expected one for each of the file's inputs, {', '.join(names)}; got {len(feeds)}: `feeds` is "
                "what the file takes where that is something else"
            )
        feeds = dict(zip(names, feeds, strict=True))
    elif sorted(feeds) != sorted(names):
        raise ValueError(f"feeds: expected the file's inputs {', '.join(names)}; got {', '.join(map(str, feeds))}")
    return {name: np.ascontiguousarray(value) for name, value in feeds.items()}


def _recurrent(model: Any) -> Iterator[_Seen]:
    """Yield every recurrent node of a model: its graph's, and those of branches, loops and local functions."""
    yield from _of_nodes(model.graph.node, (), [model.graph])
    for function in model.functions:
        yield from _of_nodes(function.node, (function.name,), [])


def _of_nodes(nodes: Any, around: tuple[str, ...], graphs: list[Any]) -> Iterator[_Seen]:
    for node in nodes:
        name = node.name or next((n for n in node.output if n), node.op_type)
        if computed_by(node) is not None:
            yield _Seen(node, "/".join((*around, name)), graphs)
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _of_nodes(inner.node, (*around, name, attribute.name), [inner, *graphs])


def _wanted(graph: Any, nodes: list[Any]) -> list[Any]:
    """Return what is to be made an output."""
    there = {value.name for value in (*graph.input, *graph.output)} | {tensor.name for tensor in graph.initializer}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    found = {}
    for node in nodes:
        element = types.get(node.input[1], 0)
        if element not in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE):
            element = onnx.TensorProto.FLOAT
        roles = [(role, name) for role, name in zip(INPUTS, node.input, strict=False) if role not in STORED]
        for role, name in (*roles, *zip(_OUTPUTS, node.output, strict=False)):
            if name and name not in there:
                kind = onnx.TensorProto.INT32 if role == "sequence_lens" else element
                found[name] = helper.make_tensor_value_info(name, kind, [None] * _RANKS[role])
    return list(found.values())


def _with_outputs(model: Any, wanted: list[Any]) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(wanted)
    return copy


def _run(model: Any, feeds: dict[str, Array]) -> tuple[str, list[str], dict[str, Array]]:
    """Return what ran a model, what there is to say of it, and its outputs by name: none where it did not run."""
    names, said = [value.name for value in model.graph.output], []
    try:
        import onnxruntime  # noqa: PLC0415 - optional
    except ImportError:
        pass
    else:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what fails is said here
        options.intra_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            found = session.run(names, feeds)
        except Exception as error:  # noqa: BLE001 - of whatever class: it is what the report says
            said.append(f"ONNX Runtime {onnxruntime.__version__} does not run the file: {_first_line(error)}")
        else:
            return f"ONNX Runtime {onnxruntime.__version__}", [], dict(zip(names, found, strict=True))
    try:
        result = prepare(model).run(feeds)
    except Exception as error:  # noqa: BLE001 - as above
        said.append(f"rnnkernels.onnx does not run the file: {_first_line(error)}")
        return "nothing", said, {}
    return "rnnkernels.onnx", said, {name: np.asarray(result[k]) for k, name in enumerate(names)}


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _halves(model: Any, seen: _Seen, constants: Constants | None, values: Mapping[str, Array]) -> Iterator[Half]:
    """Yield the directions of a node."""
    node = seen.node
    settings = read_attributes(node.op_type, {})
    directions: list[Direction | None] = [None]
    fault = ""
    try:
        settings = read_attributes(node.op_type, {a.name: helper.get_attribute_value(a) for a in node.attribute})
        directions = [None] * len(settings.reverse)
        directions = list(from_node(node, model if seen.top else seen.graphs).directions)
    except (TypeError, ValueError, NotImplementedError) as error:
        fault = str(error)
    given = {role: name for role, name in zip(INPUTS, node.input, strict=False) if name}
    known = {role: value for role, name in given.items() if (value := _constant(model, constants, name)) is not None}
    arrays = {role: np.asarray(values[name]) for role, name in given.items() if name in values} | known
    arrays |= {r: np.asarray(values[n]) for r, n in zip(_OUTPUTS, node.output, strict=False) if n and n in values}
    reshaped = tuple(_reshapes(model, constants, node)) if constants is not None else ()
    for at, direction in enumerate(directions):
        yield Half(
            seen.name,
            computed_by(node) or "",
            direction,
            fault,
            settings,
            at,
            seen.top,
            frozenset(given),
            frozenset(known),
            {role: of for role, array in arrays.items() if (of := _of(role, array, settings, at)) is not None},
            reshaped,
        )


def _of(role: str, array: Array, settings: Attributes, at: int) -> Array | None:
    """Return one direction's array, time first; None where its dimensions are not what ONNX says."""
    turned = bool(settings.layout)
    if role == "sequence_lens":
        return array if array.ndim == 1 else None
    array = array.astype(np.float32) if array.dtype.itemsize < np.dtype(np.float32).itemsize else array
    if role == "X":
        return None if array.ndim != 3 else array.swapaxes(0, 1) if turned else array
    if role == "Y":
        if array.ndim != 4:
            return None
        return array[:, :, at].swapaxes(0, 1) if turned else array[:, at]
    if role not in ("initial_h", "initial_c", "Y_h", "Y_c") or array.ndim != 3:
        return None
    return array[:, at] if turned else array[at]


def _constant(model: Any, constants: Constants | None, name: str) -> Array | None:
    """Return what an input is if it depends on none of the file's."""
    if constants is None or name in input_names(model.graph):
        return None
    try:
        return constants.find("", name)
    except ValueError:
        return None


def _reshapes(model: Any, constants: Constants | None, node: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the nodes that reshape what a node gives to constant sizes."""
    readers: dict[str, list[Any]] = {}
    for each in model.graph.node:
        for name in each.input:
            readers.setdefault(name, []).append(each)
    waiting = [(name, _MOST_MOVES) for name in node.output if name]
    while waiting:
        name, moves = waiting.pop()
        for reader in readers.get(name, []):
            if reader.op_type not in _MOVES or reader.input[0] != name or not moves:
                continue
            waiting.append((reader.output[0], moves - 1))
            shape = _constant(model, constants, reader.input[1]) if reader.op_type == "Reshape" else None
            if shape is not None:
                yield reader.name or reader.output[0], tuple(int(size) for size in shape.ravel())


def _fixed_inputs(graph: Any) -> list[str]:
    """Return what there is to say of inputs whose every size is a number."""
    found = []
    for value in graph.input:
        sizes = value.type.tensor_type.shape.dim
        if value.name in input_names(graph) and len(sizes) > 1 and all(size.HasField("dim_value") for size in sizes):
            shape = tuple(size.dim_value for size in sizes)
            found.append(f"input {value.name}: its sizes {shape} are fixed: other batches and lengths are refused")
    return found
