"""Cells made by several threads at once. They stay for as long as their process lives: test_shared_by_threads.py runs
these tests in one of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from at_once import at_once, offered_often  # noqa: F401 - a fixture

import rnnkernels as rk
from rnnkernels import parameters

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("offered_often")


def test_cells_are_listed_while_one_is_added() -> None:
    """A list that another thread walks through stays as it is."""

    def listed_meanwhile(x: Any, h: Any) -> Any:
        return rk.tanh(x.a + rk.product(h).a)

    walk = iter(parameters._read_tables())
    first = next(walk)
    rk.cell(listed_meanwhile)
    assert "listed_meanwhile" in rk.cells()
    assert {first, *walk} | {"listed_meanwhile"} <= set(rk.cells())


def test_threads_make_cells_at_once() -> None:
    """The same equations become one cell, others one each; every thread finds its own at once."""

    def same(x: Any, h: Any, *, cell_clip: float = 3.0) -> Any:
        u = rk.product(h)
        return rk.minimum(rk.maximum(x.a + u.a, -cell_clip), cell_clip)

    def make_cells(number: int) -> list[Any]:
        def own(x: Any, h: Any) -> Any:
            return rk.tanh(x.a + rk.product(h).a) * (1.0 + number)

        found = [rk.cell(own, name=f"made_at_once_{number}"), rk.cell(same, name="made_by_all")]
        params = rk.init_params(found[0], 2, 3, rng=0)
        assert set(found) <= set(rk.cells())
        clipped = rk.Stack(found[1], 2, 3, cell_clip=0.5, rng=0).cell
        return [*found, clipped, rk.forward(found[0], np.ones((1, 1, 2), np.float32), params).output.tobytes()]

    works: list[Callable[[], Any]] = [lambda number=number: make_cells(number) for number in range(4)]  # type: ignore[misc]
    made = at_once(*works, *[lambda: [rk.cells() for _ in range(50)]])[:4]
    assert len({each[0] for each in made}) == 4
    assert len({id(each[1]) for each in made}) == len({id(each[2]) for each in made}) == 1
    assert len({each[3] for each in made}) == 4
