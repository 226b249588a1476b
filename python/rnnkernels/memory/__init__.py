"""Training in less memory: what a run keeps for its backward, and how much that is.

The forms other than keeping everything: `states` (every state, and no gates), `replay` (the states at every k-th step).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from rnnkernels import _cpu
from rnnkernels._scalars import as_choice, as_flag, as_integer
from rnnkernels.parameters import cell_info, float_dtype

from .replay import piece_length
from .states import ROWS

if TYPE_CHECKING:
    import numpy as np
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
    steps, batch = as_integer("steps", steps, 0), as_integer("batch", batch, 0)
    hidden_size = as_integer("hidden_size", hidden_size, 1, 2**31)
    kind = float_dtype("dtype", dtype)
    return sum(_kept(cell, steps, batch, hidden_size, kind, check_memory(memory), as_flag("zoneout", zoneout)))


def _kept(
    cell: str, steps: int, batch: int, hidden_size: int, kind: np.dtype[Any], memory: str, zoneout: bool
) -> tuple[int, int]:
    """Return the bytes that a run keeps, and those of the piece that its backward works on."""
    states = len(cell_info(cell)["states"])
    row = _cpu.reserve_size(cell, hidden_size, kind.name, zoneout)
    state = hidden_size * kind.itemsize
    if memory == "all":
        return steps * batch * row, 0
    if memory == "states":
        rows = min(steps * batch, max(ROWS, batch))
        return (states - 1) * steps * batch * state, rows * (row + 2 * states * state)
    k = piece_length(cell, steps)
    pieces = math.ceil(steps / k) - 1  # the first piece starts from the caller's states
    return pieces * states * batch * state, k * batch * (row + state)


class OfStack(NamedTuple):
    """What of a `Stack` says how much memory its training takes."""

    cell: str
    input_size: int  # 0: tokens, which have no gradient
    hidden_size: int
    output_size: int  # of one direction
    layers: int
    ways: int  # directions
    kind: np.dtype[Any]
    zoneout: bool
    drops: bool  # between layers

    def bytes(self, steps: int, batch: int, memory: str) -> int:
        """Return the most bytes of forward and backward at a time, beside x, d_output and what does not grow with T."""
        steps, batch = as_integer("steps", steps, 0), as_integer("batch", batch, 0)
        kept, piece = _kept(self.cell, steps, batch, self.hidden_size, self.kind, check_memory(memory), self.zoneout)
        sequence = steps * batch * self.kind.itemsize
        output = sequence * self.output_size
        width, inputs = output * self.ways, sequence * self.input_size
        kept += output
        total = kept * self.layers * self.ways + piece
        if self.ways == 2:
            total += width * self.layers  # both directions' outputs side by side
        if self.drops and self.layers > 1:
            total += width * self.layers  # what each layer above the first was given, and a gradient without the drops
        # On the way down: the gradients of a layer's output, the top's being the caller's, and of its input; of
        # two directions each one's and their sum, and a copy of one direction's part.
        each, part = (1, 0) if self.ways == 1 else (3, output)
        top = min(self.layers, 3) - 1  # those between are alike
        down = max((width if k < top else 0) + each * (width if k else inputs) for k in range(top + 1))
        return total + down + part


def check_memory(memory: str) -> str:
    """Return `memory`, or raise TypeError or ValueError where it is no choice."""
    return as_choice("memory", memory, MEMORY)
