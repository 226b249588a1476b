"""Which examples there are, read from their sources: an example whose packages are missing is listed all the same."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from .figures import Figure

__all__ = ["FOLDER", "Example", "Outcome", "examples", "find"]

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Outcome:
    """What a run of an example gave: its figures, or the error that ended it."""

    figures: tuple[Figure, ...]
    seconds: float
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the run came to its end, and every figure is what was wanted."""
        return not self.error and len(self.figures) > 0 and all(figure.ok for figure in self.figures)


@dataclass(frozen=True)
class Example:
    """One module of this folder.

    Attributes
    ----------
    name : str
        Of the module.
    line : str
        The first line of its docstring.
    rows, needs : tuple of str
        Its ROWS and NEEDS.
    """

    name: str
    line: str
    rows: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages that it needs and that are not installed."""
        return tuple(package for package in self.needs if importlib.util.find_spec(package) is None)

    def run(self, *, quick: bool, pictures: Path | None) -> Outcome:
        """Run it; an exception is part of the outcome, so that the examples after it are run as well."""
        began = time.perf_counter()
        try:
            figures = importlib.import_module(f"{__package__}.{self.name}").run(quick=quick, pictures=pictures)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
            traceback.print_exc()
            return Outcome((), time.perf_counter() - began, f"{type(error).__name__}: {error}")
        return Outcome(tuple(figures), time.perf_counter() - began)


def examples(folder: Path = FOLDER) -> dict[str, Example]:
    """Return the examples of a folder by their names, in the order of the alphabet."""
    found = {}
    for file in sorted(folder.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            line = (ast.get_docstring(tree) or "").partition("\n")[0]
            found[file.stem] = Example(file.stem, line, _words(tree, "ROWS"), _words(tree, "NEEDS"))
    return found


def find(names: list[str]) -> list[Example]:
    """Return the examples of these names, or all.

    Raises
    ------
    ValueError
        There is no example of a name.
    """
    known = examples()
    for name in names:
        if name not in known:
            raise ValueError(f"NAME: expected one of {', '.join(known)}, got {name!r}")
    return [known[name] for name in names or known]


def _words(tree: ast.Module, name: str) -> tuple[str, ...]:
    """Return the value of a tuple of strings that a module assigns to a name; an empty one where it does not."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return tuple(ast.literal_eval(node.value))
    return ()
