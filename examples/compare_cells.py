"""Every cell on one task, with seeds; and every cell against the reference.

The task: the sum of two marked numbers among 20, the adding problem in short; always saying 1 has an error of 0.167.
All cells have as many units, the same optimiser and the same data, and are trained from several seeds. The table has
each cell's parameters, its mean squared error over the seeds and the standard deviation. One task and one learning rate
rank no cells: with rates tuned for each, Greff et al. (2015) found no variant of the LSTM clearly better.

Beside it each cell's outputs are held to `rnnkernels.reference`, NumPy written from the papers, in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk
from rnnkernels import reference

from .adding import CHANCE, batch
from .figures import Figure
from .learner import Learner
from .progress import bar

if TYPE_CHECKING:
    from pathlib import Path

Array = npt.NDArray[Any]

ROWS = ("GRU, MUT1 to MUT3, Odyssey variants",)

STEPS, UNITS, BATCH, RATE = 20, 32, 32, 5e-3


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Print the table; count the cells that learn the task in every seed."""
    cells = ("rnn_tanh", "lstm", "gru", "mut1") if quick else rk.cells()
    seeds, updates = (1, 800) if quick else (3, 1000)
    runs = {cell: [train(cell, seed, updates) for seed in range(seeds)] for cell in bar(cells, "cells")}
    print(f"{'cell':24} parameters  error   over {seeds} seeds")
    for cell, errors in sorted(runs.items(), key=lambda item: np.mean(item[1])):
        count = sum(array.size for array in learner_of(cell, 0).stack.params.values())
        print(f"{cell:24} {count:10,}  {np.mean(errors):.4f}  ± {np.std(errors):.4f}")
    if pictures is not None:
        draw(runs, pictures / "compare_cells.png")
    gap = max(from_reference(cell) for cell in bar(rk.cells(), "reference"))
    gated = {cell: errors for cell, errors in runs.items() if len(rk.cell_info(cell)["gates"]) > 1}
    learnt = sum(max(errors) < CHANCE / 2 for errors in gated.values())
    return [
        Figure(
            f"outputs of {len(rk.cells())} cells, largest difference from the reference", gap, "< 1e-10", gap < 1e-10
        ),
        Figure(
            f"gated cells that halve the error in all of {seeds} seeds", learnt, f"= {len(gated)}", learnt == len(gated)
        ),
    ]


def learner_of(cell: str, seed: int) -> Learner:
    """Return a network of as many inputs as units: some cells add the input itself to a gate; h projected to half."""
    size: dict[str, Any] = {"proj_size": UNITS // 2} if rk.cell_info(cell)["projected"] else {}
    return Learner(cell, UNITS, UNITS, 1, lr=RATE, loss="squared_error", seed=seed, **size)


def train(cell: str, seed: int, updates: int) -> float:
    """Return the mean squared error on 2,000 new sequences."""
    rng = np.random.default_rng(seed)
    learner = learner_of(cell, seed)

    def padded(size: int) -> tuple[Array, Array, Array]:
        x, targets, mask = batch(rng, STEPS, size)
        return np.pad(x, ((0, 0), (0, 0), (0, UNITS - 2))), targets, mask

    for update in range(updates):
        learner.optimizer.lr = RATE * min(1, 2 * (1 - update / updates))
        learner.learn(*padded(BATCH))
    x, targets, _ = padded(2000)
    return float(np.square(learner.outputs(x)[-1] - targets[-1]).mean())


def from_reference(cell: str) -> float:
    """Return the largest difference of outputs from the reference's, in float64."""
    rng = np.random.default_rng(0)
    size: dict[str, Any] = {"proj_size": 5} if rk.cell_info(cell)["projected"] else {}
    params = rk.init_params(cell, 8, 8, rng=rng, dtype="float64", **size)
    x = rng.normal(size=(STEPS, 3, 8))
    expected, _ = reference.forward(cell, x, params)
    return float(np.abs(rk.forward(cell, x, params, training=False).output - expected).max())


def draw(runs: dict[str, list[float]], file: Path) -> None:
    """Draw each seed's error, cells in the order of their means."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 - optional

    figure, axes = plt.subplots(figsize=(8, 8))
    ordered = sorted(runs, key=lambda cell: -float(np.mean(runs[cell])))
    for row, cell in enumerate(ordered):
        axes.semilogx(runs[cell], [row] * len(runs[cell]), "o", color="C0", alpha=0.6)
    axes.axvline(CHANCE, color="grey", linestyle=":", label="always 1")
    axes.set_yticks(range(len(ordered)), ordered)
    axes.set(xlabel="mean squared error", title="the adding problem, 20 steps: one point per seed")
    axes.legend()
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)
