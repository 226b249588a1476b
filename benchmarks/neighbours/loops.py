"""Two training loops in which NumPy's products and our calls take turns: what a user's step takes.

`numpy`: an LSTM, a softmax readout in NumPy, and backward, gradients of the readout's weights too. `charlm`: the
character model's training steps (rnnkernels.charlm), without what `rnnkernels train` does about NumPy's threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

import rnnkernels as rk
from benchmarks.workloads import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, Answer, Array, Workload
from rnnkernels import charlm

LOSS_TOLERANCE = 1e-3  # of the character model's losses, float32 over float64
CHARACTERS = 95  # that its text has: those of ASCII that are printed
CHECKED = 3  # its steps whose losses are compared


class Loop(Protocol):
    """A training loop."""

    def step(self) -> Any:
        """One step: what is timed."""

    def answer(self) -> Answer:
        """What the first steps give."""

    def error(self, answer: Answer) -> float:
        """How far an answer is from the reference's, over what is allowed: right ones are below 1."""


@dataclass(frozen=True, eq=False)
class Classifier(Workload):
    """A training workload whose d_output is that of a softmax over `classes` classes in each step of each row."""

    classes: int = 2

    @cached_property
    def weight(self) -> Array:
        """The readout's, (classes, H)."""
        return self._normal(3, self.classes, self.shape[3]) * np.float32(self.shape[3] ** -0.5)

    @cached_property
    def targets(self) -> Array:
        """(T * B,) integers."""
        return np.random.default_rng([4, *self.shape]).integers(0, self.classes, self.shape[0] * self.shape[1])

    @cached_property
    def d_output(self) -> Array:
        return self.readout(self._output, self.weight.astype(np.float64))[0]

    def readout(self, output: Array, weight: Array) -> tuple[Array, Array]:
        """Gradients of the mean cross entropy: of the output (T, B, H) and of the readout's weights."""
        h = output.reshape(-1, output.shape[-1])
        d_logits = h @ weight.T
        d_logits -= d_logits.max(axis=1, keepdims=True)
        np.exp(d_logits, out=d_logits)
        d_logits /= d_logits.sum(axis=1, keepdims=True)
        d_logits[np.arange(len(h)), self.targets] -= 1
        d_logits /= len(h)
        return (d_logits @ weight).reshape(output.shape), d_logits.T @ h

    def readout_error(self, output: Array, d_weight: Array) -> float:
        """Of the output, and of the gradient of the readout's weights, over what is allowed."""
        expected = self.readout(self._output, self.weight.astype(np.float64))[1]
        pairs = ((output, self._output, OUTPUT_TOLERANCE), (d_weight, expected, GRADIENT_TOLERANCE))
        return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) / allowed for a, b, allowed in pairs)


class NumpyLoop:
    """Forward, readout and backward, with no optimiser."""

    def __init__(self, *, steps: int, batch: int, inputs: int, hidden: int, classes: int) -> None:
        self.work = Classifier("lstm", "training", (steps, batch, inputs, hidden), classes)

    def step(self) -> tuple[rk.Run, Array, rk.Gradients]:
        work = self.work
        run = rk.forward(work.cell, work.x, work.params)
        d_output, d_weight = work.readout(run.output, work.weight)
        return run, d_weight, rk.backward(run, d_output)

    def answer(self) -> Answer:
        run, d_weight, grads = self.step()
        assert grads.x is not None
        return {"output": run.output, "weight": d_weight, "x": grads.x, **grads.params}

    def error(self, answer: Answer) -> float:
        grads = dict(answer)
        of_readout = self.work.readout_error(grads.pop("output"), grads.pop("weight"))
        return max(of_readout, self.work.error(grads) / GRADIENT_TOLERANCE)


class CharacterLoop:
    """Training steps of `charlm.Trainer` on a text of random characters."""

    def __init__(self, *, steps: int, batch: int, hidden: int) -> None:
        self.sizes: dict[str, Any] = {"seq_length": steps, "batch": batch, "hidden": hidden}
        self.losses = self._losses("float32")

    def step(self) -> float:
        return next(self.losses)

    def answer(self) -> Answer:
        return {"losses": np.array([self.step() for _ in range(CHECKED)])}

    def error(self, answer: Answer) -> float:
        return float(np.abs(answer["losses"] / self.expected - 1).max()) / LOSS_TOLERANCE

    @cached_property
    def expected(self) -> Array:
        """The first losses in float64."""
        losses = self._losses("float64")
        return np.array([next(losses) for _ in range(CHECKED)])

    def _losses(self, dtype: str) -> Iterator[float]:
        length = 4 * (self.sizes["batch"] + 1) * self.sizes["seq_length"]
        characters = np.random.default_rng(5).integers(0, CHARACTERS, max(length, 20_000))
        config = charlm.Config(dtype=dtype, epochs=1e6, **self.sizes)
        return charlm.Trainer("".join(chr(ord(" ") + k) for k in characters), config).steps()


LOOPS: dict[str, Any] = {"numpy": NumpyLoop, "charlm": CharacterLoop}
SIZES: dict[str, dict[str, int]] = {
    "numpy": {"steps": 50, "batch": 32, "inputs": 128, "hidden": 256, "classes": 96},
    "charlm": {"steps": 64, "batch": 32, "hidden": 512},  # the defaults of `rnnkernels train`
}
