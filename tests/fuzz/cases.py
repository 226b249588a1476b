"""Random problems for the NumPy API: a cell, sizes, options and arrays, drawn from one number.

All numbers are float32's, so that one truth serves calls in float32 and in float64. Not here: the truth (truth.py), and
which calls are made of a problem (numpy_calls.py).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk
from rnnkernels.noise import zonable_states
from rnnkernels.reference.cells import CELLS

from .own_cells import like, own_cells

Array = npt.NDArray[Any]
State = tuple[Array, ...]

# Sizes: nothing, one, and what is off and on the widths of vectors (2 to 16 lanes) and of panels.
STEPS = (0, 1, 1, 2, 2, 3, 4, 5, 7)
BATCHES = (0, 1, 1, 2, 2, 3, 4, 5, 9)
INPUTS = (1, 2, 3, 4, 5, 7, 8, 9)
UNITS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17)
LARGE = ((3, 27, 33, 65), (2, 40, 17, 96), (33, 8, 5, 20), (5, 1, 64, 128), (9, 65, 3, 33))  # T, B, I, H
LARGE_RATE = 0.01
OWN_RATE = 0.35  # of cells from equations


@dataclass
class Case:
    """A problem: what is called, with what, and the gradients to go back with. Arrays are float64 of float32 values."""

    cell: str
    sizes: tuple[int, int, int, int]  # T, B, I, H
    x: Array  # (T, B, I), or tokens (T, B); NaN beyond a row's length now and then
    params: dict[str, Array]
    state: State | None  # each (B, H)
    lengths: Array | None  # (B,)
    resets: Array | None  # (T, B)
    reset_state: State | None  # each (B, H)
    term: Array | None  # (B, Gx·H)
    reverse: bool
    noise: rk.Noise | None
    cell_clip: float | None
    d_output: Array | None  # (T, B, H)
    d_state: State | None  # each (B, H)
    d_states: tuple[Array | None, ...] | None  # each (T, B, H)
    rounded: bool  # weights that bfloat16 holds
    widths: tuple[int, ...] = field(default=())

    @property
    def tokens(self) -> bool:
        return self.x.dtype.kind == "i"

    @property
    def ragged(self) -> bool:
        return self.reverse or self.lengths is not None or self.resets is not None

    def describe(self) -> str:
        """For a message."""
        given = ("state", "lengths", "resets", "reset_state", "term", "noise", "cell_clip", "d_output", "d_state")
        there = [name for name in given if getattr(self, name) is not None]
        flags = [name for name in ("tokens", "reverse", "rounded") if getattr(self, name)]
        sizes = ", ".join(f"{letter} {size}" for letter, size in zip("TBIH", self.sizes, strict=True))
        return f"{self.cell}, {sizes}, params {'+'.join(self.params)}, {', '.join([*there, *flags])}"


class Draw:
    """Random numbers of one case."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.Generator(np.random.SFC64(seed))  # of arrays
        self._choices = random.Random(seed)  # faster, one number at a time

    def often(self, rate: float) -> bool:
        return self._choices.random() < rate

    def one(self, of: Any) -> Any:
        return self._choices.choice(of)

    def normal(self, *shape: int) -> Array:
        return self.rng.standard_normal(shape, np.float32).astype(np.float64)


@cache
def shapes(cell: str, inputs: int, hidden: int, proj_size: int | None) -> dict[str, tuple[int, ...]]:
    return rk.parameter_shapes(cell, inputs, hidden, proj_size=proj_size)


