"""The bitwise promises of docs/reproducibility.md. Everything here compares bits, never within a tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import FORMS, Array, make

import rnnkernels as rk
from rnnkernels import _cpu

# Row cuts, unit cuts, both; more steps than one chunk of the projection (256 rows).
SHAPES = [(3, 40, 5, 50), (3, 2, 5, 200), (90, 5, 4, 70), (260, 1, 3, 130)]


def assert_same_bits(one: dict[str, Array], two: dict[str, Array]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert value.tobytes() == two[name].tobytes(), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", FORMS)
def test_any_number_of_threads_and_every_run(cell: str, dtype: str) -> None:
    for number, shape in enumerate(SHAPES):
        p = make(cell, shape, dtype, tokens=number % 2 == (dtype == "float64"))
        rk.set_num_threads(1)
        alone = p.results()
        assert_same_bits(p.results(), alone)
        for threads in (2, 3, *([7] if number == 0 else [])):
            rk.set_num_threads(threads)
            assert_same_bits(p.results(), alone)


@pytest.mark.parametrize("cell", FORMS)
def test_threads_that_share_only_the_products_over_many_steps(cell: str) -> None:
    p = make(cell, (300, 1, 1100, 40), "float32")  # two chunks of the projection
    rk.set_num_threads(1)
    alone = p.results()
    for threads in (2, 3):
        rk.set_num_threads(threads)
        assert_same_bits(p.results(), alone)
        assert p.forward(training=False).output.tobytes() == alone["output"].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", FORMS)
def test_a_row_does_not_see_its_neighbours(cell: str, dtype: str) -> None:
    shape = (4, 29, 6, 37)
    p = make(cell, shape, dtype)
    together = p.results()
    for part in (slice(0, 1), slice(5, 7), slice(3, 10), slice(28, 29)):
        apart = p.rows(part).results()
        for name in apart:
            if name in ("output", "d x"):
                assert apart[name].tobytes() == together[name][:, part].tobytes(), name
            elif "state" in name:
                assert apart[name].tobytes() == together[name][part].tobytes(), name


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", FORMS)
def test_stepping_equals_the_whole_sequence(cell: str, tokens: bool) -> None:
    for shape in [(9, 3, 6, 37), (9, 1, 300, 20)]:
        p = make(cell, shape, "float32", tokens=tokens)
        run = p.forward()
        state = p.state
        for t, x_t in enumerate(p.x):
            state = rk.step(cell, x_t, p.params, state)
            assert state[0].tobytes() == run.output[t].tobytes()
        for mine, whole in zip(state, run.state, strict=True):
            assert mine.tobytes() == whole.tobytes()


@pytest.mark.parametrize("cell", FORMS)
def test_inference_equals_training(cell: str) -> None:
    p = make(cell, (9, 3, 6, 37), "float32")
    training, inference = p.forward(), p.forward(training=False)
    assert training.output.tobytes() == inference.output.tobytes()
    assert inference.reserve_bytes == 0 <= training.reserve_bytes


@pytest.mark.parametrize("cell", FORMS)
def test_a_sequence_in_two_calls_equals_one(cell: str) -> None:
    """Outputs, states, and the gradients of x and of the states. Weights' gradients are sums over other rows."""
    p = make(cell, (11, 4, 6, 37), "float32")
    whole = p.results()
    first = rk.forward(cell, p.x[:4], p.params, p.state)
    second = rk.forward(cell, p.x[4:], p.params, first.state)
    assert np.concatenate([first.output, second.output]).tobytes() == whole["output"].tobytes()
    later = rk.backward(second, p.d_output[4:], p.d_state)
    earlier = rk.backward(first, p.d_output[:4], later.state)
    assert earlier.x is not None
    assert later.x is not None
    assert np.concatenate([earlier.x, later.x]).tobytes() == whole["d x"].tobytes()
    for i, d in enumerate(earlier.state):
        assert d.tobytes() == whole[f"d state[{i}]"].tobytes()


@pytest.mark.parametrize("cell", FORMS)
def test_a_token_is_its_one_hot_vector(cell: str) -> None:
    p = make(cell, (6, 5, 12, 37), "float32", tokens=True)
    one_hot = np.eye(p.params["weight_ih"].shape[1], dtype=np.float32)[p.x]
    found = p.forward().output
    np.testing.assert_array_equal(found, rk.forward(cell, one_hot, p.params, p.state).output)


@pytest.mark.parametrize("cell", FORMS)
def test_dense_is_ragged_with_full_lengths(cell: str) -> None:
    """The ragged walk itself: full lengths alone would be served by the dense one."""
    steps, batch, _, hidden = shape = (9, 6, 5, 19)
    p = make(cell, shape, "float32")
    layer: Any = tuple(p.params.get(name) for name in rk.parameters.NAMES)
    if layer[1] is None:
        layer = (layer[0], np.empty((0, hidden), "float32"), *layer[2:])
    rows = np.arange(steps + 1) * batch, np.arange(steps * batch)
    output, state, reserve, _ = _cpu.forward(cell, p.x, layer, p.state, True, rows)
    assert reserve is not None
    found: Any = _cpu.backward(cell, p.x, layer, p.state, output, reserve, p.d_output, p.d_state, True, rows)
    dx, d_layer, d_state, *_ = found
    plain = p.results()
    assert output.tobytes() == plain["output"].tobytes()
    assert dx.tobytes() == plain["d x"].tobytes()
    for name, value in zip(rk.parameters.NAMES, d_layer, strict=True):
        if name in p.params:
            assert value.tobytes() == plain[f"d {name}"].tobytes()
    for k, (s, d) in enumerate(zip(state, d_state, strict=True)):
        assert s.tobytes() == plain[f"state[{k}]"].tobytes()
        assert d.tobytes() == plain[f"d state[{k}]"].tobytes()
