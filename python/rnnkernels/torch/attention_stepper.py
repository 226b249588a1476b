"""One step after another of an `AttentionRecurrent`, for decoding: `AttentionStepper`.

Not here: the layer, which checks what a stepper is made of (`attention`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from rnnkernels._arguments import of_step
from rnnkernels._scalars import shown

from .attention_call import Drawing, Given

if TYPE_CHECKING:
    from .recurrent import States


class AttentionStepper:
    """One step after another of an `AttentionRecurrent`, which makes it: `AttentionRecurrent.stepper`.

    Attributes
    ----------
    state : Tensor (B, H), of a cell with several states a tuple of them
    weights : Tensor (B, L), or None before the first step
    context : Tensor (B, D), or None before the first step
    place : Tensor of int64 (B,), or None without hard attention and before the first step
    """

    def __init__(
        self,
        layer: Any,  # the AttentionRecurrent
        features: torch.Tensor,
        state: Any,
        mask: torch.Tensor | None,
        drawing: Drawing,
    ) -> None:
        self._layer, self._features, self._drawing = layer, features, drawing
        with torch.no_grad():  # once: later changes of weight_key are not seen
            self._seen = layer._prepared(features, mask)
        self._begin(state)

    def _begin(self, state: Any) -> None:
        features = self._features
        shapes = [(len(features), width) for width in self._layer._widths]
        self._states = tuple(map(features.new_zeros, shapes)) if state is None else tuple(s.detach() for s in state)
        self._location: torch.Tensor | None = None
        self._count = 0
        self.weights: torch.Tensor | None = None
        self.context: torch.Tensor | None = None
        self.place: torch.Tensor | None = None

    @property
    def state(self) -> States:
        """The states after the last step."""
        return self._layer._given_back(self._states)

    def reset(self, state: States = None) -> None:
        """Begin again, from `state` or zeros; the seed stays.

        Raises
        ------
        TypeError, ValueError
            If `state` does not fit.
        """
        self._begin(self._layer._rows("state", state, len(self._features)))

    def __call__(self, x_t: torch.Tensor) -> torch.Tensor:
        """Take one step, on x_t (B, I) or tokens (B,); return h (B, H).

        Raises
        ------
        TypeError, ValueError
            If `x_t` does not fit. The states are then as before.
        """
        layer = self._layer
        if not isinstance(x_t, torch.Tensor):
            raise TypeError(f"x_t: expected a tensor, got {shown(x_t)}")
        layer._check_input("x_t", x_t, (2,))
        layer._check_device("x_t", x_t)
        if len(x_t) != len(self._features):
            shape = (len(self._features), *x_t.shape[1:])
            raise ValueError(f"x_t: expected shape (B, I) = {shape}, got {tuple(x_t.shape)}")
        asked, seed, noise_seed = self._drawing
        features, keys, mask = self._seen
        given = Given(
            x_t.unsqueeze(0),
            features,
            keys,
            {name: getattr(layer, name) for name in layer._names},
            self._states,
            mask=mask,
            seed=seed,
            noise_seed=noise_seed,
            location=self._location,
        )
        try:
            with torch.no_grad():
                done = layer._run(layer._attend, asked._replace(first_step=self._count), *given)
        except (TypeError, ValueError) as error:
            raise of_step(error) from None
        self._states, self._location = done.final, done.location
        self._count += 1
        self.weights, self.context = done.weights[0], done.contexts[0]
        self.place = None if done.places is None else done.places[0]
        return done.final[0]
