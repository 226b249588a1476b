"""Gradient clipping by norm and by value: a task that diverges without it and trains with it.

A network of rectified linear units is to give the sum of 40 numbers from [-1, 1]. Its recurrent weights begin as 1.12
times the identity, so that the gradient of a number is 1.12^40 = 93 times larger for the first one than for the last:
the first steps of gradient descent throw the weights far out. Clipping by the L2 norm keeps a step's direction
(Pascanu, Mikolov and Bengio, ICML 2013), clipping by value its signs (as in min-char-rnn), and either keeps it small.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk
from rnnkernels import optim

from .figures import Figure
from .progress import bar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Array = npt.NDArray[Any]

ROWS = ("gradient clipping",)

STEPS, UNITS, BATCH, SCALE = 40, 32, 32, 1.12
CLIPS: dict[str, Callable[[dict[str, Array]], object]] = {
    "no clipping": lambda _: None,
    "by norm": lambda grads: optim.clip_by_global_norm(grads, 1.0),
    "by value": lambda grads: optim.clip_by_value(grads, 0.01),
}


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train three times from the same weights on the same numbers."""
    updates, limit = (500, 0.5) if quick else (3000, 0.1)
    curves = {name: train(clip, updates, name) for name, clip in CLIPS.items()}
    if pictures is not None:
        draw(curves, pictures / "clipping.png")
    worst = max(curves["no clipping"])
    figures = [Figure("no clipping: largest loss", worst, "diverges: > 1e6", worst > 1e6)]
    for name in ("by norm", "by value"):
        loss = float(np.mean(curves[name][-50:]))
        figures.append(Figure(f"clipped {name}: mean squared error", loss, f"< {limit}; 1 by chance", loss < limit))
    return figures


def train(clip: Callable[[dict[str, Array]], object], updates: int, title: str) -> list[float]:
    """Return the loss of each update, up to the first that is not finite."""
    rng = np.random.default_rng(0)
    stack = rk.Stack("rnn_relu", 1, UNITS, recurrent="identity", rng=rng)
    readout = rk.Readout(UNITS, 1, loss="squared_error", rng=rng)
    stack.params["weight_hh_l0"] *= SCALE
    optimizer = optim.SGD({**stack.params, **readout.params}, 0.01, momentum=0.9)
    last = np.zeros((STEPS, BATCH), bool)
    last[-1] = True
    losses = []
    with np.errstate(over="ignore", invalid="ignore"):  # one of the three diverges
        for update in bar(range(updates), title):
            optimizer.lr = 0.01 * (1 - update / updates)
            x = rng.uniform(-1, 1, (STEPS, BATCH, 1)).astype(np.float32)
            targets = np.broadcast_to(x.sum(axis=0) / math.sqrt(STEPS / 3), x.shape)  # of variance 1
            run = stack.forward(x)
            loss, d_output, d_readout = readout.loss_and_gradients(run.output, targets, mask=last)
            losses.append(loss if math.isfinite(loss) else math.inf)
            if not math.isfinite(loss):
                break
            grads = {**stack.backward(run, d_output).params, **d_readout}
            clip(grads)
            optimizer.step(grads)
    return losses


def draw(curves: dict[str, list[float]], file: Path) -> None:
    """Draw the three losses."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 - optional

    figure, axes = plt.subplots(figsize=(7, 4))
    for name, losses in curves.items():
        axes.loglog(np.arange(1, len(losses) + 1), losses, label=name)
    axes.axhline(1, color="grey", linestyle=":", label="chance")
    axes.set(
        xlabel="update", ylabel="mean squared error", title="the sum of 40 numbers, recurrent weights 1.12 · identity"
    )
    axes.legend()
    figure.savefig(file)
    plt.close(figure)
