"""Text written by a model: draw a character, read it, draw the next.

    p = softmax(logits / temperature)

A low temperature follows the most likely text, a high one wanders; 1 is what the model learnt. The unknown token is
never drawn. The seed fixes the text on one machine; the draws are made in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from rnnkernels._scalars import as_integer, as_number, as_text, shown
from rnnkernels.parameters import as_generator

if TYPE_CHECKING:
    from .model import CharModel

__all__ = ["sample", "sample_characters"]


def sample_characters(
    model: CharModel,
    prime: str = "\n",
    *,
    temperature: float = 0.7,
    seed: int | np.random.Generator | None = None,
) -> Iterator[str]:
    """Yield for ever the characters that continue `prime`.

    Raises
    ------
    ValueError
        If the temperature is not above 0, or the prime text is empty or has characters that the model does not know.
    """
    _check_model(model)
    temperature = as_number("temperature", temperature)
    if isinstance(temperature, bool) or not 0 < temperature < math.inf:
        raise ValueError(f"temperature: expected a number above 0, got {temperature!r}")
    if not as_text("prime", prime):
        raise ValueError("prime: expected at least one character, got an empty text")
    try:
        tokens = model.vocabulary.encode(prime, strict=True)
    except ValueError as error:
        raise ValueError(str(error).replace("text:", "prime:", 1)) from None
    return _characters(model, tokens, temperature, as_generator("seed", seed))


def _check_model(model: object) -> None:
    if isinstance(model, type) or not (hasattr(model, "vocabulary") and callable(getattr(model, "read", None))):
        raise TypeError(f"model: expected a CharModel, got {shown(model)}")


def _characters(model: CharModel, tokens: np.ndarray, temperature: float, rng: np.random.Generator) -> Iterator[str]:
    logits, state = model.read(tokens)
    alphabet = model.vocabulary.characters
    while True:
        scaled = logits[1:].astype(np.float64) / temperature  # [1:]: all but the unknown token
        cumulative = np.exp(scaled - scaled.max()).cumsum()
        if not math.isfinite(cumulative[-1]):
            raise ValueError("model: expected finite parameters, got logits that are not")
        index = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
        index = min(index, len(alphabet) - 1)
        yield alphabet[index]
        logits, state = model.step(index + 1, state)


def sample(
    model: CharModel,
    prime: str = "\n",
    *,
    temperature: float = 0.7,
    length: int = 500,
    seed: int | np.random.Generator | None = None,
) -> str:
    """Return `length` characters that continue `prime` (which is not repeated in the result).

    Parameters
    ----------
    model : CharModel
    prime : str
        What the model reads first.
    temperature : float
        Above 0.
    length : int
        At least 0.
    seed : int or numpy.random.Generator, optional
        The same seed gives the same text.

    Raises
    ------
    ValueError
        If `length` is negative, or as `sample_characters` does.
    """
    length = as_integer("length", length, 0)
    characters = sample_characters(model, prime, temperature=temperature, seed=seed)
    return "".join(next(characters) for _ in range(length))
