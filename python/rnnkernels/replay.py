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
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _cpu
from .parameters import cell_info

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from .functional import Gradients, Run
    from .parameters import Array

    State = tuple[Array, ...]

MEMORY = ("all", "replay")


@dataclass(frozen=True)
class Piece:
    """Some steps of a sequence and the states they start from."""

    steps: slice
    begun: State | None
    options: Mapping[str, Any]  # of forward, those that a piece has for itself


@dataclass(frozen=True)
class Replay:
    """What a replayed run keeps: how to run a piece again, and the pieces in the order they were run."""

    run: Callable[..., Run]  # of x, state, training and the piece's options
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
    cell: str, steps: int, batch: int, hidden_size: int, dtype: npt.DTypeLike = "float32", *, memory: str = "all"
) -> int:
    """Return the most memory that a training run keeps at a time for its backward, beside output and inputs.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells`.
    steps, batch, hidden_size : int
        T, B, H.
    dtype : {"float32", "float64"}
    memory : {"all", "replay"}
        As in `rnnkernels.forward`.

    Returns
    -------
    int
        Bytes. A backward's scratch memory, which does not grow with T, is not in it.
    """
    row = _cpu.reserve_size(cell, hidden_size, np.dtype(dtype).name)
    if check_memory(memory) == "all":
        return steps * batch * row
    k = piece_length(cell, steps)
    states = math.ceil(steps / k) - 1  # the first piece starts from the caller's
    kept = states * len(cell_info(cell)["states"]) * batch * hidden_size * np.dtype(dtype).itemsize
    return kept + k * batch * (row + hidden_size * np.dtype(dtype).itemsize)


def check_memory(memory: str) -> str:
    """Return `memory`, or raise ValueError where it is no choice."""
    if memory not in MEMORY:
        raise ValueError(f"memory: expected one of {', '.join(MEMORY)}, got {memory!r}")
    return memory


def cut(
    cell: str, steps: int, lengths: Array | None, resets: Array | None, *, reverse: bool
) -> list[tuple[slice, dict[str, Any]]]:
    """Return the pieces of a sequence in the order they are run, and what each has of lengths and resets."""
    k = piece_length(cell, steps)
    pieces = []
    for begin in range(0, steps, k):
        part = slice(begin, min(begin + k, steps))
        options: dict[str, Any] = {"reverse": reverse}
        if lengths is not None:
            options["lengths"] = np.clip(lengths - begin, 0, part.stop - begin)
        if resets is not None:
            options["resets"] = resets[part]
        pieces.append((part, options))
    return pieces[::-1] if reverse else pieces


def forward(
    run: Callable[..., Run], x: Array, state: State | None, pieces: list[tuple[slice, dict[str, Any]]]
) -> tuple[Array, State, Replay]:
    """Run piece after piece, keeping the states between them: output (T, B, H), state, and what to replay."""
    kept = []
    output: Array | None = None
    for part, options in pieces:
        done = run(x[part], state, training=False, **options)
        if output is None:
            output = np.zeros((len(x), *done.output.shape[1:]), done.output.dtype)
        output[part] = done.output
        kept.append(Piece(part, state, options))
        state = done.state
    assert output is not None
    assert state is not None
    return output, state, Replay(run, x, tuple(kept))


def backward(
    replay: Replay,
    differentiate: Callable[..., Gradients],
    d_output: Array | None,
    d_state: State | None,
) -> Gradients:
    """Run each piece again, from the last one run, and backpropagate through it; sum what the pieces share."""
    total: Gradients | None = None
    dx: Array | None = None
    for piece in reversed(replay.pieces):
        again = replay.run(replay.x[piece.steps], piece.begun, training=True, **piece.options)
        d_piece = None if d_output is None else d_output[piece.steps]
        grads = differentiate(again, d_piece, d_state if total is None else total.state)
        if grads.x is not None:
            dx = np.empty((len(replay.x), *grads.x.shape[1:]), grads.x.dtype) if dx is None else dx
            dx[piece.steps] = grads.x
        total = grads if total is None else _sum(total, grads)
    assert total is not None
    return type(total)(dx, total.params, total.state, total.reset_state, total.term)


def _sum(later: Gradients, earlier: Gradients) -> Gradients:
    """Add an earlier piece's gradients; those of its initial state are the earlier's own."""
    params = {name: value + earlier.params[name] for name, value in later.params.items()}
    reset = later.reset_state if earlier.reset_state is None else earlier.reset_state
    if later.reset_state is not None and earlier.reset_state is not None:
        reset = tuple(a + b for a, b in zip(later.reset_state, earlier.reset_state, strict=True))
    term = None if later.term is None or earlier.term is None else later.term + earlier.term
    return type(later)(None, params, earlier.state, reset, term)
