"""How much each line of a text looks like Python: whether it tokenizes, and whether its brackets close.

A line is well formed when Python's own tokenizer accepts it, without its indentation and apart from its neighbours,
and its brackets close in the order in which they were opened. So lines of a bracket that spans several of them fail,
and prose in docstrings.
"""

from __future__ import annotations

import io
import token
import tokenize

__all__ = ["judge"]

CLOSING = {")": "(", "]": "[", "}": "{"}


def judge(text: str) -> list[tuple[bool, bool]]:
    """Return of each line that is not blank whether it tokenizes and whether its brackets close."""
    lines = (line.strip() for line in text.split("\n"))
    return [(_tokenizes(line), _balances(line)) for line in lines if line]


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
