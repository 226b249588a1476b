r"""LaTeX: a character model writes LaTeX that opens and closes its environments, braces and formulae.

The text is the folder that the environment variable EXAMPLES_LATEX names; else what `latex_writer.py` writes, as few
machines have LaTeX to learn from. A line is well-formed when it reads as LaTeX and all that it opens or closes has a
partner: an ``\end`` has to name the environment that a ``\begin`` named lines before.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rnnkernels import charlm

from .figures import Figure
from .latex_writer import latex
from .source_model import compare

if TYPE_CHECKING:
    from pathlib import Path

ROWS = ("samples that look like the source",)


def corpus() -> charlm.Corpus:
    """Return the text to learn from."""
    named = os.environ.get("EXAMPLES_LATEX")
    return charlm.read_path(named, "*.tex") if named else charlm.Corpus.from_text(latex(0, 700_000), "written.tex")


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train, write and judge; beside a quick run stands a 3-gram model, beside a full one a 6-gram model."""
    del pictures
    return compare(corpus(), "latex", quick=quick, order=3 if quick else 6)
