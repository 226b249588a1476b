"""Pictures of coloured shapes on a grid, with the truth about them: what `captions` and `vqa` look at.

A scene has SIDE x SIDE places of CELL x CELL pixels. An object is a shape of a colour in a place of its own, drawn in
one of several sizes, a little off the middle, on noise. Nothing here learns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SIDE, CELL = 5, 8
PLACES = SIDE * SIDE
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "cross", "ring")
ROWS = ("top", "upper", "middle", "lower", "bottom")
COLUMNS = ("leftmost", "left", "centre", "right", "rightmost")

_RGB = np.array([(0.9, 0.1, 0.1), (0.1, 0.7, 0.1), (0.2, 0.3, 1), (0.9, 0.8, 0.1), (0.7, 0.2, 0.8), (1, 1, 1)])
_NOISE = 0.05


class Scenes(NamedTuple):
    """A batch of pictures and what is in them; the objects of a scene are in the order in which one reads.

    Attributes
    ----------
    pictures : ndarray (B, 3, SIDE*CELL, SIDE*CELL) of float32
    number : ndarray (B,) of int64
        Of objects.
    colour, shape, place : ndarray (B, N) of int64
        Of each object: indices of COLOURS and SHAPES, and its place, row * SIDE + column; -1 beyond `number`.
    """

    pictures: Array
    number: Array
    colour: Array
    shape: Array
    place: Array


def draw(rng: np.random.Generator, batch: int, fewest: int, most: int, *, distinct: bool = False) -> Scenes:
    """Return scenes of `fewest` to `most` objects; where `distinct`, no two of a scene share a colour or a shape."""
    number = rng.integers(fewest, most + 1, batch)
    there = np.arange(most) < number[:, None]  # (B, N)
    place = _without_repeats(rng, batch, PLACES, most)
    place = np.sort(np.where(there, place, PLACES), axis=1)  # objects that are not there: last
    if distinct:
        colour, shape = (_without_repeats(rng, batch, len(words), most) for words in (COLOURS, SHAPES))
    else:
        colour, shape = (rng.integers(0, len(words), (batch, most)) for words in (COLOURS, SHAPES))
    place, colour, shape = (np.where(there, part, -1) for part in (place, colour, shape))
    return Scenes(_pictures(rng, there, colour, shape, place), number, colour, shape, place)


def _without_repeats(rng: np.random.Generator, batch: int, kinds: int, count: int) -> Array:
    return np.argsort(rng.random((batch, kinds)), axis=1)[:, :count]


def _pictures(rng: np.random.Generator, there: Array, colour: Array, shape: Array, place: Array) -> Array:
    row, _ = np.nonzero(there)
    glyphs = _GLYPHS[shape[there], rng.integers(0, _GLYPHS.shape[1], len(row))]  # (objects, CELL, CELL)
    light = _RGB[colour[there]] * rng.uniform(0.8, 1.0, (len(row), 1))
    grid = np.zeros((len(there), PLACES, 3, CELL, CELL), np.float32)
    grid[row, place[there]] = light[:, :, None, None] * glyphs[:, None]
    pictures = grid.reshape(-1, SIDE, SIDE, 3, CELL, CELL).transpose(0, 3, 1, 4, 2, 5)
    pictures = pictures.reshape(-1, 3, SIDE * CELL, SIDE * CELL)
    return pictures + _NOISE * rng.standard_normal(pictures.shape, np.float32)


def _glyphs() -> Array:
    """Return every shape in every size and shift, (shapes, variants, CELL, CELL): how much of each pixel it covers."""
    finer = 4
    at = (np.arange(CELL * finer) + 0.5) / finer - CELL / 2
    variants = []
    for size in (2.8, 3.2, 3.6):
        for down, across in ((0, 0), (0.3, 0.3), (0.3, -0.3), (-0.3, 0.3), (-0.3, -0.3)):
            y, x = (at[:, None] - down) / size, (at[None, :] - across) / size
            far, inside = x * x + y * y, np.maximum(abs(x), abs(y)) <= 1
            shapes = (
                far <= 1,
                np.maximum(abs(x), abs(y)) <= 0.85,
                inside & (y >= 2 * abs(x) - 1),
                inside & (abs(abs(x) - abs(y)) <= 0.35),
                (far <= 1) & (far >= 0.3),
            )
            covered = np.array(shapes, float).reshape(len(SHAPES), CELL, finer, CELL, finer)
            variants.append(covered.mean(axis=(2, 4)))
    return np.stack(variants, axis=1)


_GLYPHS = _glyphs()
