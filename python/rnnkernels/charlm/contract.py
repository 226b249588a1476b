"""What the model and the trainer ask of a place, beyond what arrays of all libraries spell alike.

A `Place` says where a run's arrays live and computes on them there. The two of them are in `on_host` and `on_gpu`.
Recurrent layers are none of its business: `rnnkernels.Stack` computes where its arrays are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Place", "Softmax", "Updates"]

Array = npt.NDArray[Any]


class Softmax(Protocol):
    """The last layer; `rnnkernels.Readout` says what each method does. Arrays are the place's, and so may a loss be."""

    weight: Any
    bias: Any

    def logits(self, h: Any) -> Any:
        """Return the logits, (N, V), of hidden states (N, H)."""

    def loss(self, h: Any, targets: Any, *, reduction: str = "mean") -> Any:
        """Return the loss of states (N, H) against tokens (N,)."""

    def loss_and_gradients(self, h: Any, targets: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Return the mean loss, its gradient for h, and its gradients for `readout.weight` and `readout.bias`."""


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
