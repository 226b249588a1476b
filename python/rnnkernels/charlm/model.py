"""A character-level language model: tokens -> a stack of recurrent layers -> a softmax over the vocabulary.

Tokens go into the stack as integers: its kernels gather the rows of the first layer's input weights, so there is no
one-hot matrix and no embedding. This file holds the model's arrays and computes losses; it does not train
(`training.py`), write text (`sampling.py`) or store anything (`checkpoint.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rnnkernels.parameters import cell_info
from rnnkernels.stack import Stack

from .readout import Readout
from .streams import Streams

if TYPE_CHECKING:
    from .vocabulary import Vocabulary

__all__ = ["CharModel"]

Array = npt.NDArray[Any]

# Validation reads long streams, so that the zero state each of them starts from weighs little.
EVALUATION_STREAM = 1000


class CharModel:
    """A recurrent model of the next character.

    Parameters
    ----------
    vocabulary : Vocabulary
        The V tokens.
    cell, hidden, layers, dropout, dtype
        The recurrent stack, see `rnnkernels.Stack`.
    rng : int or numpy.random.Generator, optional
        Draws the initial parameters.

    Attributes
    ----------
    params : dict of arrays
        Those of the stack under its names, `readout.weight` (V, H) and `readout.bias` (V,). The arrays are the
        model's own: an optimiser changes them in place.

    Notes
    -----
    Weights start in U(+-1/sqrt(H)). The forget gates' biases start at 1 where the cell has forget gates: so the state
    is kept at first (Gers et al. 2000; Jozefowicz et al. 2015 measure what it brings).
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        cell: str = "lstm",
        hidden: int = 512,
        layers: int = 1,
        dropout: float = 0.0,
        dtype: str = "float32",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        generator = np.random.default_rng(rng)
        self.stack = Stack(cell, vocabulary.size, hidden, layers, dropout=dropout, dtype=dtype, rng=generator)
        self.readout = Readout(hidden, vocabulary.size, dtype, generator)
        self.params: dict[str, Array] = {
            **self.stack.params,
            "readout.weight": self.readout.weight,
            "readout.bias": self.readout.bias,
        }
        fed = [name for name, of_x, _ in cell_info(cell)["gates"] if of_x == "projected"]
        if "f" in fed and "c" in cell_info(cell)["states"]:  # mgu has an f that forgets nothing
            first = fed.index("f") * hidden
            for layer in range(layers):
                self.params[f"bias_ih_l{layer}"][first : first + hidden] = 1

    def loss_and_gradients(self, output: Array, targets: Array) -> tuple[float, Array, dict[str, Array]]:
        """Return the mean loss of a window, its gradient for the output, and the readout's gradients.

        Parameters
        ----------
        output : (T, B, H) array
            The stack's output.
        targets : (T, B) array of int

        Returns
        -------
        loss : float
            Nats per character.
        d_output : (T, B, H) array
            Valid until the next call.
        grads : dict
            `readout.weight` and `readout.bias`.
        """
        rows = output.reshape(-1, output.shape[-1])
        loss, d_rows, grads = self.readout.loss_and_gradients(rows, targets.ravel())
        return loss, d_rows.reshape(output.shape), {f"readout.{k}": g for k, g in grads.items()}

    def evaluate(self, tokens: Array, batch: int = 64, length: int = 128) -> float:
        """Return the loss on a text in nats per character, without touching the model.

        The text is read as up to `batch` streams of at least 1000 characters, each from a zero state.

        Raises
        ------
        ValueError
            If there are fewer than two tokens: nothing to predict.
        """
        if len(tokens) < 2:
            raise ValueError(f"tokens: expected at least 2 to predict one from the other, got {len(tokens)}")
        streams = Streams(tokens, max(1, min(batch, (len(tokens) - 1) // EVALUATION_STREAM)))
        state = None
        total = 0.0
        count = 0
        for start in range(0, streams.steps, length):
            run = self.stack.forward(streams.inputs(start, length), state, training=False)
            targets = streams.targets(start, length)
            total += self.readout.loss(run.output.reshape(-1, run.output.shape[-1]), targets.ravel())
            count += targets.size
            state = run.state
        return total / count

    # ---- one character at a time ----

    def read(self, tokens: Array, state: Any = None) -> tuple[Array, Any]:
        """Read tokens (T,) one after another; return the logits (V,) of the next one, and the state."""
        run = self.stack.forward(tokens[:, None], state, training=False)
        return self.readout.logits(run.output[-1])[0], run.state

    def step(self, token: int, state: Any = None) -> tuple[Array, Any]:
        """Read one token; return the logits (V,) of the next one, and the state."""
        state = self.stack.step(np.array([token]), state)
        return self.readout.logits(state[-1][0])[0], state
