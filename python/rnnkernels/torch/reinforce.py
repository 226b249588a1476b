"""REINFORCE for hard attention: what a loss has beside its own terms, so that the places that are drawn get better.

Not here: the drawing, and the gradient of a drawn place's log-probability (`attention`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from rnnkernels._scalars import as_integer, as_number

if TYPE_CHECKING:
    from .attention import Attention

__all__ = ["Reinforce"]


class Reinforce(torch.nn.Module):  # type: ignore[misc]
    """The REINFORCE term of a loss with hard attention, with a moving baseline for each step.

    With R_t = Σ_k discount^k reward_{t+k}, the baseline b_t a moving average of R_t over rows and calls, and α_t the
    attention's weights, of which place s_t was drawn,

        term = - Σ_t,b (R_t - b_t) log α_t[s_t] - entropy Σ_t,b H(α_t),   H(α) = - Σ_i α_i log α_i

    (Williams 1992; Xu et al. 2015, 4.1). Rewards are constants to it.

    Parameters
    ----------
    steps : int
        The most steps that a sequence will have.
    discount : float, default 0.5
        How much a reward counts for the place of the step before it, 0 to 1.
    momentum : float, default 0.9
        Of the baseline: b becomes momentum·b + (1 - momentum)·mean R, in training mode.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what is said here.
    """

    average: torch.Tensor  # (steps,)

    def __init__(self, steps: int, *, discount: float = 0.5, momentum: float = 0.9) -> None:
        super().__init__()
        self.discount = _share("discount", discount)
        self.momentum = _share("momentum", momentum)
        self.register_buffer("average", torch.zeros(as_integer("steps", steps, 1)))

    def forward(
        self, attention: Attention, reward: torch.Tensor, *, entropy: float = 0.0, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the term, to be added to what is minimised.

        Parameters
        ----------
        attention : Attention
            Of an `AttentionRecurrent` with ``hard=True``, time-major.
        reward : Tensor (T, B)
            The higher the better: the log-probability of the right word, say.
        entropy : float, default 0
            What a nat of entropy is worth, for as long as places are still to be tried.
        mask : Tensor of bool (T, B), optional
            The steps that count. Default: those that rows have.

        Returns
        -------
        Tensor ()

        Raises
        ------
        TypeError, ValueError
            If an argument is not what is said here.
        """
        log_probs, places = getattr(attention, "log_probs", None), getattr(attention, "places", None)
        if log_probs is None or places is None:
            raise ValueError("attention: expected that of hard attention, with log_probs and places, got none")
        worth = as_number("entropy", entropy)
        if not 0 <= worth < math.inf:
            raise ValueError(f"entropy: expected at least 0 and finite, got {entropy}")
        self._check("reward", reward, log_probs.shape)
        if mask is not None:
            self._check("mask", mask, log_probs.shape)
            if mask.dtype != torch.bool:
                raise TypeError(f"mask: expected booleans, got {mask.dtype}")
        there = places >= 0 if mask is None else mask
        ahead = torch.where(there, reward.detach().to(log_probs.dtype), 0)
        for t in reversed(range(len(ahead) - 1)):
            ahead[t] += self.discount * ahead[t + 1]
        average = self.average[: len(ahead)]
        gain = torch.where(there, ahead - average[:, None].to(ahead.dtype), 0)
        if self.training:
            mean = gain.sum(1) / there.sum(1).clamp(min=1)
            average += (1 - self.momentum) * mean.to(average.dtype)
        weights = attention.weights
        # 0 log 0 is 0, and its slope is left out.
        nats = -(weights * weights.clamp(min=torch.finfo(weights.dtype).tiny).log()).sum(2)
        term: torch.Tensor = -(gain * log_probs).sum() - worth * torch.where(there, nats, 0).sum()
        return term

    def extra_repr(self) -> str:
        """Return the text of its arguments."""
        return f"{len(self.average)}, discount={self.discount}, momentum={self.momentum}"

    def _check(self, name: str, tensor: Any, shape: torch.Size) -> None:
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
        if tensor.shape != shape:
            raise ValueError(f"{name}: expected shape (T, B) = {tuple(shape)}, got {tuple(tensor.shape)}")
        if len(tensor) > len(self.average):
            raise ValueError(f"{name}: expected at most steps = {len(self.average)} steps, got {len(tensor)}")


def _share(name: str, value: float) -> float:
    share = as_number(name, value)
    if not 0 <= share <= 1:
        raise ValueError(f"{name}: expected 0 to 1, got {value}")
    return share
