"""What the smaller examples share: a stack with a softmax over classes on top, trained by Adam. No example itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk
from rnnkernels import optim
from rnnkernels.charlm.readout import Readout

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = npt.NDArray[Any]

__all__ = ["NOT_ASKED", "Learner"]

NOT_ASKED = -1  # a target of a step whose output is not looked at


class Learner:
    """A `Stack` and a `Readout` over `classes`; gradients by full backpropagation through time.

    Parameters
    ----------
    cell, inputs, hidden, classes, seed
        `inputs` numbers per step, or different tokens.
    lr, clip : float
        Adam's learning rate, and the largest L2 norm of a gradient.
    **options
        Of `Stack`: num_layers, bidirectional.
    """

    def __init__(
        self,
        cell: str,
        inputs: int,
        hidden: int,
        classes: int,
        *,
        lr: float = 3e-3,
        clip: float = 1.0,
        seed: int = 0,
        **options: Any,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.stack = rk.Stack(cell, inputs, hidden, rng=rng, **options)
        self.readout = Readout.initial(hidden * self.stack.num_directions, classes, self.stack.dtype, rng)
        self.params = {**self.stack.params, "weight": self.readout.weight, "bias": self.readout.bias}
        self.optimizer = optim.Adam(self.params, lr)
        self.clip = clip

    def logits(self, x: Array) -> Array:
        """Return the logits (T, B, C) of inputs (T, B, I), or tokens (T, B)."""
        return self.readout.logits(self.stack.forward(x, training=False).output)

    def learn(self, x: Array, targets: Array) -> float:
        """Take one step; return the mean loss of the targets (T, B) that are asked for, in nats."""
        asked = targets != NOT_ASKED  # (T, B)

        def loss(output: Array, start: int) -> tuple[float, Array, Mapping[str, Array]]:
            del start
            value, d_h, grads = self.readout.loss_and_gradients(output[asked], targets[asked])
            d_output = np.zeros_like(output)  # (T, B, H)
            d_output[asked] = d_h
            return value, d_output, grads

        result = rk.bptt.full_bptt(self.stack, x, loss)
        optim.clip_by_global_norm(result.grads, self.clip)
        self.optimizer.step(result.grads)
        return float(result.loss)

    def accuracy(self, x: Array, targets: Array) -> float:
        """Return the share of the targets that are asked for whose class has the largest logit."""
        asked = targets != NOT_ASKED
        return float((self.logits(x).argmax(axis=-1) == targets)[asked].mean())
