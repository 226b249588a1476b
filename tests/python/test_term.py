"""A term in single steps, prepared layers, steppers and stacks: the bits of `forward`, which the parity tests check."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from problems import FORMS, Array, make

import rnnkernels as rk

SHAPE = T, B, I, H = 5, 3, 6, 7  # noqa: E741


def term_of(cell: str, width: int = H, dtype: str = "float32", seed: int = 7) -> Array:
    gates = rk.cell_info(cell)["rows"][0]
    drawn: Array = np.random.default_rng(seed).standard_normal((B, gates * width)).astype(dtype)
    return drawn


def assert_bits(found: Any, expected: Any) -> None:
    np.testing.assert_equal(found, expected)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", FORMS)
def test_steps_with_a_term_are_the_sequence_with_it(cell: str, dtype: str, tokens: bool) -> None:
    p = make(cell, SHAPE, dtype, tokens=tokens)
    term = term_of(cell, dtype=dtype)
    run = rk.forward(cell, p.x, p.params, p.state, term=term, training=False)
    without = rk.forward(cell, p.x, p.params, p.state, training=False)
    assert abs(run.output - without.output).max() > 1e-3
    prepared = rk.Prepared(cell, p.params, tokens=tokens)
    stepper = prepared.stepper(B, p.state, term=term)
    one = two = tuple(p.state)
    for x_t, expected in zip(p.x, run.output, strict=True):
        one = rk.step(cell, x_t, p.params, one, term=term)
        two = prepared.step(x_t, two, term=term)
        for found in (one[0], two[0], stepper(x_t)):
            assert_bits(found, expected)
    for states in (one, two, stepper.state):
        assert_bits(states, run.state)


def test_a_stepper_keeps_its_own_term() -> None:
    p = make("gru", SHAPE, "float32")
    prepared, term, other = rk.Prepared("gru", p.params), term_of("gru"), term_of("gru", seed=8)

    def expected(added: Any) -> Array:
        return rk.step("gru", p.x[0], p.params, term=added)[0]

    plain = prepared.stepper(B)
    assert_bits(plain(p.x[0]), expected(None))
    plain.reset(term=term)  # one without a term may be given one
    assert_bits(plain(p.x[0]), expected(term))

    given = term.copy()
    stepper = prepared.stepper(B, term=given)
    given[:] = np.nan
    assert_bits(stepper(p.x[0]), expected(term))
    stepper.reset()
    assert_bits(stepper(p.x[0]), expected(term))
    for again in (copy.copy(stepper), copy.deepcopy(stepper), pickle.loads(pickle.dumps(stepper))):
        assert_bits(again(p.x[1]), rk.step("gru", p.x[1], p.params, stepper.state, term=term)[0])
    for wrong in ((p.state[0],), None):  # nothing is changed by a reset that fails
        with pytest.raises(ValueError, match=r"^term: expected shape \(B, G\*H\) = \(3, 21\), got \(2, 21\)"):
            stepper.reset(wrong, term=other[:2])
    with pytest.raises(ValueError, match=r"^state\[0\]: expected shape"):
        stepper.reset((p.state[0][:2],), term=other)
    assert_bits(stepper(p.x[1]), rk.step("gru", p.x[1], p.params, (expected(term),), term=term)[0])
    stepper.reset(p.state, term=other.tolist())
    assert_bits(stepper(p.x[0]), rk.step("gru", p.x[0], p.params, p.state, term=other)[0])


def make_stack(cell: str, **options: Any) -> tuple[rk.Stack, Array, Array]:
    rng = np.random.default_rng(0)
    size = H if rk.cell_info(cell)["direct"] else I
    proj = 4 if rk.cell_info(cell)["projected"] else None
    if proj and rk.cell_info(cell)["direct"]:
        pytest.skip("no such cell")
    stack = rk.Stack(cell, size, H, 2, dtype="float64", rng=0, proj_size=proj, **options)
    return stack, rng.normal(size=(T, B, size)), rng.normal(size=(T, B, stack.output_size * stack.num_directions))


@pytest.mark.parametrize("cell", FORMS)
def test_a_stack_gives_each_layer_its_term(cell: str) -> None:
    stack, x, d_output = make_stack(cell)
    terms = (term_of(cell, dtype="float64"), term_of(cell, dtype="float64", seed=8))
    layers = [stack._layer(end) for end in ("_l0", "_l1")]
    first = rk.forward(cell, x, layers[0], term=terms[0])
    second = rk.forward(cell, first.output, layers[1], term=terms[1])
    run = stack.forward(x, term=terms)
    assert_bits(run.output, second.output)
    above = rk.backward(second, d_output)
    below = rk.backward(first, above.x)
    grads = stack.backward(run, d_output)
    assert_bits(grads.term, (below.term, above.term))
    assert_bits(grads.x, below.x)
    state = None
    for x_t, expected in zip(x, run.output, strict=True):
        state = stack.step(x_t, state, term=terms)
        assert_bits(state[-1][0], expected)


def test_one_array_is_the_first_layers() -> None:
    stack, x, d_output = make_stack("gru")
    term = term_of("gru", dtype="float64")
    run = stack.forward(x, term=term)
    assert_bits(run.output, stack.forward(x, term=(term, None)).output)
    first, second = stack.backward(run, d_output).term or (None, None)
    assert first is not None
    assert first.shape == term.shape
    assert second is None
    assert stack.backward(stack.forward(x), d_output).term is None
    assert_bits(stack.step(x[0], term=term), stack.step(x[0], term=[term, None]))
    for memory in ("states", "replay"):
        assert_bits(stack.forward(x, term=term, memory=memory).output, run.output)


def test_each_direction_has_its_own() -> None:
    stack, x, d_output = make_stack("lstm", bidirectional=True)
    terms = [term_of("lstm", dtype="float64", seed=k) for k in range(4)]
    run = stack.forward(x, term=terms)
    ways = [
        rk.forward("lstm", x, stack._layer(f"_l0{way}"), term=term, reverse=bool(way))
        for way, term in zip(("", "_reverse"), terms, strict=False)
    ]
    assert_bits(run.outputs[0], np.concatenate([way.output for way in ways], axis=2))
    found = stack.backward(run, d_output).term
    assert found is not None
    assert len(found) == 4
    with pytest.raises(TypeError, match=r"^term: expected an array for each of 4 layers and directions"):
        stack.forward(x, term=terms[0])


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (np.zeros((B, 2 * H)), ValueError, r"term: expected shape \(B, G\*H\) = \(3, 21\), got \(3, 14\)"),
        (np.zeros((B, 3 * H), "f"), TypeError, "term: expected dtype float64, the parameters', got float32"),
        ((np.zeros((B, 3 * H)),), ValueError, "term: expected 2 layers, got 1"),
        ("nonsense", TypeError, "term: expected an array for each of 2 layers, or None, got 'nonsense'"),
    ],
)
def test_what_does_not_fit_is_said(wrong: Any, error: type[Exception], message: str) -> None:
    stack, x, _ = make_stack("gru")
    with pytest.raises(error, match=f"^{message}"):
        stack.forward(x, term=wrong)
    with pytest.raises(error, match=f"^{message}"):
        stack.step(x[0], term=wrong)
    if isinstance(wrong, np.ndarray):
        prepared = rk.Prepared("gru", stack._layer("_l0"))
        for call in (
            lambda: rk.step("gru", x[0], stack._layer("_l0"), term=wrong),
            lambda: prepared.step(x[0], term=wrong),
            lambda: prepared.stepper(B, term=wrong),
            lambda: prepared.stepper(B).reset(term=wrong),
        ):
            with pytest.raises(error, match=f"^{message}"):
                call()
