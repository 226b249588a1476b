"""`check`: which recurrent node of a file differs from which layer of the PyTorch module that it was made of, and how.

    print(check("model.onnx", module, (x,)))

Each direction of each node is paired with a direction of a layer, by its weights where they are the same, else in the
order in which both run. Not here: what each side computes (check_model.py, check_module.py), and the causes in words
(check_causes.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from rnnkernels._scalars import as_flag, as_items, as_number, is_mapping, shown

from .check_causes import differences, remarks
from .check_model import Half, RanFile, input_names, run_file
from .check_module import Part, Ran, run_module, tensors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rnnkernels.parameters import Array

__all__ = ["CheckReport", "CheckedNode", "DifferenceError", "check"]

_TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
_MATRICES = ("weight_ih", "weight_hh")
_DECOMPOSED = "it has no node in the file; exporters write some layers as Gemm, Sigmoid, Tanh and Mul"


class DifferenceError(ValueError):
    """What `check` raises where it is asked to.

    Attributes
    ----------
    report : CheckReport
    """

    def __init__(self, report: CheckReport) -> None:
        super().__init__(str(report))
        self.report = report


@dataclass(frozen=True)
class CheckedNode:
    """A direction of a recurrent node beside the direction of the layer that it should be.

    Attributes
    ----------
    node : str
    layer : str
        ``""``: the module has none for it.
    difference : float
        The largest of its outputs from the layer's; NaN where one of them was not seen.
    causes : tuple of str
        In words; empty where nothing differs.
    remarks : tuple of str
        What is right at these inputs and may be wrong at others: a batch that is baked in, say.
    """

    node: str
    layer: str
    difference: float
    causes: tuple[str, ...]
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        head = f"node {self.node}" + (f", layer {self.layer}" if self.layer else "")
        by = "" if np.isnan(self.difference) else f"outputs differ by up to {self.difference:.2g}"
        if not self.causes:
            head += f": the same, to {self.difference:.1g}" if by else ": the same, as far as was seen: not its outputs"
        else:
            head += ": " + "; ".join((*self.causes, *([by] if by else [])))
        return "\n    beside: ".join((head, *self.remarks))


@dataclass(frozen=True)
class CheckReport:
    """What `check` found; ``print`` shows it.

    Attributes
    ----------
    nodes : tuple of CheckedNode
        Of the file, in its order: each direction of each.
    missing : tuple of str
        Layers of the module that have no node in the file.
    outputs : dict of str to float
        The largest difference of each of the file's outputs from the module's; infinite where the shapes differ, NaN
        where nothing ran.
    notes : tuple of str
        What there is to say of the file as a whole.
    by : str
        What ran it.
    tolerance : float
    """

    nodes: tuple[CheckedNode, ...]
    missing: tuple[str, ...]
    outputs: dict[str, float]
    notes: tuple[str, ...]
    by: str
    tolerance: float

    @property
    def same(self) -> bool:
        """Whether the file ran, and no node and no output differs; a layer without a node counts by the outputs."""
        ran = all(difference <= self.tolerance for difference in self.outputs.values())
        return ran and not any(node.causes for node in self.nodes)

    def __repr__(self) -> str:
        return f"<CheckReport: {self}>"

    def __str__(self) -> str:
        wrong = sum(bool(node.causes) for node in self.nodes)
        lines = [f"{'the same' if self.same else f'{wrong} of {len(self.nodes)} directions of nodes differ'}"]
        lines += [f"  {node}" for node in self.nodes]
        lines += [f"  layer {layer}: {_DECOMPOSED}" for layer in self.missing]
        for name, difference in self.outputs.items():
            lines.append(f"  output {name}: {_said(difference, self.tolerance)}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes), f"  run by {self.by}"])


def check(
    model: Any,
    module: Any,
    inputs: Any,
    *,
    feeds: Mapping[str, Any] | None = None,
    tolerance: float | None = None,
    raise_on_difference: bool = False,
) -> CheckReport:
    """Say which recurrent node of an ONNX file differs from which layer of its source, and how.

    Both are run on the same inputs. Of each direction of each RNN, GRU, LSTM or DynamicQuantizeLSTM node outputs,
    attributes and weights are compared with those of a layer of the module: torch.nn.RNN, LSTM, GRU and their cells,
    and those of `rnnkernels.torch`.

    Parameters
    ----------
    model : str, path, onnx.ModelProto, or what ``torch.onnx.export(..., dynamo=True)`` returns
    module : torch.nn.Module
        The source. It is run as in evaluation, without gradients; its modes are put back.
    inputs : tensor or array, sequence of what the module takes, or mapping of its keyword arguments
        Their tensors, in order, are what the file is given as well. Inputs that are not zeros, with several rows and
        steps, show most.
    feeds : mapping of str to array_like, optional
        What the file is given, by its inputs' names, where that is something else.
    tolerance : float, optional
        What differences are none. Default: 1e-4; of a float64 module 1e-9, of float16 1e-2, of bfloat16 5e-2.
    raise_on_difference : bool, default False
        Raise `DifferenceError` where something differs. The default is to return: a difference is what was asked for.

    Returns
    -------
    CheckReport
        Its text says, for each node, what is wrong: ``"node /gru/GRU, layer gru: linear_before_reset = 0, the layer's
        equations need 1; outputs differ by up to 0.14"``.

    Raises
    ------
    DifferenceError
        See `raise_on_difference`; it holds the report.
    ImportError
        If PyTorch is not there.
    TypeError, ValueError
        If there is no such file, or the module does not take the inputs, or the file's are not as many.

    Notes
    -----
    The file runs in ONNX Runtime where that is installed and takes it, else in `rnnkernels.onnx`. What a node inside a
    branch, a loop or a local function computes is not seen; its attributes and weights are compared.
    """
    try:
        import torch  # noqa: PLC0415 - only this function needs it
    except ImportError as error:
        raise ImportError("check runs the source with PyTorch: pip install 'rnnkernels[torch]'") from error
    proto = _loaded(model)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module: expected a torch.nn.Module, got {shown(module)}")
    args, kwargs = _arguments(inputs)
    limit = _tolerance(tolerance, module)
    raise_on_difference = as_flag("raise_on_difference", raise_on_difference)
    given = _feeds(feeds, proto.graph, args, kwargs)
    ran = run_module(module, args, kwargs)
    report = _compared(run_file(proto, given), ran, limit)
    if raise_on_difference and not report.same:
        raise DifferenceError(report)
    return report


def _said(difference: float, tolerance: float) -> str:
    """Return what there is to say of an output."""
    if np.isnan(difference):
        return "was not seen"
    if np.isinf(difference):
        return "has another shape than the module's, or is not finite"
    return "the same" if difference <= tolerance else f"differs by up to {difference:.2g}"


def _loaded(model: Any) -> Any:
    if isinstance(model, onnx.ModelProto):
        return model
    proto = getattr(model, "model_proto", None)
    if isinstance(proto, onnx.ModelProto):
        return proto
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(f"model: expected a path, an onnx.ModelProto or an exported program, got {shown(model)}")
    if not Path(model).is_file():
        raise ValueError(f"model: expected a file, found none at {str(model)!r:.200}")
    try:
        return onnx.load(model)
    except Exception as error:  # of protobuf, of whatever class
        raise ValueError(f"model: no ONNX file: {type(error).__name__}: {error!s:.200}") from error


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what the module is called with: tensors in the place of arrays."""
    if hasattr(inputs, "detach") or isinstance(inputs, np.ndarray):
        return (_tensor(inputs),), {}
    if is_mapping(inputs):
        return (), {str(name): _tensor(inputs[name]) for name in inputs}
    return tuple(_tensor(each) for each in as_items("inputs", inputs, "a tensor, a sequence or a mapping")), {}


