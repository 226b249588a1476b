"""The calls of a layer's directions and of a stack's layers.

On a GPU they are put side by side, where they can be and `rnnkernels.cuda.overlap_layers` says so; else one after
another.

Not here: which calls a stack makes (`stack`), how a GPU puts calls together (`cuda.calls`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from . import _serve, functional
from ._asked import asked_of
from ._parts import Parts, side_by_side
from .run import Gradients, Run, Whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from .noise import Noise

# The arguments of `functional.forward`: cell, x, params, state, and those by keyword.
Given = tuple[str, Any, Any, Any, dict[str, Any]]
# Those of `functional.backward`: the run, d_output, d_state. d_output is made when it is needed, since both directions'
# would be there at once.
Back = tuple[Run, Callable[[], Any], Any]

__all__ = ["Back", "Given", "backward", "following", "forward"]


def forward(calls: Sequence[Given]) -> list[Run]:
    """Return the run of each direction of a layer."""
    if len(calls) > 1 and _serve.overlaps(calls[0][1]) and calls[0][4]["memory"] != "replay":
        parts = [_parts(*given, **options) for *given, options in calls]
        return side_by_side(calls[0][1], parts)
    return [functional.forward(*given, **options) for *given, options in calls]


def _parts(
    cell: str,
    x: Any,
    params: Any,
    state: Any,
    *,
    training: bool,
    noise: Noise,
    reset_state: Any,
    term: Any,
    **asked: Any,
) -> Parts[Run]:
    """Return what `functional.forward` does, in parts."""
    of = asked_of(cell, noise, training=training, **asked)
    return functional.layer_parts(of, x, params, state, reset_state, term, training=training)


def backward(calls: Sequence[Back], *, need_x: bool, norms: bool) -> list[Gradients]:
    """Return the gradients of each direction of a layer."""
    kept = [run._kept for run, _, _ in calls]
    if len(calls) > 1 and _serve.overlaps(calls[0][0].output) and all(isinstance(of, Whole) for of in kept):
        parts = []
        for run, d_output, d_state in calls:
            whole, ahead = functional.checked_ahead(run, d_output(), d_state)
            if isinstance(whole, Whole):
                parts.append(whole.backward_parts(ahead, need_x=need_x, norms=norms))
        return side_by_side(calls[0][0].output, parts)
    return [functional.backward(run, d(), d_state, need_x=need_x, norms=norms) for run, d, d_state in calls]


def following(runs: Sequence[Run]) -> AbstractContextManager[None]:
    """Return where the backwards of a stack's layers are made: one direction, nothing between two layers."""
    plain = all(isinstance(run._kept, Whole) and run._kept.schedule is None for run in runs)
    return _serve.together(runs[0].output) if plain and len(runs) > 1 else nullcontext()
