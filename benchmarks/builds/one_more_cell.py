"""Cells added to a copy of the sources, to see what one more costs: a header of its own, and its name in the list.

The maths is that of a cell that is there, with other numbers: a compiler makes one function of two that are the same.
Nothing here compiles.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

CELLS = ("gru", "slstm")  # one state and four, each with maths of its own
LIST = Path("csrc") / "cells" / "all.h"


def add(source: Path, cells: Sequence[str] | None = None, copies: int = 2) -> int:
    """Add that many copies of each cell to the tree at `source`: how many cells were added."""
    added: list[tuple[str, str]] = []  # header, class
    folder = (source / LIST).parent
    for cell in CELLS if cells is None else cells:
        header = next(file for file in sorted(folder.glob("*.h")) if f'name = "{cell}"' in file.read_text("utf-8"))
        text = header.read_text("utf-8")
        for number in range(copies):
            suffix = f"Again{number}"
            written = f"{header.stem}_again_{cell}_{number}.h"
            (folder / written).write_text(another(text, cell, suffix, 1 + (number + 1) / 8), "utf-8")
            added.append((written, class_of(text, cell) + suffix))
    (source / LIST).write_text(listed((source / LIST).read_text("utf-8"), added), "utf-8")
    return len(added)


def class_of(text: str, cell: str) -> str:
    """The class that has a cell's name."""
    before, _, _ = text.partition(f'name = "{cell}"')
    return str(re.findall(r"^struct (\w+)", before, flags=re.MULTILINE)[-1])


def another(text: str, cell: str, suffix: str, factor: float) -> str:
    """A header whose classes have other names, and whose maths has other numbers in a tanh and for 1."""
    for name in set(re.findall(r"^(?:struct|enum class) (\w+)", text, flags=re.MULTILINE)):
        text = re.sub(rf"\b{name}\b", name + suffix, text)
    text = text.replace(f'name = "{cell}"', f'name = "{cell}_{suffix.lower()}"')
    for old, new in (("tanh(", f"tanh(V({factor}) * "), ("V(1)", f"V(1 / {factor})")):
        if old not in text:
            raise ValueError(f"{cell}: expected a cell whose maths has a tanh and a 1")
        text = text.replace(old, new)
    return text


def listed(text: str, added: Sequence[tuple[str, str]]) -> str:
    """The list of cells with more: their headers, and their classes at the end of the last list."""
    includes = "".join(f'#include "{header}"\n' for header, _ in added)
    at = text.index('#include "')
    text = text[:at] + includes + text[at:]
    end = text.rindex(">;", 0, text.rindex("}  // namespace"))
    return text[:end] + "".join(f", {name}" for _, name in added) + text[end:]
