"""Layers of equations in the kernels against a plain loop over their graphs, and against the built-in cells.

What was added stays for as long as its process lives: test_random_layers.py runs these tests in one of their own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hand_traced import gru, lstm, mut1, mut2, mut3
from loop_of_equations import Loop
from random_equations import FORMS, random_equations

import rnnkernels as rk
from rnnkernels import _added, _cpu
from rnnkernels.equations.lowering import lower
from rnnkernels.equations.tangent import dual, has_dual

if TYPE_CHECKING:
    from rnnkernels.equations.graph import Equations
    from rnnkernels.equations.program import Lowered

T, B = 4, 3


def add(equations: Equations) -> Lowered:
    """Make the kernels know a cell."""
    lowered = lower(equations)
    _added.add(lowered.record(_cpu.program_operations(), _cpu.program_operands()))
    return lowered


def check(seed: int, hidden: int, *, of_dual: bool = False, heads: int = 1) -> bool:
    """Compare one cell, or its dual; False where its values overflow, which says nothing."""
    equations = replace(random_equations(seed, steps=False, heads=heads), name=f"random_{seed}_{hidden}_{heads}")
    lowered = add(dual(equations) if of_dual else equations)
    draw = np.random.default_rng(seed)
    params = rk.init_params(lowered.name, hidden, hidden, rng=seed, dtype=np.float64)
    x = draw.normal(size=(T, B, hidden * (1 + len(lowered.steps))))
    states = [draw.normal(size=(B, hidden)) for _ in lowered.states]
    d_output = draw.normal(size=(T, B, hidden))

    loop = Loop(lowered, {name: np.asarray(array) for name, array in params.items()}, hidden)
    expected = np.array(loop.forward(x, states))
    d_x, d_states = loop.backward(d_output)
    found = [expected, d_x, *d_states, *loop.d_params.values()]
    if not all(np.isfinite(array).all() and np.abs(array).max(initial=0) < 1e6 for array in found):
        return False
    run = rk.forward(lowered.name, x, params, states)
    gradients = rk.backward(run, d_output)
    got = [run.output, np.asarray(gradients.x), *gradients.state, *(gradients.params[name] for name in loop.d_params)]
    names = ["output", "x", *lowered.states, *loop.d_params]
    for name, one, other in zip(names, got, found, strict=True):
        scale = 1 + np.abs(other).max(initial=0)
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9 * scale, err_msg=f"{seed}: {name}")
    return True


@pytest.mark.parametrize("hidden", [5, 16, 19])
def test_random_layers(hidden: int) -> None:
    done = sum(check(seed, hidden) for seed in range(6 * len(FORMS)))
    assert done > 5 * len(FORMS)


@pytest.mark.parametrize(("hidden", "heads"), [(6, 3), (64, 2), (33, 3), (40, 40), (96, 4)])
def test_random_layers_of_several_heads(hidden: int, heads: int) -> None:
    done = sum(check(seed, hidden, heads=heads) for seed in range(4 * len(FORMS)))
    assert done > 3 * len(FORMS)


@pytest.mark.parametrize(("hidden", "heads"), [(6, 3), (38, 2)])
def test_random_duals_of_several_heads(hidden: int, heads: int) -> None:
    seeds = [seed for seed in range(15 * len(FORMS)) if has_dual(random_equations(seed, steps=False))]
    assert sum(check(seed, hidden, of_dual=True, heads=heads) for seed in seeds) > len(seeds) // 2 > 2


@pytest.mark.parametrize("hidden", [5, 19])
def test_random_duals(hidden: int) -> None:
    seeds = [seed for seed in range(30 * len(FORMS)) if has_dual(random_equations(seed, steps=False))]
    done = sum(check(seed, hidden, of_dual=True) for seed in seeds)
    assert done > len(seeds) // 2 > 5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("clip", [None, 0.2])
@pytest.mark.parametrize("peepholes", [False, True])
def test_the_bits_of_the_built_in_cell(peepholes: bool, clip: float | None, dtype: type[np.floating[Any]]) -> None:
    equations = lstm(peepholes=peepholes, clip=clip)
    name = f"{equations.name}_of_{dtype.__name__}_held_at_{clip}"
    add(replace(equations, name=name))
    for batch, hidden in ((1, 7), (4, 16), (30, 33)):
        draw = np.random.default_rng(hidden)
        params = rk.init_params(equations.name, 3, hidden, rng=draw, dtype=dtype)
        x = 3 * draw.normal(size=(T, batch, 3)).astype(dtype)
        d_output = draw.normal(size=(T, batch, hidden)).astype(dtype)
        runs = [rk.forward(equations.name, x, params, cell_clip=clip), rk.forward(name, x, params)]
        np.testing.assert_array_equal(runs[0].output, runs[1].output)
        assert (np.abs(runs[1].state[1]) == dtype(clip or 0.0)).any() == (clip is not None)
        built_in, own = (rk.backward(run, d_output) for run in runs)
        np.testing.assert_array_equal(np.asarray(built_in.x), np.asarray(own.x))
        for key, gradient in built_in.params.items():
            np.testing.assert_array_equal(gradient, own.params[key], key)


@pytest.mark.parametrize("equations", [gru(), mut1(), mut2(), mut3()], ids=lambda equations: equations.name)
def test_near_the_built_in_cell(equations: Equations) -> None:
    name = f"{equations.name}_near"
    add(replace(equations, name=name))
    draw = np.random.default_rng(1)
    params = rk.init_params(equations.name, 19, 19, rng=draw, dtype=np.float64)
    x = draw.normal(size=(2, T, B, 19))
    built_in, own = (rk.backward(rk.forward(cell, x[0], params), x[1]) for cell in (equations.name, name))
    for key in params:
        np.testing.assert_allclose(built_in.params[key], own.params[key], rtol=1e-12, atol=1e-13, err_msg=key)
    np.testing.assert_allclose(np.asarray(built_in.x), np.asarray(own.x), rtol=1e-12, atol=1e-13)