def draw(seed: int) -> Case:
    """Draw the case of a number."""
    d = Draw(seed)
    cell = d.one(list(own_cells())) if d.often(OWN_RATE) else d.one(list(CELLS))
    info = rk.cell_info(cell)
    steps, batch, inputs, hidden = (
        d.one(LARGE) if d.often(LARGE_RATE) else (d.one(STEPS), d.one(BATCHES), d.one(INPUTS), d.one(UNITS))
    )
    hidden *= info["heads"]
    inputs = hidden if info["direct"] else inputs
    proj_size = int(d.rng.integers(1, hidden + 1)) if info["projected"] else None
    widths = (proj_size or hidden, *[hidden] * (len(info["states"]) - 1))
    rounded = d.often(0.15)
    params = _params(d, cell, shapes(cell, inputs, hidden, proj_size), hidden, rounded)
    rows = len(params["weight_ih"])

    def states() -> State:
        drawn = [d.normal(batch, width) for width in widths]
        return tuple(
            np.abs(s) + 0.5 if sums else s  # 0.5: exact in float32 for what is not tiny
            for sums, s in zip(rk.cell_info(like(cell))["positive"], drawn, strict=True)
        )

    x = d.rng.integers(0, inputs, (steps, batch)) if d.often(0.2) else _inputs(d, (steps, batch, inputs), params)
    lengths = d.rng.integers(0, steps + 1, batch) if d.often(0.3) else None
    resets = d.rng.random((steps, batch)) < d.one((0.0, 0.2, 0.5, 1.0)) if d.often(0.3) else None
    case = Case(
        cell,
        (steps, batch, inputs, hidden),
        x,
        params,
        _floats(states()) if d.often(0.7) else None,
        lengths,
        resets,
        _floats(states()) if resets is not None and d.often(0.6) else None,
        d.normal(batch, rows) if d.often(0.15) else None,
        d.often(0.25),
        _noise(d, cell) if d.often(0.2) else None,
        float(np.float32(d.one((0.1, 0.5, 3.0)))) if "cell_clip" in info["settings"] and d.often(0.25) else None,
        d.normal(steps, batch, widths[0]) if d.often(0.9) else None,
        tuple(d.normal(batch, width) for width in widths) if d.often(0.6) else None,
        (None, *(d.normal(steps, batch, w) if d.often(0.7) else None for w in widths[1:])) if d.often(0.15) else None,
        rounded,
        widths,
    )
    if lengths is not None and steps and d.often(0.3):
        _spoil(case)
    return case


def _params(d: Draw, cell: str, wanted: dict[str, tuple[int, ...]], hidden: int, rounded: bool) -> dict[str, Array]:
    """Draw parameters: uniform within 1/sqrt(H), where rounding does not grow; biases both, one or none."""
    biases = d.one(((), ("bias_ih",), ("bias_hh",), *[("bias_ih", "bias_hh")] * 5))
    bound = 1 / np.sqrt(hidden)
    params = {}
    for name, shape in wanted.items():
        if name.startswith("bias") and name not in biases:
            continue
        drawn = d.rng.random(shape, np.float32)
        if name == "weight_diagonal" and rk.cell_info(cell)["normalisation"] != "none":
            drawn = drawn * np.float32(0.5) + np.float32(0.25)
        else:
            drawn = (drawn * 2 - 1) * np.float32(bound)
        params[name] = (as_bfloat16(drawn) if rounded else drawn).astype(np.float64)
    return params


def as_bfloat16(array: Array) -> Array:
    """Return the float32 numbers with the last 16 bits of each cut off."""
    return (np.ascontiguousarray(array, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def _inputs(d: Draw, shape: tuple[int, ...], params: dict[str, Array]) -> Array:
    """Draw vectors: of common size, now and then all zero, tiny or large enough to saturate gates.

    Zeros only beside biases: what a Relu is applied to would be exactly 0, the one number where it has no slope.
    """
    least = 0.0 if any(name.startswith("bias") for name in params) else 1e-2
    return _float(d.normal(*shape) * d.one((1.0, 1.0, 1.0, 1.0, 1.0, least, 1e-4, 20.0)))


def _noise(d: Draw, cell: str) -> rk.Noise:
    zoneout = tuple(d.one((0.0, 0.1, 0.5)) if zonable else 0.0 for zonable in zonable_states(like(cell)))
    return rk.Noise(
        int(d.rng.integers(0, 2**63)),
        zoneout=zoneout,
        recurrent_dropout=d.one((0.0, 0.0, 0.25, 0.5)),
        per_step=d.often(0.5),
        weight_dropout=d.one((0.0, 0.0, 0.25, 0.5)),
        layer=d.one((0, 1, 1000)),
        first_step=d.one((0, 0, 7)),
        expected=d.often(0.1),
    )


def _spoil(case: Case) -> None:
    """Put NaN where nothing may be read: beyond the rows' lengths."""
    steps = case.sizes[0]
    beyond = np.arange(steps)[:, None] >= np.asarray(case.lengths)  # (T, B)
    if not case.tokens:
        case.x[beyond] = np.nan
    if case.d_output is not None:
        case.d_output[beyond] = np.nan


def _float(array: Array) -> Array:
    return array.astype(np.float32).astype(np.float64)


def _floats(arrays: State) -> State:
    return tuple(map(_float, arrays))
