"""What the examples in PyTorch share: the loop of a training by Adam. No example itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

from .progress import bar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["fit"]

Model = TypeVar("Model", bound=torch.nn.Module)


def fit(
    model: Model,
    loss_of: Callable[[int], torch.Tensor],
    steps: int,
    title: str,
    *,
    lr: float = 3e-3,
    clip: float = 1.0,
) -> Model:
    """Train a model by Adam; return it.

    Parameters
    ----------
    model : Module
    loss_of : callable
        The loss, a scalar, of the batch of a step: it is given the step's number, from 0.
    steps : int
    title : str
        What the progress bar is called.
    lr : float
        The learning rate of the first half of the steps; in the second half it falls to 0.
    clip : float
        The largest L2 norm of a gradient.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr)
    for step in bar(range(steps), title):
        optimizer.param_groups[0]["lr"] = lr * min(1, 2 - 2 * step / steps)
        optimizer.zero_grad()
        loss_of(step).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return model
