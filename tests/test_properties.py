"""Whatever hypothesis thinks of: cells, sizes, lengths, resets and options, against separate plain calls."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from problems import Problem, make
from test_ragged import check, reset_state

import rnnkernels as rk


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


@given(problem=problems(), threads=st.integers(1, 3), isa=st.sampled_from(rk.instruction_sets()))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_ragged_is_separate_calls(problem: tuple[Problem, dict[str, Any]], threads: int, isa: str) -> None:
    p, options = problem
    before = rk.instruction_set()
    rk.set_num_threads(threads)
    rk.set_instruction_set(isa)
    try:
        check(p, **options)
    finally:
        rk.set_instruction_set(before)
