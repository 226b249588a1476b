"""Where the strings, docstrings and comments of a source text are: by Python's tokenizer, or by a small scanner.

A docstring is here what stands between triple quotes, wherever that is.

The tokenizer reads Python text as far as it can. From the first token that it refuses, and for C from the beginning,
the scanner reads on: it knows quotes, escapes and comments, and nothing else of the language. In a plain text, prose
say, a string is what stands between double quotation marks on one line.

Not here: what is made of the places (`labelling.py`).
"""

from __future__ import annotations

import io
import re
import token
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["KINDS", "Span", "spans"]


KINDS = ("string", "docstring", "comment")


class Span(NamedTuple):
    """The characters [start, end) of one of `KINDS`. `opened`: the first character that shows it has begun."""

    kind: str
    start: int
    end: int
    opened: int
    closed: bool  # False: a line end or the text's end ends it, not a character of its own


# What opens a string or a comment, in the order of preference, and what closes it: "" is the end of the line.
CLOSES = {
    "python": {'"""': '"""', "'''": "'''", '"': '"', "'": "'", "#": ""},
    "c": {'"': '"', "'": "'", "//": "", "/*": "*/"},
    "plain": {'"': '"', "\N{LEFT DOUBLE QUOTATION MARK}": "\N{RIGHT DOUBLE QUOTATION MARK}"},
}
TRIPLE = ('"""', "'''")
COMMENTS = ("#", "//", "/*")
SEVERAL_LINES = (*TRIPLE, "/*")

# The parts of an f-string are tokens of their own from Python 3.12 on, and those of a t-string from 3.14 on.
BEGINS = {getattr(token, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(token, name)}
ENDS = {getattr(token, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(token, name)}


def spans(text: str, language: str) -> list[Span]:
    """Return the strings, docstrings and comments of a text, in order; none lies in another."""
    found: list[Span] = []
    read = 0
    if language == "python":
        found, read = _tokenized(text)
    return [*found, *_scanned(text, language, read)]


def _tokenized(text: str) -> tuple[list[Span], int]:
    """Return what Python's tokenizer finds, and the offset up to which it has read the text without a fault."""
    lines = [0, *(found.end() for found in re.finditer("\n", text)), len(text)]  # offset of each line, from line 1
    found: list[Span] = []
    read = depth = first = 0
    try:
        for part in tokenize.generate_tokens(io.StringIO(text).readline):
            start, end = (min(lines[min(row, len(lines)) - 1] + column, len(text)) for row, column in part[2:4])
            if part.type == token.ERRORTOKEN and not part.string.isspace():
                break
            if part.type in BEGINS:
                first = start if not depth else first
                depth += 1
            elif part.type in ENDS:
                depth -= 1
                if not depth:
                    found.append(_string(text, first, end))
            elif not depth and part.type == token.STRING:
                found.append(_string(text, start, end))
            elif not depth and part.type == token.COMMENT:
                found.append(Span("comment", start, end, start, closed=False))
            read = read if depth else max(read, end)
    except (tokenize.TokenError, SyntaxError, ValueError):  # the last two: of indentation, of NUL and surrogates
        pass
    return found, read


def _string(text: str, start: int, end: int) -> Span:
    quote = next(at for at in range(start, end) if text[at] in "'\"")  # after a prefix, f or rb say
    return Span("docstring" if text[quote : quote + 3] in TRIPLE else "string", start, end, quote, closed=True)


def _scanned(text: str, language: str, start: int) -> Iterator[Span]:
    """Yield what the scanner finds from an offset on that lies in no string and no comment."""
    closes = CLOSES[language]
    opening = re.compile("|".join(map(re.escape, closes)))
    while (opened := opening.search(text, start)) is not None:
        mark = opened[0]
        kind = "comment" if mark in COMMENTS else "docstring" if mark in TRIPLE else "string"
        body = opened.end()
        # An escaped character ends nothing; a string or comment of one line ends before the newline at the latest.
        line_end = "" if mark in SEVERAL_LINES else r"|(?=\n)"
        escape = r"\\.|" if kind != "comment" and language != "plain" else ""
        close = re.escape(closes[mark])
        ending = re.compile(rf"{escape}(?P<close>{close}{line_end})" if close else r"(?P<close>(?=\n))", re.DOTALL)
        end, closed = len(text), False
        for match in ending.finditer(text, body):
            if match["close"] is not None:
                end, closed = match.end(), bool(match["close"])
                break
        yield Span(kind, opened.start(), end, opened.end() - 1 if mark in ("//", "/*") else opened.start(), closed)
        start = end
