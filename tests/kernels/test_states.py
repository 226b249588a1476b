"""What a run gives beside its output: all states, readings of the gradient's flow; and an LSTM's held cell state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import FORMS, Array, Problem, make, zoneout_of
from tolerances import assert_close, gradient_length

import rnnkernels as rk
from rnnkernels import reference
from rnnkernels.memory import MEMORY

SHAPE = (7, 4, 5, 19)
LENGTHS = np.array([7, 0, 3, 6])


def by_steps(p: Problem) -> list[tuple[Array, ...]]:
    """The states after every step, one step at a time."""
    states, found = p.state, []
    for x_t in p.x:
        states = rk.step(p.cell, x_t, p.params, states)
        found.append(states)
    return found


@pytest.mark.parametrize("cell", FORMS)
def test_all_states(cell: str) -> None:
    p = make(cell, SHAPE, "float32")
    expected = [np.stack(s) for s in zip(*by_steps(p), strict=True)]
    for training in (True, False):
        run = p.forward(all_states=True, training=training)
        assert run.states is not None
        assert run.states[0] is run.output
        for mine, theirs in zip(run.states, expected, strict=True):
            assert mine.tobytes() == theirs.tobytes()
    ragged = p.forward(all_states=True, lengths=LENGTHS).states
    assert ragged is not None
    for mine, theirs in zip(ragged, expected, strict=True):
        for b, length in enumerate(LENGTHS):
            assert mine[:length, b].tobytes() == theirs[:length, b].tobytes()
            assert not mine[length:, b].any()
    assert p.forward().states is None


@pytest.mark.parametrize("cell", FORMS)
def test_gradients_of_all_states(cell: str) -> None:
    """A loss that reads c after every step is the sum of losses of the sequences that end there."""
    steps = 4
    p = make(cell, (steps, 3, 5, 19))
    rng = np.random.default_rng(3)
    d_states = (None, *(rng.standard_normal((steps, *s.shape)) for s in p.state[1:]))
    run = p.forward(all_states=True)
    found = rk.backward(run, p.d_output, p.d_state, d_states=d_states)
    total = rk.backward(run, p.d_output, p.d_state)
    parts = [total]
    for t in range(steps):
        begun = rk.forward(cell, p.x[: t + 1], p.params, p.state)
        ends = tuple(np.zeros_like(s) if d is None else d[t] for s, d in zip(p.state, d_states, strict=True))
        parts.append(rk.backward(begun, None, ends))
    length = 4 * gradient_length(*SHAPE)
    for name, value in found.params.items():
        assert_close(value, sum(part.params[name] for part in parts), "gradient", length, name)
    for k, value in enumerate(found.state):
        assert_close(value, sum(part.state[k] for part in parts), "gradient", length)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("cell", FORMS)
def test_norms_are_those_of_the_gradients(cell: str, threads: int) -> None:
    """dL/d(states after step t) is what a backward over the steps behind it has as that of its initial states."""
    rk.set_num_threads(threads)
    for shape in (SHAPE, (4, 2, 3, 150)):
        p = make(cell, shape)
        grads = rk.backward(p.forward(), p.d_output, p.d_state, norms=True)
        assert grads.norms is not None
        states = by_steps(p)
        for t in range(shape[0]):
            after = rk.forward(cell, p.x[t + 1 :], p.params, states[t])
            d = list(rk.backward(after, p.d_output[t + 1 :], p.d_state).state)
            d[0] = d[0] + p.d_output[t]
            for k, norms in enumerate(grads.norms):
                assert_close(norms[t], np.linalg.norm(d[k], axis=1), "gradient", 4 * gradient_length(*shape))


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "lstm_projected"])
def test_norms_do_not_depend_on_threads_or_kind(cell: str) -> None:
    p = make(cell, (9, 7, 5, 150), "float32")
    lengths = np.array([9, 0, 3, 6, 9, 1, 2])

    def norms(**options: Any) -> tuple[Array, ...]:
        found = rk.backward(p.forward(**options), p.d_output, p.d_state, norms=True).norms
        assert found is not None
        return found

    rk.set_num_threads(1)
    alone, ragged = norms(), norms(lengths=lengths)
    assert all(n.shape == (9, 7) for n in alone)
    for b, length in enumerate(lengths):
        assert not ragged[0][length:, b].any()
    for threads in (2, 5):
        rk.set_num_threads(threads)
        for one, two in zip((*alone, *ragged), (*norms(), *norms(lengths=lengths)), strict=True):
            assert one.tobytes() == two.tobytes()
    assert rk.backward(p.forward(), p.d_output).norms is None


@pytest.mark.parametrize("cell", ["lstm", "rnn_relu", "lstm_projected"])
def test_norms_have_the_range_of_the_gradients(cell: str, isa: str) -> None:
    """Not that of their squares: times a power of two they are the same numbers."""
    for dtype, exponents in (("float32", [-100, -73, -50, -30, 30, 60, 75, 100]), ("float64", [-950, -700, 700, 950])):
        p = make(cell, (3, 2, 4, 21), dtype)

        def norms(exponent: int, p: Problem = p) -> tuple[Array, ...]:
            ends = [np.ldexp(d, exponent) for d in p.d_state]
            found = rk.backward(p.forward(), np.ldexp(p.d_output, exponent), ends, norms=True).norms
            assert found is not None
            return found

        for exponent in exponents:
            for one, other in zip(norms(exponent), norms(0), strict=True):
                np.testing.assert_allclose(np.ldexp(one, -exponent), other, rtol=1e-5, atol=0, err_msg=str(exponent))


def test_norms_of_nothing_and_of_what_is_no_number() -> None:
    p = make("gru", (2, 3, 4, 21), "float32")
    d_output = np.zeros_like(p.d_output)
    d_output[1, 1, 3], d_output[1, 2, 4] = np.inf, np.nan
    found = rk.backward(p.forward(), d_output, norms=True).norms
    assert found is not None
    np.testing.assert_array_equal(found[0][1], np.array([0, np.inf, np.nan], "f4"))


def test_an_open_forget_gate_carries_all_of_the_gradient() -> None:
    """With f = 1 and nothing from h the LSTM's dL/dc has one norm at every step: the constant error carousel."""
    p = make("lstm_nfg", (20, 3, 4, 16))
    p.params["weight_hh"][:] = 0
    p.params["weight_diagonal"][:] = 0
    d_state = (np.zeros_like(p.state[0]), p.d_state[1])
    grads = rk.backward(p.forward(), None, d_state, norms=True)
    assert grads.norms is not None
    np.testing.assert_allclose(grads.norms[1], np.broadcast_to(np.linalg.norm(d_state[1], axis=1), (20, 3)), rtol=1e-14)


