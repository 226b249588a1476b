"""Whatever hypothesis thinks of: cells, sizes, lengths, resets, masks and options, against calls and the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from problems import Problem, make, sets, zoneout_of
from separate_calls import check, reset_state

import rnnkernels as rk
from rnnkernels import reference


@st.composite
def problems(draw: Any) -> tuple[Problem, dict[str, Any]]:
    """A problem, and how its rows run."""
    shape = (
        draw(st.integers(0, 12)),
        draw(st.integers(0, 7)),
        draw(st.integers(1, 20)),
        draw(st.integers(1, 40)),
    )
    cell = draw(st.sampled_from(rk.cells()))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    p = make(cell, shape, dtype, tokens=draw(st.booleans()), bias=draw(st.booleans()), seed=draw(st.integers(0, 99)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    options: dict[str, Any] = {"reverse": draw(st.booleans())}
    if draw(st.booleans()):
        options["lengths"] = rng.integers(0, shape[0] + 1, shape[1])
    if draw(st.booleans()) or (len(options) == 1 and not options["reverse"]):
        options["resets"] = rng.random(shape[:2]) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
        if draw(st.booleans()):
            options["reset_state"] = reset_state(p)
    return p, options


@given(problem=problems(), threads=st.integers(1, 3), isa=st.sampled_from(sets()))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_ragged_is_separate_calls(problem: tuple[Problem, dict[str, Any]], threads: int, isa: str) -> None:
    p, options = problem
    rk.set_num_threads(threads)
    rk.set_instruction_set(isa)
    check(p, **options)


@st.composite
def masked_problems(draw: Any) -> tuple[Problem, dict[str, Any]]:
    """A problem, and what a call can be given beside it."""
    shape = (draw(st.integers(0, 9)), draw(st.integers(0, 6)), draw(st.integers(1, 9)), draw(st.integers(1, 24)))
    cell = draw(st.sampled_from(rk.cells()))
    p = make(cell, shape, tokens=draw(st.booleans()), bias=draw(st.booleans()), seed=draw(st.integers(0, 99)))
    info = rk.cell_info(cell)
    rate = st.sampled_from([0.0, 0.1, 0.5])
    zoneout = [draw(rate) if may else 0.0 for may in zoneout_of(cell, 1.0)]
    options: dict[str, Any] = {}
    if draw(st.booleans()):
        options["noise"] = rk.Noise(
            draw(st.integers(0, 2**64 - 1)),
            zoneout,
            draw(rate),
            draw(st.booleans()),
            draw(rate),
            layer=draw(st.integers(0, 2**24 - 1)),
            first_step=draw(st.integers(0, 2**20)),
        )
    if "cell_clip" in info["settings"] and draw(st.booleans()):
        options["cell_clip"] = draw(st.sampled_from([0.3, 1.0, 50.0]))
    return p, options


@given(problem=masked_problems(), threads=st.integers(1, 3), isa=st.sampled_from(sets()))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_options_are_the_references(problem: tuple[Problem, dict[str, Any]], threads: int, isa: str) -> None:
    """Output and the slope of all gradients along one direction; every choice of memory gives the same bits."""
    p, options = problem
    rk.set_num_threads(threads)
    rk.set_instruction_set(isa)
    runs = [p.forward(memory=memory, **options) for memory in ("all", "states", "replay")]
    every = [rk.backward(run, p.d_output, p.d_state) for run in runs]
    output, _ = reference.forward(p.cell, p.x, p.params, p.state, **options)
    np.testing.assert_allclose(runs[0].output, output, rtol=1e-9, atol=1e-10)
    for run, grads in zip(runs[1:], every[1:], strict=True):
        assert run.output.tobytes() == runs[0].output.tobytes()
        for mine, theirs in zip(grads.state, every[0].state, strict=True):
            assert mine.tobytes() == theirs.tobytes()
        for name, value in grads.params.items():
            np.testing.assert_allclose(value, every[0].params[name], rtol=1e-8, atol=1e-9)
    found = every[0].params | {f"state{k}": s for k, s in enumerate(every[0].state)}
    if every[0].x is not None:
        found["x"] = every[0].x
    rng = np.random.default_rng(1)
    direction = {name: rng.standard_normal(value.shape) for name, value in found.items()}
    slope = reference.directional_derivative(
        p.cell, p.x, p.params, p.state, p.d_output, p.d_state, direction, **options
    )
    terms = [(found[name] * value).sum() for name, value in direction.items()]
    np.testing.assert_allclose(sum(terms), slope, rtol=1e-8, atol=1e-9 * (1 + np.abs(terms).max(initial=0.0)))
