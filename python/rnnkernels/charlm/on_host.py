"""The place of a run on the host: NumPy's arrays, this package's softmax and optimisers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rnnkernels import optim
from rnnkernels.readout import Readout

from .contract import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["HOST", "Host"]

Array = npt.NDArray[Any]

# By the names of `Config`; `on_gpu` has the same.
OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": optim.SGD,
    "adagrad": optim.Adagrad,
    "rmsprop": optim.RMSprop,
    "adam": optim.Adam,
}


class Host(Place):
    """NumPy's arrays, by `rnnkernels.Readout` and `rnnkernels.optim`."""

    name = "cpu"

    def put(self, array: Array) -> Array:
        """Return the array itself."""
        return array

    def host(self, array: Any) -> Array:
        """Return the array itself."""
        return np.asarray(array)

    def readout(self, weight: Array, bias: Array) -> Readout:
        """Return the last layer."""
        return Readout.of(weight, bias, reuse=True)

    def optimizer(self, name: str, params: Mapping[str, Array], lr: float) -> optim.Optimizer:
        """Return the optimiser."""
        return OPTIMIZERS[name](params, lr=lr)

    def clip(self, grads: Mapping[str, Array], limit: float, loss: float) -> tuple[float, float]:
        """Scale gradients; return loss and norm."""
        return loss, optim.clip_by_global_norm(grads, limit)


HOST = Host()
