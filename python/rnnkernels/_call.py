"""One call of a backend with everything settled: arrays, the order of rows, masks. Private to the package.

Plain data: `functional` makes calls from what users pass, `memory` runs parts of one again, `_serve` says which backend
runs one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .parameters import Array, Layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from .noise import Drawn

T = TypeVar("T")

State = tuple[Array, ...]
Sequences = tuple[Array, ...]


class Rows(NamedTuple):
    """The rows of a ragged batch (csrc/recurrence/rows.h); no places: (T, B, ...) holds them one after another."""

    starts: npt.NDArray[np.int64]  # (steps + 1,)
    places: npt.NDArray[np.int64] | None = None  # (N,)


class Call(NamedTuple):
    """A layer and what it is given. Of a ragged batch (`rows`) `state` and `term` are those of its sequences."""

    cell: str
    x: Array  # (T, B, I), or tokens (T, B)
    layer: Layer
    state: State | None  # each (B, H)
    rows: Rows | None = None
    term: Array | None = None  # (B, Gx·H)
    noise: Drawn | None = None
    settings: Sequence[float] = ()  # in the cell's order; none: all off
    products: str = "full"  # or "bfloat16", what products multiply their operands as


# What a forward gives: output (T, B, H); final states (B, H), of a ragged batch those of its sequences (S, H); the
# reserve of the backend that ran, None where nothing is kept; the sequences (T, B, H) of the states after h, where they
# were asked for.
Results = tuple[Array, State, Any, Sequences | None]


class Ahead(NamedTuple):
    """What a backward is given: dL/d(what the forward gave), None for zeros."""

    output: Array | None  # (T, B, H)
    state: State | None  # each (B, H)
    sequences: tuple[Array | None, ...] = ()  # of the states after h, each (T, B, H); empty: none


class Found(NamedTuple):
    """What a backward gives."""

    x: Array | None
    params: dict[str, Array]
    state: State
    term: Array | None
    norms: tuple[Array, ...]  # each (T, B)


class Attention(NamedTuple):
    """What the state of an attending recurrence asks, and of what: `rnnkernels.attention` has the equations.

    L places of D numbers, A units of queries and keys; C channels and K taps of location-aware scores.
    """

    keys: Array  # (B, L, A); of bilinear scores the features themselves
    features: Array  # (B, L, D)
    mask: Array | None  # (B, L): 1, or 0 where a place is not looked at
    weight_query: Array  # (A, H)
    bias_query: Array | None = None  # (A,)
    score: Array | None = None  # (A,): additive scores
    weight_beta: Array | None = None  # (H,)
    bias_beta: Array | None = None  # (1,)
    weight_location: Array | None = None  # (A, C, K)
    location: Array | None = None  # (B, C, L): what was looked at before the first step
    scale: float = 1.0  # of every score
    # The seed of the draws, None where the likeliest place is taken instead; and the number of the first step.
    hard: tuple[int | None, int] | None = None


class Attended(NamedTuple):
    """What an attending forward gives beside `Results`; zeros in steps that a row does not have, places -1."""

    weights: Array  # (T, B, L)
    contexts: Array  # (T, B, D)
    places: npt.NDArray[np.int64] | None  # (T, B), of hard attention
    location: Array | None  # (B, C, L), after the last step


class AttentionFound(NamedTuple):
    """What an attending backward gives beside `Found`: gradients of the arrays of `Attention`."""

    keys: Array
    features: Array
    weight_query: Array
    bias_query: Array | None
    score: Array | None
    weight_beta: Array | None
    bias_beta: Array | None
    weight_location: Array | None


def present(found: T | None, what: str) -> T:
    """Return what a call of this package has to give; an `assert` would be left out under ``python -O``."""
    if found is None:
        raise RuntimeError(f"rnnkernels: expected {what}, got none")
    return found
