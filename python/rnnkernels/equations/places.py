"""Places in a user's source, and the errors that name them."""

from __future__ import annotations

import linecache
import sys
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from typing_extensions import Self
_OURS = ("rnnkernels.equations", "numpy", "torch", "jax")  # modules whose lines are no line of the user's


class Line(str):
    """A place in a user's source as text, ``"cells.py:12"``; `source` is what stands there."""

    __slots__ = ("number", "path")

    path: str
    number: int

    def __new__(cls, path: str, number: int) -> Self:
        """Keep the path and the number beside the text."""
        made = super().__new__(cls, f"{_file(path)}:{number}")
        made.path, made.number = path, number
        return made

    def __getnewargs__(self) -> tuple[str, int]:  # type: ignore[override]
        return self.path, self.number

    @property
    def source(self) -> str:
        """The line itself; empty where the source is not at hand."""
        return linecache.getline(self.path, self.number).strip()

    @classmethod
    def of_function(cls, code: CodeType) -> Line:
        """Return the line of a function's ``def``, below its decorators."""
        for number in range(code.co_firstlineno, code.co_firstlineno + 20):
            if linecache.getline(code.co_filename, number).lstrip().startswith("def "):
                return cls(code.co_filename, number)
        return cls(code.co_filename, code.co_firstlineno)


def user_frame() -> FrameType | None:
    """Return the innermost frame that is neither of these modules nor of a library that calls them."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_ours(str(frame.f_globals.get("__name__"))):
        frame = frame.f_back
    return frame


def here() -> Line:
    """Return the line of the user's that is running."""
    frame = user_frame()
    return Line("<unknown>", 0) if frame is None else Line(frame.f_code.co_filename, frame.f_lineno)


@cache
def _file(path: str) -> str:
    return PurePath(path).name


@cache
def _is_ours(module: str) -> bool:
    ours = any(module == name or module.startswith(f"{name}.") for name in _OURS)
    return ours and module != "rnnkernels.equations.builtin"  # cells, written as a user's are


def at(line: str | None) -> str:
    """Return the end of an error: the place, and what stands there."""
    source = line.source if isinstance(line, Line) else ""
    return f" ({line})\n    {source[:120]}" if source else f" ({line})" if line else ""


def refused(what: str, line: str | None = None, kind: type[Exception] = TypeError) -> Exception:
    """Return the error of something that no cell can do; without `line` of the line that is running."""
    where = here() if line is None else line
    source = where.source if isinstance(where, Line) else ""
    return kind(f"{where}: {what}" + (f"\n    {source[:120]}" if source else ""))


def at_here() -> str:
    """Return the end of an error of an argument: the line that is running."""
    return at(here())