# ---- a held cell state ---------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [cell for cell in rk.cells() if "cell_clip" in rk.cell_info(cell)["settings"]])
def test_cell_clip(cell: str) -> None:
    for shape, dtype in ((SHAPE, "float32"), ((3, 2, 4, 9), "float64")):
        p = make(cell, shape, dtype)
        p.params["weight_ih"] *= 3
        exact = {name: value.astype(np.float64) for name, value in p.params.items()}
        limit = 0.5
        run = p.forward(cell_clip=limit, all_states=True)
        assert run.states is not None
        held = np.abs(run.states[1]) == limit
        assert 0.1 < held.mean() < 0.9
        output, _ = reference.forward(cell, p.x, exact, p.state, cell_clip=limit)
        length = 4 * gradient_length(*shape)
        assert_close(run.output, output, "output", length)
        grads = rk.backward(run, p.d_output, p.d_state)
        _dx, d_params, d_state = reference.gradients(cell, p.x, exact, p.state, p.d_output, p.d_state, cell_clip=limit)
        for name, value in grads.params.items():
            assert_close(value, d_params[name], "gradient", length, name)
        for mine, theirs in zip(grads.state, d_state, strict=True):
            assert_close(mine, theirs, "gradient", length)
        if rk.backend() == "cpu":  # prepared layers are the CPU's
            layer = rk.Prepared(cell, p.params, cell_clip=limit)
            assert layer.forward(p.x, p.state)[0].tobytes() == run.output.tobytes()
            assert layer.stepper(shape[1], p.state)(p.x[0]).tobytes() == run.output[0].tobytes()
        assert p.forward(cell_clip=1e30).output.tobytes() == p.forward().output.tobytes()


def test_cell_clip_says_what_is_wrong() -> None:
    lstm, gru = make("lstm", SHAPE), make("gru", SHAPE)
    with pytest.raises(ValueError, match=r"cell_clip: gru has none, got 1.0"):
        gru.forward(cell_clip=1.0)
    with pytest.raises(ValueError, match="cell_clip: expected a number above 0, got 0"):
        lstm.forward(cell_clip=0)
    with pytest.raises(TypeError, match="cell_clip: expected a number, got '1'"):
        lstm.forward(cell_clip="1")


