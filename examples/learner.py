"""What the smaller examples share: a stack, a readout with its loss, and Adam. No example itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk
from rnnkernels import optim

Array = npt.NDArray[Any]

__all__ = ["Learner"]


class Learner:
    """A `Stack` and a `Readout`, trained by Adam with gradients of full backpropagation through time.

    Parameters
    ----------
    cell, inputs, hidden, outputs, seed
        `inputs` numbers per step, or different tokens; `outputs` classes, or numbers to predict.
    lr, clip : float
        Adam's learning rate, and the largest L2 norm of a gradient.
    loss : str
        The readout's.
    **options
        Of `Stack`: num_layers, bidirectional, forget_bias.
    """

    def __init__(
        self,
        cell: str,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        lr: float = 3e-3,
        clip: float = 1.0,
        loss: str = "cross_entropy",
        seed: int = 0,
        **options: Any,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.stack = rk.Stack(cell, inputs, hidden, rng=rng, **options)
        width = self.stack.output_size * self.stack.num_directions
        self.readout = rk.Readout(width, outputs, loss=loss, rng=rng)
        self.optimizer = optim.Adam({**self.stack.params, **self.readout.params}, lr)
        self.clip = clip

    def learn(self, x: Array, targets: Array, mask: Array | None = None) -> float:
        """Take one step on inputs (T, B, I) or tokens (T, B); return the mean loss where the mask (T, B) is True."""

        def loss(output: Array, start: int) -> tuple[float, Array, dict[str, Array]]:
            del start  # 0: the whole sequence is one window
            return self.readout.loss_and_gradients(output, targets, mask=mask)

        result = rk.bptt.full_bptt(self.stack, x, loss)
        optim.clip_by_global_norm(result.grads, self.clip)
        self.optimizer.step(result.grads)
        return float(result.loss)

    def outputs(self, x: Array) -> Array:
        """Return the readout's (T, B, K): logits, or predicted numbers."""
        return self.readout.logits(self.stack.forward(x, training=False).output)

    def accuracy(self, x: Array, targets: Array, mask: Array | None = None) -> float:
        """Return the share of the targets (T, B) whose class has the largest logit, where the mask is True."""
        right = self.outputs(x).argmax(axis=-1) == targets
        return float((right if mask is None else right[mask]).mean())
