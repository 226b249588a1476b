"""Which gates sigmoids alone read: what equations say is what the built-in cells' tables do."""

from __future__ import annotations

import pytest

import rnnkernels as rk
from rnnkernels.equations.builtin import FUNCTIONS, equations_of
from rnnkernels.equations.functions import product, sigmoid, tanh
from rnnkernels.equations.readers import read_by_sigmoids
from rnnkernels.equations.tracing import trace


@pytest.mark.parametrize("cell", FUNCTIONS)
def test_equations_say_what_the_table_does(cell: str) -> None:
    equations = equations_of(cell)
    assert equations is not None
    info = rk.cell_info(cell)
    fed = [
        (name, sigmoid) for (name, of_x, _), sigmoid in zip(info["gates"], info["sigmoid"], strict=True)
        if of_x == "projected"
    ]  # fmt: skip
    found = read_by_sigmoids(equations)
    assert [(name, name in found) for name, _ in fed] == fed


def test_a_cell_of_ones_own_has_it_from_its_equations() -> None:
    def mine(x, h, w):  # type: ignore[no-untyped-def]
        u = product(h)
        z, both = sigmoid(w.a * h + (x.z - u.z)), x.both + u.both
        return z * tanh(x.n) + sigmoid(both) * both

    assert read_by_sigmoids(trace(mine, "mine")) == ("z",)
    cell = rk.cell(mine, name="read_by_sigmoids")
    info = rk.cell_info(cell)
    assert dict(zip((name for name, _, _ in info["gates"]), info["sigmoid"], strict=True)) == {
        "z": True, "both": False, "n": False
    }  # fmt: skip
