"""The place of a run on a GPU: PyTorch's tensors, softmax, optimisers and norms, around this package's layers.

The host waits once in a window, for its loss and its gradients' norm. It cannot wait less often: parameters must not
be updated with gradients that are not finite. Importing this file does not import PyTorch; `reason` and `Gpu` do.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rnnkernels._arrays import torch_frame

from .contract import Place

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Gpu", "TorchReadout", "TorchUpdates", "reason"]

Array = npt.NDArray[Any]

INSTALL = 'pip install "rnnkernels[torch]", in a build with CUDA (https://pytorch.org/get-started)'

# The classes of torch.optim by the names of `Config`, and what they keep per parameter. Their formulas and other
# defaults are those of rnnkernels.optim, whose names for what is kept are theirs.
OPTIMIZERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sgd": ("SGD", ()),
    "adagrad": ("Adagrad", ("sum",)),
    "rmsprop": ("RMSprop", ("square_avg",)),
    "adam": ("Adam", ("exp_avg", "exp_avg_sq")),
}


def reason() -> str | None:
    """Return why PyTorch cannot be used on a GPU, and what to install; None where it can."""
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        return f"PyTorch cannot be imported ({error}); {INSTALL}"
    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} was built without CUDA; {INSTALL}"
    return f"PyTorch {torch.__version__} sees no GPU, though CUDA {torch.version.cuda} is built in; {INSTALL}"


class Gpu(Place):
    """Tensors on a GPU.

    Parameters
    ----------
    device : int
        Its number.
    """

    def __init__(self, device: int) -> None:
        self.torch = importlib.import_module("torch")
        self._frame = torch_frame(device)
        self.name = str(self._frame.where)

    def put(self, array: Array) -> Any:
        """Return a copy on the GPU."""
        return self._frame.from_host(array)

    def host(self, array: Any) -> Array:
        """Return a tensor's values; waits for them."""
        return np.asarray(self._frame.to_host(array))

    def readout(self, weight: Any, bias: Any) -> TorchReadout:
        """Return the last layer."""
        return TorchReadout(weight, bias)

    def optimizer(self, name: str, params: Mapping[str, Any], lr: float) -> TorchUpdates:
        """Return the optimiser."""
        return TorchUpdates(name, params, lr, self)

    def clip(self, grads: Mapping[str, Any], limit: float, loss: Any) -> tuple[float, float]:
        """Scale gradients; return loss and norm, waiting for the GPU once."""
        torch = self.torch
        norm = torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(g, dtype=torch.float64) for g in grads.values()])
        )
        # The factor is made there too, so that the GPU scales while the host waits. NaN > limit is false, as it should.
        factor = torch.where(norm > limit, limit / norm, 1.0)
        for g in grads.values():
            g.mul_(factor)
        found_loss, found_norm = torch.stack([loss.double(), norm]).tolist()
        return found_loss, found_norm


class TorchReadout:
    """A linear layer (V, H) with softmax cross entropy, as `rnnkernels.Readout` is; a loss is a tensor without axes.

    Parameters
    ----------
    weight : (V, H) tensor
    bias : (V,) tensor
    """

    def __init__(self, weight: Any, bias: Any) -> None:
        self.torch = importlib.import_module("torch")
        self.weight = weight
        self.bias = bias

    def logits(self, h: Any) -> Any:
        """Return the logits, (N, V), of hidden states (N, H)."""
        return self.torch.nn.functional.linear(h, self.weight, self.bias)

    def loss(self, h: Any, targets: Any, *, reduction: str = "mean") -> Any:
        """Return the loss in nats, in float64, of states (N, H) against tokens (N,)."""
        losses = self.torch.nn.functional.cross_entropy(self.logits(h), targets.long(), reduction="none").double()
        return losses.sum() if reduction == "sum" else losses.mean()

    def loss_and_gradients(self, h: Any, targets: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Return the mean loss, its gradient for h (N, H) and its gradients for the parameters; all fresh."""
        functional = self.torch.nn.functional
        with self.torch.enable_grad():
            given = [t.detach().requires_grad_() for t in (h, self.weight, self.bias)]
            losses = functional.cross_entropy(functional.linear(*given), targets.long(), reduction="none")
            d_h, d_weight, d_bias = self.torch.autograd.grad(losses.mean(), given)
        return losses.detach().double().mean(), d_h, {"readout.weight": d_weight, "readout.bias": d_bias}


class TorchUpdates:
    """An optimiser of torch.optim that is saved and loaded as those of `rnnkernels.optim` are.

    Parameters
    ----------
    name : str
        In `Config`.
    params : mapping of str to tensor
        Updated in place and never replaced.
    lr : float
    place : Place
        Of the parameters.
    """

    def __init__(self, name: str, params: Mapping[str, Any], lr: float, place: Place) -> None:
        kind, self._slots = OPTIMIZERS[name]
        self._place = place
        self._params = dict(params)
        self._torch = importlib.import_module("torch")
        self._inner = getattr(self._torch.optim, kind)(list(self._params.values()), lr=lr)
        # Here, not in the first step as PyTorch has it: what is saved has the same arrays at any time.
        zeros = {f"{slot}.{name}": self._torch.zeros_like(p) for slot in self._slots for name, p in params.items()}
        self._keep(0, zeros)

    def _keep(self, step: int, kept: Mapping[str, Any]) -> None:
        """Give PyTorch's optimiser a state."""
        self._step = step
        if self._slots:
            for name, p in self._params.items():
                own = {slot: kept[f"{slot}.{name}"] for slot in self._slots}
                self._inner.state[p] = {"step": self._torch.tensor(float(step)), **own}  # step: on the host, as theirs

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return float(self._inner.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        self._inner.param_groups[0]["lr"] = value

    def step(self, grads: Mapping[str, Any]) -> None:
        """Update every parameter in place."""
        for name, p in self._params.items():
            p.grad = grads[name]
        self._inner.step()
        self._inner.zero_grad()  # else the parameters keep the gradients during the next window
        self._step += 1

    def state_dict(self) -> dict[str, Array]:
        """Copy the state to the host, in the form of `rnnkernels.optim.Optimizer.state_dict`."""
        state = {"step": np.array(self._step, np.int64), "lr": np.array(self.lr, np.float64)}
        for slot in self._slots:
            for name, p in self._params.items():
                state[f"{slot}.{name}"] = self._place.host(self._inner.state[p][slot])
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Continue from a state of `state_dict`, or of `rnnkernels.optim`'s."""
        self.lr = float(state["lr"])
        self._keep(int(state["step"]), {k: self._place.put(v) for k, v in state.items() if k not in ("step", "lr")})
