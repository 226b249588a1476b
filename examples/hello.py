"""Four letters: a vanilla network learns to write "hello".

The lecture's worked example (Karpathy, "The Unreasonable Effectiveness of Recurrent Neural Networks", 2015): the
vocabulary is h, e, l, o; the network reads "hell" and shall predict "ello". The letter l is followed by l once and by o
once, so the state has to tell the two apart. After training it is given h alone, and reads its own best guesses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figures import Figure
from .learner import Learner

if TYPE_CHECKING:
    from pathlib import Path

ROWS = ('"hello"',)

LETTERS = "helo"
WORD = "hello"
UNITS = 3  # as in the lecture's drawing


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train on one word, and let the network write it."""
    del quick, pictures  # it takes less than a second
    learner = Learner("rnn_tanh", len(LETTERS), UNITS, len(LETTERS), lr=0.05)
    tokens = np.array([LETTERS.index(letter) for letter in WORD])[:, None]  # (5, 1)
    for _ in range(200):
        loss = learner.learn(tokens[:-1], tokens[1:])
    written = write(learner, "h", len(WORD) - 1)
    print(f"after h: {written!r}; loss {loss:.4f} nats per letter")
    right = float(np.mean([a == b for a, b in zip(written, WORD[1:], strict=True)]))
    return [Figure("letters right after h", right, "= 1: ello", written == WORD[1:])]


def write(learner: Learner, first: str, count: int) -> str:
    """Return the letters that the network thinks likeliest, each read as the next input."""
    state = None
    text = first
    for _ in range(count):
        state = learner.stack.step(np.array([LETTERS.index(text[-1])]), state)
        text += LETTERS[int(learner.readout.logits(state[-1][0]).argmax())]
    return text[len(first) :]
