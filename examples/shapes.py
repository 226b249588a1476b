"""Four shapes of sequence: one to many, many to one, many to many, and sequence to sequence.

The lecture's drawing as four tasks, each of which an LSTM learns from examples made here:

- one to many: shown a number in the first step, and nothing after, it counts on from there, modulo 20;
- many to one: after 21 coin tosses it names the side that came up more often;
- many to many: a film's frames; the first of each scene shows which scene it is, the others do not, and every frame is
  to be tagged with its scene;
- sequence to sequence: one network reads a string of 10 to 20 letters, another one begins with its state and writes the
  string backwards, each letter read back as the next input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk
from rnnkernels import optim

from .figures import Figure
from .learner import Learner
from .progress import bar

if TYPE_CHECKING:
    from pathlib import Path

Array = npt.NDArray[Any]

ROWS = ("one-to-many", "many-to-one", "many-to-many", "sequence-to-sequence")

RATE = 1e-2


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train one network per shape, and test it on sequences that it has not seen (counting has only twenty)."""
    del pictures
    wanted = 0.9 if quick else 0.99
    shares = {
        "one-to-many": ("numbers counted right", one_to_many()),
        "many-to-one": ("majorities named right", many_to_one(steps=400 if quick else 1500)),
        "many-to-many": ("frames tagged right", many_to_many(steps=100 if quick else 400)),
        "sequence-to-sequence": (
            "strings reversed, every letter right",
            Reverser(4, 2, 4).train(400) if quick else Reverser(10, 10, 20).train(8000),
        ),
    }
    return [Figure(name, share, f"> {wanted}", share > wanted, row) for row, (name, share) in shares.items()]


def one_to_many(*, numbers: int = 20, steps: int = 300) -> float:
    """Count on from a number that is seen in the first step alone."""
    x = np.zeros((numbers, numbers, numbers), np.float32)  # (T, B, I): all numbers at once
    x[0] = np.eye(numbers)
    targets = (np.arange(numbers)[:, None] + np.arange(numbers)) % numbers  # (T, B)
    learner = Learner("lstm", numbers, 64, numbers, lr=1e-2)
    for _ in bar(range(steps), "one to many"):
        learner.learn(x, targets)
    return learner.accuracy(x, targets)


def many_to_one(*, tosses: int = 21, steps: int) -> float:
    """Name the side of a coin that came up more often."""
    rng = np.random.default_rng(1)

    def batch(size: int) -> tuple[Array, Array]:
        x = rng.integers(2, size=(tosses, size))  # (T, B)
        majority = (x.sum(axis=0) > tosses // 2).astype(np.int64)
        return x, np.broadcast_to(majority, x.shape)

    last = np.zeros((tosses, 1), bool)
    last[-1] = True
    learner = Learner("lstm", 2, 32, 2, lr=1e-2)
    for _ in bar(range(steps), "many to one"):
        learner.learn(*batch(64), np.repeat(last, 64, axis=1))
    return learner.accuracy(*batch(4000), np.repeat(last, 4000, axis=1))


def many_to_many(*, frames: int = 40, scenes: int = 6, steps: int) -> float:
    """Tag each frame of a film with its scene, which only the first frame of a scene shows."""
    rng = np.random.default_rng(2)

    def batch(size: int) -> tuple[Array, Array]:
        scene = rng.integers(scenes, size=(frames, size))  # (T, B)
        cut = rng.random((frames, size)) < 0.1
        cut[0] = True
        first = np.maximum.accumulate(np.where(cut, np.arange(frames)[:, None], 0))  # of the scene a frame belongs to
        return np.where(cut, scene, scenes), np.take_along_axis(scene, first, axis=0)

    learner = Learner("lstm", scenes + 1, 64, scenes, lr=1e-2)
    for _ in bar(range(steps), "many to many"):
        learner.learn(*batch(32))
    return learner.accuracy(*batch(1000))


class Reverser:
    """An encoder that reads a string, and a decoder that begins with its state and writes it backwards."""

    def __init__(self, letters: int, shortest: int, longest: int, hidden: int = 128) -> None:
        self.letters, self.shortest, self.longest = letters, shortest, longest
        self.rng = np.random.default_rng(3)
        self.encoder = rk.Stack("lstm", letters, hidden, forget_bias=1, rng=self.rng)
        self.decoder = rk.Stack("lstm", letters + 1, hidden, forget_bias=1, rng=self.rng)  # one token more: "begin"
        self.readout = rk.Readout(hidden, letters, rng=self.rng)
        parts = {"encoder": self.encoder.params, "decoder": self.decoder.params, "readout": self.readout.params}
        self.optimizer = optim.Adam(flat(parts), RATE)

    def batch(self, size: int, longest: int) -> tuple[Array, Array, Array]:
        """Return strings (T, B), each backwards (T, B), and their lengths (B,)."""
        lengths = self.rng.integers(min(self.shortest, longest), longest + 1, size)
        strings = self.rng.integers(self.letters, size=(longest, size))
        places = lengths - 1 - np.arange(longest)[:, None]  # (T, B); below 0 behind a string's end
        return strings, np.take_along_axis(strings, np.maximum(places, 0), axis=0), lengths

    def learn(self, strings: Array, backwards: Array, lengths: Array) -> float:
        """Take one step; the decoder reads the right letters, whatever it would have written."""
        read = self.encoder.forward(strings, lengths=lengths)
        begin = np.full_like(backwards[:1], self.letters)
        written = self.decoder.forward(np.concatenate([begin, backwards[:-1]]), read.state, lengths=lengths)
        loss, d_output, d_readout = self.readout.loss_and_gradients(written.output, backwards, lengths=lengths)
        d_decoder = self.decoder.backward(written, d_output)
        d_encoder = self.encoder.backward(read, None, d_decoder.state)
        grads = flat({"encoder": d_encoder.params, "decoder": d_decoder.params, "readout": d_readout})
        optim.clip_by_global_norm(grads, 1.0)
        self.optimizer.step(grads)
        return loss

    def write(self, strings: Array, lengths: Array) -> Array:
        """Return what the decoder writes (T, B) when it reads its own letters."""
        state = self.encoder.forward(strings, training=False, lengths=lengths).state
        letters = np.full(strings.shape[1], self.letters)
        written = np.empty_like(strings)
        for t in range(len(strings)):
            state = self.decoder.step(letters, state)
            letters = written[t] = self.readout.logits(state[-1][0]).argmax(axis=1)
        return written

    def train(self, steps: int) -> float:
        """Train on strings that grow longer; return the share of 1,000 new ones that are written without a fault."""
        for step in bar(range(steps), "sequence to sequence"):
            self.optimizer.lr = RATE * (1 - step / steps)
            self.learn(*self.batch(32, 2 + int((self.longest - 2) * min(1, 2 * step / steps))))
        strings, backwards, lengths = self.batch(1000, self.longest)
        right = self.write(strings, lengths) == backwards
        return float((right | (np.arange(len(right))[:, None] >= lengths)).all(axis=0).mean())


def flat(parts: dict[str, dict[str, Array]]) -> dict[str, Array]:
    """Return the arrays of several parts under names of their own."""
    return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
