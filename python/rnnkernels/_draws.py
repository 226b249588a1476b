"""Draws of classes from the softmax of logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def draw(logits: npt.NDArray[np.float64], temperature: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return a class for each row of finite logits (N, K): the most likely one at temperature 0, else a drawn one."""
    likeliest: npt.NDArray[np.int64] = logits.argmax(axis=1)
    if temperature == 0:
        return likeliest
    with np.errstate(over="ignore"):  # at a temperature near 0: exp(-inf) = 0 is right
        cumulative = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature).cumsum(axis=1)
    drawn = rng.random(len(logits)) * cumulative[:, -1]
    chosen: npt.NDArray[np.int64] = np.count_nonzero(cumulative <= drawn[:, None], axis=1)
    return chosen.clip(max=logits.shape[1] - 1)
