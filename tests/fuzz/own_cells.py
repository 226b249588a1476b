"""Cells from equations to draw: built-in ones once more, forms that none of these has, and gated ones at random.

The truth is never a kernel's: of a built-in cell's equations it is the reference's own function of that cell, where
gates stand in the same order; of other cells what the reference computes from their equations, step by step. All are
smooth but for what a built-in cell has, and bounded, so that rounding does not grow.
"""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from cell_forms import FORMS

import rnnkernels as rk
from rnnkernels.equations.builtin import FUNCTIONS
from rnnkernels.reference.arguments import find_cell
from rnnkernels.reference.cells import CELLS, StepFunction

if TYPE_CHECKING:
    from collections.abc import Callable

GATED = 24  # at random; each stays until the process ends
CLIPS = (0.1, 0.5)


class Own(NamedTuple):
    """A cell's truth, and the built-in cell whose equations it has, if any."""

    step: StepFunction
    like: str | None = None


@cache
def own_cells() -> dict[str, Own]:
    """Make the cells, by name, when a case first asks for one."""
    found = {}
    for like, function in FUNCTIONS.items():
        made = rk.cell(function, name=f"fuzz_{like}")
        same = all(rk.cell_info(made)[key] == rk.cell_info(like)[key] for key in ("gates", "diagonals", "rows"))
        found[f"{made:s}"] = Own(CELLS[like].step if same else find_cell(made).step, like)
        if "cell_clip" in rk.cell_info(like)["settings"]:
            held = [made(cell_clip=clip) for clip in CLIPS]
            found |= {f"{each:s}": Own(find_cell(each).step, like) for each in held}
    others = [rk.cell(form, name=f"fuzz_{form.__name__}") for form in FORMS]
    others += [rk.cell(gated(number), name=f"fuzz_gated_{number}") for number in range(GATED)]
    return found | {f"{each:s}": Own(find_cell(each).step) for each in others}


def step_of(cell: str) -> StepFunction:
    """Return what computes a step of any cell that is drawn."""
    return CELLS[cell].step if cell in CELLS else own_cells()[cell].step


def like(cell: str) -> str:
    """Return the built-in cell whose states a cell has, itself where there is none."""
    return cell if cell in CELLS else own_cells()[cell].like or cell


# ---- gated cells at random -----------------------------------------------------------------------


def gated(number: int) -> Callable[..., Any]:
    """Return the function of a cell of one to three states, each a mixture of itself and something new."""

    def step(x: Any, states: tuple[Any, ...], w: Any) -> Any:
        draw = random.Random(number)  # the same each time that the function is called
        h, u = states[0], rk.product(states[0])
        reset = draw.choice(("none", "before", "after"))
        r = rk.sigmoid(x.r + u.r) if reset != "none" else None
        again = rk.product(r * h) if reset == "before" else None
        made = []
        for k, state in enumerate(states):
            new = getattr(x, f"n{k}")
            if again is not None and (k == 0 or draw.random() < 0.5):
                new = new + getattr(again, f"n{k}")
            elif k == 0 or draw.random() < 0.7:
                from_h = getattr(u, f"n{k}")
                new = new + (r * from_h if reset == "after" else from_h)
            new = draw.choice((rk.tanh, rk.softsign, rk.sigmoid, rk.tanh))(new)
            seen = getattr(x, f"z{k}") + getattr(u, f"z{k}") if draw.random() < 0.7 else getattr(x, f"z{k}")
            if w is not None and draw.random() < 0.7:
                seen = seen + getattr(w, f"z{k}") * state
            keep = rk.sigmoid(seen)
            take = 1.0 - keep if draw.random() < 0.6 else rk.sigmoid(getattr(x, f"i{k}"))
            made.append(keep * state + take * new)
        if len(made) > 1:
            seen = x.o + (w.o * made[-1] if w is not None else u.o)
            made[0] = rk.sigmoid(seen) * rk.tanh(made[-1]) + 0.5 * made[0]
        return tuple(made) if len(made) > 1 else made[0]

    def one(x: Any, h: Any) -> Any:
        return step(x, (h,), None)

    def two(x: Any, h: Any, c: Any) -> Any:
        return step(x, (h, c), None)

    def two_weighted(x: Any, h: Any, c: Any, w: Any) -> Any:
        return step(x, (h, c), w)

    def three_weighted(x: Any, h: Any, c: Any, m: Any, w: Any) -> Any:
        return step(x, (h, c, m), w)

    return (one, two, two_weighted, three_weighted)[number % 4]
