"""Layers of random equations in the kernels against a plain loop over their graphs, forward and backward."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from loop_of_equations import Loop
from random_equations import FORMS, random_equations

import rnnkernels as rk
from rnnkernels import _cpu
from rnnkernels.equations.lowering import lower

if not hasattr(_cpu, "add_program"):
    pytest.skip("this build has no programs", allow_module_level=True)

T, B = 4, 3


def check(seed: int, hidden: int) -> bool:
    """Compare one cell; False where its values overflow, which says nothing."""
    lowered = lower(replace(random_equations(seed, steps=False), name=f"random_{seed}_{hidden}"))
    _cpu.add_program(**lowered.record(_cpu.program_operations(), _cpu.program_operands()))
    draw = np.random.default_rng(seed)
    params = rk.init_params(lowered.name, hidden, hidden, rng=seed, dtype=np.float64)
    x = draw.normal(size=(T, B, hidden))
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
    assert gradients.x is not None
    got = [run.output, gradients.x, *gradients.state, *(gradients.params[name] for name in loop.d_params)]
    names = ["output", "x", *lowered.states, *loop.d_params]
    for name, one, other in zip(names, got, found, strict=True):
        scale = 1 + np.abs(other).max(initial=0)
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9 * scale, err_msg=f"{seed}: {name}")
    return True


@pytest.mark.parametrize("hidden", [5, 16, 19])
def test_random_layers(hidden: int) -> None:
    done = sum(check(seed, hidden) for seed in range(8 * len(FORMS)))
    assert done > 4 * len(FORMS)
