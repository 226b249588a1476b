"""What a stack gives, `StackRun` and `StackGradients`, and checks of what it is given: states, a generator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import functional
from ._arrays import frame_of
from ._described import described
from ._scalars import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = npt.NDArray[Any]
State = tuple[Array, ...]
StackState = tuple[State, ...]

__all__ = ["StackGradients", "StackRun", "counted", "join", "per_layer", "seed_of", "total"]


@dataclass(frozen=True)
class StackRun:
    """What `Stack.forward` returns.

    Attributes
    ----------
    output : ndarray, (T, B, H), of two directions (T, B, 2·H)
        Of the top layer; forward first.
    state : tuple over layers of tuple of ndarray, (B, H)
        After each row's last step. Of two directions: layer 0 forward, layer 0 in reverse, layer 1 forward, ...
    """

    output: Array
    state: StackState
    _runs: tuple[functional.Run, ...] = field(repr=False)
    _ways: int = field(default=1, repr=False)  # directions
    _seed: int | None = field(default=None, repr=False)  # of the masks between layers; None: there are none

    @property
    def outputs(self) -> tuple[Array, ...]:
        """Every layer's output, (T, B, H), of two directions (T, B, 2·H), the last of which is `output`."""
        layers = range(0, len(self._runs), self._ways)
        return tuple(join([run.output for run in self._runs[at : at + self._ways]]) for at in layers)

    @property
    def states(self) -> tuple[State, ...] | None:
        """All states after every step, (T, B, H), in the order of `state`, where ``all_states`` asked for them."""
        found = [run.states for run in self._runs]
        return None if None in found else tuple(s for s in found if s is not None)

    def __repr__(self) -> str:
        steps, batch, hidden = self._runs[-1].output.shape
        of = f"cell={self._runs[-1].cell!r}, layers={len(self._runs) // self._ways}, directions={self._ways}"
        kept = sum(run.reserve_bytes for run in self._runs)
        return f"StackRun({of}, T={steps}, B={batch}, H={hidden}, reserve_bytes={kept})"


@dataclass(frozen=True)
class StackGradients:
    """What `Stack.backward` returns.

    Attributes
    ----------
    x : ndarray, (T, B, I), or None
        None when the input was tokens.
    params : dict of str to ndarray
        The names and shapes of `Stack.params`.
    state : tuple over layers of tuple of ndarray, (B, H)
        With respect to the initial state.
    reset_state : tuple over layers of tuple of ndarray, (B, H), or None
        With respect to the reset state, where the run had resets.
    norms : tuple over layers of tuple of ndarray, (T, B), or None
        Readings of the gradient's flow, where they were asked for; see `rnnkernels.Gradients`.
    term : tuple over layers of (ndarray, (B, Gx·H), or None), or None
        With respect to the terms, where the run had any.
    """

    x: Array | None
    params: dict[str, Array]
    state: StackState
    reset_state: StackState | None = None
    norms: StackState | None = None
    term: tuple[Array | None, ...] | None = None

    def __repr__(self) -> str:
        return described(self)


def join(outputs: Sequence[Array]) -> Array:
    """Return the outputs of a layer's directions side by side."""
    if len(outputs) == 1:
        return outputs[0]
    joined: Array = frame_of(outputs[0]).concatenate(outputs, axis=2)
    return joined


def total(terms: Sequence[Array | None]) -> Array | None:
    """Return the sum of what is there; None where nothing is."""
    found: Array | None = None
    for term in terms:
        if term is not None:
            found = term if found is None else found + term
    return found


def per_layer(
    what: str, state: Sequence[Sequence[npt.ArrayLike] | None] | None, layers: int, directions: int
) -> tuple[tuple[npt.ArrayLike, ...] | None, ...]:
    """Make a nested state one of tuples, checked as far as a stack can tell."""
    if state is None:
        return (None,) * (layers * directions)
    if not isinstance(state, (tuple, list)):
        raise TypeError(f"{what}: expected a tuple over layers, got {type(state).__name__}")
    if len(state) != layers * directions:
        raise ValueError(f"{what}: expected {counted(layers, directions)}, got {len(state)}")
    for layer, entry in enumerate(state):
        if not isinstance(entry, (tuple, list, type(None))):
            raise TypeError(f"{what}[{layer}]: expected a tuple of arrays, got {type(entry).__name__}")
    return tuple(None if entry is None else tuple(entry) for entry in state)


def counted(layers: int, directions: int) -> str:
    """Return how many states a stack has, in words."""
    return f"{layers * directions} {'layers' if directions == 1 else 'layers and directions'}"


def seed_of(rng: np.random.Generator | None, dropout: float, *, needed: bool) -> int:
    """Return the seed of a call's masks; where none are drawn, 0, and the generator is left as it is."""
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**64, dtype=np.uint64)) if needed else 0
    if rng is None and not needed:
        return 0
    what = f"dropout is {dropout}" if dropout > 0 else "there are masks to draw"
    wanted = f"a numpy.random.Generator, as {what}" if needed else "a numpy.random.Generator or None"
    raise TypeError(f"rng: expected {wanted}, got {shown(rng)}")
