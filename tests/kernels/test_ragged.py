"""Lengths, resets and reversed time: each is a set of separate plain calls, to the last bit where no sum is shared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import FORMS, Array, make
from separate_calls import check, reset_state, term_of
from tolerances import assert_close, gradient_length

import rnnkernels as rk
from rnnkernels import _cpu, _serve
from rnnkernels._arguments import as_layer
from rnnkernels._call import Ahead, Call, Rows
from rnnkernels.schedule import make_schedule

SHAPE = (9, 6, 5, 19)
LENGTHS = np.array([4, 9, 0, 1, 9, 6])


def resets_of(shape: tuple[int, ...], seed: int = 0) -> Array:
    found = np.random.default_rng(seed).random(shape[:2]) < 0.2
    found[0, 1] = found[3, 0] = found[3, 4] = True
    return found


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", FORMS)
def test_a_term_is_a_bias_of_each_row(cell: str, tokens: bool) -> None:
    """Against each row alone, its bias_ih moved by the term; the gradient of the term is then that of the bias."""
    for threads, dtype in ((1, "float32"), (2, "float64")):
        rk.set_num_threads(threads)
        p = make(cell, SHAPE, dtype, tokens=tokens)
        term = term_of(p)
        choices: list[dict[str, Any]] = [{}, {"lengths": LENGTHS, "resets": resets_of(p.x.shape)}]
        for options in choices:
            run = p.forward(term=term, **options)
            grads = rk.backward(run, p.d_output, p.d_state)
            assert grads.term is not None
            if rk.backend() == "cpu":  # prepared layers are the CPU's
                layer = rk.Prepared(cell, p.params, tokens=tokens)
                assert layer.forward(p.x, p.state, term=term, **options)[0].tobytes() == run.output.tobytes()
            for b in range(SHAPE[1]):
                row = p.rows(slice(b, b + 1))
                row.params = p.params | {"bias_ih": p.params["bias_ih"] + term[b]}
                mine = {
                    name: value[..., b : b + 1] if name == "lengths" else value[:, b : b + 1]
                    for name, value in options.items()
                }
                alone = row.forward(**mine)
                expected = rk.backward(alone, row.d_output, row.d_state)
                length = gradient_length(*SHAPE)
                assert_close(run.output[:, b], alone.output[:, 0], "output", length)
                assert_close(grads.term[b], expected.params["bias_ih"], "gradient", 2 * length)
                if grads.x is not None and expected.x is not None:
                    assert_close(grads.x[:, b], expected.x[:, 0], "gradient", 2 * length)


def test_a_term_of_another_shape_is_named() -> None:
    p = make("lstm", SHAPE)
    for options in ({}, {"lengths": LENGTHS}):
        with pytest.raises(ValueError, match=r"term: expected shape \(B, G\*H\) = \(6, 76\), got \(6, 19\)"):
            p.forward(term=np.zeros((6, 19)), **options)
    with pytest.raises(TypeError, match="term: expected dtype float64"):
        p.forward(term=np.zeros((6, 76), "f4"))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", FORMS)
def test_every_kind_is_separate_calls(cell: str, tokens: bool, threads: int) -> None:
    rk.set_num_threads(threads)
    p = make(cell, SHAPE, "float32", tokens=tokens)
    resets = resets_of(p.x.shape)
    check(p, lengths=LENGTHS)
    check(p, reverse=True)
    check(p, lengths=LENGTHS, resets=resets, reset_state=reset_state(p))
    check(p, lengths=LENGTHS, resets=resets, reverse=True)


def test_plain_calls_stay_plain() -> None:
    p = make("gru", SHAPE)
    run = p.forward(lengths=np.full(SHAPE[1], SHAPE[0]), resets=None, reverse=False)
    assert rk.backward(run, p.d_output).reset_state is None


@pytest.mark.parametrize("shape", [(0, 3, 2, 4), (3, 0, 2, 4), (3, 2, 2, 4)])
def test_nothing_to_run(shape: tuple[int, int, int, int]) -> None:
    p = make("lstm", shape)
    run = p.forward(lengths=np.zeros(shape[1], int), reverse=True)
    assert not run.output.any()
    grads = rk.backward(run, p.d_output, p.d_state)
    for k in range(2):
        np.testing.assert_array_equal(run.state[k], p.state[k])
        np.testing.assert_array_equal(grads.state[k], p.d_state[k])
    assert not any(value.any() for value in grads.params.values())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lengths": [1, 2]}, ValueError, r"lengths: expected shape \(B,\) = \(6,\), got \(2,\)"),
        ({"lengths": [1, 2, 3, 10, 0, 0]}, ValueError, r"lengths: expected 0 to T = 9, got 10 at \[3\]"),
        ({"lengths": [1, 2, 3, -1, 0, 0]}, ValueError, "got -1"),
        ({"lengths": np.ones(6)}, TypeError, "lengths: expected integers, got float64"),
        ({"resets": np.zeros((9, 5), bool)}, ValueError, r"resets: expected shape \(T, B\) = \(9, 6\), got \(9, 5\)"),
        ({"resets": np.zeros((9, 6))}, TypeError, "resets: expected booleans, got float64"),
        ({"reset_state": (np.zeros((6, 19)),) * 2}, ValueError, "reset_state: expected resets with it, got none"),
        (
            {"resets": np.ones((9, 6), bool), "reset_state": (np.zeros((6, 19)), np.zeros((1, 19)))},
            ValueError,
            r"reset_state\[1\]: expected shape \(B, H\) = \(6, 19\), got \(1, 19\)",
        ),
    ],
)
def test_says_what_is_wrong(options: dict[str, Any], error: type[Exception], message: str) -> None:
    p = make("lstm", SHAPE)
    with pytest.raises(error, match=message):
        p.forward(**options)


def test_the_extension_checks_the_schedule() -> None:
    p = make("rnn_tanh", (2, 2, 3, 4))
    layer = (p.params["weight_ih"], p.params["weight_hh"], None, None, None, None, None)
    state = (np.zeros((2, 4)),)
    for starts, places in [
        ([0, 2, 4], [0, 1, 2, 4]),
        ([0, 2, 4], [0, 1, 2, 2]),
        ([0, 1, 3], [0, 1, 2]),
        ([1, 2], [0, 1]),
        ([0, 2, 2], [0, 1]),
        ([0, 2], [0, 1, 2]),
        ([0, 2], [0, -1]),
    ]:
        with pytest.raises(ValueError, match="schedule: expected steps of 1 or more rows"):
            _cpu.forward("rnn_tanh", p.x, layer, state, True, (np.array(starts), np.array(places)))
    with pytest.raises(TypeError, match="schedule: expected int64 arrays"):
        _cpu.forward("rnn_tanh", p.x, layer, state, True, (np.array([0.0]), np.array([], int)))


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "mut3", "lstm_projected", "gru_layer_norm"])
def test_rows_that_stand_in_order_need_no_places(cell: str) -> None:
    p = make(cell, (5, 4, 3, 6))
    lengths = np.array([5, 4, 2, 2])
    schedule = make_schedule(5, 4, lengths, None, False)
    assert schedule is not None
    x = np.ascontiguousarray(p.x.reshape(20, -1)[schedule.places])[:, np.newaxis]  # (N, 1, I)
    layer, state = as_layer(cell, p.params), tuple(np.ascontiguousarray(s) for s in p.state)
    found = []
    for places in (np.arange(len(x)), None):
        call = Call(cell, x, layer, state, Rows(schedule.starts, places))
        output, final, reserve, _ = _serve.forward(call, True)
        assert reserve is not None
        grads = _serve.backward(call, output, reserve, Ahead(np.cos(output), final), True, False)
        found.append([output, *final, grads.x, *grads.params.values(), *grads.state])
    for with_places, without in zip(*found, strict=True):
        np.testing.assert_array_equal(with_places, without)
    with pytest.raises(ValueError, match="schedule: expected steps of 1 or more rows"):
        _serve.forward(Call(cell, x[:-1], layer, state, Rows(schedule.starts)), True)
