"""The adding problem: LSTM and GRU remember for 200 steps, a vanilla network does not.

Hochreiter and Schmidhuber (Neural Computation 9(8), 1997): each of T steps has a number from [0, 1] and a mark, which
is 1 at two steps, one in each half; after the last step the network is to give the sum of the two marked numbers.
Whoever always says 1 has a mean squared error of 1/6 = 0.167, the variance of the sum of two such numbers.

The LSTM's biases begin so that its units forget over spans from 1 to T steps, drawn evenly on a logarithmic scale
(Tallec and Ollivier, ICLR 2018, "chrono initialization"): with the usual forget gates of about 1/2 nothing would be
left of a gradient after 100 steps. The GRU is trained as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .figures import Figure
from .learner import Learner
from .progress import bar

if TYPE_CHECKING:
    from pathlib import Path

Array = npt.NDArray[Any]

ROWS = ("adding problem",)

CHANCE = 1 / 6
UNITS, BATCH, RATE = 64, 32, 1e-2


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train the three cells alike; the vanilla network gets as many steps as the LSTM."""
    steps, limit = (30, 0.05) if quick else (200, 0.01)
    updates = {"lstm": 600, "gru": 300, "rnn_tanh": 300} if quick else {"lstm": 1200, "gru": 1000, "rnn_tanh": 1200}
    curves = {}
    figures = []
    for cell, count in updates.items():
        curves[cell], error = train(cell, steps, count)
        gated = cell != "rnn_tanh"
        wanted, ok = (f"< {limit}", error < limit) if gated else ("stays near 0.167: > 0.12", error > 0.12)
        figures.append(Figure(f"{cell}, mean squared error at T = {steps}", error, wanted, ok))
    if pictures is not None:
        draw(curves, pictures / "adding.png")
    return figures


def train(cell: str, steps: int, count: int) -> tuple[list[float], float]:
    """Return the loss of each update, and the mean squared error on 2,000 new sequences."""
    rng = np.random.default_rng(0)
    learner = Learner(cell, 2, UNITS, 1, lr=RATE, loss="squared_error")
    if cell == "lstm":
        remember_long(learner.stack.params["bias_ih_l0"], steps, rng)
    losses = []
    for update in bar(range(count), cell):
        learner.optimizer.lr = RATE * min(1, 3 * (1 - update / count))  # in the last third down to 0
        losses.append(learner.learn(*batch(rng, steps, BATCH)))
    x, targets, _ = batch(rng, steps, 2000)
    return losses, float(np.square(learner.outputs(x)[-1] - targets[-1]).mean())


def batch(rng: np.random.Generator, steps: int, size: int) -> tuple[Array, Array, Array]:
    """Return inputs (T, B, 2), targets (T, B, 1) and the mask (T, B) of the last step, which alone is asked for."""
    rows = np.arange(size)
    marked = rng.integers(steps // 2, size=size), rng.integers(steps // 2, steps, size=size)
    x = np.zeros((steps, size, 2), np.float32)
    x[..., 0] = rng.random((steps, size))
    for at in marked:
        x[at, rows, 1] = 1
    total = sum(x[at, rows, 0] for at in marked)
    mask = np.zeros((steps, size), bool)
    mask[-1] = True
    return x, np.broadcast_to(total[:, None], (steps, size, 1)), mask


def remember_long(bias: Array, steps: int, rng: np.random.Generator) -> None:
    """Set the biases (4·H,) of an LSTM's gates i, f, g, o so that a unit keeps its c for 1 to T steps."""
    hidden = len(bias) // 4
    spans = np.log(rng.uniform(1, steps - 1, hidden))
    bias[:hidden] = -spans
    bias[hidden : 2 * hidden] = spans


def draw(curves: dict[str, list[float]], file: Path) -> None:
    """Draw the losses, each the mean of 20 updates."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 - optional

    figure, axes = plt.subplots(figsize=(7, 4))
    for cell, losses in curves.items():
        means = np.convolve(losses, np.full(20, 1 / 20), "valid")
        axes.semilogy(means, label=cell)
    axes.axhline(CHANCE, color="grey", linestyle=":", label="always 1")
    axes.set(xlabel="update", ylabel="mean squared error", title="adding problem")
    axes.legend()
    figure.savefig(file)
    plt.close(figure)
