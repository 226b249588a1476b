"""C source: a character model writes C, and its lines are judged by a tokenizer.

The text is the folder that the environment variable EXAMPLES_C names; else the headers of this Python, or those of
NumPy where Python's are not installed. A line is well-formed when it tokenizes as C and each of its brackets has a
partner.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rnnkernels import charlm

from .figures import Figure
from .source_model import compare
from .sources import headers

if TYPE_CHECKING:
    from pathlib import Path

ROWS = ("samples that look like the source",)


def corpus() -> charlm.Corpus:
    """Return the text to learn from."""
    named = os.environ.get("EXAMPLES_C")
    return charlm.read_path(named, "*.[ch]") if named else headers()


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train, write and judge; beside a quick run stands a 3-gram model, beside a full one a 6-gram model."""
    del pictures
    return compare(corpus(), "c", quick=quick, order=3 if quick else 6)
