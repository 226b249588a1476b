"""What a forward leaves behind: `Run`, its results and what its backward needs, and `Gradients`, what that finds.

What a run keeps has three forms, each with the backward that belongs to it: `Whole` here (every gate and state),
`rnnkernels.memory.states.States` (the states alone) and `rnnkernels.memory.replay.Pieces` (a few states).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from . import _pickled, _serve  # noqa: F401 - _pickled: reserves can be copied
from ._described import described
from ._parts import Parts, at_once
from .parameters import Array, Params
from .schedule import check_states

if TYPE_CHECKING:
    from ._call import Ahead, Call, Found
    from .schedule import Schedule

__all__ = ["Gradients", "Run"]

State = tuple[Array, ...]


class Sized(Protocol):
    """What any forward pass keeps for its backward."""

    @property
    def nbytes(self) -> int:
        """Memory beside what is returned."""


class Kept(Sized, Protocol):
    """What a run keeps for its backward."""

    def backward(self, ahead: Ahead, *, need_x: bool, norms: bool) -> Gradients:
        """Return the gradients; as often as it is asked."""


K = TypeVar("K", bound=Sized)


@dataclass(frozen=True, eq=False)
class Ran(Generic[K]):
    """What every forward pass gives, that of an attending recurrence too; `Run` says what its fields are."""

    output: Array
    state: State
    cell: str
    _kept: K | None = field(default=None, repr=False, kw_only=True)

    @property
    def reserve_bytes(self) -> int:
        """Memory kept for the backward, beside what is returned; 0 after inference."""
        return 0 if self._kept is None else self._kept.nbytes


@dataclass(frozen=True, eq=False)
class GradientsOfAll:
    """What every backward finds, that of an attending recurrence too; `Gradients` says what the fields are."""

    x: Array | None
    params: Params
    state: State
    reset_state: State | None = None

    def __repr__(self) -> str:
        return described(self)


@dataclass(frozen=True, eq=False)
class Run(Ran[Kept]):
    """A forward pass: its results, and what its backward needs.

    It refers to the arrays it was called with and does not copy them: change the parameters (an
    optimiser's step) only after `backward`. A deep copy, and a pickle, has copies of all of them; it is differentiated
    on the instruction set that made the run.

    Attributes
    ----------
    output : ndarray, (T, B, H)
        h after every step.
    state : tuple of ndarray, each (B, H)
        The states after each row's last step, h first; the initial states where it has none.
    cell : str
        The cell's name.
    states : tuple of ndarray, each (T, B, H), or None
        The states after every step, h (`output` itself) first, where ``all_states`` asked for them.
    """

    states: State | None = None

    @property
    def _widths(self) -> tuple[int, ...]:
        """Units of each state."""
        return tuple(s.shape[1] for s in self.state)

    def __repr__(self) -> str:
        steps, batch, hidden = self.output.shape
        return f"Run(cell={self.cell!r}, T={steps}, B={batch}, H={hidden}, reserve_bytes={self.reserve_bytes})"


@dataclass(frozen=True, eq=False, repr=False)
class Gradients(GradientsOfAll):
    """What `backward` found.

    Attributes
    ----------
    x : ndarray, (T, B, I), or None
        dL/dx; None where the input was tokens.
    params : dict of str to ndarray
        dL/dparameter, the same keys and shapes as the parameters.
    state : tuple of ndarray, each (B, H)
        dL/d(initial state), one per state of the cell.
    reset_state : tuple of ndarray, each (B, H), or None
        dL/d(reset state), where the run had lengths, resets or ran in reverse; zeros where nothing was reset.
    term : ndarray, (B, Gx·H), or None
        dL/dterm, where the run had a term.
    norms : tuple of ndarray, each (T, B), or None
        ‖dL/d(state after step t)‖ over the units of each row, one for each state, h first, where ``norms`` asked for
        them: how far back the gradient flows. Zeros for steps that a row does not have.
    """

    term: Array | None = None
    norms: State | None = None


class Whole(NamedTuple):
    """A run that keeps every gate and state: its call, what that gave, and the order of its rows."""

    call: Call
    output: Array  # (T, B, H)
    reserve: Any  # of the backend that ran it
    schedule: Schedule | None = None  # None: dense

    @property
    def nbytes(self) -> int:
        """Memory of the reserve."""
        size: int = self.reserve.nbytes
        return size

    def backward(self, ahead: Ahead, *, need_x: bool, norms: bool) -> Gradients:
        """Go back through all of it in one call."""
        return at_once(self.backward_parts(ahead, need_x=need_x, norms=norms))

    def backward_parts(self, ahead: Ahead, *, need_x: bool, norms: bool) -> Parts[Gradients]:
        """Do what `backward` does, but for the call of a backend, which is the caller's."""
        call, output, reserve, schedule = self
        if schedule is None:
            x, params, state, term, readings = yield partial(
                _serve.backward, call, output, reserve, ahead, need_x, norms
            )
            return Gradients(x, params, state, None, term, readings if norms else None)
        ended = of_sequences(ahead, schedule, tuple(s.shape[1] for s in call.state or ()))
        found = yield partial(_serve.backward, call, output, reserve, ended, need_x, norms)
        return gradients(found, schedule, ahead, norms)


def of_sequences(ahead: Ahead, schedule: Schedule, widths: tuple[int, ...]) -> Ahead:
    """Return what belongs to the sequences of a batch, from what belongs to its rows."""
    check_states("d_state", ahead.state, len(schedule.last), widths)
    return ahead._replace(state=schedule.end_gradient(ahead.state))


def gradients(found: Found, schedule: Schedule | None, ahead: Ahead, norms: bool) -> Gradients:
    """Return what belongs to the rows of a batch, from what belongs to its sequences."""
    readings = found.norms if norms else None
    if schedule is None:
        return Gradients(found.x, found.params, found.state, None, found.term, readings)
    d_initial, d_reset = schedule.begin_gradient(found.state, ahead.state)
    d_term = None if found.term is None else schedule.of_rows(found.term)
    return Gradients(found.x, found.params, d_initial, d_reset, d_term, readings)
