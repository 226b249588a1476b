"""Training in less memory: what a run keeps for its backward, and how much that is.

The forms other than keeping everything: `states` (every state, and no gates), `replay` (the states at every k-th step).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rnnkernels import _cpu
from rnnkernels._scalars import as_choice, as_flag, as_integer
from rnnkernels.parameters import cell_info, float_dtype

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

    Raises
    ------
    TypeError, ValueError
        An argument is not what is said here.
    """
    states = len(cell_info(cell)["states"])
    steps, batch = as_integer("steps", steps, 0), as_integer("batch", batch, 0)
    hidden_size = as_integer("hidden_size", hidden_size, 1, 2**31)
    kind = float_dtype("dtype", dtype)
    row = _cpu.reserve_size(cell, hidden_size, kind.name, as_flag("zoneout", zoneout))
    state = hidden_size * kind.itemsize
    if check_memory(memory) == "all":
        return steps * batch * row
    if memory == "states":
        rows = min(steps * batch, max(ROWS, batch))
        return (states - 1) * steps * batch * state + rows * (row + 2 * states * state)
    k = piece_length(cell, steps)
    pieces = math.ceil(steps / k) - 1  # the first piece starts from the caller's states
    return pieces * states * batch * state + k * batch * (row + state)


def check_memory(memory: str) -> str:
    """Return `memory`, or raise TypeError or ValueError where it is no choice."""
    return as_choice("memory", memory, MEMORY)
