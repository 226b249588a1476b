r"""How much each line of a text looks like LaTeX: whether it reads as LaTeX, and whether what it opens is closed.

A line reads as LaTeX when ``\begin`` and ``\end`` name an environment, when ``^`` and ``_`` stand in formulae only, and
when no backslash is its last character. Braces, environments, ``\[``, ``\(`` and ``$`` need a partner in the text,
``$`` one in its paragraph. Comments, and what a verbatim environment holds, are left out. Macros are not expanded.
"""

from __future__ import annotations

import re

from .brackets import Bracket, lines_unmatched

__all__ = ["judge"]

TOKEN = re.compile(
    r"""
    (?P<comment>%[^\n]*)
    |(?P<verbatim>\\begin\{(?P<name>verbatim\*?|lstlisting|minted)\}.*?\\end\{(?P=name)\})
    |\\(?P<edge>begin|end)\{(?P<environment>[A-Za-z]+\*?)\}
    |(?P<wrong>\\(?:begin|end)(?![A-Za-z])|\\(?=\n))
    |(?P<named>\\(?:label|ref|eqref|pageref|cite[pt]?|url|input|include|includegraphics)(?:\[[^\]\n]*\])?\{[^{}\n]*\})
    |(?P<shift>\\[\[\]()])
    |(?P<command>\\(?:[A-Za-z@]+\*?|.))
    |(?P<brace>[{}])
    |(?P<dollar>\$\$?)
    |(?P<script>[\^_])
    |(?P<paragraph>\n[ \t]*(?=\n))
    |(?P<space>\s)
    |(?P<word>[^\\%{}$^_\s]+)
    """,
    re.DOTALL | re.VERBOSE | re.ASCII,
)

FORMULAE = frozenset(("equation", "align", "gather", "multline", "eqnarray", "displaymath", "math", "alignat"))
OPENING = {"}": "{", r"\]": r"\[", r"\)": r"\("}


def judge(text: str) -> list[tuple[bool, bool]]:
    """Return of each line that is not blank or a comment whether it reads as LaTeX and whether it is balanced."""
    reader = _Reader()
    for token in TOKEN.finditer(text):
        reader.take(token)
    reader.end_paragraph()
    strengths = {bracket.kind: int(bracket.kind.isalpha() or bracket.kind.endswith("*")) for bracket in reader.brackets}
    unmatched = lines_unmatched(reader.brackets, strengths) | reader.open_formulae
    return [(line not in reader.wrong, line not in unmatched) for line in sorted(reader.lines)]


class _Reader:
    """What is known after the tokens up to now."""

    def __init__(self) -> None:
        self.line = 0
        self.lines: set[int] = set()  # those with something to judge
        self.wrong: set[int] = set()
        self.open_formulae: set[int] = set()  # where a $ stands that has no partner
        self.brackets: list[Bracket] = []
        self.dollar: int | None = None  # the line of the $ that is open
        self.depth = 0  # of formulae other than those in $

    def take(self, token: re.Match[str]) -> None:
        """Read the next token."""
        kind, found = token.lastgroup, token.group()
        if kind == "environment":
            name, opens = token["environment"], token["edge"] == "begin"
            self._bracket(name, opens, formula=name.rstrip("*") in FORMULAE)
        elif kind in ("brace", "shift"):
            self._bracket(OPENING.get(found, found), found not in OPENING, formula=kind == "shift")
        elif kind == "dollar":
            self.dollar = self.line if self.dollar is None else None
        elif kind == "wrong" or (kind == "script" and self.dollar is None and self.depth == 0):
            self.wrong.add(self.line)
        elif kind == "paragraph":
            self.end_paragraph()
        if kind not in ("comment", "space", "paragraph"):
            self.lines.add(self.line)
        self.line += found.count("\n")

    def end_paragraph(self) -> None:
        """Note a $ that found no partner."""
        if self.dollar is not None:
            self.open_formulae.add(self.dollar)
            self.dollar = None

    def _bracket(self, kind: str, opens: bool, formula: bool) -> None:
        self.brackets.append(Bracket(self.line, kind, opens))
        if formula:
            self.depth = max(self.depth + (1 if opens else -1), 0)
