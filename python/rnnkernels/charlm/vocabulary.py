"""The characters a model knows, and their numbers.

Token 0 stands for every character that is not known: those rarer than `min_count` in the training text, and those
that occur only elsewhere (in the validation text). A model is scored on that token as on any other, and never writes
it. The other tokens are the known characters in the order of their code points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnkernels._scalars import as_flag, as_integer, shown

from .checks import as_integers, check_kind

__all__ = ["UNKNOWN", "Vocabulary"]

UNKNOWN = "\N{REPLACEMENT CHARACTER}"

ENCODED_AT_ONCE = 1 << 20  # characters: the intermediate arrays stay small beside a large text

Tokens = npt.NDArray[np.int32]


class Vocabulary:
    """A mapping between characters and the tokens 0 ... size - 1.

    Parameters
    ----------
    characters : iterable of str
        The known characters, each once, without the replacement character U+FFFD, which stands for token 0.

    Raises
    ------
    ValueError
        If an item is not one character, comes twice, or is the replacement character.
    """

    def __init__(self, characters: Iterable[str]) -> None:
        check_kind("characters", characters, Iterable, "characters")
        known: list[Any] = list(characters)
        for character in known:
            if not isinstance(character, str) or len(character) != 1 or character == UNKNOWN:
                raise ValueError(f"characters: expected single characters other than U+FFFD, got {shown(character)}")
        if len(set(known)) != len(known):
            twice = [c for c, n in Counter(known).items() if n > 1]
            raise ValueError(f"characters: expected each once, got {twice} more than once")
        self.characters = "".join(sorted(known))
        codes = np.array([ord(c) for c in self.characters], dtype=np.int64)
        # A table from code point to token; text is turned into tokens by one gather.
        self._table = np.zeros(int(codes.max(initial=0)) + 2, dtype=np.int32)
        self._table[codes] = np.arange(1, len(codes) + 1, dtype=np.int32)

    @classmethod
    def from_text(cls, text: str, min_count: int = 1) -> Vocabulary:
        """Return the vocabulary of the characters that occur at least `min_count` times in a text.

        Raises
        ------
        ValueError
            If `min_count` is below 1, or no character is left.
        """
        check_kind("text", text, str, "a str")
        min_count = as_integer("min_count", min_count, 1)
        known = [c for c, n in Counter(text).items() if n >= min_count and c != UNKNOWN]
        if not known:
            raise ValueError(
                f"text: expected a character that occurs {min_count} times or more, got {len(text)} characters"
            )
        return cls(known)

    @property
    def size(self) -> int:
        """The number of tokens, the unknown one included."""
        return len(self.characters) + 1

    def __len__(self) -> int:
        return self.size

    def __contains__(self, character: str) -> bool:
        return len(character) == 1 and self._table[min(ord(character), len(self._table) - 1)] != 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"Vocabulary({self.characters!r})"

    def encode(self, text: str, *, strict: bool = False) -> Tokens:
        """Return the tokens of a text, shape (len(text),).

        Raises
        ------
        ValueError
            If `strict`, and the text has characters that are not known: the message lists them.
        """
        check_kind("text", text, str, "a str")
        strict = as_flag("strict", strict)
        tokens = np.empty(len(text), dtype=np.int32)
        for start in range(0, len(text), ENCODED_AT_ONCE):
            piece = text[start : start + ENCODED_AT_ONCE]
            # "surrogatepass": a lone surrogate is a character like any other here, unknown as a rule.
            codes = np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), dtype="<u4")
            tokens[start : start + len(piece)] = self._table[np.minimum(codes, len(self._table) - 1)]
        if strict and not tokens.all():
            missing = sorted({text[i] for i in np.flatnonzero(tokens == 0)})
            raise ValueError(f"text: expected characters of the model's vocabulary, got {''.join(missing)!r}")
        return tokens

    def decode(self, tokens: npt.ArrayLike) -> str:
        """Return the text of a sequence of tokens; unknown ones become U+FFFD.

        Raises
        ------
        ValueError
            If a token is outside 0 ... size - 1.
        """
        numbers = as_integers("tokens", tokens.ravel() if isinstance(tokens, np.ndarray) else tokens, self.size)
        alphabet = UNKNOWN + self.characters
        return "".join(alphabet[int(token)] for token in numbers)
