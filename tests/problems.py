"""Problems the kernel tests run on: odd shapes, random arrays, and calls that look at everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk

Array = npt.NDArray[Any]

# (T, B, I, H): one of everything, H below, at and off every vector width (2 to 16 lanes) and panel (up to 64
# units), I != H, more rows than a tile has, more steps than a chunk has.
SHAPES = [
    (1, 1, 1, 1),
    (3, 2, 5, 7),
    (5, 1, 3, 17),
    (2, 5, 16, 16),
    (4, 7, 33, 20),
    (6, 13, 4, 33),
    (70, 4, 2, 3),
    (2, 27, 3, 9),
]
EMPTY_SHAPES = [(0, 2, 3, 5), (3, 0, 3, 5), (0, 0, 1, 1)]


@dataclass
class Problem:
    """The arguments of one call and the gradients to go back with."""

    cell: str
    x: Array
    params: dict[str, Array]
    state: tuple[Array, ...]
    d_output: Array
    d_state: tuple[Array, ...]

    def forward(self, **options: Any) -> rk.Run:
        return rk.forward(self.cell, self.x, self.params, self.state, **options)

    def results(self) -> dict[str, Array]:
        """Every array that a forward and a backward make, by name."""
        run = self.forward()
        grads = rk.backward(run, self.d_output, self.d_state)
        named = {"output": run.output}
        named |= {f"state[{i}]": s for i, s in enumerate(run.state)}
        named |= {f"d {name}": g for name, g in grads.params.items()}
        named |= {f"d state[{i}]": s for i, s in enumerate(grads.state)}
        if grads.x is not None:
            named["d x"] = grads.x
        return named

    def rows(self, part: slice) -> Problem:
        """The same problem with some of its batch only."""
        return Problem(
            self.cell,
            np.ascontiguousarray(self.x[:, part]),
            self.params,
            tuple(np.ascontiguousarray(s[part]) for s in self.state),
            np.ascontiguousarray(self.d_output[:, part]),
            tuple(np.ascontiguousarray(s[part]) for s in self.d_state),
        )


def make(
    cell: str,
    shape: tuple[int, int, int, int],
    dtype: npt.DTypeLike = "float64",
    *,
    tokens: bool = False,
    bias: bool = True,
    seed: int = 0,
) -> Problem:
    """A random problem; with `tokens` x is (T, B) of integers. A cell that needs I = H gets I = H."""
    steps, batch, inputs, hidden = shape
    if rk.cell_info(cell)["direct"]:
        inputs = hidden
    rng = np.random.default_rng([seed, *shape])
    states = len(rk.cell_info(cell)["states"])

    def normal(*size: int) -> Array:
        return rng.standard_normal(size).astype(dtype)

    params = rk.init_params(cell, inputs, hidden, rng=rng, dtype=dtype, bias=bias)
    if rk.cell_info(cell)["normalisation"] != "none":
        # Gains that are all alike would hide mistakes, and about 1 they make the LSTM multiply rounding with each step.
        diagonal = params["weight_diagonal"]
        diagonal[...] = np.random.default_rng([seed, 1]).uniform(0.25, 0.75, diagonal.shape)
    return Problem(
        cell,
        rng.integers(0, inputs, (steps, batch)) if tokens else normal(steps, batch, inputs),
        params,
        tuple(normal(batch, hidden) for _ in range(states)),
        normal(steps, batch, hidden),
        tuple(normal(batch, hidden) for _ in range(states)),
    )
