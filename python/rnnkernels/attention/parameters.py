"""Parameters of an attending recurrence: their names, shapes and initial values.

A cell's own parameters are those of `rnnkernels.parameters`, on an input of I + D numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rnnkernels import parameters
from rnnkernels._scalars import as_choice, as_flag, as_integer, as_items
from rnnkernels.parameters import as_generator, cell_info, float_dtype

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rnnkernels.parameters import Params

SCORES = ("additive", "bilinear", "dot")

# Of the attention. Which of them are there says what the recurrence does.
NAMES = ("weight_query", "bias_query", "weight_key", "score", "weight_beta", "bias_beta", "weight_location")

_MOST = 2**31  # as of units


def parameter_shapes(
    cell: str,
    input_size: int,
    feature_size: int,
    hidden_size: int,
    *,
    scores: str = "additive",
    attention_size: int | None = None,
    gated: bool = False,
    location: tuple[int, int] | None = None,
    bias: bool = True,
) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter, in the order of `init_params`.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells`, but for those that add x itself to a gate or project h.
    input_size : int
        I: numbers of x per step, or the number of different tokens. It may be 0: the cell then sees the context alone.
    feature_size : int
        D: numbers of each place.
    hidden_size : int
        H: units.
    scores : {"additive", "bilinear", "dot"}
        How a place is compared with what the state asks for.
    attention_size : int, optional
        A: units of queries and keys. Default: H. Bilinear scores have A = D and take no other.
    gated : bool, default False
        Whether the context is multiplied by β.
    location : (int, int), optional
        (C, K): C = 1 or 2 channels and an odd number of taps, for additive scores.
    bias : bool, default True
        Whether there are biases: the cell's, ``bias_query`` and ``bias_beta``.

    Returns
    -------
    dict of str to tuple of int
        The cell's own, as `rnnkernels.parameter_shapes` has them for an input of I + D; and ``weight_query`` (A, H),
        ``bias_query`` (A,), ``weight_key`` (A, D) but for bilinear scores, ``score`` (A,) for additive ones,
        ``weight_beta`` (1, H) and ``bias_beta`` (1,) where ``gated``, ``weight_location`` (A, C, K) where ``location``.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is said here; the message names it.
    """
    check_cell(cell)
    inputs = as_integer("input_size", input_size, 0, 2**59)
    features = as_integer("feature_size", feature_size, 1, 2**59)
    hidden = as_integer("hidden_size", hidden_size, 1, _MOST)
    of_cell = parameters.parameter_shapes(cell, inputs + features, hidden, bias=bias)
    as_choice("scores", scores, SCORES)
    size = features if scores == "bilinear" else hidden
    if attention_size is not None:
        size = as_integer("attention_size", attention_size, 1, _MOST)
    if scores == "bilinear" and size != features:
        raise ValueError(
            f"attention_size: bilinear scores compare what is asked for with the features: expected feature_size, "
            f"{features}, got {size}"
        )
    gated = as_flag("gated", gated)
    taps = None if location is None else _as_location(location, scores)
    shapes: dict[str, tuple[int, ...]] = {"weight_query": (size, hidden), "bias_query": (size,)}
    if scores != "bilinear":
        shapes["weight_key"] = (size, features)
    if scores == "additive":
        shapes["score"] = (size,)
    if gated:
        shapes |= {"weight_beta": (1, hidden), "bias_beta": (1,)}
    if taps is not None:
        shapes["weight_location"] = (size, *taps)
    for name, shape in shapes.items():
        if math.prod(shape) >= 2**60:
            raise ValueError(f"attention_size: expected one whose {name} can be addressed, got {size}")
    return of_cell | {name: shape for name, shape in shapes.items() if bias or not name.startswith("bias_")}


def check_cell(cell: str) -> None:
    """Raise TypeError or ValueError where there is no such cell, or it cannot attend."""
    info = cell_info(cell)
    if info["direct"] or info["projected"]:
        why = "adds its input itself to a gate" if info["direct"] else "projects h"
        raise ValueError(f"cell: expected one that can attend, got {cell}, which {why}")


def _as_location(location: tuple[int, int], scores: str) -> tuple[int, int]:
    """Return the channels and the taps of a location's weight."""
    given = as_items("location", location, "two integers (C, K) or None")
    if len(given) != 2:
        raise ValueError(f"location: expected two integers (C, K), got {len(given)}")
    channels, taps = (as_integer("location", number, 1, _MOST) for number in given)
    if channels > 2 or taps % 2 == 0:
        raise ValueError(f"location: expected 1 or 2 channels and an odd number of taps, got {(channels, taps)}")
    if scores != "additive":
        raise ValueError(f"location: expected None for {scores} scores, as additive ones alone have it, got {given}")
    return channels, taps


def init_params(
    cell: str,
    input_size: int,
    feature_size: int,
    hidden_size: int,
    *,
    scores: str = "additive",
    attention_size: int | None = None,
    gated: bool = False,
    location: tuple[int, int] | None = None,
    bias: bool = True,
    rng: int | np.random.Generator | None = None,
    dtype: npt.DTypeLike = "float32",
) -> Params:
    """Draw the parameters: the cell's as `rnnkernels.init_params`, then those of the attention.

    Each of the latter is drawn from U(-1/√n, 1/√n), n the numbers that it is multiplied with and summed over, as
    PyTorch draws those of a linear layer.

    Parameters
    ----------
    cell, input_size, feature_size, hidden_size, scores, attention_size, gated, location, bias
        As in `parameter_shapes`.
    rng : int, numpy.random.Generator or None
        A seed, a generator to draw from, or None for fresh randomness.
    dtype : {"float32", "float64"}
        Of every parameter, and so of every array of a call.

    Returns
    -------
    dict of str to ndarray
        See `parameter_shapes`.

    Raises
    ------
    TypeError, ValueError
        As `parameter_shapes`; if `dtype` is neither of the two; if `rng` is none of the three.
    """
    shapes = parameter_shapes(
        *(cell, input_size, feature_size, hidden_size),
        scores=scores,
        attention_size=attention_size,
        gated=gated,
        location=location,
        bias=bias,
    )
    kind, generator = float_dtype("dtype", dtype), as_generator("rng", rng)
    size = input_size + feature_size
    params = parameters.init_params(cell, size, hidden_size, rng=generator, dtype=kind, bias="bias_query" in shapes)
    for name in NAMES:
        if name in shapes:
            *rows, last = shapes[name.replace("bias_", "weight_")]
            summed = math.prod(rows[1:]) * last  # of a vector, all of it
            bound = 1.0 / math.sqrt(summed)
            params[name] = generator.uniform(-bound, bound, shapes[name]).astype(kind)
    return params
