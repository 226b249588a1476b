"""A call as the kernels take it, `Spec`: what is asked for, and which tensors there are. Made here of `Asked`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnnkernels._asked import Asked
from rnnkernels.parameters import cell_info

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]


class Walk(NamedTuple):
    """How a packed batch is walked; x is (N, 1, I), row after row as PyTorch packs them."""

    starts: Integers  # (steps + 1,): where the rows of each step begin among all
    places: Integers | None  # (N,): where in x each stands; None: as they are walked
    masks: Integers  # (N,): where its masks stand in the padded batch (T, S)


class Parts(NamedTuple):
    """A call's tensors after x, or their arrays."""

    weights: dict[str, Any]
    state: tuple[Any, ...] | None
    reset_state: tuple[Any, ...] | None
    term: Any


class Options(NamedTuple):
    """What of a call's options is a tensor in PyTorch; None where it is not asked for."""

    batch_sizes: Any  # (T,) of int64
    lengths: Any  # (B,) of int64
    resets: Any  # (T, B) of bool
    seed: Any  # () of int64


class Spec(NamedTuple):
    """Everything of a call but its tensors. Of those it says which there are: x, then weights, states, term."""

    asked: Asked  # its lengths and resets NumPy's arrays, the seed of its noise a number
    names: tuple[str, ...]  # of the weights, in the order they come
    states: bool = False  # whether there are initial states
    reset_states: bool = False  # whether there are reset states
    term: bool = False
    walk: Walk | None = None  # of a packed batch
    seen: bool = False  # whether the caller hands the outputs on: what the backward reads is then kept apart

    @property
    def state_count(self) -> int:
        """States of the cell."""
        return len(cell_info(self.asked.cell)["states"])

    def split(self, tensors: Sequence[Any]) -> Parts:
        """Return what `tensors`, all of a call after x, are."""
        count, at = self.state_count, len(self.names)
        weights = tensors[:at]
        state = tuple(tensors[at : at + count]) if self.states else None
        at += count if self.states else 0
        reset = tuple(tensors[at : at + count]) if self.reset_states else None
        return Parts(dict(zip(self.names, weights, strict=True)), state, reset, tensors[-1] if self.term else None)


def make_spec(asked: Asked, names: tuple[str, ...], present: tuple[bool, bool, bool], seen: bool = False) -> Spec:
    """Return a call as the kernels take it; `names` of the weights, which of states, reset states, term there are."""
    plain = asked.noise is None and asked.batch_sizes is None and asked.lengths is None and asked.resets is None
    return _plain(asked, names, present, seen) if plain else _make(asked, names, present, seen)


def _make(asked: Asked, names: tuple[str, ...], present: tuple[bool, bool, bool], seen: bool) -> Spec:
    return Spec(
        asked._replace(
            lengths=None if asked.lengths is None else asked.lengths.numpy(),
            resets=None if asked.resets is None else asked.resets.numpy(),
            noise=None if asked.noise is None else asked.noise.settled(asked.cell),
        ),
        names,
        *present,
        None if asked.batch_sizes is None else packed_rows(asked.batch_sizes.numpy(), asked.reverse),
        seen,
    )


_plain = lru_cache(1024)(_make)  # most calls have no tensors in their options, and the same options as the call before


def take_options(asked: Asked) -> tuple[Asked, Options]:
    """Return what is asked for without its tensors, and these; `with_options` puts them back."""
    noise = asked.noise
    options = Options(asked.batch_sizes, asked.lengths, asked.resets, None if noise is None else noise.seed)
    rest = None if noise is None else noise._replace(seed=None)
    return asked._replace(batch_sizes=None, lengths=None, resets=None, noise=rest), options


def with_options(asked: Asked, options: Options) -> Asked:
    """Return what is asked for with its tensors."""
    batch_sizes, lengths, resets, seed = options
    noise = None if asked.noise is None else asked.noise._replace(seed=seed)
    return asked._replace(batch_sizes=batch_sizes, lengths=lengths, resets=resets, noise=noise)


def packed_rows(batch_sizes: Any, reverse: bool) -> Walk:
    """Return how a packed batch is walked.

    PyTorch packs as the kernels walk: sequences longest first, the rows of a step after those of the step before.
    """
    steps = len(batch_sizes)
    starts = np.zeros(steps + 1, np.int64)
    np.cumsum(batch_sizes, out=starts[1:])
    step = np.repeat(np.arange(steps), batch_sizes)
    sequence = np.arange(starts[-1]) - starts[step]
    if reverse:  # step k of a sequence of L is its time L - 1 - k
        lengths = np.searchsorted(-batch_sizes, -np.arange(batch_sizes[0] if steps else 0), side="left")
        step = lengths[sequence] - 1 - step
    width = batch_sizes[0] if steps else 0
    return Walk(starts, starts[step] + sequence if reverse else None, step * width + sequence)
