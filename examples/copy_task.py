"""The copy task: ten symbols, a long silence, and then the same ten symbols, by every cell.

Hochreiter and Schmidhuber (1997), in the form of Arjovsky, Shah and Bengio (ICML 2016): ten symbols of eight, T - 1
blanks, a mark, and ten more blanks, while the network is to write blanks up to the mark and the ten symbols behind it.
Whoever remembers nothing knows when to write, not what: its loss is 10·ln 8 / (T + 20) nats per step.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk

from .figures import Figure
from .learner import Learner
from .progress import bar

if TYPE_CHECKING:
    from pathlib import Path

Array = npt.NDArray[Any]

ROWS = ("copy task",)

SYMBOLS, LENGTH = 8, 10
BLANK, MARK = SYMBOLS, SYMBOLS + 1  # the tokens behind the symbols
UNITS, BATCH, RATE = 64, 32, 1e-2
FORGET_BIAS = 3.0  # of the LSTMs that have the gate: c is kept for some twenty steps


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train every cell alike and print their losses; LSTM and GRU must do better than whoever remembers nothing."""
    del pictures
    gap, updates = (4, 400) if quick else (10, 1500)
    cells = ["rnn_tanh", "lstm", "gru"] if quick else list(filter(takes_tokens, rk.cells()))
    memoryless = LENGTH * math.log(SYMBOLS) / (gap + 2 * LENGTH)
    losses = {cell: train(cell, gap, updates) for cell in bar(cells, "copy task")}
    print(f"T = {gap}; nats per step; remembering nothing: {memoryless:.4f}")
    for cell, loss in sorted(losses.items(), key=lambda item: item[1]):
        print(f"{cell:18} {loss:.4f}  {loss / memoryless:6.1%} of that")
    wanted = f"< {memoryless:.4f}"
    below = [
        Figure(f"{cell}, nats per step", losses[cell], wanted, losses[cell] < memoryless) for cell in ("lstm", "gru")
    ]
    ratio = min(losses["lstm"], losses["gru"]) / losses["rnn_tanh"]
    return [*below, Figure("the better one's loss as a share of the vanilla network's", ratio, "< 1", ratio < 1)]


def takes_tokens(cell: str) -> bool:
    """Whether a cell has a weight for each token; what adds x itself to a gate wants as many inputs as units.

    Projected cells are left out as well: they have two sizes.
    """
    return not rk.cell_info(cell)["direct"] and not rk.cell_info(cell)["projected"]


def train(cell: str, gap: int, updates: int) -> float:
    """Return the loss on 1,000 new sequences, in nats per step."""
    rng = np.random.default_rng(0)
    keeps = cell.startswith("lstm") and any(name == "f" for name, *_ in rk.cell_info(cell)["gates"])
    options: dict[str, Any] = {"forget_bias": FORGET_BIAS} if keeps else {}
    learner = Learner(cell, MARK + 1, UNITS, BLANK + 1, lr=RATE, **options)
    for update in range(updates):
        learner.optimizer.lr = RATE * min(1, 2 * (1 - update / updates))
        learner.learn(*batch(rng, gap, BATCH))
    x, targets = batch(rng, gap, 1000)
    return learner.readout.loss(learner.stack.forward(x, training=False).output, targets)


def batch(rng: np.random.Generator, gap: int, size: int) -> tuple[Array, Array]:
    """Return tokens and targets, each (T + 20, B)."""
    symbols = rng.integers(SYMBOLS, size=(LENGTH, size))
    x = np.full((gap + 2 * LENGTH, size), BLANK)
    x[:LENGTH] = symbols
    x[LENGTH + gap - 1] = MARK
    targets = np.full_like(x, BLANK)
    targets[-LENGTH:] = symbols
    return x, targets
