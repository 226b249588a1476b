"""A cell of one's own: five lines of equations, trained on the adding problem beside two built-in cells.

The cell is that of docs/cells-from-equations.md: one gate says how much of a unit's state is replaced, little of it at
first. It has two thirds of a GRU's parameters. The task is that of `adding.py`, on shorter sequences: the sum of two
marked numbers, after the last step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import rnnkernels as rk

from .adding import CHANCE, batch
from .figures import Figure
from .learner import Learner
from .progress import bar

if TYPE_CHECKING:
    from pathlib import Path

ROWS = ()

UNITS, BATCH, RATE = 32, 32, 1e-2


def keeper(x: Any, h: Any, *, bias: float = -1.0) -> Any:
    """Return the state after a step: z of it is new."""
    u = rk.product(h)
    z = rk.sigmoid(x.z + u.z + bias)
    n = rk.tanh(x.n + u.n)
    return h + z * (n - h)


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train the cell and the two others alike."""
    steps, updates, limit = (20, 300, 0.02) if quick else (50, 1500, 0.005)
    own = rk.cell(keeper)
    curves, errors = {}, {}
    for cell in (own, "gru", "rnn_tanh"):
        curves[f"{cell}"], errors[f"{cell}"] = train(cell, steps, updates)
    if pictures is not None:
        draw(curves, steps, pictures / "own_cell.svg")
    error = errors.pop("keeper")
    others = [
        Figure(f"{cell}, mean squared error", value, "to compare with", ok=True) for cell, value in errors.items()
    ]
    return [Figure("own cell, mean squared error", error, f"< {limit}", error < limit), *others]


def train(cell: str, steps: int, updates: int) -> tuple[list[float], float]:
    """Return the loss of each update, and the mean squared error on 2,000 new sequences."""
    rng = np.random.default_rng(0)
    learner = Learner(cell, 2, UNITS, 1, lr=RATE, loss="squared_error")
    losses = []
    for update in bar(range(updates), f"{cell}"):
        learner.optimizer.lr = RATE * min(1, 3 * (1 - update / updates))  # in the last third down to 0
        losses.append(learner.learn(*batch(rng, steps, BATCH)))
    x, targets, _ = batch(rng, steps, 2000)
    return losses, float(np.square(learner.outputs(x)[-1] - targets[-1]).mean())


def draw(curves: dict[str, list[float]], steps: int, file: Path) -> None:
    """Draw the losses, each the mean of 20 updates; the same curves make the same file."""
    import matplotlib as mpl  # noqa: PLC0415 - optional
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for cell, losses in curves.items():
        means = np.reshape(losses[: len(losses) // 20 * 20], (-1, 20)).mean(axis=1)
        axes.semilogy(20 * np.arange(1, len(means) + 1), means, label=cell)
    axes.axhline(CHANCE, color="grey", linestyle=":", label="always 1")
    axes.set(xlabel="update", ylabel="mean squared error", title=f"the adding problem, T = {steps}")
    axes.legend()
    with mpl.rc_context({"svg.hashsalt": "rnnkernels", "svg.fonttype": "none"}):
        figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
