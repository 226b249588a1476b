"""The drivers over sequences of different lengths, with resets, in less memory; the gradient of the initial state.

Not here: the drivers without these (test_bptt.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tolerances import error, gradient_length, tolerance

import rnnkernels as rk
from rnnkernels import bptt, reference
from tests.python.test_bptt import B, H, I, Readout, sequence

T = 17
LENGTHS = np.array([17, 0, 9])
RESETS = np.random.default_rng(3).random((T, B)) < 0.2
OPTIONS: dict[str, dict[str, Any]] = {
    "lengths": {"lengths": LENGTHS},
    "resets": {"resets": RESETS},
    "both": {"lengths": LENGTHS, "resets": RESETS},
    "replay": {"memory": "replay"},
    "states": {"memory": "states", "lengths": LENGTHS},
}
KS = [(1, 1), (1, 4), (3, 5), (4, 13), (5, 16)]
WITHIN = 2 * tolerance("float64", "gradient", 2 * gradient_length(T, B, I, H))

Arrays = dict[str, np.ndarray]


def make(cell: str = "lstm") -> tuple[rk.Stack, np.ndarray, Readout, Any]:
    """A model, a sequence, a loss, an initial state."""
    stack = rk.Stack(cell, I, H, 2, dtype="float64", rng=0)
    rng = np.random.default_rng(4)
    states = len(rk.cell_info(cell)["states"])
    state = tuple(tuple(rng.normal(size=(B, H)) for _ in range(states)) for _ in range(2))
    return stack, sequence(T), Readout(T), state


def assert_equal(one: Any, two: Any) -> None:
    """Bit for bit: arrays in tuples and dicts."""
    np.testing.assert_equal(one, two)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_full_is_one_forward_and_one_backward(options: dict[str, Any]) -> None:
    stack, x, loss, state = make()
    result = bptt.full_bptt(stack, x, loss, state, **options)
    run = stack.forward(x, state, **options)
    value, d_output, own = loss(run.output, 0)
    back = stack.backward(run, d_output)
    assert result.loss == value
    assert_equal(result.grads, {**back.params, **own})
    assert_equal(result.state, run.state)
    assert_equal(result.d_initial_state, back.state)


@pytest.mark.parametrize(("k1", "k2"), KS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_windows_by_definition(options: dict[str, Any], k1: int, k2: int) -> None:
    """The state before a window is a constant; lengths and resets are those of the window's steps."""
    stack, x, loss, initial = make("gru")
    memory = options.get("memory", "all")

    def of(first: int, stop: int) -> dict[str, Any]:
        lengths = np.clip(options.get("lengths", np.full(B, T)) - first, 0, stop - first)
        return {"lengths": lengths, "resets": options.get("resets", np.zeros((T, B), bool))[first:stop]}

    found = list(
        bptt.windows(
            *(stack, [x], loss),
            k1=k1,
            k2=k2,
            state=initial,
            memory=memory,
            lengths=options.get("lengths"),
            resets=[options["resets"]] if "resets" in options else None,
        )
    )
    at_start: list[Any] = []
    for number, begin in enumerate(range(0, T, k1)):
        end, start = min(begin + k1, T), max(0, begin + k1 - k2)
        before = stack.forward(x[:start], initial, training=False, **of(0, start)).state
        run = stack.forward(x[start:end], before, **of(start, end))
        value, d_errors, own = loss(run.output[begin - start :], begin)
        d_output = np.zeros_like(run.output)
        d_output[begin - start :] = d_errors
        back = stack.backward(run, d_output)
        assert found[number].loss == pytest.approx(value, rel=1e-12)
        assert_equal(found[number].state, run.state)
        for name, expected in {**back.params, **own}.items():
            assert error(found[number].grads[name], expected) <= WITHIN, name
        assert (found[number].d_initial_state is None) == (start > 0)
        if start == 0:
            at_start.append(back.state)
            for one, two in zip(found[number].d_initial_state, back.state, strict=True):
                assert error(one[0], two[0]) <= WITHIN
    assert len(found) == len(range(0, T, k1))

    total = bptt.truncated_bptt(stack, x, loss, k1=k1, k2=k2, state=initial, **options)
    for layer in range(2):
        expected = sum(state[layer][0] for state in at_start)
        assert error(total.d_initial_state[layer][0], expected) <= len(at_start) * WITHIN
    for name in total.grads:
        assert error(total.grads[name], sum(r.grads[name] for r in found)) <= len(found) * WITHIN


@pytest.mark.parametrize(("k1", "k2"), [*KS, (17, 17)])
def test_a_row_is_as_if_it_were_alone(k1: int, k2: int) -> None:
    """A batch of lengths is the sum of its rows, each run for its own steps without any."""
    stack, x, loss, state = make()
    together = bptt.truncated_bptt(stack, x, loss, k1=k1, k2=k2, state=state, lengths=LENGTHS)
    alone = []
    for row, length in enumerate(LENGTHS):
        own = tuple(tuple(s[row : row + 1] for s in layer) for layer in state)
        if length:
            steps = x[:length, row : row + 1]
            alone.append(bptt.truncated_bptt(stack, steps, loss, k1=k1, k2=k2, state=own))
            assert error(together.state[1][0][row], alone[-1].state[1][0][0]) <= WITHIN
            assert error(together.d_initial_state[0][1][row], alone[-1].d_initial_state[0][1][0]) <= WITHIN
        else:
            assert_equal(together.state[1][0][row], own[1][0][0])
    assert together.loss == pytest.approx(sum(result.loss for result in alone), rel=1e-12)
    for name, gradient in together.grads.items():
        assert error(gradient, sum(result.grads[name] for result in alone)) <= 20 * WITHIN, name


