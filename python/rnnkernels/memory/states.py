"""Training in less memory: keep every state, and make the gates again, many steps at once, when the backward comes.

A run that keeps everything keeps gates and states; this one keeps the states alone. Since all of them are known, the
steps of a piece need not wait for each other: their rows are run as one step of one large batch, a product as fast as
the machine can. So it costs one more forward in arithmetic, and much less than that in time where a step's own batch
is small. Outputs, states and the gradients of inputs and states have the bits of a run that keeps everything; those of
the parameters are sums over the pieces, in another order, and differ by rounding. Not here: keeping fewer states and
running the steps between them again (`rnnkernels.memory.replay`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rnnkernels import _serve
from rnnkernels._arrays import frame_of
from rnnkernels._call import Ahead, Call, Found, Rows
from rnnkernels.parameters import NAMES
from rnnkernels.run import Gradients, gradients, of_sequences
from rnnkernels.schedule import check_states

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from rnnkernels._call import Sequences, State
    from rnnkernels.noise import Drawn
    from rnnkernels.parameters import Array
    from rnnkernels.schedule import Schedule

    Integers = npt.NDArray[np.int64]

# Rows made again at a time: enough for the products to run at full speed, few enough to stay small.
ROWS = 1024


@dataclass(frozen=True, eq=False)
class States:
    """What such a run keeps: its call, the sequences of its states, h first, each (T, B, H), the order of its rows."""

    call: Call
    states: Sequences
    schedule: Schedule | None = None  # None: dense, or a packed batch, whose rows are the call's

    @property
    def nbytes(self) -> int:
        """Memory kept beside the output."""
        return sum(s.nbytes for s in self.states[1:])

    def backward(self, ahead: Ahead, *, need_x: bool, norms: bool) -> Gradients:
        """Go back through it, piece after piece from the last."""
        widths = tuple(s.shape[2] for s in self.states)
        ended = ahead
        if self.schedule is not None:
            ended = of_sequences(ahead, self.schedule, widths)
        elif self.call.rows is None:
            check_states("d_state", ahead.state, self.states[0].shape[1], widths)
        return gradients(self._backward(ended, need_x=need_x, norms=norms), self.schedule, ahead, norms)

    def _backward(self, ahead: Ahead, *, need_x: bool, norms: bool) -> Found:
        """Make each piece's gates again and go back through it."""
        call, h = self.call, self.states[0]
        frame = frame_of(h)
        steps, batch = h.shape[:2]
        walked = steps if batch else 0  # steps without rows are none, however many
        starts = np.arange(walked + 1) * batch if call.rows is None else call.rows.starts
        sequences = int(starts[1]) if len(starts) > 1 else batch if call.rows is None else 0
        dx = frame.zeros(call.x.shape, h.dtype) if need_x and call.x.ndim == 3 else None
        d_term = None if call.term is None else frame.zeros(call.term.shape, h.dtype)
        readings = tuple(frame.zeros((steps, batch), h.dtype) for _ in self.states) if norms else ()
        params: dict[str, Array] = {}
        # dL/d(each sequence's state) behind the piece at work; of one that ends in it, after its last step.
        carried = tuple(
            frame.zeros((sequences, s.shape[2]), h.dtype) if ahead.state is None else frame.copy(ahead.state[k])
            for k, s in enumerate(self.states)
        )
        for first, last in pieces(starts):
            piece = _Piece.of(call, starts, first, last)
            before = tuple(
                piece.before(None if call.state is None else call.state[k], s) for k, s in enumerate(self.states)
            )
            _, _, reserve, _ = _serve.forward(piece.at_once(call, before), True)
            d_piece = Ahead(
                None if ahead.output is None else piece.take(ahead.output),
                tuple(d[: piece.width] for d in carried),
                tuple(None if d is None else piece.take(d) for d in ahead.sequences),
            )
            again = piece.in_order(call, before)
            found = _serve.backward(again, piece.take(h), reserve, d_piece, dx is not None, norms)
            for to, value in zip((dx, *readings), (found.x, *found.norms), strict=True):
                if to is not None and value is not None:
                    _flat(to)[piece.where] = _flat(value)
            for name, value in found.params.items():
                params[name] = value if name not in params else params[name] + value
            if d_term is not None and found.term is not None:
                d_term[: piece.width] += found.term
            for to, value in zip(carried, found.state, strict=True):
                to[: piece.width] = value
        if not params:  # no rows at all
            layer = zip(NAMES, call.layer, strict=True)
            params = {
                name: frame.zeros(value.shape, h.dtype) for name, value in layer if value is not None and len(value)
            }
        return Found(dx, params, carried, d_term, readings)


