"""Problems the kernel tests run on: odd shapes, random arrays, and calls that look at everything."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk
from rnnkernels.noise import zonable_states
from rnnkernels.parameters import x_width

Array = npt.NDArray[Any]
State = tuple[Array, ...]

# (T, B, I, H): one of everything, H below, at and off every vector width (2 to 16 lanes) and panel (up to 64
# units), I != H, more rows than a tile has. Few steps: the reference's gradients take their square.
SHAPES = [
    (1, 1, 1, 1),
    (3, 2, 5, 7),
    (5, 1, 3, 17),
    (2, 5, 16, 16),
    (3, 7, 33, 20),
    (3, 13, 4, 33),
    (2, 27, 3, 9),
]
LONG = (33, 8, 2, 3)  # more rows than a chunk of the projection has
EMPTY_SHAPES = [(0, 2, 3, 5), (3, 0, 3, 5), (0, 0, 1, 1)]


# ---- which cells, on which instruction sets ------------------------------------------------------


def traits(cell: str) -> set[Hashable]:
    """What of a cell's table an engine takes another path for, as far as `rnnkernels.cell_info` tells."""
    info = rk.cell_info(cell)
    operands = frozenset(operand for _, _, operand in info["gates"])
    peepholes = "drawn" in info["initial"]
    return {
        ("products", operands, info["normalisation"], info["projected"]),
        ("inputs", frozenset(source for _, source, _ in info["gates"])),
        ("unit", peepholes, len(info["states"]), len(info["gates"]) == 1),
        ("settings", info["settings"]),
    }


def one_of_each_form() -> list[str]:
    """The first cell that has a trait: together all traits. For what an engine promises, whatever the maths is."""
    seen: set[Hashable] = set()
    found = []
    for cell in rk.cells():
        if not traits(cell) <= seen:
            found.append(cell)
            seen |= traits(cell)
    return found


FORMS = one_of_each_form()


def is_free(cell: str) -> bool:
    """Whether a cell needs nothing but I and H, in any proportion."""
    info = rk.cell_info(cell)
    return not (info["direct"] or info["projected"])


def sets() -> tuple[str, ...]:
    """The instruction sets to test, the fastest last: every one, or the one that RNNKERNELS_ISA names."""
    return (rk.instruction_set(),) if os.environ.get("RNNKERNELS_ISA", "").strip() else tuple(rk.instruction_sets())


def every_cell_and_every_set() -> list[tuple[str, str]]:
    """Each cell on the fastest set, one of each form on the others, as (cell, isa)."""
    *slower, fastest = sets()
    return [(cell, fastest) for cell in rk.cells()] + [(cell, isa) for isa in slower for cell in FORMS]


# ---- arguments -----------------------------------------------------------------------------------


def widths_of(cell: str, hidden: int, proj_size: int | None = None) -> list[int]:
    """The units of each of a cell's states."""
    return [proj_size or hidden, *[hidden] * (len(rk.cell_info(cell)["states"]) - 1)]


def random_states(
    cell: str,
    rng: np.random.Generator,
    batch: int,
    hidden: int,
    dtype: npt.DTypeLike,
    proj_size: int | None = None,
) -> State:
    """A state of each of the cell's, standard normal but for those that are sums of positive terms."""
    positive = rk.cell_info(cell)["positive"]
    drawn = [rng.standard_normal((batch, width)).astype(dtype) for width in widths_of(cell, hidden, proj_size)]
    return tuple(np.abs(s) + s.dtype.type(0.5) if sums else s for sums, s in zip(positive, drawn, strict=True))


def zoneout_of(cell: str, rate: float) -> tuple[float, ...]:
    """A rate for every state that may have one."""
    return tuple(rate if zonable else 0.0 for zonable in zonable_states(cell))


def assert_equal_states(one: Sequence[Array], two: Sequence[Array]) -> None:
    """The same arrays; they may have different widths."""
    for mine, theirs in zip(one, two, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@dataclass
class Problem:
    """The arguments of one call and the gradients to go back with."""

    cell: str
    x: Array
    params: dict[str, Array]
    state: tuple[Array, ...]
    d_output: Array
    d_state: tuple[Array, ...]

    def astype(self, dtype: npt.DTypeLike) -> Problem:
        """The same values in another dtype; tokens stay tokens."""

        def cast(arrays: State) -> State:
            return tuple(a.astype(dtype) for a in arrays)

        x = self.x if self.x.dtype.kind in "iu" else self.x.astype(dtype)
        params = {name: value.astype(dtype) for name, value in self.params.items()}
        return Problem(self.cell, x, params, cast(self.state), self.d_output.astype(dtype), cast(self.d_state))

    def forward(self, **options: Any) -> rk.Run:
        return rk.forward(self.cell, self.x, self.params, self.state, **options)

    def results(self, **options: Any) -> dict[str, Array]:
        """Every array that a forward and a backward make, by name."""
        run = self.forward(**options)
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
    info = rk.cell_info(cell)
    proj_size = max(1, hidden * 2 // 3) if info["projected"] else None
    widths = widths_of(cell, hidden, proj_size)

    def normal(*size: int) -> Array:
        return rng.standard_normal(size).astype(dtype)

    params = rk.init_params(cell, inputs, hidden, rng=rng, dtype=dtype, bias=bias, proj_size=proj_size)
    if info["normalisation"] != "none":
        # Gains that are all alike would hide mistakes, and about 1 they make the LSTM multiply rounding with each step.
        diagonal = params["weight_diagonal"]
        diagonal[...] = np.random.default_rng([seed, 1]).uniform(0.25, 0.75, diagonal.shape)
    return Problem(
        cell,
        rng.integers(0, inputs, (steps, batch)) if tokens else normal(steps, batch, x_width(cell, inputs, hidden)),
        params,
        random_states(cell, rng, batch, hidden, dtype, proj_size),
        normal(steps, batch, widths[0]),
        tuple(normal(batch, width) for width in widths),
    )


def on_device(torch: Any, problem: Problem, dtype: Any) -> tuple[Any, dict[str, Any], tuple[Any, ...]]:
    """x, parameters and states of a problem as tensors, which tests of the emulated CUDA backend take for a GPU's."""

    def tensor(array: Array) -> Any:
        return torch.from_numpy(array).to(dtype)

    return tensor(problem.x), {name: tensor(w) for name, w in problem.params.items()}, tuple(map(tensor, problem.state))
