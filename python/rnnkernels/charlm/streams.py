"""A text as a batch of parallel streams, cut into windows of time.

A text of N tokens is divided into B stretches of n = (N - 1) // B; stream b reads stretch b from its beginning to its
end, so that the state a model carries from one window to the next always belongs to the text it reads on. Inputs are
tokens 0 ... N - 2 and targets the tokens that follow them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnkernels._arrays import frame_of

__all__ = ["Streams"]

Tokens = npt.NDArray[np.integer[Any]]


class Streams:
    """B streams over one text; what does not fill all of them is left out.

    Parameters
    ----------
    tokens : (N,) array of int
        Of NumPy's, or on a GPU; the windows are of the same kind.
    batch : int
        B.
    offset : int
        Tokens to pass over at the beginning.

    Attributes
    ----------
    steps : int
        n, the length of each stream.
    """

    def __init__(self, tokens: Tokens, batch: int, offset: int = 0) -> None:
        self.steps = max(len(tokens) - 1 - offset, 0) // batch
        end = offset + batch * self.steps
        # Views: stream after stream, (B, n). A window copies the (T, B) it needs.
        self._inputs = tokens[offset:end].reshape(batch, self.steps)
        self._targets = tokens[offset + 1 : end + 1].reshape(batch, self.steps)

    def inputs(self, start: int, length: int) -> Tokens:
        """Return the tokens of steps start ... start + length - 1, shape (T, B)."""
        return _turned(self._inputs[:, start : start + length])

    def targets(self, start: int, length: int) -> Tokens:
        """Return the tokens that follow `inputs(start, length)`, shape (T, B)."""
        return _turned(self._targets[:, start : start + length])

    def windows(self, first: int, count: int, length: int) -> Iterator[Tokens]:
        """Yield the inputs of windows first ... count - 1, each (length, B)."""
        for window in range(first, count):
            yield self.inputs(window * length, length)


def _turned(piece: Tokens) -> Tokens:
    """Return (B, T) as (T, B), in order."""
    turned: Tokens = frame_of(piece).contiguous(piece.T)
    return turned
