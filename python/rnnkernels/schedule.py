"""Ragged batches: lengths, resets and reversed time, as a list of the rows that the kernels walk through.

Between two resets a row of the batch is a sequence of its own. The kernels take all of them at once, longest first,
so that a step works on those still running and on nothing else; where each step's rows stand in the caller's arrays
is `Schedule.places`. Not here: the walk itself (csrc/recurrence/rows.h).
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._arrays import NUMPY, Frame, device_frame, frame_of
from ._call import Rows
from ._scalars import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ._asked import Asked
    from .parameters import Array

    Integers = npt.NDArray[np.int64]
    Booleans = npt.NDArray[np.bool_]


class Like(NamedTuple):
    """What a layer's arrays are like."""

    widths: tuple[int, ...]  # units of each state
    gates: int  # rows of weight_ih
    dtype: Any
    frame: Frame = NUMPY  # whose arrays they are


@dataclass(frozen=True, eq=False)
class Schedule:
    """Which rows each step has; S sequences, N rows in all.

    Attributes
    ----------
    starts : ndarray of int64, (steps + 1,)
        Where each step's rows begin among all.
    places : ndarray of int64, (N,)
        Where each row stands in the caller's arrays, as t·B + b.
    owner : ndarray of int64, (S,)
        The row of the batch that a sequence belongs to.
    fresh : ndarray of bool, (S,)
        Whether a sequence starts from the reset state, and not from the row's initial state.
    last : ndarray of int64, (B,)
        The sequence that a row ends with; -1 for a row without steps.
    """

    starts: Integers
    places: Integers
    owner: Integers
    fresh: Booleans
    last: Integers

    @property
    def rows(self) -> Rows:
        """What a backend takes."""
        return Rows(self.starts, self.places)

    def begin(self, state: tuple[Array, ...] | None, reset: tuple[Array, ...] | None, like: Like) -> tuple[Array, ...]:
        """Return the state each sequence starts from, (S, width) for each state's width."""
        begun = tuple(like.frame.zeros((len(self.owner), width), like.dtype) for width in like.widths)
        for given, chosen in ((state, ~self.fresh), (reset, self.fresh)):
            for to, source in zip(begun, given or (), strict=False):
                to[chosen] = source[self.owner[chosen]]
        return begun

    def end(self, final: tuple[Array, ...], initial: tuple[Array, ...] | None) -> tuple[Array, ...]:
        """Return each row's state after its last step (B, H), from the sequences' (S, H)."""
        ended = []
        ran = self.last >= 0
        for k, of_sequences in enumerate(final):
            frame = frame_of(of_sequences)
            rows = (
                frame.zeros((len(self.last), of_sequences.shape[1]), of_sequences.dtype)
                if initial is None
                else frame.copy(initial[k])
            )
            rows[ran] = of_sequences[self.last[ran]]
            ended.append(rows)
        return tuple(ended)

    def end_gradient(self, d_state: tuple[Array, ...] | None) -> tuple[Array, ...] | None:
        """Return dL/d(each sequence's final state), from the rows'."""
        if d_state is None:
            return None
        ran = self.last >= 0
        spread = tuple(frame_of(d).zeros((len(self.owner), d.shape[1]), d.dtype) for d in d_state)
        for to, d in zip(spread, d_state, strict=True):
            to[self.last[ran]] = d[ran]
        return spread

    def begin_gradient(
        self, d_begun: tuple[Array, ...], d_state: tuple[Array, ...] | None
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Return dL/d(initial state) and dL/d(reset state), each (B, H)."""
        initial, reset = [], []
        ran = self.last >= 0
        for k, d in enumerate(d_begun):
            frame = frame_of(d)
            of_initial = frame.zeros((len(self.last), d.shape[1]), d.dtype)
            of_reset = frame.zeros((len(self.last), d.shape[1]), d.dtype)
            of_initial[self.owner[~self.fresh]] = d[~self.fresh]
            frame.add_at(of_reset, self.owner[self.fresh], d[self.fresh])
            if d_state is not None:  # a row without steps hands its state through
                of_initial[~ran] = d_state[k][~ran]
            initial.append(of_initial)
            reset.append(of_reset)
        return tuple(initial), tuple(reset)

    def of_rows(self, of_sequences: Array) -> Array:
        """Return the sums (B, ...) of what belongs to each row's sequences (S, ...)."""
        frame = frame_of(of_sequences)
        sums = frame.zeros((len(self.last), *of_sequences.shape[1:]), of_sequences.dtype)
        frame.add_at(sums, self.owner, of_sequences)
        return sums  # type: ignore[no-any-return]


def make_schedule(
    steps: int,
    batch: int,
    lengths: npt.ArrayLike | None,
    resets: npt.ArrayLike | None,
    reverse: bool,
) -> Schedule | None:
    """Return the rows of a batch; None where every row runs through every step in order.

    Parameters
    ----------
    steps, batch : int
        T and B.
    lengths : array_like of int, (B,), or None
        Steps of each row, 0 to T.
    resets : array_like of bool, (T, B), or None
        Before which steps a row's state is replaced.
    reverse : bool
        Whether the steps run from the last to the first.

    Raises
    ------
    TypeError, ValueError
        If a shape, a kind or a length does not fit.
    """
    length = _lengths(lengths, steps, batch)
    reset = _resets(resets, steps, batch)
    if not reverse and reset is None and (length == steps).all():
        return None

    if reset is None:
        return _of_lengths(length, reverse)

    if batch == 0:  # steps without rows are none, however many
        steps, reset = 0, reset[:0]
    # Step k of a row in the order it is run; `begins` (B, T): a sequence begins there.
    order = np.arange(steps)[None, :]
    runs = order < length[:, None]  # (B, T)
    time = np.where(runs, length[:, None] - 1 - order, 0) if reverse else np.broadcast_to(order, (batch, steps))
    cut = reset.T[np.arange(batch)[:, None], time]
    begins = runs & (cut | (order == 0))
    owner, begin = np.nonzero(begins)  # row after row, step after step
    of_same_row = np.append(owner[1:] == owner[:-1], False)[: len(owner)]  # as the sequence behind it
    end = np.where(of_same_row, np.append(begin[1:], 0)[: len(owner)], length[owner])
    last = np.full(batch, -1)
    sequence = np.argsort(-(end - begin), kind="stable")
    place_of = np.empty_like(sequence)
    place_of[sequence] = np.arange(len(sequence))
    last[owner[~of_same_row]] = place_of[~of_same_row]
    fresh = cut[owner, begin]

    owner, begin, sizes, fresh = owner[sequence], begin[sequence], (end - begin)[sequence], fresh[sequence]
    starts, of_step, of_sequence = _walk(sizes)
    row = owner[of_sequence]
    places = time[row, begin[of_sequence] + of_step] * batch + row
    return Schedule(starts, places.astype(np.int64), owner, fresh, last)


def _of_lengths(length: Integers, reverse: bool) -> Schedule:
    """Return the rows of a batch without resets: each row is one sequence. Many calls have no more than lengths."""
    order = np.argsort(-length, kind="stable")
    owner = order[: np.count_nonzero(length)]
    starts, step, sequence = _walk(length[owner])
    row = owner[sequence]
    time = length[row] - 1 - step if reverse else step
    last = np.full(len(length), -1)
    last[owner] = np.arange(len(owner))
    return Schedule(starts, time * len(length) + row, owner, np.zeros(len(owner), bool), last)


def _walk(sizes: Integers) -> tuple[Integers, Integers, Integers]:
    """Return where each step's rows begin, and of each row its step and its sequence; `sizes` descend."""
    longest = int(sizes[0]) if len(sizes) else 0
    running = np.searchsorted(-sizes, -np.arange(longest), side="left")  # sequences of more than so many steps
    starts = np.zeros(longest + 1, np.int64)
    np.cumsum(running, out=starts[1:])
    step = np.repeat(np.arange(longest), running)
    return starts, step, np.arange(int(starts[-1])) - starts[step]


def check_rows(
    steps: int, batch: int, lengths: npt.ArrayLike | None, resets: npt.ArrayLike | None
) -> tuple[Integers | None, Booleans | None]:
    """Return lengths and resets as arrays that fit, or raise as `make_schedule`."""
    return None if lengths is None else _lengths(lengths, steps, batch), _resets(resets, steps, batch)


def _lengths(lengths: npt.ArrayLike | None, steps: int, batch: int) -> Integers:
    if lengths is None:
        return np.full(batch, steps)
    found = _on_host("lengths", lengths, "integers")
    if found.dtype.kind not in "iu" and found.size:
        raise TypeError(f"lengths: expected integers, got {found.dtype}")
    if found.shape != (batch,):
        raise ValueError(f"lengths: expected shape (B,) = ({batch},), got {found.shape}")
    wrong = np.flatnonzero((found < 0) | (found > steps))
    if len(wrong):
        raise ValueError(f"lengths: expected 0 to T = {steps}, got {operator.index(found[wrong[0]])} at [{wrong[0]}]")
    return found.astype(np.int64)


def _resets(resets: npt.ArrayLike | None, steps: int, batch: int) -> Booleans | None:
    if resets is None:
        return None
    found = _on_host("resets", resets, "booleans")
    if found.dtype != np.bool_:
        raise TypeError(f"resets: expected booleans, got {found.dtype}")
    if found.shape != (steps, batch):
        raise ValueError(f"resets: expected shape (T, B) = ({steps}, {batch}), got {found.shape}")
    return found


def _on_host(name: str, array: Any, kind: str) -> npt.NDArray[Any]:
    """Return what says which rows are run, or raise where to read it would be to wait for a GPU."""
    if device_frame(array) is not None:
        raise TypeError(f"{name}: expected an array on the host, as the steps are planned there, got one on a GPU")
    try:
        return np.asarray(array)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name}: expected {kind}, got {shown(array)}: {error}") from None


