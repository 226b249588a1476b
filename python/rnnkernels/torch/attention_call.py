"""A call of the attending recurrence as data: what is asked for, the tensors, the results; and all of it as flat lists.

Functions of autograd and operators take tensors one after another: `flatten` puts them so, `restore` back. Not here:
who runs a call (`attention_autograd`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from rnnkernels._arguments import as_settings
from rnnkernels.noise import Drawn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Tensors = tuple[torch.Tensor, ...]

# The parameters of the attention itself. `weight_key` is not among them: keys are made before a call.
NAMES = ("weight_query", "bias_query", "score", "weight_beta", "bias_beta", "weight_location")


class Attending(NamedTuple):
    """What is asked of a call beside its tensors."""

    cell: str
    hard: bool = False
    cell_clip: float | None = None
    greedy: bool = False  # hard attention takes the likeliest place, and draws none
    first_step: int = 0  # the number of the call's first step, for what is drawn
    noise: Drawn | None = None  # masks inside the recurrence; their seed is a tensor of `Given`

    @property
    def settings(self) -> tuple[float, ...]:
        """What a backend takes beside the cell."""
        return () if self.cell_clip is None else as_settings(self.cell, self.cell_clip)


class Given(NamedTuple):
    """The tensors of a call: T steps, B rows, L places, D features of each, A units of a key."""

    x: torch.Tensor  # (T, B, I), or tokens (T, B)
    features: torch.Tensor  # (B, L, D)
    keys: torch.Tensor | None  # (B, L, A); None: the features themselves, for bilinear scores
    weights: Mapping[str, torch.Tensor]  # the cell's, weight_ih of it (Gx*H, I + D), and those of `NAMES`
    state: Tensors | None = None  # each (B, H); None: zeros
    reset_state: Tensors | None = None  # each (B, H); None: zeros
    mask: torch.Tensor | None = None  # (B, L) of bool: where a place may be looked at
    lengths: torch.Tensor | None = None  # (B,) of int64
    resets: torch.Tensor | None = None  # (T, B) of bool
    seed: torch.Tensor | None = None  # () of int64: hard attention draws by it
    noise_seed: torch.Tensor | None = None  # () of int64: masks inside the recurrence are drawn by it
    location: torch.Tensor | None = None  # (B, C, L): what location-aware scores see before the first step
    places: torch.Tensor | None = None  # (T, B) of int64: what hard attention drew, for the loop to take again

    @property
    def ragged(self) -> bool:
        """Whether rows end or begin between the first step and the last."""
        return self.lengths is not None or self.resets is not None


# What is given without derivatives.
OPTIONS = ("mask", "lengths", "resets", "seed", "noise_seed", "location", "places")


class Drawing(NamedTuple):
    """What a call is asked for, and the seeds of what it draws."""

    asked: Attending
    seed: torch.Tensor | None
    noise_seed: torch.Tensor | None


class Prepared(NamedTuple):
    """What a call looks at."""

    features: torch.Tensor  # (B, L, D)
    keys: torch.Tensor | None  # (B, L, A): what the places are known by; None: the features themselves
    mask: torch.Tensor | None  # (B, L)


class Attended(NamedTuple):
    """What a call gave; of steps that a row does not have zeros, and places of -1."""

    output: torch.Tensor  # (T, B, H)
    final: Tensors  # each (B, H)
    weights: torch.Tensor  # (T, B, L)
    contexts: torch.Tensor  # (T, B, D)
    places: torch.Tensor | None  # (T, B) of int64, of hard attention
    location: torch.Tensor | None  # (B, C, L) after each row's last step; of a call that was not given lengths


class Layout(NamedTuple):
    """Which tensors a call has, in the order of `Given`'s fields."""

    asked: Attending
    keys: bool
    names: tuple[str, ...]  # of the weights
    state: int  # states, 0: none given
    reset_state: int
    options: tuple[str, ...]  # those of `OPTIONS` that are there

    @property
    def differentiable(self) -> int:
        """How many tensors come before the options."""
        return 2 + self.keys + len(self.names) + self.state + self.reset_state


def flatten(asked: Attending, given: Given) -> tuple[Layout, Tensors]:
    """Return a call's tensors, one after another, and which they are."""
    options = tuple(name for name in OPTIONS if getattr(given, name) is not None)
    state, reset = given.state or (), given.reset_state or ()
    layout = Layout(asked, given.keys is not None, tuple(given.weights), len(state), len(reset), options)
    keys = () if given.keys is None else (given.keys,)
    rest = (getattr(given, name) for name in options)
    return layout, (given.x, given.features, *keys, *given.weights.values(), *state, *reset, *rest)


def restore(layout: Layout, tensors: Sequence[Any]) -> Given:
    """Return the tensors by their names: `flatten`, backwards. Gradients of a call's tensors are named so, too."""
    x, features, *rest = tensors
    keys = rest.pop(0) if layout.keys else None
    groups = []
    for count in (len(layout.names), layout.state, layout.reset_state):
        groups.append(tuple(rest[:count]))
        del rest[:count]
    weights, state, reset = groups
    return Given(
        x,
        features,
        keys,
        dict(zip(layout.names, weights, strict=True)),
        state or None,
        reset or None,
        **dict(zip(layout.options, rest, strict=False)),
    )
