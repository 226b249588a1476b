"""What is true of each character of a source text, for probes: inside a string, a comment, an `if` header; how deep.

Strings between triple quotes are a property of their own, "docstring": they are prose as a rule, and a network has
other units for them than for strings between quotes.

A label belongs to the state after its character was read. The character that opens a string is labelled as inside,
for the network knows it by then, and the one that closes it as outside. Of a Python string's prefix nothing can be
known; a comment of C begins with its second character.

Depth is that of the indentation in Python (continued lines and blank ones have the depth of the line they belong to),
of braces in C, and of leading white space in a plain text. The `if` header goes from the end of `if` or `elif` to the
colon before which it ends, in C from the opening parenthesis to the closing one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnkernels._scalars import as_choice, as_text
from rnnkernels.charlm.checks import check_kind

from .spans import KINDS, spans

__all__ = ["LANGUAGES", "PROPERTIES", "labels", "language_of"]

Array = npt.NDArray[Any]

LANGUAGES = ("python", "c", "plain")

PROPERTIES: Mapping[str, str] = {
    "string": "inside a string",
    "docstring": "inside a docstring",
    "comment": "inside a comment",
    "if": "inside an if header",
    "depth": "deeper than the median depth",
    "position": "beyond the median position in the line",
}
"""The properties that `labels` gives, and what each says of a character."""

ENDINGS = {"py": "python", "pyi": "python", "txt": "plain"} | dict.fromkeys(
    ("c", "h", "cc", "cpp", "hpp", "cu", "cuh", "java", "js", "ts", "rs", "go", "cs"), "c"
)

TAB = 8  # columns, as in Python's own tokenizer
QUOTE = '"'

PYTHON_LINE = re.compile(r"\s*(?:(?:def|class|import|from|return)\b|(?:el)?if\b.*:|(?:for|while|with|try|else)\b.*:)")

MARKS = re.compile(r"[([{]|[)\]}]|:=|:|\\\n|\n")  # what a header's end depends on


def language_of(text: str, name: str = "") -> str:
    """Guess how a text is to be read: ``"python"``, ``"c"`` or ``"plain"``.

    Parameters
    ----------
    text : str
        Python where one line in thirty or more begins as statements of Python do; but C where more than a quarter end
        in a semicolon or a brace, and more than begin so. Blank lines are not counted.
    name : str
        A file's, whose ending says it where it is a usual one.

    Raises
    ------
    TypeError
        If an argument is no string.
    """
    check_kind("text", text, str, "a str")
    ending = as_text("name", name).rpartition(".")[2]
    if ending in ENDINGS:
        return ENDINGS[ending]
    lines = [line.rstrip() for line in text.split("\n") if line.strip()]
    of_c = [line.endswith((";", "{", "}")) for line in lines]
    starts = sum(PYTHON_LINE.match(line) is not None for line, c in zip(lines, of_c, strict=True) if not c)
    if 4 * sum(of_c) > len(lines) and sum(of_c) > starts:
        return "c"
    return "python" if starts and 30 * starts >= len(lines) else "plain"


def labels(text: str, language: str | None = None) -> dict[str, Array]:
    """Return what is true of each character of a text.

    Parameters
    ----------
    text : str
        T characters, from the beginning of a file: from the middle of a string everything after it is wrong.
    language : {"python", "c", "plain"}, optional
        How it is read; by default what `language_of` guesses.

    Returns
    -------
    dict of str to ndarray of bool, (T,)
        For each of `PROPERTIES`. Of depth and of the position in the line, whether it is above the median of all
        characters; all False where no character's is.

    Raises
    ------
    TypeError, ValueError
        If `text` is no string, or `language` none of the three.
    """
    check_kind("text", text, str, "a str")
    language = language_of(text) if language is None else as_choice("language", language, LANGUAGES)
    found = {name: np.zeros(len(text), bool) for name in KINDS}
    code = list(text)  # with quotes in the place of strings, blanks in that of comments; newlines are kept
    whole: list[tuple[int, int]] = []
    for span in spans(text, language):
        found[span.kind][span.opened : span.end - span.closed] = True
        filling = " " if span.kind == "comment" else QUOTE
        code[span.start : span.end] = ["\n" if c == "\n" else filling for c in text[span.start : span.end]]
        whole.append((span.start, span.end))
    plain = "".join(code)
    inside, depth = _READERS[language](text, plain, whole)
    return {
        **found,
        "if": inside,
        "depth": _above_median(depth),
        "position": _above_median(_positions(text)),
    }


def _above_median(values: Array) -> Array:
    return np.asarray(values > np.median(values)) if len(values) else np.zeros(0, bool)


def _positions(text: str) -> Array:
    """Return the place of each character in its line, (T,) from 0; a newline is the last of its own line."""
    places = np.arange(len(text))
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    newline = codes == ord("\n")
    begins = np.zeros(len(text), np.int64)
    begins[1:] = np.where(newline[:-1], places[1:], 0)
    return np.asarray(places - np.maximum.accumulate(begins))


# ---- the languages ------------------------------------------------------------------------------


def _read_python(text: str, code: str, whole: list[tuple[int, int]]) -> tuple[Array, Array]:
    """Return where the `if` headers are and the depth of the indentation; of both (T,)."""
    inside, depth = np.zeros(len(text), bool), np.zeros(len(text), np.int32)
    continued = np.zeros(len(text) + 1, bool)  # whether a line that begins here goes on with the one before it
    for start, end in whole:
        continued[start + 1 : end] = True
    levels = [0]
    brackets = begin = 0
    while begin < len(text):
        end = text.find("\n", begin) + 1 or len(text)
        line = code[begin:end]
        if not continued[begin] and brackets == 0:
            stripped = text[begin:end].lstrip()
            width = _width(text[begin : end - len(stripped)])
            if line.strip():
                while levels[-1] > width:
                    levels.pop()
                levels += [width] * (width > levels[-1])
            here = len(levels) - 1
            if stripped and not line.strip():  # a comment alone: by its own indentation
                here = max(sum(level <= width for level in levels) - 1, 0) + (width > levels[-1])
            depth[begin:end] = here
            header = re.match(r"\s*(?:el)?if\b", line)
            if header is not None:
                inside[begin + header.end() - 1 : _header_end(code, begin + header.end())] = True
        else:
            depth[begin:end] = depth[begin - 1]
        brackets = max(brackets + sum(line.count(c) for c in "([{") - sum(line.count(c) for c in ")]}"), 0)
        if line.rstrip("\n").endswith("\\"):
            continued[end] = True
        begin = end
    return inside, depth


def _width(indentation: str) -> int:
    return len(indentation.replace("\f", "").expandtabs(TAB))


def _header_end(code: str, start: int) -> int:
    """Return the offset of the colon that ends the header; the end of its line where none does."""
    brackets = 0
    for found in MARKS.finditer(code, start):
        mark = found[0]
        if mark in "([{":
            brackets += 1
        elif mark in ")]}":
            brackets -= 1
        elif mark in (":", "\n") and brackets <= 0:
            return found.start()
    return len(code)


def _read_c(text: str, code: str, whole: list[tuple[int, int]]) -> tuple[Array, Array]:
    """Return where the `if` headers are and the depth of the braces; of both (T,)."""
    del whole
    inside = np.zeros(len(text), bool)
    for header in re.finditer(r"\bif\s*\(", code):
        brackets, at = 1, header.end()
        while brackets and at < len(code):
            brackets += (code[at] == "(") - (code[at] == ")")
            at += 1
        inside[header.end() - 1 : at if brackets else at - 1] = True
    steps = np.fromiter(((c == "{") - (c == "}") for c in code), np.int32, len(code))
    return inside, np.maximum(np.cumsum(steps, dtype=np.int32), 0)


def _read_plain(text: str, code: str, whole: list[tuple[int, int]]) -> tuple[Array, Array]:
    """Return no `if` header, and the width of each line's leading white space; of both (T,)."""
    del code, whole
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    widths = np.array([_width(line[: len(line) - len(line.lstrip(" \t\f"))]) for line in lines], np.int32)
    return np.zeros(len(text), bool), np.repeat(widths, np.array([len(line) for line in lines], np.int64))


_READERS = {"python": _read_python, "c": _read_c, "plain": _read_plain}
