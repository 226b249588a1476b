"""How many threads of this process a call keeps busy: what child processes count with. Linux.

Counted is processor time, in the ticks of /proc, and no time that passes. On a busy machine a caller may go on alone
(csrc/cpu/crew.cpp): of several rounds the most counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import rnnkernels as rk

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS, BATCH, HIDDEN = 100, 32, 256  # steps that two threads share, on any cell
ENOUGH = 30  # ticks of the busiest thread
ROUNDS = 5


def ticks() -> dict[str, int]:
    """Processor time that each thread has used."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        found[task.name] = int(fields[11]) + int(fields[12])  # in the program, in the system
    return found


def busy(call: Callable[[], object]) -> int:
    """How many threads work on a call that is repeated."""
    call()  # threads start, which take a while to leave their caller's processor
    call()
    most = 0
    for _ in range(ROUNDS):
        most = max(most, busy_for_a_while(call))
        if most > 1:
            break
    return most


def busy_for_a_while(call: Callable[[], object]) -> int:
    """How many threads work on it until the busiest has had enough."""
    before = ticks()
    while True:
        call()
        used = [now - before.get(task, 0) for task, now in ticks().items()]
        if max(used) >= ENOUGH:
            return sum(share > max(used) / 5 for share in used)


def array_call() -> Callable[[], object]:
    """A forward with NumPy's arrays."""
    params = rk.init_params("gru", HIDDEN, HIDDEN, rng=0)
    x = np.ones((STEPS, BATCH, HIDDEN), np.float32)
    return lambda: rk.forward("gru", x, params, training=False)


class Loaded:
    """A data set for PyTorch's DataLoader: its only item is how many threads a layer's call keeps busy in a worker."""

    def __init__(self, layer: Any, x: Any) -> None:
        self.layer, self.x = layer, x

    def __len__(self) -> int:
        return 1

    def __getitem__(self, item: int) -> tuple[int, int]:
        if item:
            raise IndexError(item)
        return busy(lambda: self.layer(self.x)), rk.num_threads()
