"""The last layer: from hidden states to characters, with softmax cross entropy and its gradient.

    logits = h W^T + b,    loss = mean over rows of -log softmax(logits)[target]

NumPy, in the model's dtype, in place: the one array of logits becomes the probabilities and then the gradient, and
the large arrays are kept from call to call. Rows are time and batch together, N = T B.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Readout"]

Array = npt.NDArray[Any]


class Readout:
    """A linear layer (V, H) with softmax cross entropy.

    Parameters
    ----------
    weight : (V, H) array
        float32 or float64.
    bias : (V,) array
        An optimiser changes both in place.
    """

    def __init__(self, weight: Array, bias: Array) -> None:
        self.weight = weight
        self.bias = bias
        self._kept: dict[str, Array] = {}

    @classmethod
    def initial(cls, hidden_size: int, vocabulary_size: int, dtype: npt.DTypeLike, rng: np.random.Generator) -> Readout:
        """Return one with weights from U(+-1/sqrt(H)) and a bias of zeros."""
        bound = hidden_size**-0.5
        weight = rng.uniform(-bound, bound, (vocabulary_size, hidden_size)).astype(dtype)
        return cls(weight, np.zeros(vocabulary_size, dtype))

    def _buffer(self, name: str, shape: tuple[int, int]) -> Array:
        """Return a kept array: fresh pages for each window would cost more than the sums in them."""
        if name not in self._kept or self._kept[name].shape != shape:
            self._kept[name] = np.empty(shape, self.weight.dtype)
        return self._kept[name]

    def logits(self, h: Array) -> Array:
        """Return the logits, (N, V), of hidden states (N, H)."""
        return h @ self.weight.T + self.bias

    def _exponentials(self, h: Array, targets: Array) -> tuple[Array, Array, float]:
        """Return exp(logits - max) (N, V), its row sums (N, 1) and the summed loss."""
        logits = self._buffer("logits", (len(h), len(self.weight)))
        np.matmul(h, self.weight.T, out=logits)
        logits += self.bias
        logits -= logits.max(axis=1, keepdims=True)  # the largest becomes 0: exp cannot overflow
        picked = np.take_along_axis(logits, targets[:, None], axis=1)
        np.exp(logits, out=logits)
        totals = logits.sum(axis=1, keepdims=True)
        return logits, totals, float((np.log(totals) - picked).sum(dtype=np.float64))

    def loss(self, h: Array, targets: Array) -> float:
        """Return the summed loss in nats of states (N, H) against tokens (N,)."""
        return self._exponentials(h, targets)[2]

    def loss_and_gradients(self, h: Array, targets: Array) -> tuple[float, Array, dict[str, Array]]:
        """Return the mean loss, its gradient for h and its gradients for the parameters.

        Parameters
        ----------
        h : (N, H) array
        targets : (N,) array of int

        Returns
        -------
        loss : float
            Nats per character.
        d_h : (N, H) array
            Valid until the next call.
        grads : dict
            `weight` (V, H) and `bias` (V,), fresh.
        """
        d_logits, totals, loss = self._exponentials(h, targets)
        count = len(h)
        d_logits *= 1 / (totals * count)  # softmax / N ...
        d_logits[np.arange(count), targets] -= d_logits.dtype.type(1 / count)  # ... - one-hot / N
        d_h = np.matmul(d_logits, self.weight, out=self._buffer("d_h", h.shape))
        return loss / count, d_h, {"weight": d_logits.T @ h, "bias": d_logits.sum(axis=0)}