def test_states_say_what_is_wrong() -> None:
    p = make("lstm", SHAPE)
    run = p.forward(all_states=True)
    with pytest.raises(ValueError, match=r"d_states: expected 2 arrays or None \(h, c\), got 1"):
        rk.backward(run, p.d_output, d_states=(None,))
    with pytest.raises(ValueError, match=r"d_states\[0\]: expected None, as h's gradient is d_output"):
        rk.backward(run, None, d_states=(p.d_output, None))
    with pytest.raises(ValueError, match=r"d_states\[1\]: expected shape \(T, B, H\) = \(7, 4, 19\), got \(6, 4, 19\)"):
        rk.backward(run, None, d_states=(None, p.d_output[1:]))


# ---- memory="states" and all options together ----------------------------------------------------


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", FORMS)
def test_every_choice_of_memory_gives_the_same_bits(cell: str, tokens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnkernels.memory.states.ROWS", 9)  # several pieces
    p = make(cell, SHAPE, "float32", tokens=tokens)
    noise = rk.Noise(
        3, zoneout=zoneout_of(cell, 0.3), recurrent_dropout=0.4, weight_dropout=0.2, per_step=True, first_step=5
    )
    rng = np.random.default_rng(0)
    resets = rng.random(SHAPE[:2]) < 0.2
    term = rng.standard_normal((SHAPE[1], len(p.params["weight_ih"]))).astype("f4")
    d_states = (None, *(rng.standard_normal((SHAPE[0], *s.shape)).astype("f4") for s in p.state[1:]))
    choices: list[dict[str, Any]] = [
        {},
        {"noise": noise},
        {"lengths": LENGTHS, "term": term, "noise": noise},
        {"reverse": True, "lengths": LENGTHS},
        {"resets": resets, "reset_state": p.d_state, "noise": noise},
    ]
    for options in choices:
        kept, named, params = [], [], []
        for memory in MEMORY:
            run = p.forward(memory=memory, all_states=True, **options)
            grads = rk.backward(run, p.d_output, p.d_state, norms=True, d_states=d_states)
            assert run.states is not None
            assert grads.norms is not None
            named.append([*run.states, *run.state, *grads.state, *grads.norms, *([] if grads.x is None else [grads.x])])
            params.append(
                [*grads.params.values(), *(grads.reset_state or ()), *([] if grads.term is None else [grads.term])]
            )
            kept.append(run.reserve_bytes)
            without = rk.backward(run, p.d_output, p.d_state, need_x=False)
            assert without.x is None
        for other in named[1:]:
            assert all(a.tobytes() == b.tobytes() for a, b in zip(named[0], other, strict=True))
        for other in params[1:]:
            for a, b in zip(params[0], other, strict=True):
                assert_close(b, a, "gradient", 4 * gradient_length(*SHAPE))
        assert kept[1] < kept[0] or cell in ("rnn_tanh", "rnn_relu", "indrnn")


def test_keeping_states_keeps_what_was_predicted() -> None:
    steps, batch, hidden = 3000, 4, 32
    for cell in ("lstm", "gru", "lstm_fgr"):
        p = make(cell, (steps, batch, 3, hidden), "float32")
        run = p.forward(memory="states")
        states = len(p.state)
        assert run.reserve_bytes == (states - 1) * steps * batch * hidden * 4
        predicted = rk.training_bytes(cell, steps, batch, hidden, memory="states")
        assert run.reserve_bytes < predicted < rk.training_bytes(cell, steps, batch, hidden)


def test_empty_sequences_in_every_choice_of_memory() -> None:
    p = make("lstm", (3, 2, 4, 5))
    for memory in MEMORY:
        grads = rk.backward(p.forward(memory=memory, lengths=[0, 0]), p.d_output)
        assert not any(value.any() for value in (*grads.state, *grads.params.values()))
    for shape in ((0, 3, 4, 5), (3, 0, 4, 5), (1, 1, 1, 1)):
        p = make("lstm", shape)
        for memory in MEMORY:
            grads = rk.backward(p.forward(memory=memory), p.d_output, p.d_state)
            whole = rk.backward(p.forward(), p.d_output, p.d_state)
            for a, b in zip(
                (*grads.state, *grads.params.values()), (*whole.state, *whole.params.values()), strict=True
            ):
                np.testing.assert_allclose(a, b)
