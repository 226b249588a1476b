"""How much a text looks like source: the shares of its lines that tokenize and that balance their brackets.

What that means is said, language by language, in `python_text.py`, `c_text.py` and `latex_text.py`. Real source does
not reach 100 %. So the share of the source itself is the mark to read a model's share against, and an n-gram model's
share shows what local statistics alone achieve.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from rnnkernels._scalars import shown

from . import c_text, latex_text, python_text
from .checks import check_kind
from .corpus import Corpus

__all__ = ["LANGUAGES", "LineShares", "language_of", "line_shares", "python_lines"]


class Language(NamedTuple):
    """A language whose lines are known."""

    title: str
    judge: Callable[[str], list[tuple[bool, bool]]]  # of each line: it tokenizes, it balances
    suffixes: tuple[str, ...]  # of its files


LANGUAGES = {
    "python": Language("Python", python_text.judge, (".py", ".pyi", ".pyw")),
    "c": Language("C", c_text.judge, (".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".cu", ".cuh")),
    "latex": Language("LaTeX", latex_text.judge, (".tex", ".ltx", ".sty", ".cls")),
}


@dataclass(frozen=True)
class LineShares:
    """Of `lines` lines that are not blank, the shares in [0, 1] that pass."""

    lines: int
    tokenize: float
    balance: float
    both: float

    def __str__(self) -> str:
        return (
            f"{self.lines} lines: {self.tokenize:.1%} tokenize, {self.balance:.1%} balance their brackets, "
            f"{self.both:.1%} both"
        )


def line_shares(text: str, language: str = "python") -> LineShares:
    """Return the shares of a text's lines that tokenize and that balance their brackets.

    The last line is left out unless it ends in a newline (a sample stops anywhere). So are blank lines, and in C and
    LaTeX those that are comments alone.

    Parameters
    ----------
    text : str
    language : {"python", "c", "latex"}

    Raises
    ------
    TypeError, ValueError
        If there is no such language, or no line is left.
    """
    check_kind("text", text, str, "a str")
    if not isinstance(language, str) or language not in LANGUAGES:
        raise ValueError(f"language: expected one of {', '.join(LANGUAGES)}, got {shown(language)}")
    verdicts = LANGUAGES[language].judge(text[: text.rfind("\n") + 1])
    if not verdicts:
        raise ValueError("text: expected a whole line that is not blank, got none")
    count = len(verdicts)
    tokenizes, balances = (sum(each) for each in zip(*verdicts, strict=True))
    return LineShares(count, tokenizes / count, balances / count, sum(map(all, verdicts)) / count)


def python_lines(text: str) -> LineShares:
    """Return `line_shares` of a text as Python."""
    return line_shares(text, "python")


def language_of(corpus: Corpus) -> str:
    """Return the language of most of a corpus' characters, by the names of its documents; where none tells: Python.

    Raises
    ------
    TypeError
        If it is no corpus.
    """
    check_kind("corpus", corpus, Corpus, "a Corpus")
    characters = Counter({"python": 0})
    for document in corpus.documents:
        suffix = PurePosixPath(document.name).suffix.casefold()
        for name, language in LANGUAGES.items():
            characters[name] += len(document.text) * (suffix in language.suffixes)
    return characters.most_common(1)[0][0]
