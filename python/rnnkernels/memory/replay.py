"""Training in less memory: keep the state at every k-th step, and run the steps between two of them again.

A run that keeps everything keeps about (gates + states) · T · B · H numbers. One that replays keeps T / k states and,
while its backward works on k steps, what those k need; with k near √T both are small. It costs one more forward.
Outputs, states and the gradients of inputs and states have the bits of a run that keeps everything, but for halves on a
GPU, whose states are rounded between two pieces; the gradients of the parameters are sums over the pieces, in another
order, and differ by rounding. Not here: truncated
backpropagation, which keeps k steps and gives another gradient (`rnnkernels.bptt`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rnnkernels._arrays import frame_of
from rnnkernels._call import Ahead, State, present
from rnnkernels.parameters import cell_info
from rnnkernels.run import Gradients, Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from rnnkernels._asked import Asked
    from rnnkernels.parameters import Array


@dataclass(frozen=True)
class Piece:
    """Some steps of a sequence, the states they start from, and what is asked of them."""

    steps: slice
    begun: State | None
    asked: Asked


@dataclass(frozen=True)
class Pieces:
    """What a replayed run keeps: how to run a piece again, and the pieces in the order they were run."""

    run: Callable[[Asked, Array, State | None, bool], Run]  # of what is asked, x, state, keep
    x: Array
    pieces: tuple[Piece, ...]

    @property
    def nbytes(self) -> int:
        """Memory of the states kept."""
        return sum(s.nbytes for piece in self.pieces for s in piece.begun or ())

    def backward(self, ahead: Ahead, *, need_x: bool, norms: bool) -> Gradients:
        """Run each piece again, from the last one run, and go back through it; sum what the pieces share."""
        total: Gradients | None = None
        whole: tuple[Array, ...] = ()  # dx, and readings
        for piece in reversed(self.pieces):
            part = piece.steps
            run = self.run(piece.asked._replace(all_states=False), self.x[part], piece.begun, True)
            again = present(run._kept, "what a piece keeps")
            d_piece = Ahead(
                None if ahead.output is None else ahead.output[part],
                ahead.state if total is None else total.state,
                tuple(None if d is None else d[part] for d in ahead.sequences),
            )
            grads = again.backward(d_piece, need_x=need_x, norms=norms)
            of_piece = (*(() if grads.x is None else (grads.x,)), *(grads.norms or ()))
            whole = whole or tuple(frame_of(a).empty((len(self.x), *a.shape[1:]), a.dtype) for a in of_piece)
            for to, array in zip(whole, of_piece, strict=True):
                to[part] = array
            total = grads if total is None else _sum(total, grads)
        total = present(total, "a piece")
        dx = None if total.x is None else whole[0]
        readings = None if total.norms is None else whole[len(whole) - len(total.norms) :]
        return Gradients(dx, total.params, total.state, total.reset_state, total.term, readings)


def piece_length(cell: str, steps: int) -> int:
    """Return the k for which the states kept and the reserve of k steps take the least memory together."""
    info = cell_info(cell)
    states = len(info["states"])
    per_step = len(info["gates"]) + states  # about what a step's reserve and output take, in units of B·H numbers
    return max(1, min(steps, round(math.sqrt(steps * states / per_step))))


def cut(steps: int, k: int, asked: Asked) -> list[tuple[slice, Asked]]:
    """Return the pieces of a sequence in the order they are run, each with what is asked of it."""
    pieces = []
    for begin in range(0, steps, k):
        part = slice(begin, min(begin + k, steps))
        mine = asked
        if asked.lengths is not None:
            mine = mine._replace(lengths=np.clip(asked.lengths, begin, part.stop) - begin)
        if asked.resets is not None:
            mine = mine._replace(resets=np.asarray(asked.resets)[part])
        if asked.noise is not None:
            mine = mine._replace(noise=asked.noise._replace(first_step=asked.noise.first_step + begin))
        pieces.append((part, mine))
    return pieces[::-1] if asked.reverse else pieces


def forward(run: Callable[[Asked, Array, State | None, bool], Run], asked: Asked, x: Array, state: State | None) -> Run:
    """Run piece after piece, keeping the states between them."""
    kept = []
    whole: tuple[Array, ...] = ()  # output, or the sequences of all states
    done: Run | None = None
    k = piece_length(asked.cell, len(x)) if x.shape[1] else len(x)  # a batch of none takes no memory
    for part, mine in cut(len(x), k, asked):
        done = run(mine, x[part], state, False)
        sequences = done.states or (done.output,)
        whole = whole or tuple(frame_of(s).zeros((len(x), *s.shape[1:]), s.dtype) for s in sequences)
        for to, sequence in zip(whole, sequences, strict=True):
            to[part] = sequence
        kept.append(Piece(part, state, mine))
        state = done.state
    done = present(done, "a piece")
    return Run(
        whole[0], done.state, asked.cell, None if done.states is None else whole, _kept=Pieces(run, x, tuple(kept))
    )


def _sum(later: Gradients, earlier: Gradients) -> Gradients:
    """Add an earlier piece's gradients; those of its initial state are the earlier's own."""
    params = {name: value + earlier.params[name] for name, value in later.params.items()}
    reset = later.reset_state if earlier.reset_state is None else earlier.reset_state
    if later.reset_state is not None and earlier.reset_state is not None:
        reset = tuple(a + b for a, b in zip(later.reset_state, earlier.reset_state, strict=True))
    term = None if later.term is None or earlier.term is None else later.term + earlier.term
    return Gradients(earlier.x, params, earlier.state, reset, term, earlier.norms)
