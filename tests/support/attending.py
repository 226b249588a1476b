"""Problems of the attending recurrence: a cell, what its scores are like, and how its rows run.

Not here: problems of plain layers (problems.py), tolerances (tolerances.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from problems import random_states, widths_of

import rnnkernels as rk

Array = npt.NDArray[Any]
SCORES = ("additive", "bilinear", "dot")


@dataclass(frozen=True)
class Form:
    """What the attention of a problem is like."""

    scores: str = "additive"
    attention_size: int = 3
    gated: bool = False
    location: tuple[int, int] | None = None  # C, K
    bias: bool = True

    def shapes(self, features: int, hidden: int) -> dict[str, tuple[int, ...]]:
        """The shapes of its parameters; written out here, so that those of the package can be compared."""
        size = features if self.scores == "bilinear" else self.attention_size
        found: dict[str, tuple[int, ...]] = {"weight_query": (size, hidden)}
        if self.bias:
            found["bias_query"] = (size,)
        if self.scores != "bilinear":
            found["weight_key"] = (size, features)
        if self.scores == "additive":
            found["score"] = (size,)
        if self.gated:
            found["weight_beta"] = (1, hidden)
            if self.bias:
                found["bias_beta"] = (1,)
        if self.location is not None:
            found["weight_location"] = (size, *self.location)
        return found

    def __str__(self) -> str:
        extras = ["gated"] * self.gated + [f"location{self.location}"] * (self.location is not None)
        return " ".join([self.scores, *extras, *([] if self.bias else ["no bias"])])


@dataclass(frozen=True)
class Sizes:
    """T, B, I, H, L, D."""

    steps: int = 3
    batch: int = 3
    inputs: int = 2
    hidden: int = 5
    places: int = 4
    features: int = 3


@dataclass
class Problem:
    """The arguments of one call, and the gradients to go back with."""

    cell: str
    x: Array
    features: Array
    params: dict[str, Array]
    state: tuple[Array, ...]
    ahead: dict[str, Any]  # d_output, d_state, d_weights, d_contexts
    options: dict[str, Any] = field(default_factory=dict)  # mask, lengths, resets, reset_state, reverse, noise, ...

    def astype(self, dtype: npt.DTypeLike) -> Problem:
        """The same values in another dtype."""

        def cast(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(cast, value))
            if isinstance(value, dict):
                return {name: cast(v) for name, v in value.items()}
            return value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value

        arrays = {name: cast(value) for name, value in vars(self).items() if name != "cell"}
        return replace(self, **arrays)


def make(
    cell: str,
    form: Form,
    sizes: Sizes | None = None,
    dtype: npt.DTypeLike = "float64",
    *,
    tokens: bool = False,
    seed: int = 0,
) -> Problem:
    """A random problem without options."""
    n = sizes or Sizes()
    info = rk.cell_info(cell)
    rng = np.random.default_rng([seed, n.steps, n.batch, n.hidden, n.places])
    inputs, features, hidden = n.inputs, n.features, n.hidden
    if info["direct"]:  # x and context together are what a gate adds
        inputs, features = hidden - hidden // 2, hidden // 2
    proj_size = max(1, hidden * 2 // 3) if info["projected"] else None
    width = widths_of(cell, hidden, proj_size)
    shapes = rk.parameter_shapes(cell, inputs + features, hidden, bias=form.bias, proj_size=proj_size)
    shapes |= form.shapes(features, width[0])

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    bound = 1 / np.sqrt(hidden)
    params = {name: rng.uniform(-bound, bound, shape).astype(dtype) for name, shape in shapes.items()}
    for name in ("score", "weight_key", "weight_query", "weight_location"):  # weights that are far from all alike
        if name in params:
            params[name] *= params[name].dtype.type(2)
    if info["normalisation"] != "none":
        params["weight_diagonal"][...] = rng.uniform(0.25, 0.75, params["weight_diagonal"].shape)
    ahead = {
        "d_output": normal(n.steps, n.batch, width[0]),
        "d_state": tuple(normal(n.batch, w) for w in width),
        "d_weights": normal(n.steps, n.batch, n.places),
        "d_contexts": normal(n.steps, n.batch, features),
    }
    x = rng.integers(0, inputs, (n.steps, n.batch)) if tokens else normal(n.steps, n.batch, inputs)
    state = random_states(cell, rng, n.batch, hidden, dtype, proj_size)
    return Problem(cell, x, normal(n.batch, n.places, features), params, state, ahead)


def random_options(p: Problem, *names: str, seed: int = 0, rate: float = 0.3) -> dict[str, Any]:
    """Values of some of the options: mask, lengths, resets, reset_state, reverse, places."""
    (steps, batch), count = p.x.shape[:2], p.features.shape[1]
    rng = np.random.default_rng([seed, steps, batch])
    mask = rng.random((batch, count)) < 0.6
    mask[:, -1] |= ~mask.any(-1)
    hidden = p.state[-1].shape[1]
    every: dict[str, Any] = {
        "mask": mask,
        "lengths": rng.permutation(np.arange(batch) % (steps + 1)),
        "resets": rng.random((steps, batch)) < rate,
        "reset_state": random_states(p.cell, rng, batch, hidden, p.state[0].dtype, p.state[0].shape[1]),
        "reverse": True,
    }
    chosen = {name: every[name] for name in names if name != "places"}
    if "places" in names:  # among those that the mask allows
        allowed = chosen.get("mask", np.ones_like(mask))
        chosen["places"] = np.array([[rng.choice(np.flatnonzero(row)) for row in allowed] for _ in range(steps)])
        chosen["places"] = chosen["places"].reshape(steps, batch)
    return chosen
