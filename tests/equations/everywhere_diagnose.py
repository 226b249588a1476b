"""A cell from equations under `rnnkernels.diagnose`: run by test_everywhere.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from own_layers import CELLS as OWN
from own_layers import H, keeper, numbers

import rnnkernels as rk
from rnnkernels import diagnose, zoo
from tests.equations.builtin import CELLS

SAME = ("lstm", "gru", "gru_reset_before", "lstm_peephole", "mut3", "indrnn", "lstm_fgr")


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cell", SAME)
def test_gates_are_those_of_the_built_in_cell(cell: str, bias: bool, tokens: bool) -> None:
    x, params, state = numbers(cell)
    if not bias:
        params = {name: array for name, array in params.items() if not name.startswith("bias")}
    given = np.random.default_rng(0).integers(0, 4, x.shape[:2]) if tokens else x
    right, found = (diagnose.gate_values(name, given, params, state) for name in (cell, CELLS[cell]))
    assert tuple(found) == diagnose.sigmoid_gates(CELLS[cell])
    found = {name.removesuffix("_new"): values for name, values in found.items()}  # of lstm_fgr, where i is a state
    assert right.keys() == found.keys()
    for name, values in right.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("cell", SAME)
def test_readings_are_those_of_the_built_in_cell(cell: str) -> None:
    right, found = (diagnose.of_cell(name, 6, num_layers=2, steps=5, batch=2) for name in (cell, CELLS[cell]))
    for one, other in zip(found.layers, right.layers, strict=True):
        for name, norms in other.norms.items():
            np.testing.assert_allclose(one.norms[name], norms, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(
            np.array(list(one.singular_values.values())), np.array(list(other.singular_values.values())), rtol=1e-6
        )
        assert {name.removesuffix("_new") for name in one.gates} == other.gates.keys()


@rk.cell
def two_of_one_name(x: Any, h: Any) -> Any:
    for _ in range(2):
        r = rk.sigmoid(x.r + h)
        h = r * h
    return h + rk.sigmoid(x.n)


def test_sigmoids_have_names_of_their_own() -> None:
    assert diagnose.sigmoid_gates(two_of_one_name) == ("r", "r 2", "sigmoid")
    assert diagnose.sigmoid_gates(keeper) == ("sigmoid", "r", "z")  # the first is a silu's


@pytest.mark.parametrize("cell", [*OWN, "min_gru", "para_gru", "gru_d"])
def test_every_cell_has_a_table(cell: str) -> None:
    if cell in zoo.cells():
        cell = getattr(zoo, cell)
    found = diagnose.of_cell(cell, H, steps=5, batch=2)
    assert diagnose.table(found).startswith(f"{cell:s}, 1 x {H} units")
    for gate in found.layers[0].gates.values():
        assert 0 < gate.mean < 1
