"""Text written by a model: draw a character, read it, draw the next.

    p = softmax(logits / temperature)

A low temperature follows the most likely text, a high one wanders; 1 is what the model learnt, and 0 takes the most
likely character each time. The unknown token is never drawn. The seed fixes the text on one machine; the draws are
made in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from rnnkernels._draws import draw
from rnnkernels._scalars import as_integer

from .checks import as_number, check_kind, check_seed
from .model import CharModel
from .vocabulary import Vocabulary

__all__ = ["default_prime", "sample", "sample_characters"]


def default_prime(vocabulary: Vocabulary) -> str:
    """Return what a model reads first where nothing is asked for: a newline, or what it knows in its place."""
    return next((character for character in "\n " if character in vocabulary), vocabulary.characters[0])


def sample_characters(
    model: CharModel,
    prime: str | None = None,
    *,
    temperature: float = 0.7,
    seed: int | np.random.Generator | None = None,
) -> Iterator[str]:
    """Yield for ever the characters that continue `prime`, which is `default_prime`'s where it is None.

    Raises
    ------
    TypeError, ValueError
        If the temperature is negative or the seed is, or the prime text is empty or has characters that the model does
        not know.
    """
    check_kind("model", model, CharModel, "a CharModel")
    temperature = as_number("temperature", temperature, 0, math.inf, "a number of at least 0")
    check_seed("seed", seed)
    if prime is None:
        prime = default_prime(model.vocabulary)
    check_kind("prime", prime, str, "a str")
    if not prime:
        raise ValueError("prime: expected at least one character, got an empty text")
    try:
        tokens = model.vocabulary.encode(prime, strict=True)
    except ValueError as error:
        raise ValueError(str(error).replace("text:", "prime:", 1)) from None
    return _characters(model, tokens, temperature, np.random.default_rng(seed))


def _characters(model: CharModel, tokens: np.ndarray, temperature: float, rng: np.random.Generator) -> Iterator[str]:
    logits, state = model.read(tokens)
    alphabet = model.vocabulary.characters
    while True:
        known = logits[1:].astype(np.float64)  # [1:]: all but the unknown token
        if not np.isfinite(known).all():
            raise ValueError("model: expected finite parameters, got logits that are not")
        index = int(draw(known[None], temperature, rng)[0])
        yield alphabet[index]
        logits, state = model.step(index + 1, state)


def sample(
    model: CharModel,
    prime: str | None = None,
    *,
    temperature: float = 0.7,
    length: int = 500,
    seed: int | np.random.Generator | None = None,
) -> str:
    """Return `length` characters that continue `prime` (which is not repeated in the result).

    Parameters
    ----------
    model : CharModel
    prime : str, optional
        What the model reads first; by default a newline, or a space or its first character where it knows none.
    temperature : float
        At least 0; at 0 each character is the most likely one.
    length : int
        At least 0.
    seed : int or numpy.random.Generator, optional
        The same seed gives the same text.

    Raises
    ------
    TypeError, ValueError
        If `length` is negative, or as `sample_characters` does.
    """
    length = as_integer("length", length, 0)
    characters = sample_characters(model, prime, temperature=temperature, seed=seed)
    return "".join(next(characters) for _ in range(length))
