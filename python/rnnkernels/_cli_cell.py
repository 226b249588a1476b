"""The option `--cell`: a built-in cell, one of `rnnkernels.zoo`, or ``FILE.py:NAME``, a cell of one's own.

A file is run as a module that nothing imports; neighbours of the file can be imported by it.
"""

from __future__ import annotations

import importlib.util
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING

from rnnkernels import charlm, zoo
from rnnkernels.equations.cell import Cell
from rnnkernels.parameters import listed

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["SAID", "cell_named"]

# In help. All names stand in the error of one that is wrong.
SAID = "a name of rnnkernels.cells() or rnnkernels.zoo, or FILE.py:NAME, a cell of your own"


def cell_named(text: str) -> str:
    """Return the cell that an argument names, registered.

    Raises
    ------
    ArgumentTypeError
        If there is none: no such name, no such file, a file that does not run, or nothing of that name in it.
    """
    file, colon, name = text.rpartition(":")
    found: str
    if colon and file.endswith(".py"):
        found = _of_file(Path(file), name)
    elif text in zoo.cells():
        found = getattr(zoo, text)
    else:
        found = text
    if isinstance(found, Cell) and found.equations.steps:
        reads = ", ".join(found.equations.steps)
        raise ArgumentTypeError(f"expected a cell that reads characters alone, got {found:s}, which reads {reads} too")
    if found not in charlm.CELLS:
        names = listed([*charlm.CELLS, *zoo.cells()], 200)
        raise ArgumentTypeError(f"invalid choice: {text!r} (choose from {names}; FILE.py:NAME is a cell of your own)")
    return found


def _of_file(path: Path, name: str) -> Cell:
    """Return the cell of this name in a file of Python."""
    if not path.is_file():
        raise ArgumentTypeError(f"expected FILE.py:NAME, found no such file as {path}")
    module = _run(path)
    found = vars(module).get(name)
    if isinstance(found, Cell):
        return found
    cells = [each for each, value in vars(module).items() if isinstance(value, Cell)]
    there = f"its cells are {', '.join(cells)}" if cells else "it has no cells"
    if found is None:
        raise ArgumentTypeError(f"{path}: expected a cell of the name {name!r}, found nothing of that name; {there}")
    raise ArgumentTypeError(
        f"{path}: expected {name} to be a cell, made by @rnnkernels.cell, got {found!r:.60}; {there}"
    )


def _run(path: Path) -> ModuleType:
    """Run a file as a module, whatever it raises an error of the argument."""
    spec = importlib.util.spec_from_file_location(f"rnnkernels_cell_file_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ArgumentTypeError(f"{path}: expected a file of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    folder = str(path.resolve().parent)
    sys.path.append(folder)  # behind all others: a neighbour shadows nothing
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ArgumentTypeError(f"{error.filename or path}:{error.lineno}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        raise ArgumentTypeError(f"{path}: cannot be run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
    return module