@pytest.mark.parametrize(("k1", "k2"), [(3, 3), (3, 5), (2, 7)])
def test_how_the_resets_are_cut_into_chunks_does_not_matter(k1: int, k2: int) -> None:
    stack, x, loss, _ = make("gru")

    def windows(chunks: Any, resets: Any) -> list[bptt.Result]:
        return list(bptt.windows(stack, chunks, loss, k1=k1, k2=k2, resets=resets))

    expected = windows([x], [RESETS])
    for cuts in ([3, 6, 17], [1, 2, 9], [5, 5, 16]):
        for resets in ([RESETS], np.split(RESETS, cuts), np.split(RESETS, [7])):
            for one, two in zip(windows(np.split(x, cuts), iter(resets)), expected, strict=True):
                assert_equal(one.grads, two.grads)
                assert_equal(one.state, two.state)


def test_an_error_does_not_pass_a_reset() -> None:
    stack, x, loss, state = make()
    resets = np.zeros((T, B), bool)
    resets[0, 1] = True
    found = bptt.full_bptt(stack, x, loss, state, resets=resets).d_initial_state
    assert not found[0][1][1].any()
    assert found[0][1][0].any()


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru_reset_before", "lstm"])
def test_the_gradient_of_the_initial_state_by_complex_step(cell: str) -> None:
    """As a decoder's loss says to its encoder."""
    rng = np.random.default_rng(0)
    stack = rk.Stack(cell, I, H, dtype="float64", rng=0)
    x, loss = sequence(6), Readout(6)
    state = tuple(rng.normal(size=(B, H)) for _ in rk.cell_info(cell)["states"])
    result = bptt.full_bptt(stack, x, loss, (state,))
    params = {name.removesuffix("_l0"): p for name, p in stack.params.items()}
    for k, gradient in enumerate(result.d_initial_state[0]):
        for index in np.ndindex(B, H):
            moved = [s.astype(complex) for s in state]
            moved[k][index] += 1e-30j
            output, _ = reference.forward(cell, x, params, moved)
            slope = (loss.weights * np.sin(output @ loss.w)).sum().imag / 1e-30
            assert abs(gradient[index] - slope) <= 1e-12


def test_a_model_is_asked_for_no_more_than_was_said() -> None:
    """One whose forward takes x and a state alone will do; and rows that all run through are no ragged batch."""
    asked: list[set[str]] = []

    class Noting(rk.Stack):
        def forward(self, *args: Any, **options: Any) -> Any:
            asked.append(options.keys() - {"training"})
            return super().forward(*args, **options)

    stack = Noting("gru", I, H, dtype="float64", rng=0)
    x, loss = sequence(T), Readout(T)
    none = np.zeros((T, B), bool)
    list(bptt.windows(stack, [x], loss, k1=4, k2=4, lengths=[T, 20, 6], resets=[none]))
    assert asked == [set(), {"lengths"}, {"lengths"}, {"lengths"}, {"lengths"}]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lengths": [4]}, ValueError, r"lengths: expected shape \(B,\) = \(3,\), got \(1,\)"),
        ({"lengths": [4, -1, 2]}, ValueError, r"lengths: expected \(B,\) of at least 0"),
        ({"lengths": [4.0, 1, 2]}, TypeError, "lengths: expected integers, got float64"),
        ({"resets": RESETS}, TypeError, r"resets: expected several arrays, .* got one ndarray: \[resets\]"),
        ({"resets": [RESETS[:5]]}, ValueError, "resets: expected as many steps as the chunks have, got fewer than 6"),
        ({"resets": [RESETS[:, :2]]}, ValueError, r"resets: expected shape \(T, B\) = \(3, 3\), got \(3, 2\)"),
        ({"resets": [RESETS.astype(int)]}, TypeError, "resets: expected booleans, got int64"),
        ({"resets": 3}, TypeError, "resets: expected several arrays"),
        ({"memory": "none"}, ValueError, "memory: expected one of all, states, replay, got 'none'"),
    ],
)
def test_what_does_not_fit_windows_is_said(options: dict[str, Any], error: type[Exception], message: str) -> None:
    stack, x, loss, _ = make()
    with pytest.raises(error, match=f"^{message}"):
        list(bptt.windows(stack, [x], loss, k1=3, k2=3, **options))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lengths": [4, 1, 18]}, ValueError, r"lengths: expected 0 to T = 17, got 18 at \[2\]"),
        ({"resets": RESETS[:5]}, ValueError, r"resets: expected shape \(T, B\) = \(17, 3\), got \(5, 3\)"),
        ({"memory": 3}, TypeError, "memory: expected one of all, states, replay, got 3"),
    ],
)
def test_what_does_not_fit_a_whole_sequence_is_said(options: Any, error: type[Exception], message: str) -> None:
    stack, x, loss, _ = make()
    with pytest.raises(error, match=f"^{message}"):
        bptt.full_bptt(stack, x, loss, **options)
    with pytest.raises(error, match=f"^{message}"):
        bptt.truncated_bptt(stack, x, loss, k1=3, k2=3, **options)
