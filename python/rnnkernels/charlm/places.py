"""Where a run's arrays live, and what computes on them there: NumPy's on the host, or PyTorch's on a GPU.

A `Place` is all that the model and the trainer ask for beyond what arrays of both libraries spell alike. The host's is
here, with `choose`, which says what serves; the GPU's is in `on_gpu.py`, imported only where it serves. Recurrent
layers are none of its business: `rnnkernels.Stack` computes where its arrays are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from rnnkernels import _runtime, optim

from .readout import Readout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["HOST", "Place", "Softmax", "Updates", "choose"]

Array = npt.NDArray[Any]

OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": optim.SGD,
    "adagrad": optim.Adagrad,
    "rmsprop": optim.RMSprop,
    "adam": optim.Adam,
}


class Softmax(Protocol):
    """The last layer; `Readout` says what each method does. Arrays are the place's, and so may a loss be."""

    weight: Any
    bias: Any

    def logits(self, h: Any) -> Any:
        """Return the logits, (N, V), of hidden states (N, H)."""

    def loss(self, h: Any, targets: Any) -> Any:
        """Return the summed loss."""

    def loss_and_gradients(self, h: Any, targets: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Return the mean loss, its gradient for h and its gradients for the parameters."""


class Updates(Protocol):
    """An optimiser; `rnnkernels.optim.Optimizer` says what each method does."""

    lr: float

    def step(self, grads: Mapping[str, Any]) -> None:
        """Update every parameter in place."""

    def state_dict(self) -> dict[str, Array]:
        """Return the state as NumPy's arrays, under the same names everywhere."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` gave, of this place's or another's."""


class Place(ABC):
    """One of the places where arrays can live."""

    name: str

    @abstractmethod
    def put(self, array: Array) -> Any:
        """Return NumPy's array as one of this place's."""

    @abstractmethod
    def host(self, array: Any) -> Array:
        """Return an array of this place's as NumPy's; on a GPU that waits for it."""

    @abstractmethod
    def readout(self, weight: Any, bias: Any) -> Softmax:
        """Return the last layer over these parameters, (V, H) and (V,)."""

    @abstractmethod
    def optimizer(self, name: str, params: Mapping[str, Any], lr: float) -> Updates:
        """Return the optimiser of that name in `Config`."""

    @abstractmethod
    def clip(self, grads: Mapping[str, Any], limit: float, loss: Any) -> tuple[float, float]:
        """Scale gradients to a joint L2 norm of at most `limit`; return loss and norm before that.

        The two together, since a window's are all that the host has to know of it: on a GPU this is the one place
        that waits for it.
        """


class Host(Place):
    """NumPy's arrays, by `readout.py` and `rnnkernels.optim`."""

    name = "cpu"

    def put(self, array: Array) -> Array:
        """Return the array itself."""
        return array

    def host(self, array: Any) -> Array:
        """Return the array itself."""
        return np.asarray(array)

    def readout(self, weight: Array, bias: Array) -> Readout:
        """Return the last layer."""
        return Readout(weight, bias)

    def optimizer(self, name: str, params: Mapping[str, Array], lr: float) -> optim.Optimizer:
        """Return the optimiser."""
        return OPTIMIZERS[name](params, lr=lr)

    def clip(self, grads: Mapping[str, Array], limit: float, loss: float) -> tuple[float, float]:
        """Scale gradients; return loss and norm."""
        return loss, optim.clip_by_global_norm(grads, limit)


HOST = Host()


def choose() -> tuple[Place, str | None]:
    """Return where to compute with the backend in use, and in a sentence what a person should know of it, if anything.

    With the backend ``"cpu"`` that is the host. With ``"cuda"`` it is the first GPU where PyTorch serves one; elsewhere
    the host again, whose arrays are copied to the GPU for the recurrent layers alone.
    """
    if _runtime.backend() != "cuda":
        return HOST, None
    from . import on_gpu  # noqa: PLC0415 - imports PyTorch

    why = on_gpu.reason()
    if why is None:
        return on_gpu.Gpu(0), None
    return HOST, f"softmax and optimiser run on the CPU, and the layers' arrays are copied to the GPU and back: {why}"
