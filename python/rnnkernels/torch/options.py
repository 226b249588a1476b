"""What a call asks for beside its tensors: `Options` as the layers have it, and `kernels.Spec` made of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from rnnkernels.noise import Noise

from .kernels import Spec


class Options(NamedTuple):
    """What a call asks for beside its tensors; as `rnnkernels.forward` and `rnnkernels.Noise` have it."""

    cell: str
    reverse: bool = False
    batch_sizes: torch.Tensor | None = None  # (T,) of a packed batch, whose x is (N, 1, I)
    lengths: torch.Tensor | None = None  # (B,)
    resets: torch.Tensor | None = None  # (T, B)
    zoneout: tuple[float, ...] = ()  # of each state; empty: none
    recurrent_dropout: float = 0.0
    per_step: bool = False
    weight_dropout: float = 0.0
    seed: torch.Tensor | None = None  # of the masks, a number; None: there are none
    layer: int = 0
    expected: bool = False  # the masks' expectation
    cell_clip: float | None = None
    all_states: bool = False
    memory: str = "all"


def make_spec(options: Options, names: tuple[str, ...], present: tuple[bool, bool, bool]) -> Spec:
    """Return a call as the kernels take it; `names` of the weights, which of states, reset states, term there are."""
    tensors = (options.batch_sizes, options.lengths, options.resets, options.seed)
    plain = all(t is None for t in tensors)
    return _plain(options, names, present) if plain else _make(options, names, present)


def _make(options: Options, names: tuple[str, ...], present: tuple[bool, bool, bool]) -> Spec:
    noise = None
    if options.seed is not None:
        noise = Noise(
            int(options.seed) & (2**64 - 1),
            options.zoneout or 0.0,
            options.recurrent_dropout,
            options.per_step,
            options.weight_dropout,
            options.layer,
            expected=options.expected,
        )
    starts = places = masks = None
    if options.batch_sizes is not None:
        starts, places, masks = packed_rows(options.batch_sizes.numpy(), options.reverse)
    return Spec(
        options.cell,
        names,
        *present,
        starts,
        places,
        masks,
        None if options.lengths is None else options.lengths.numpy(),
        None if options.resets is None else options.resets.numpy(),
        options.reverse and starts is None,
        noise,
        options.cell_clip,
        options.all_states,
        options.memory,
    )


_plain = lru_cache(1024)(_make)  # most calls have no tensors in their options, and the same options as the call before


def packed_rows(batch_sizes: Any, reverse: bool) -> tuple[Any, Any, Any]:
    """Return how a packed batch is walked: where each step begins, and each row's place in x and among the masks.

    No place in x where the rows are walked as they stand.

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
    return starts, starts[step] + sequence if reverse else None, step * width + sequence
