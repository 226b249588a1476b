"""A cell that is a program is a cell as the built-in ones are: equal equations have equal bits.

What was added stays for as long as its process lives: test_added_programs.py runs these tests in one of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hand_programs import CELLS

import rnnkernels as rk
from rnnkernels import _cpu


def added(name: str) -> str:
    """The built-in cell `name` as a program."""
    as_program = f"{name}_program"
    if as_program not in rk.cells():
        _cpu.add_program(as_program, **CELLS[name])
    return as_program


def same(a: Any, b: Any) -> None:
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def compare(name: str, x: Any, params: Any, **asked: Any) -> None:
    """A training run of both, and what is not kept of it."""
    cells = (name, added(name))
    runs = [rk.forward(cell, x, params, **asked) for cell in cells]
    same(runs[0].output, runs[1].output)
    for a, b in zip(runs[0].state, runs[1].state, strict=True):
        same(a, b)
    rng = np.random.default_rng(3)
    d_output = rng.standard_normal(runs[0].output.shape).astype(runs[0].output.dtype)
    d_state = tuple(rng.standard_normal(s.shape).astype(s.dtype) for s in runs[0].state)
    of_built_in, of_program = (rk.backward(run, d_output, d_state) for run in runs)
    same(of_built_in.x, of_program.x)
    for a, b in zip(of_built_in.state, of_program.state, strict=True):
        same(a, b)
    for gradient in of_built_in.params:
        same(of_built_in.params[gradient], of_program.params[gradient])


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_its_table_is_the_built_in_ones(name: str, dtype: type) -> None:
    of_built_in, of_program = rk.cell_info(name), rk.cell_info(added(name))
    left_out = ("name", "settings", "doc", "equations")
    assert {k: v for k, v in of_built_in.items() if k not in left_out} == {
        k: v for k, v in of_program.items() if k not in left_out
    }


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden", [1, 5, 16, 33])
def test_equal_bits(isa: str, name: str, dtype: type, hidden: int) -> None:
    rng = np.random.default_rng(0)
    inputs = hidden if rk.cell_info(name)["direct"] else 3
    params = rk.init_params(name, inputs, hidden, rng=1, dtype=dtype)
    for batch, steps in [(1, 5), (3, 5), (24, 1), (25, 5), (40, 1), (3, 0)]:
        x = rng.standard_normal((steps, batch, inputs)).astype(dtype)
        compare(name, x, params)
