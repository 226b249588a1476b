"""Training in less memory: what a run keeps for its backward, and how much that is.

The forms other than keeping everything: `states` (every state, and no gates), `replay` (the states at every k-th step).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rnnkernels import _cpu
from rnnkernels.parameters import cell_info

from .replay import piece_length
from .states import ROWS

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["MEMORY", "check_memory", "training_bytes"]

MEMORY = ("all", "states", "replay")


def training_bytes(
    cell: str,
    steps: int,
    batch: int,
    hidden_size: int,
    dtype: npt.DTypeLike = "float32",
    *,
    memory: str = "all",
    zoneout: bool = False,
) -> int:
    """Return the most memory that a training run keeps at a time for its backward, beside output and inputs.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells`.
    steps, batch, hidden_size : int
        T, B, H.
    dtype : {"float32", "float64"}
    memory : {"all", "states", "replay"}
        As in `rnnkernels.forward`.
    zoneout : bool, default False
        Whether the run has `Noise` with zoneout, for which the cell's own states are kept beside the mixed ones.

    Returns
    -------
    int
        Bytes. A backward's scratch memory, which does not grow with T, is not in it.
    """
    row = _cpu.reserve_size(cell, hidden_size, np.dtype(dtype).name, zoneout)
    state = hidden_size * np.dtype(dtype).itemsize
    states = len(cell_info(cell)["states"])
    if check_memory(memory) == "all":
        return steps * batch * row
    if memory == "states":
        rows = min(steps * batch, max(ROWS, batch))
        return (states - 1) * steps * batch * state + rows * (row + 2 * states * state)
    k = piece_length(cell, steps)
    pieces = math.ceil(steps / k) - 1  # the first piece starts from the caller's states
    return pieces * states * batch * state + k * batch * (row + state)


def check_memory(memory: str) -> str:
    """Return `memory`, or raise ValueError where it is no choice."""
    if memory not in MEMORY:
        raise ValueError(f"memory: expected one of {', '.join(MEMORY)}, got {memory!r}")
    return memory
