"""What is measured: a cell at a shape, in inference or training, by us and by a peer; and the check of its answer.

The peer is PyTorch: its fused layer where it has the cell, else the loop its users write. Each workload ends in
NumPy arrays or torch tensors of the same values, compared with the float64 reference before any clock runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import rnnkernels as rk
from rnnkernels import reference

# (T, B, I, H)
SHAPES = [
    (100, 1, 64, 64),
    (100, 1, 256, 256),
    (100, 1, 512, 512),
    (100, 16, 128, 128),
    (100, 32, 256, 256),
    (100, 64, 512, 512),
    (25, 50, 100, 100),
    (50, 64, 1024, 1024),
]
QUICK_SHAPES = [SHAPES[1], SHAPES[3], SHAPES[6]]
MODES = ("inference", "training")

# Largest error allowed, norm over norm: float32 rounding over these lengths.
OUTPUT_TOLERANCE = 2e-4
# Of gradients: where a relu's input is a rounding away from 0, single elements of two right ones differ.
GRADIENT_TOLERANCE = 5e-3


@dataclass
class Workload:
    """One cell at one shape, float32."""

    cell: str
    shape: tuple[int, int, int, int]

    def __post_init__(self) -> None:
        steps, batch, inputs, hidden = self.shape
        rng = np.random.default_rng(self.shape)
        self.params = rk.init_params(self.cell, inputs, hidden, rng=rng)
        self.x = rng.standard_normal((steps, batch, inputs), dtype=np.float32)
        self.d_output = rng.standard_normal((steps, batch, hidden), dtype=np.float32)
        self.layer = _torch_layer(self.cell, self.params)
        self._x = torch.tensor(self.x)
        self._d_output = torch.tensor(self.d_output)

    @property
    def flops(self) -> float:
        """Multiply-adds of the forward's products, times two."""
        steps, batch, inputs, hidden = self.shape
        rows = sum(len(self.params[name]) * width for name, width in (("weight_ih", inputs), ("weight_hh", hidden)))
        return 2.0 * steps * batch * rows

    def ours(self, mode: str) -> Any:
        if mode == "inference":
            return rk.forward(self.cell, self.x, self.params, training=False).output
        return rk.backward(rk.forward(self.cell, self.x, self.params), self.d_output)

    def torch(self, mode: str) -> Any:
        if mode == "inference":
            with torch.no_grad():
                return self.layer(self._x)
        x = self._x.detach().requires_grad_(True)
        self.layer.zero_grad()
        self.layer(x).backward(self._d_output)
        return x.grad

    def check(self) -> None:
        """Raise if our output or gradients, or the peer's output, is not the reference's."""
        exact = {name: value.astype(np.float64) for name, value in self.params.items()}
        output, _ = reference.forward(self.cell, self.x.astype(np.float64), exact)
        _compare("our output", self.ours("inference"), output)
        _compare("torch's output", self.torch("inference").numpy(), output)
        grads = self.ours("training")
        rng = np.random.default_rng(1)
        for name, found in {**grads.params, "x": grads.x}.items():
            direction = rng.choice([-1.0, 1.0], found.shape)  # sums the errors as their norm does, but for luck
            slope = reference.directional_derivative(
                self.cell, self.x.astype(np.float64), exact, None, self.d_output, None, {name: direction}
            )
            scale = float(np.linalg.norm(found.astype(np.float64)))
            error = abs(float((found * direction).sum(dtype=np.float64)) - slope) / scale
            if not error < GRADIENT_TOLERANCE:
                raise AssertionError(f"{self}: gradient of {name} off by {error:.1e}")
        _compare("torch's dL/dx", self.torch("training").numpy(), grads.x, GRADIENT_TOLERANCE)

    def calls(self, mode: str) -> dict[str, Callable[[], object]]:
        return {"rnnkernels": lambda: self.ours(mode), "torch": lambda: self.torch(mode)}


def _compare(what: str, found: Any, expected: Any, tolerance: float = OUTPUT_TOLERANCE) -> None:
    error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    if not error < tolerance:
        raise AssertionError(f"{what} off by {error:.1e}")


class _ResetBefore(torch.nn.Module):
    """The loop that stands for a cell PyTorch does not fuse; the input's product is made at once, as users do."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.weight_ih_l0 = torch.nn.Parameter(torch.empty(3 * hidden, inputs))
        self.weight_hh_l0 = torch.nn.Parameter(torch.empty(3 * hidden, hidden))
        self.bias_ih_l0 = torch.nn.Parameter(torch.empty(3 * hidden))
        self.bias_hh_l0 = torch.nn.Parameter(torch.empty(3 * hidden))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        hidden = self.weight_hh_l0.shape[1]
        parts = torch.nn.functional.linear(x, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)
        w_gates, w_new = self.weight_hh_l0.split([2 * hidden, hidden])
        h = x.new_zeros(x.shape[1], hidden)
        outputs = []
        for part in parts:
            x_gates, x_new = part.split([2 * hidden, hidden], dim=1)
            r, z = torch.sigmoid(x_gates + h @ w_gates.T).chunk(2, dim=1)
            n = torch.tanh(x_new + (r * h) @ w_new.T)
            h = n + z * (h - n)
            outputs.append(h)
        return torch.stack(outputs), None


def _torch_layer(cell: str, params: dict[str, Any]) -> Any:
    hidden, inputs = params["weight_hh"].shape[1], params["weight_ih"].shape[1]
    modules: dict[str, Callable[[int, int], torch.nn.Module]] = {
        "rnn_tanh": torch.nn.RNN,
        "rnn_relu": lambda i, h: torch.nn.RNN(i, h, nonlinearity="relu"),
        "lstm": torch.nn.LSTM,
        "gru": torch.nn.GRU,
        "gru_reset_before": _ResetBefore,
    }
    module = modules[cell](inputs, hidden)
    module.load_state_dict({f"{name}_l0": torch.tensor(value) for name, value in params.items()})
    return _First(module)


class _First(torch.nn.Module):
    """A layer's output without its states."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layer(x)[0]
        return output
