"""Nothing public is left out of the tables of bad arguments (support/bad_values.py), or it stands here with its reason.

Public is what the `__all__` of `rnnkernels` names, and that of the modules directly in it whose own names do not begin
with an underscore, with the methods of public classes. `rnnkernels.jax.nnx` is imported by its name, too. What a
package's inner modules name is the package's affair.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rnnkernels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

TESTS = Path(__file__).resolve().parents[1]

ANNOTATION = "written beside parameters, and never called"
RECORD = "made by the package, read by its users"
ABSTRACT = "said what is to be written, by users"
THEIRS = "a class of torch.nn's that refuses in torch.nn's words"
CHECKED_LATER = "holds what it is given: checked where it is used"
MATHS = "what the reference's cells are written in: takes what NumPy's functions take"
INNER = "what modules of the package share; `forward` and `training_bytes` check by it"
WITHOUT_ROWS = {
    "attention.AttendingGradients": RECORD,
    "attention.AttendingRun": RECORD,
    "Gradients": RECORD,
    "PerStep": ANNOTATION,
    "Run": RECORD,
    "bptt.Model*": ABSTRACT,
    "bptt.Result": RECORD,
    "charlm.Checkpoint": RECORD,
    "charlm.Corpus": RECORD,
    "charlm.Document": RECORD,
    "charlm.LineShares": RECORD,
    "charlm.Observer.*": ABSTRACT,
    "charlm.Record": RECORD,
    "charlm.Split": RECORD,
    "cli.main": "a command line: test_cli.py",
    "convert.FromKeras": RECORD,
    "convert.FromMadmom": RECORD,
    "cuda.CallBytes": RECORD,
    "cuda.Device": RECORD,
    "cuda.GraphCounts": RECORD,
    "diagnose.Diagnosis": RECORD,
    "diagnose.Gate": RECORD,
    "diagnose.LayerDiagnosis": RECORD,
    "functional.run_layer": INNER,
    "memory.check_memory": INNER,
    "on_executor": "a context: the row of its name enters it",
    "onnx.BackendRep": RECORD,
    "onnx.CheckReport": RECORD,
    "onnx.CheckedNode": RECORD,
    "onnx.Decomposed": RECORD,
    "onnx.Direction": CHECKED_LATER,
    "onnx.FoundNode": RECORD,
    "onnx.FoundNodes": RECORD,
    "onnx.Layer": CHECKED_LATER,
    "onnx.Part": RECORD,
    "optim.Optimizer": ABSTRACT,
    "reference.relu": MATHS,
    "reference.sigmoid": MATHS,
    "reference.tanh": MATHS,
    "stack.StackGradients": RECORD,
    "stack.StackRun": RECORD,
    "torch.Attention": RECORD,
    "torch.GRU*": THEIRS,
    "torch.LSTM*": THEIRS,
    "torch.RNN*": THEIRS,
    "torch.Swapped": RECORD,
}
if find_spec("torch") is None:
    WITHOUT_ROWS["onnx.check"] = "its row wants PyTorch"
    if find_spec("flax") is not None:
        WITHOUT_ROWS["jax.nnx.Swapped"] = RECORD  # else torch.Swapped
if find_spec("matplotlib") is None:
    WITHOUT_ROWS["diagnose.draw"] = "its row wants matplotlib"


def modules() -> Iterator[ModuleType]:
    """The package, and the modules in it whose peers are installed."""
    yield rnnkernels
    for name in (*(found.name for found in pkgutil.iter_modules(rnnkernels.__path__)), "jax.nnx"):
        if not name.startswith("_"):
            try:
                yield importlib.import_module(f"rnnkernels.{name}")
            except ImportError as error:
                if "pip install" not in str(error):  # no peer's
                    raise


def with_rows() -> set[Any]:
    """The functions and classes that have a row in some table whose peers are installed."""
    there = set()
    for file in sorted(TESTS.glob("*/test_*bad_arguments.py")):
        try:
            table = importlib.import_module(f"tests.{file.parent.name}.{file.stem}")
        except ImportError:  # modules() has not its module either
            continue
        there |= {itself(each.call) for each in table.ROWS}
    return there


def public() -> dict[Any, str]:
    """What takes arguments, and the first of its names: functions, classes, methods."""
    found: dict[Any, str] = {}
    for module in modules():
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            where = f"{module.__name__}.{name}".removeprefix("rnnkernels.")
            for each, called in ((thing, where), *methods(thing, where)):
                if takes_arguments(each):
                    found.setdefault(itself(each), called)
    return found


def methods(thing: Any, where: str) -> Iterator[tuple[Any, str]]:
    """The methods that a class defines itself."""
    for name in vars(thing) if inspect.isclass(thing) else ():
        if not name.startswith("_") and inspect.isroutine(getattr(thing, name)):
            yield getattr(thing, name), f"{where}.{name}"


def itself(thing: Any) -> Any:
    """The function of a method."""
    return getattr(thing, "__func__", thing)


def takes_arguments(thing: Any) -> bool:
    if not callable(thing) or (inspect.isclass(thing) and issubclass(thing, BaseException)):
        return False
    return any(name not in ("self", "cls") for name in inspect.signature(thing).parameters)


def test_every_public_function_has_a_row_or_a_reason_why_not() -> None:
    there = with_rows()
    named = public()
    assert len(named) > 80
    assert [name for thing, name in named.items() if thing not in there and not reasons(name)] == []
    assert [name for thing, name in named.items() if thing in there and reasons(name)] == []


def test_what_has_no_row_is_still_there() -> None:
    names = list(public().values())
    folders = {module.__name__.removeprefix("rnnkernels.") for module in modules()}
    of_these = [pattern for pattern in WITHOUT_ROWS if "." not in pattern or pattern.partition(".")[0] in folders]
    assert [pattern for pattern in of_these if not any(fnmatch(name, pattern) for name in names)] == []


def reasons(name: str) -> list[str]:
    return [reason for pattern, reason in WITHOUT_ROWS.items() if fnmatch(name, pattern)]
