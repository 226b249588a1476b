"""How much a text looks like Python source, line by line.

A line is well formed when Python's own tokenizer accepts it, without its indentation and apart from its neighbours,
and its brackets close in the order in which they were opened. Real source does not reach 100 %: lines of a bracket
that spans several of them, and of prose in docstrings, fail. So the share of the source itself is the mark to read
a model's share against, and an n-gram model's share shows what local statistics alone achieve.
"""

from __future__ import annotations

import io
import token
import tokenize
from dataclasses import dataclass

from .checks import check_kind

__all__ = ["LineShares", "python_lines"]

CLOSING = {")": "(", "]": "[", "}": "{"}


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


def python_lines(text: str) -> LineShares:
    """Return the shares of a text's lines that tokenize and that balance their brackets.

    The last line is left out unless it ends in a newline (a sample stops anywhere), and so are blank lines.

    Raises
    ------
    ValueError
        If no line is left.
    """
    check_kind("text", text, str, "a str")
    lines = [line.strip() for line in text.split("\n")[:-1]]
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError("text: expected a whole line that is not blank, got none")
    tokenizes = [_tokenizes(line) for line in lines]
    balances = [_balances(line) for line in lines]
    both = sum(t and b for t, b in zip(tokenizes, balances, strict=True))
    count = len(lines)
    return LineShares(count, sum(tokenizes) / count, sum(balances) / count, both / count)


def _tokenizes(line: str) -> bool:
    """Return whether the line is a sequence of tokens; brackets, and lines that go on, do not count."""
    try:
        for found in tokenize.generate_tokens(io.StringIO(line.removesuffix("\\")).readline):
            # A character that Python does not use: an error token up to Python 3.11, an operator from 3.12.
            odd = found.type == token.OP and found.string not in token.EXACT_TOKEN_TYPES
            if odd or (found.type == token.ERRORTOKEN and not found.string.isspace()):
                return False
    except tokenize.TokenError as error:
        # Reported for an open bracket too, and from Python 3.12 for a wrong one: that is the other test.
        return any(word in str(error) for word in ("multi-line statement", "unmatched", "does not match"))
    except SyntaxError:
        return False
    return True


def _balances(line: str) -> bool:
    """Return whether brackets outside of strings and comments are closed in order."""
    opened: list[str] = []
    for character in _without_strings(line):
        if character in "([{":
            opened.append(character)
        elif character in CLOSING and (not opened or opened.pop() != CLOSING[character]):
            return False
    return not opened


def _without_strings(line: str) -> str:
    kept: list[str] = []
    quote = ""
    i = 0
    while i < len(line):
        character = line[i]
        if quote:
            if character == "\\":
                i += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character == "#":
            break
        else:
            kept.append(character)
        i += 1
    return "".join(kept)