def pieces(starts: Integers) -> Iterator[tuple[int, int]]:
    """Yield steps (first, last), from the last piece down: as many as have `ROWS` rows, at least one."""
    last = len(starts) - 1 if starts[-1] > 0 else 0  # a batch of none has steps without rows
    while last > 0:
        first = min(int(np.searchsorted(starts, starts[last] - ROWS)), last - 1)
        yield first, last
        last = first


@dataclass(frozen=True, eq=False)
class _Piece:
    """Some steps of a walk; its rows in the order in which they are walked through, N of them."""

    steps: int
    width: int  # sequences that have rows in it
    where: slice | Integers  # its rows in (T·B)
    starts: Integers | None  # of each step among them; None: dense
    previous: slice | Integers  # in (T·B): each row's own, one step before; without those of step 0
    sequence: Integers  # of each row
    places: Integers
    rows: slice  # of the walk

    @classmethod
    def of(cls, call: Call, starts: Integers, first: int, last: int) -> _Piece:
        counts = np.diff(starts[first : last + 1])
        rows = np.arange(starts[first], starts[last])
        step = np.repeat(np.arange(first, last), counts)
        sequence = rows - starts[step]
        stand = None if call.rows is None else call.rows.places
        places = rows if stand is None else stand[rows]
        width, walked = int(counts[0]), slice(int(starts[first]), int(starts[last]))
        later = slice(width, None) if first == 0 else slice(None)
        before = (starts[step - 1] + sequence)[later]
        if call.rows is None:
            where = slice(int(rows[0]), int(rows[-1]) + 1)
            previous = slice(int(before[0]), int(before[-1]) + 1) if len(before) else slice(0, 0)
            return cls(last - first, width, where, None, previous, sequence, places, walked)
        begins = starts[first : last + 1] - starts[first]
        return cls(
            last - first, width, places, begins, before if stand is None else stand[before], sequence, places, walked
        )

    def take(self, array: Array) -> Array:
        """Return the piece's rows of (T, B, ...): (steps, B, ...), or of a ragged batch (N, 1, ...)."""
        rows = _flat(array)[self.where]
        shape = (self.steps, self.width) if self.starts is None else (len(self.places), 1)
        return rows.reshape(*shape, *array.shape[2:])

    def before(self, initial: Array | None, sequence: Array) -> Array:
        """Return the state before each row (N, H), of a state's sequence (T, B, H)."""
        known = _flat(sequence)[self.previous]
        if len(known) == len(self.places):
            return known
        frame = frame_of(sequence)
        begun = (
            frame.zeros((self.width, sequence.shape[2]), sequence.dtype) if initial is None else initial[: self.width]
        )
        return frame.concatenate([begun, known])  # type: ignore[no-any-return]

    def at_once(self, call: Call, before: State) -> Call:
        """Return the piece as one step of a batch of N rows."""
        x = _flat(call.x)[self.where][np.newaxis]
        term = None if call.term is None else call.term[self.sequence]
        return call._replace(x=x, state=before, rows=None, term=term, noise=self._noise(call.noise))

    def in_order(self, call: Call, before: State) -> Call:
        """Return the piece as it was run."""
        begun = tuple(frame_of(s).contiguous(s[: self.width]) for s in before)
        rows = None if self.starts is None else Rows(self.starts, np.arange(len(self.places)))
        term = None if call.term is None else call.term[: self.width]
        return call._replace(x=self.take(call.x), state=begun, rows=rows, term=term, noise=self._noise(call.noise))

    def _noise(self, noise: Drawn | None) -> Drawn | None:
        """Return the masks of the whole for the rows of the piece."""
        if noise is None:
            return None
        return noise._replace(places=self.places if noise.places is None else noise.places[self.rows])


def _flat(array: Array) -> Array:
    """(T, B, ...) as (T·B, ...), a view."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])
