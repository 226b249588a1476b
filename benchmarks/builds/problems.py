"""Arrays of one call, from seeds that no build has a say in; and what a call answers, as arrays by name."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import rnnkernels as rk
from benchmarks.shapes import Shape

from .answers import Answer, Array, named


@dataclass(frozen=True, eq=False)
class Problem:
    """The arguments of a cell's calls at one shape. A cell that takes x itself has I = H, whatever the shape says."""

    cell: str
    dtype: str
    shape: Shape

    @cached_property
    def sizes(self) -> Shape:
        """(T, B, I, H) of the arrays."""
        steps, batch, inputs, hidden = self.shape
        return steps, batch, hidden if rk.cell_info(self.cell)["direct"] else inputs, hidden

    @cached_property
    def proj_size(self) -> int | None:
        return max(1, self.shape[3] * 2 // 3) if rk.cell_info(self.cell)["projected"] else None

    @cached_property
    def widths(self) -> list[int]:
        """Units of each state, h first."""
        hidden = self.shape[3]
        return [self.proj_size or hidden, *[hidden] * (len(rk.cell_info(self.cell)["states"]) - 1)]

    @cached_property
    def params(self) -> Answer:
        hidden = self.shape[3]
        shapes = rk.parameter_shapes(self.cell, *self.sizes[2:], proj_size=self.proj_size)
        drawn = {name: self.uniform(name, -(hidden**-0.5), hidden**-0.5, *shape) for name, shape in shapes.items()}
        if rk.cell_info(self.cell)["normalisation"] != "none":
            # Gains about 1 make a normalised LSTM multiply a rounding with each step.
            drawn["weight_diagonal"] = self.uniform("gains", 0.25, 0.75, *shapes["weight_diagonal"])
        return drawn

    @cached_property
    def params_without_biases(self) -> Answer:
        return {name: value for name, value in self.params.items() if not name.startswith("bias_")}

    @cached_property
    def x(self) -> Array:
        """(T, B, I)."""
        return self.normal("x", *self.sizes[:3])

    @cached_property
    def tokens(self) -> Array:
        """(T, B) of integers in [0, I)."""
        return self._rng("tokens").integers(0, self.sizes[2], self.shape[:2])

    @cached_property
    def state(self) -> tuple[Array, ...]:
        """The states before the first step, each (B, H)."""
        return self._states("state")

    @cached_property
    def reset_state(self) -> tuple[Array, ...]:
        """What a reset puts in their place, each (B, H)."""
        return self._states("reset state")

    @cached_property
    def lengths(self) -> Array:
        """(B,), each from 0 to T."""
        return self._rng("lengths").integers(0, self.shape[0] + 1, self.shape[1])

    @cached_property
    def resets(self) -> Array:
        """(T, B) of bool."""
        return self._rng("resets").random(self.shape[:2]) < 0.3

    @cached_property
    def term(self) -> Array:
        """(B, Gx·H): added to x's gates."""
        return self.normal("term", self.shape[1], len(self.params["weight_ih"]))

    @cached_property
    def d_output(self) -> Array:
        """(T, B, H)."""
        return self.normal("d_output", *self.shape[:2], self.widths[0])

    @cached_property
    def d_state(self) -> tuple[Array, ...]:
        """Each (B, H)."""
        return tuple(self.normal(f"d_state {k}", self.shape[1], width) for k, width in enumerate(self.widths))

    @cached_property
    def d_states(self) -> tuple[Array | None, ...]:
        """Of the states after every step, each (T, B, H); h's is `d_output`."""
        drawn = [self.normal(f"d_states {k}", *self.shape[:2], width) for k, width in enumerate(self.widths)]
        return (None, *drawn[1:])

    def normal(self, name: str, *size: int) -> Array:
        return self._rng(name).standard_normal(size).astype(self.dtype)

    def uniform(self, name: str, low: float, high: float, *size: int) -> Array:
        return self._rng(name).uniform(low, high, size).astype(self.dtype)

    def _states(self, what: str) -> tuple[Array, ...]:
        names = rk.cell_info(self.cell)["states"]
        drawn = [self.normal(f"{what} {k}", self.shape[1], width) for k, width in enumerate(self.widths)]
        # A normaliser n is a sum of positive terms.
        return tuple(np.abs(s) + s.dtype.type(0.5) if n == "n" else s for n, s in zip(names, drawn, strict=True))

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng([zlib.crc32(name.encode()), *self.shape])


def inference(p: Problem, **options: Any) -> Answer:
    """What a forward without a backward gives. `x` and `params` may be others than the problem's."""
    given = {"x": p.x, "params": p.params, "state": p.state, **options}
    return of_run(rk.forward(p.cell, **given, training=False))


def training(p: Problem, backward: Mapping[str, Any] | None = None, **options: Any) -> Answer:
    """What a forward and a backward give, the gradients of all states at every step read where there are such."""
    run = rk.forward(p.cell, **{"x": p.x, "params": p.params, "state": p.state, **options})
    given: dict[str, Any] = {"d_output": p.d_output, "d_state": p.d_state}
    if options.get("all_states"):
        given["d_states"] = p.d_states
    return of_run(run) | of_gradients(rk.backward(run, **{**given, **(backward or {})}))


def of_run(run: Any) -> Answer:
    return {"output": run.output} | named("state", run.state) | named("states", getattr(run, "states", None))


def of_gradients(grads: Any) -> Answer:
    """Of one layer or of a stack."""
    found = {f"d {name}": value for name, value in grads.params.items()} | named("d state", grads.state)
    for name in ("x", "term"):
        value = getattr(grads, name, None)
        if value is not None:
            found[f"d {name}"] = value
    return found | named("d reset_state", grads.reset_state) | named("norms", grads.norms)
