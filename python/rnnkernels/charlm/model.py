"""A character-level language model: tokens -> a stack of recurrent layers -> a softmax over the vocabulary.

Tokens go into the stack as integers: its kernels gather the rows of the first layer's input weights, so there is no
one-hot matrix and no embedding. This file holds the model's arrays and computes losses; it does not train
(`training.py`), write text (`sampling.py`) or store anything (`checkpoint.py`). The arrays may be on a GPU; what is
said to a model and what it says (tokens, losses, logits) is NumPy's all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rnnkernels._scalars import as_integer, shown
from rnnkernels.parameters import cell_info, check_heads
from rnnkernels.readout import Readout
from rnnkernels.stack import Stack

from .checks import as_integers, check_kind, check_seed
from .config import MOST_HIDDEN, MOST_LAYERS
from .contract import Place, Softmax
from .on_host import HOST, Host
from .streams import Streams
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from rnnkernels.prepared_stack import PreparedStack

__all__ = ["CharModel"]

Array = npt.NDArray[Any]

# Validation reads long streams, so that the zero state each of them starts from weighs little.
EVALUATION_STREAM = 1000


def _shape(name: str, array: Any, symbols: str, axes: int) -> tuple[int, ...]:
    """Return the shape of an array of any library, which has so many axes."""
    shape = getattr(array, "shape", None)
    if shape is None:
        raise TypeError(f"{name}: expected an array, got {shown(array)}")
    if len(shape) != axes:
        raise ValueError(f"{name}: expected shape {symbols}, got {tuple(shape)}")
    return tuple(shape)


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
        model's own: an optimiser changes them in place. NumPy's, but for a model that `to` has moved.
    place : Place
        Where they are.

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
        check_kind("vocabulary", vocabulary, Vocabulary, "a Vocabulary")
        check_seed("rng", rng)
        hidden, layers = as_integer("hidden", hidden, 1, MOST_HIDDEN), as_integer("layers", layers, 1, MOST_LAYERS)
        check_heads("hidden", cell, hidden)
        self.vocabulary = vocabulary
        generator = np.random.default_rng(rng)
        self.stack = Stack(cell, vocabulary.size, hidden, layers, dropout=dropout, dtype=dtype, rng=generator)
        readout = Readout(hidden, vocabulary.size, reuse=True, dtype=dtype, rng=generator)
        self.readout: Softmax = readout
        self.place: Place = HOST
        self._prepared: PreparedStack | None = None
        self.params: dict[str, Array] = {**self.stack.params, **readout.params}
        fed = [name for name, of_x, _ in cell_info(cell)["gates"] if of_x == "projected"]
        if "f" in fed and "c" in cell_info(cell)["states"]:  # mgu has an f that forgets nothing
            first = fed.index("f") * hidden
            for layer in range(layers):
                self.params[f"bias_ih_l{layer}"][first : first + hidden] = 1

    def to(self, place: Place) -> None:
        """Move the parameters: `params` holds other arrays then."""
        check_kind("place", place, Place, "a place")
        self.params = {name: place.put(self.place.host(array)) for name, array in self.params.items()}
        self.stack.params = {name: self.params[name] for name in self.stack.params}
        self.readout = place.readout(self.params["readout.weight"], self.params["readout.bias"])
        self.place = place
        self._prepared = None

    def prepare(self, *, weights: str = "full", products: str = "full") -> None:
        """Have `evaluate`, `read` and `step` compute with weights that are packed now, as a `PreparedStack` has them.

        Parameters that change later are not seen; prepare the model again. `to` ends it.

        Parameters
        ----------
        weights, products
            As in `rnnkernels.Prepared`.

        Raises
        ------
        TypeError, ValueError
            As `rnnkernels.Prepared`.
        NotImplementedError
            If the model is on a GPU.
        """
        if not isinstance(self.place, Host):
            raise NotImplementedError("prepare: packed weights are the CPU's; this model is on a GPU")
        self._prepared = self.stack.prepare(weights=weights, products=products, tokens=True)

    def loss_and_gradients(self, output: Array, targets: Array) -> tuple[Any, Array, dict[str, Array]]:
        """Return the mean loss of a window, its gradient for the output, and the readout's gradients.

        Parameters
        ----------
        output : (T, B, H) array
            The stack's output.
        targets : (T, B) array of int

        Returns
        -------
        loss : float, or at another place than the host an array without axes
            Nats per character.
        d_output : (T, B, H) array
            Valid until the next call.
        grads : dict
            `readout.weight` and `readout.bias`.

        Raises
        ------
        TypeError, ValueError
            If `output` or `targets` has another shape, or a target is no token.
        """
        shape = _shape("output", output, "(T, B, H)", 3)
        if shape[2] != self.stack.output_size:
            raise ValueError(f"output: expected shape (T, B, H = {self.stack.output_size}), got {shape}")
        if _shape("targets", targets, "(T, B)", 2) != shape[:2]:
            raise ValueError(f"targets: expected shape (T, B) = {shape[:2]}, got {tuple(targets.shape)}")
        rows = output.reshape(-1, output.shape[-1])
        loss, d_rows, grads = self.readout.loss_and_gradients(rows, targets.ravel())
        return loss, d_rows.reshape(output.shape), grads

    def evaluate(self, tokens: Array, batch: int = 64, length: int = 128) -> float:
        """Return the loss on a text in nats per character, without touching the model.

        The text is read as up to `batch` streams of at least 1000 characters, each from a zero state.

        Raises
        ------
        ValueError
            If there are fewer than two tokens: nothing to predict.
        """
        tokens = as_integers("tokens", tokens, self.vocabulary.size)
        batch, length = as_integer("batch", batch, 1), as_integer("length", length, 1)
        if len(tokens) < 2:
            raise ValueError(f"tokens: expected at least 2 to predict one from the other, got {len(tokens)}")
        streams = Streams(self.place.put(tokens), max(1, min(batch, (len(tokens) - 1) // EVALUATION_STREAM)))
        state = None
        total: Any = 0.0  # at the place: the host reads it once, at the end
        count = 0
        for start in range(0, streams.steps, length):
            output, state = self._forward(streams.inputs(start, length), state)
            targets = streams.targets(start, length)
            total += self.readout.loss(output.reshape(-1, output.shape[-1]), targets.ravel(), reduction="sum")
            count += targets.shape[0] * targets.shape[1]
        return float(total) / count

    # ---- one character at a time ----

    def read(self, tokens: Array, state: Any = None) -> tuple[Array, Any]:
        """Read tokens (T,) one after another; return the logits (V,) of the next one, and the state."""
        tokens = as_integers("tokens", tokens, self.vocabulary.size)
        if not len(tokens):
            raise ValueError("tokens: expected at least one, got none")
        output, after = self._forward(self.place.put(tokens[:, None]), state)
        return self.place.host(self.readout.logits(output[-1])[0]), after

    def step(self, token: int, state: Any = None) -> tuple[Array, Any]:
        """Read one token; return the logits (V,) of the next one, and the state."""
        token = as_integer("token", token, 0, self.vocabulary.size - 1)
        if self._prepared is not None:
            output, state = self._prepared.forward(np.array([[token]]), state)
            return self.readout.logits(output[0])[0], state
        state = self.stack.step(self.place.put(np.array([token])), state)
        return self.place.host(self.readout.logits(state[-1][0])[0]), state

    def _forward(self, tokens: Array, state: Any) -> tuple[Any, Any]:
        """Run the stack over tokens (T, B); return the output (T, B, H) and the state."""
        if self._prepared is not None:
            return self._prepared.forward(tokens, state)
        run = self.stack.forward(tokens, state, training=False)
        return run.output, run.state
