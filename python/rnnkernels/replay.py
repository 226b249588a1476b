"""Training in less memory: keep the state at every k-th step, and run the steps between two of them again.

A run that keeps everything keeps about (gates + states) · T · B · H numbers. One that replays keeps T / k states and,
while its backward works on k steps, what those k need; with k near √T both are small. It costs one more forward.
Outputs, states and the gradients of inputs and states have the bits of a run that keeps everything; the gradients of
the parameters are sums over the pieces, in another order, and differ by rounding. Not here: truncated
backpropagation, which keeps k steps and gives another gradient (`rnnkernels.bptt`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import _cpu
from .cuda.arrays import frame_of
from .parameters import cell_info
from .rebuild import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from .functional import Gradients, Run
    from .parameters import Array
    from .schedule import Rows

    State = tuple[Array, ...]

MEMORY = ("all", "states", "replay")


@dataclass(frozen=True)
class Piece:
    """Some steps of a sequence and the states they start from."""

    steps: slice
    begun: State | None
    rows: Rows


@dataclass(frozen=True)
class Replay:
    """What a replayed run keeps: how to run a piece again, and the pieces in the order they were run."""

    run: Callable[..., Run]  # of x, state, rows, keep, all_states
    x: Array
    pieces: tuple[Piece, ...]

    @property
    def nbytes(self) -> int:
        """Memory of the states kept."""
        return sum(s.nbytes for piece in self.pieces for s in piece.begun or ())


def piece_length(cell: str, steps: int) -> int:
    """Return the k for which the states kept and the reserve of k steps take the least memory together."""
    info = cell_info(cell)
    states = len(info["states"])
    per_step = len(info["gates"]) + states  # about what a step's reserve and output take, in units of B·H numbers
    return max(1, min(steps, round(math.sqrt(steps * states / per_step))))


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


def cut(steps: int, k: int, rows: Rows) -> list[tuple[slice, Rows]]:
    """Return the pieces of a sequence in the order they are run, each with what it says of its rows."""
    pieces = []
    for begin in range(0, steps, k):
        part = slice(begin, min(begin + k, steps))
        mine = rows
        if rows.lengths is not None:
            mine = mine._replace(lengths=np.clip(rows.lengths, begin, part.stop) - begin)
        if rows.resets is not None:
            mine = mine._replace(resets=np.asarray(rows.resets)[part])
        if rows.noise is not None:
            mine = mine._replace(noise=rows.noise.after(begin))
        pieces.append((part, mine))
    return pieces[::-1] if rows.reverse else pieces


def forward(run: Callable[..., Run], cell: str, x: Array, state: State | None, rows: Rows, all_states: bool) -> Run:
    """Run piece after piece, keeping the states between them; `run` takes x, state, rows, keep and all_states."""
    kept = []
    whole: tuple[Array, ...] = ()  # output, or the sequences of all states
    done: Run | None = None
    for part, mine in cut(len(x), piece_length(cell, len(x)), rows):
        done = run(x[part], state, mine, False, all_states)
        sequences = done.states or (done.output,)
        whole = whole or tuple(frame_of(s).zeros((len(x), *s.shape[1:]), s.dtype) for s in sequences)
        for to, sequence in zip(whole, sequences, strict=True):
            to[part] = sequence
        kept.append(Piece(part, state, mine))
        state = done.state
    assert done is not None
    states = None if done.states is None else whole
    return type(done)(whole[0], done.state, cell, states, _again=Replay(run, x, tuple(kept)))


def backward(
    replay: Replay,
    differentiate: Callable[..., Gradients],
    d_output: Array | None,
    d_state: State | None,
    d_sequence: tuple[Array | None, ...],
) -> Gradients:
    """Run each piece again, from the last one run, and backpropagate through it; sum what the pieces share."""
    total: Gradients | None = None
    whole: tuple[Array, ...] = ()  # dx, and readings
    for piece in reversed(replay.pieces):
        again = replay.run(replay.x[piece.steps], piece.begun, piece.rows, True, False)
        part = piece.steps
        grads = differentiate(
            again,
            None if d_output is None else d_output[part],
            d_state if total is None else total.state,
            d_states=(None, *(None if d is None else d[part] for d in d_sequence)) if d_sequence else None,
        )
        of_piece = (*(() if grads.x is None else (grads.x,)), *(grads.norms or ()))
        whole = whole or tuple(frame_of(a).empty((len(replay.x), *a.shape[1:]), a.dtype) for a in of_piece)
        for to, array in zip(whole, of_piece, strict=True):
            to[part] = array
        total = grads if total is None else _sum(total, grads)
    assert total is not None
    dx = None if total.x is None else whole[0]
    norms = None if total.norms is None else whole[len(whole) - len(total.norms) :]
    return type(total)(dx, total.params, total.state, total.reset_state, total.term, norms)


def _sum(later: Gradients, earlier: Gradients) -> Gradients:
    """Add an earlier piece's gradients; those of its initial state are the earlier's own."""
    params = {name: value + earlier.params[name] for name, value in later.params.items()}
    reset = later.reset_state if earlier.reset_state is None else earlier.reset_state
    if later.reset_state is not None and earlier.reset_state is not None:
        reset = tuple(a + b for a, b in zip(later.reset_state, earlier.reset_state, strict=True))
    term = None if later.term is None or earlier.term is None else later.term + earlier.term
    return type(later)(earlier.x, params, earlier.state, reset, term, earlier.norms)