class Begun(NamedTuple):
    """How a call begins: its schedule, None where it is dense, and what each of its sequences starts from and adds."""

    schedule: Schedule | None
    state: tuple[Array, ...] | None
    term: Array | None

    @property
    def rows(self) -> Rows | None:
        """What a backend takes."""
        return None if self.schedule is None else self.schedule.rows


def begin(
    asked: Asked,
    x: Array,
    state: tuple[Array, ...] | None,
    reset_state: tuple[Array, ...] | None,
    term: Array | None,
    like: Like,
) -> Begun:
    """Put a call's rows in order: what belongs to the rows of the batch becomes what belongs to its sequences."""
    check_reset_state(reset_state, asked.resets)
    dense = Begun(None, state, term)
    if x.ndim not in (2, 3) or not asked.ragged:
        return dense
    steps, batch = x.shape[:2]
    schedule = make_schedule(steps, batch, asked.lengths, asked.resets, bool(asked.reverse))
    if schedule is None:
        return dense
    check_states("state", state, batch, like.widths)
    check_states("reset_state", reset_state, batch, like.widths)
    if term is not None and term.shape != (batch, like.gates):
        raise ValueError(f"term: expected shape (B, G*H) = ({batch}, {like.gates}), got {term.shape}")
    begun = schedule.begin(state, reset_state, like)
    return Begun(schedule, begun, None if term is None else term[schedule.owner])


def check_reset_state(reset_state: object, resets: object) -> None:
    """Raise ValueError where there is a reset state and nothing is reset."""
    if reset_state is not None and resets is None:
        raise ValueError("reset_state: expected resets with it, got none")


def check_states(name: str, state: Sequence[Array] | None, batch: int, widths: tuple[int, ...]) -> None:
    """Raise ValueError where a state is not (B, its units)."""
    for i, (part, width) in enumerate(zip(state or (), widths, strict=False)):
        if part.shape != (batch, width):
            raise ValueError(f"{name}[{i}]: expected shape (B, H) = ({batch}, {width}), got {part.shape}")
