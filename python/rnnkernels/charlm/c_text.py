r"""How much each line of a text looks like C: whether it tokenizes, and whether its brackets have partners.

The tokens are those of C17's lexical grammar (6.4): words, preprocessing numbers, strings, characters, punctuators.
A comment is taken out first where it closes; one that does not close, and a ``*/`` that closes none, are wrong where
they stand. A bracket may have its partner on another line of the text.
"""

from __future__ import annotations

import re

from .brackets import Bracket, lines_unmatched

__all__ = ["judge"]

TOKEN = re.compile(
    r"""
    (?P<comment>/\*.*?\*/|//(?:\\\n|[^\n])*)
    |(?P<wrong>/\*|\*/)
    |(?P<string>(?:u8|[uUL])?"(?:\\.|[^"\\\n])*"|[uUL]?'(?:\\.|[^'\\\n])+')
    |(?P<number>\.?[0-9](?:[eEpP][+-]|[\w.])*)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<bracket>[()\[\]{}])
    |(?P<operator>[-+*/%&|^~!=<>?:;,.\#])
    |(?P<space>\\\n|\s)
    |(?P<other>.)
    """,
    re.DOTALL | re.VERBOSE | re.ASCII,
)

OPENING = {")": "(", "]": "[", "}": "{"}
STRENGTHS = {"(": 0, "[": 0, "{": 1}


def judge(text: str) -> list[tuple[bool, bool]]:
    """Return of each line that has code whether it tokenizes and whether its brackets have partners."""
    code: set[int] = set()
    wrong: set[int] = set()
    brackets: list[Bracket] = []
    line = 0
    for token in TOKEN.finditer(text):
        kind, found = token.lastgroup, token.group()
        if kind in ("wrong", "other"):
            wrong.add(line)
        elif kind == "bracket":
            brackets.append(Bracket(line, OPENING.get(found, found), opens=found not in OPENING))
        last = line + found.count("\n")  # a string may go on after a backslash
        if kind not in ("comment", "space"):
            code.update(range(line, last + 1))
        line = last
    unmatched = lines_unmatched(brackets, STRENGTHS)
    return [(line not in wrong, line not in unmatched) for line in sorted(code)]