def _tensor(value: Any) -> Any:
    import torch  # noqa: PLC0415

    if isinstance(value, np.ndarray):
        try:
            return torch.from_numpy(np.array(value))
        except TypeError as error:
            raise TypeError(f"inputs: expected tensors or arrays of numbers: {error}") from None
    if type(value) in (tuple, list):  # a PackedSequence is a tuple as well, and stays one
        return type(value)(_tensor(each) for each in value)
    return value


def _tolerance(tolerance: float | None, module: Any) -> float:
    if tolerance is None:
        kinds = [str(p.dtype).removeprefix("torch.") for p in module.parameters()]
        return max((_TOLERANCES.get(kind, 0.0) for kind in kinds), default=0.0) or _TOLERANCES["float32"]
    number = as_number("tolerance", tolerance)
    if not 0 < number < np.inf:
        raise ValueError(f"tolerance: expected a number above 0, got {shown(number)}")
    return number


def _feeds(feeds: Any, graph: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if feeds is not None:
        if not is_mapping(feeds):
            raise TypeError(f"feeds: expected a mapping of the file's inputs to arrays, got {shown(feeds)}")
        found = {str(name): _narrow(feeds[name]) for name in feeds}
        if any(array.dtype == object for array in found.values()):
            raise TypeError("feeds: expected arrays of numbers, got objects")
        return found
    if kwargs and set(kwargs) == set(input_names(graph)):
        return {name: _narrow(value) for name, value in kwargs.items()}
    return [_narrow(value) for value in tensors((*args, kwargs))]


def _narrow(value: Any) -> Array:
    """Return an array of the dtype that it has, float16 too."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    bfloat16 = str(value.dtype) == "torch.bfloat16"  # which NumPy does not have
    return np.asarray((value.float() if bfloat16 else value).detach().cpu().numpy())


def _compared(file: RanFile, ran: Ran, tolerance: float) -> CheckReport:
    nodes, used = [], set[int]()
    for half, part in _paired(file.halves, ran.parts):
        if part is None:
            nodes.append(CheckedNode(half.node, "", np.nan, ("the module has no layer for it",), ()))
        else:
            used.add(id(part))
            nodes.append(_compare(half, part, tolerance))
    unused = [part.name for part in ran.parts if id(part) not in used]
    busy = {part.name.split(", ", maxsplit=1)[0] for part in ran.parts}
    idle = [f"layer {name} did not run" for name in ran.layers if name not in busy]
    return CheckReport(
        tuple(nodes),
        tuple(dict.fromkeys(unused)),
        _outputs(file, ran),
        (*file.notes, *idle),
        file.by,
        tolerance,
    )


def _compare(half: Half, part: Part, tolerance: float) -> CheckedNode:
    causes = list(differences(half, part, tolerance))
    pairs = [(half.arrays.get("Y"), part.output)]
    if part.final is not None:
        pairs += [(half.arrays.get(role), final) for role, final in zip(("Y_h", "Y_c"), part.final, strict=False)]
    found = [_difference(a, b) for a, b in pairs if a is not None and b is not None and a.shape == b.shape]
    difference = max(found, default=np.nan)
    if not causes and difference > tolerance:
        x = half.arrays.get("X")
        off = _difference(x, part.x) if x is not None and x.shape == part.x.shape else np.nan
        if off > tolerance:
            causes.append(f"its input differs already, by up to {off:.2g}")
        else:
            causes.append("no attribute and no weight says why: what ran it computes something else")
    return CheckedNode(half.node, part.name, difference, tuple(causes), tuple(remarks(half, part)))


def _outputs(file: RanFile, ran: Ran) -> dict[str, float]:
    found = {}
    for at, (name, value) in enumerate(file.outputs.items()):
        if value is None:
            found[name] = np.nan
            continue
        other = ran.outputs[at] if at < len(ran.outputs) else None
        same = other is not None and np.shape(value) == other.shape
        found[name] = _difference(value, other) if same else np.inf
    return found


def _difference(one: Any, two: Any) -> float:
    """Return the largest difference; infinite where one is not finite and the other is another."""
    first, second = (np.asarray(each, np.float64) for each in (one, two))
    if not first.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        off = np.where((first == second) | (np.isnan(first) & np.isnan(second)), 0.0, np.abs(first - second))
    return float(np.where(np.isnan(off), np.inf, off).max())


def _paired(halves: list[Half], parts: list[Part]) -> Iterator[tuple[Half, Part | None]]:
    """Yield each node's direction with a layer's: of the same numbers, else of the same sizes, else the next."""
    left, found = list(parts), dict[int, Part]()
    for like in (_same_numbers, _same_sizes, _same_gates):
        for half in halves:
            if id(half) in found:
                continue
            of = [part for part in left if like(half, part)]
            of.sort(key=lambda part: part.reverse != half.settings.reverse[half.at])
            if of:
                found[id(half)] = of[0]
                left.remove(of[0])
    for half in halves:
        again = () if half.top else parts  # both branches of an If may hold a layer
        yield half, found.get(id(half)) or next((part for part in again if _same_numbers(half, part)), None)


def _same_numbers(half: Half, part: Part) -> bool:
    if half.direction is None or not _has_matrices(part):
        return False
    mine, other = ([_numbers(of[name]) for name in _MATRICES] for of in (half.direction.params, part.params))
    return all(np.array_equal(a, b) for a, b in zip(mine, other, strict=True))


def _numbers(array: Array) -> Array:
    """Return an array's numbers without their places and signs."""
    return np.sort(np.abs(array), axis=None)


def _same_sizes(half: Half, part: Part) -> bool:
    if half.direction is None or not _has_matrices(part):
        return False
    return all(half.direction.params[name].shape == part.params[name].shape for name in _MATRICES)


def _has_matrices(part: Part) -> bool:
    return all(name in part.params for name in _MATRICES)


def _same_gates(half: Half, part: Part) -> bool:
    operators = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
    return operators.get(part.cell.split("_", maxsplit=1)[0]) == half.operator
