"""What the command lines of this package share: arguments read from text, and errors of one line that name an option.

`rnnkernels.cli` and `rnnkernels.charlm.ngram` are such command lines. Nothing here knows what an option is for.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from rnnkernels._scalars import shown

from .corpus import read_text_file
from .output import Output

__all__ = ["Parser", "as_output", "named", "number", "say_error", "text_of", "whole"]


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line; the usage is in `--help`."""

    def error(self, message: str) -> NoReturn:
        """Say it, and end the program with exit code 2."""
        say_error(self.prog, f"{message} (see {self.prog} --help)")
        raise SystemExit(2)


def say_error(program: str, error: object) -> None:
    """Write an error to standard error, as one line."""
    Output("stderr").write(f"{program}: error: {' '.join(str(error).splitlines())}\n")


def whole(text: str) -> int:
    """Return an argument that is a whole number."""
    try:
        return int(text)
    except ValueError:  # of too many digits, too
        raise argparse.ArgumentTypeError(f"expected a whole number, got {shown(text)}") from None


def number(text: str) -> float:
    """Return an argument that is a number; its range is checked where it is used."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {shown(text)}") from None


def named(error: Exception, options: Mapping[str, object]) -> str:
    """Return an error's sentence with the option it is about in the command line's spelling.

    Sentences begin with the name of an argument of Python's: ``seq_length:`` becomes ``--seq-length:``, and ``text:``
    becomes ``--text book.txt:``. A name that is no given option stays.
    """
    head, colon, rest = str(error).partition(":")
    if head not in options or not colon:
        return str(error)
    value = f" {options[head]}" if head == "text" and options[head] else ""
    return f"--{head.replace('_', '-')}{value}:{rest}"


def text_of(option: str, name: str) -> str:
    """Return the text of a file that an option names."""
    if not name:
        raise ValueError(f"{option}: expected a path, got an empty one")
    return read_text_file(name)


def as_output(option: str, name: str, *inputs: str | None) -> Path:
    """Return a file to write to: none of those that are read."""
    if not name:
        raise ValueError(f"{option}: expected a path, got an empty one")
    path = Path(name)
    for given in inputs:
        if given and path.exists() and Path(given).exists() and path.samefile(given):
            raise ValueError(f"{option}: expected another file than {given}, which is read")
    return path
