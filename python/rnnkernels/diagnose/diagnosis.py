"""A stack of layers diagnosed: how far back the gradient of its last step flows, its weights, and its gates."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rnnkernels._arrays import frame_of
from rnnkernels._scalars import as_integer, shown
from rnnkernels.parameters import as_generator, cell_info, x_width
from rnnkernels.stack import Stack

from .gates import gate_values
from .spectrum import singular_values

__all__ = ["Diagnosis", "Gate", "LayerDiagnosis", "of_cell", "of_stack", "step_factor"]

Array = npt.NDArray[Any]

LOW, HIGH = 0.1, 0.9  # a gate's value beyond these is saturated (Karpathy, Johnson & Fei-Fei, arXiv 1506.02078)


class Gate(NamedTuple):
    """Of a gate's values over all steps, rows and units: the shares below 0.1 and above 0.9, and their mean."""

    low: float
    high: float
    mean: float


@dataclass(frozen=True)
class LayerDiagnosis:
    """What was found of a layer.

    Attributes
    ----------
    norms : dict of str to ndarray of float64, (T,)
        For each state ‖dL/d(state after step t)‖, the mean of the rows.
    singular_values : dict of str to ndarray of float64
        Of each gate's recurrent weights, the largest first; see `singular_values`.
    gates : dict of str to Gate
        For each sigmoid gate.
    """

    norms: Mapping[str, Array]
    singular_values: Mapping[str, Array]
    gates: Mapping[str, Gate]


@dataclass(frozen=True)
class Diagnosis:
    """What `of_stack` found: the cell's name, the sizes of the run, and each layer's diagnosis from the lowest on."""

    cell: str
    hidden: int
    steps: int
    batch: int
    layers: tuple[LayerDiagnosis, ...]


def of_stack(
    stack: Stack,
    x: npt.ArrayLike,
    d_last: npt.ArrayLike | None = None,
    state: Sequence[Sequence[npt.ArrayLike] | None] | None = None,
) -> Diagnosis:
    """Diagnose a stack of layers on a batch of sequences.

    Parameters
    ----------
    stack : Stack
        Of one direction, without noise inside its layers. Dropout between them is left out.
    x : array_like, (T, B, I) of the parameters' dtype, or (T, B) of integer tokens
        T and B at least 1.
    d_last : array_like, (B, H), optional
        dL/d(output of the last step): the loss reads that step alone. By default the same number for every unit, of
        norm 1 in each row.
    state : sequence over layers of sequence of array_like, (B, H), optional
        The initial state; zeros by default.

    Returns
    -------
    Diagnosis

    Raises
    ------
    TypeError, ValueError
        If an argument is not what is said here.
    """
    if not isinstance(stack, Stack):
        raise TypeError(f"stack: expected a Stack, got {shown(stack)}")
    if stack.num_directions != 1 or stack.noise.masks:
        raise ValueError("stack: expected one direction and no noise inside the layers, got a stack with more")
    plain = copy.copy(stack)
    plain.dropout = 0.0
    plain.params = {name: frame_of(array).to_host(array) for name, array in stack.params.items()}
    run = plain.forward(x, state)
    steps, batch, width = run.output.shape
    if steps < 1 or batch < 1:
        raise ValueError(f"x: expected at least one step and one row, got {(steps, batch)}")
    d_output = np.zeros_like(run.output)
    d_output[-1] = width**-0.5 if d_last is None else _as_last(d_last, d_output[-1])
    norms = plain.backward(run, d_output, need_x=False, norms=True).norms or ()
    layers = []
    inputs = [np.asarray(x, None if np.asarray(x).dtype.kind in "iu" else run.output.dtype), *run.outputs]
    for number, readings in enumerate(norms):
        params = plain._layer(f"_l{number}")
        opened = gate_values(stack.cell, inputs[number], params, None if state is None else state[number])
        layers.append(
            LayerDiagnosis(
                {
                    name: reading.mean(axis=1, dtype=np.float64)
                    for name, reading in zip(cell_info(stack.cell)["states"], readings, strict=True)
                },
                singular_values(stack.cell, params),
                {name: _gate(values) for name, values in opened.items()},
            )
        )
    return Diagnosis(stack.cell, stack.hidden_size, steps, batch, tuple(layers))


def of_cell(
    cell: str,
    hidden_size: int = 128,
    *,
    num_layers: int = 1,
    steps: int = 100,
    batch: int = 16,
    rng: int | np.random.Generator | None = 0,
) -> Diagnosis:
    """Diagnose fresh layers, as `rnnkernels.init_params` draws them, on sequences of normal numbers.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells` whose h is not projected.
    hidden_size : int
        H: units, and numbers in a step of the sequences.
    num_layers, steps, batch : int
        At least 1.
    rng : int, numpy.random.Generator or None
        Draws the parameters and the sequences.

    Returns
    -------
    Diagnosis

    Raises
    ------
    TypeError, ValueError
        If an argument is not what is said here.
    """
    if cell_info(cell)["projected"]:
        raise ValueError(f"cell: expected one whose h is not projected, got {cell!r}")
    hidden = as_integer("hidden_size", hidden_size, 1, 2**24)
    steps, batch = as_integer("steps", steps, 1, 2**31 - 1), as_integer("batch", batch, 1, 2**31 - 1)
    generator = as_generator("rng", rng)
    stack = Stack(cell, hidden, hidden, num_layers, rng=generator)
    return of_stack(stack, generator.standard_normal((steps, batch, x_width(cell, hidden, hidden)), np.float32))


def step_factor(norms: npt.ArrayLike) -> float:
    """Return by what a step back multiplies a gradient: exp of the slope of log ‖dL/d(state)‖ over the steps back.

    Parameters
    ----------
    norms : array_like of float, (T,)
        In the order of time. The slope is that of least squares over those that are neither 0 nor infinite.

    Returns
    -------
    float
        NaN where fewer than two are left.

    Raises
    ------
    TypeError, ValueError
        If they are no numbers, negative or NaN.
    """
    try:
        found = np.asarray(norms)
    except ValueError:  # ragged
        found = np.empty(0, object)
    if found.dtype.kind not in "fiu" or found.ndim != 1:
        raise TypeError(f"norms: expected an array of numbers, (T,), got {shown(norms)}")
    if not (found >= 0).all():
        raise ValueError(f"norms: expected numbers of at least 0, got {found.min()}")
    back = -np.arange(len(found), dtype=np.float64)
    there = (found > 0) & np.isfinite(found)
    if there.sum() < 2:
        return float("nan")
    distance = back[there] - back[there].mean()
    return float(np.exp((distance * np.log(found[there].astype(np.float64))).sum() / (distance**2).sum()))


def _as_last(d_last: npt.ArrayLike, like: Array) -> Array:
    try:
        array = np.asarray(d_last)
    except ValueError:  # ragged
        array = np.empty(0, object)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"d_last: expected an array of numbers, got {shown(d_last)}")
    if array.shape != like.shape:
        raise ValueError(f"d_last: expected shape (B, H) = {like.shape}, got {array.shape}")
    return array


def _gate(values: Array) -> Gate:
    return Gate(float((values < LOW).mean()), float((values > HIGH).mean()), float(values.mean(dtype=np.float64)))
