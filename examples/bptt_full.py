"""Full backpropagation through time: the drivers' gradients against autograd's and against complex steps.

A loss on every step's output, softmax cross entropy with a readout of its own, is differentiated by
`rnnkernels.bptt.full_bptt`, in float64. Where PyTorch is installed, its autograd differentiates the same two layers of
torch.nn's RNN, LSTM and GRU. For every cell, complex steps through the reference implementation, which holds no
hand-written derivative, give the gradients once more.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk
from rnnkernels import reference

from .figures import Figure
from .progress import bar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Array = npt.NDArray[Any]

ROWS = ("backpropagation through time, full",)

BATCH, UNITS, CLASSES = 3, 6, 5  # inputs have UNITS numbers too: some cells add them to a gate
LAYERS = {"rnn_tanh": "RNN", "lstm": "LSTM", "gru": "GRU"}  # of torch.nn


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Compare; differences are relative to the largest element of each gradient."""
    del pictures
    cells, steps = (rk.cells()[::4], 10) if quick else (rk.cells(), 30)
    complex_steps = [against_complex_steps(cell, steps) for cell in bar(cells, "complex steps")]
    found = {f"{len(cells)} cells against complex steps, largest difference": max(complex_steps)}
    if importlib.util.find_spec("torch") is not None:
        autograd = [against_autograd(cell, steps) for cell in LAYERS]
        found["RNN, LSTM, GRU against PyTorch's autograd, largest difference"] = max(autograd)
    return [Figure(name, value, "< 1e-10", value < 1e-10) for name, value in found.items()]


class Problem:
    """A stack of layers of a cell, a readout, inputs (T, B, I) and targets (T, B)."""

    def __init__(self, cell: str, layers: int, steps: int) -> None:
        rng = np.random.default_rng(0)
        size: dict[str, Any] = {"proj_size": 4} if rk.cell_info(cell)["projected"] else {}
        self.stack = rk.Stack(cell, UNITS, UNITS, num_layers=layers, dtype="float64", rng=rng, **size)
        self.readout = rk.Readout(self.stack.output_size, CLASSES, dtype="float64", rng=rng)
        self.x = rng.normal(size=(steps, BATCH, UNITS))
        self.targets = rng.integers(CLASSES, size=(steps, BATCH))

    def loss(self, output: Array, start: int) -> tuple[float, Array, dict[str, Array]]:
        """Sum the cross entropy of the steps from `start` on."""
        targets = self.targets[start : start + len(output)]
        return self.readout.loss_and_gradients(output, targets, reduction="sum")

    def gradients(self) -> dict[str, Array]:
        """Return the driver's."""
        return rk.bptt.full_bptt(self.stack, self.x, self.loss).grads


def against_complex_steps(cell: str, steps: int) -> float:
    """Return the largest difference of the gradients of one layer's parameters."""
    problem = Problem(cell, 1, steps)
    ours = problem.gradients()
    params = {name.removesuffix("_l0"): array for name, array in problem.stack.params.items()}
    output, _ = reference.forward(cell, problem.x, params)
    _, d_output, _ = problem.loss(output, 0)
    _, expected, _ = reference.gradients(cell, problem.x, params, None, d_output)
    return difference(ours, {f"{name}_l0": array for name, array in expected.items()})


def against_autograd(cell: str, steps: int) -> float:
    """Return the largest difference of the gradients of two layers' and the readout's parameters."""
    import torch  # noqa: PLC0415 - optional

    problem = Problem(cell, 2, steps)
    layers = getattr(torch.nn, LAYERS[cell])(UNITS, UNITS, num_layers=2).double()
    layers.load_state_dict({name: torch.tensor(array) for name, array in problem.stack.params.items()})
    readout = {name: torch.tensor(array, requires_grad=True) for name, array in problem.readout.params.items()}
    output, _ = layers(torch.tensor(problem.x))
    logits = output @ readout["readout.weight"].T + readout["readout.bias"]
    targets = torch.tensor(problem.targets).flatten()
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets, reduction="sum").backward()
    expected = {**dict(layers.named_parameters()), **readout}
    return difference(problem.gradients(), {name: p.grad.numpy() for name, p in expected.items()})


def difference(ours: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """Return the largest difference of any expected array, relative to that array's largest element."""
    return max(float(np.abs(ours[name] - array).max() / np.abs(array).max()) for name, array in expected.items())
