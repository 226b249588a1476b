"""`PreparedStack`: the bits of `Stack`, packed once; steps, files, copies; what does not fit is named."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import rnnkernels as rk

T, B, I, H = 6, 3, 5, 20  # noqa: E741
X = np.random.default_rng(0).standard_normal((T, B, I)).astype(np.float32)


def stack_of(cell: str = "lstm", layers: int = 2, **options: Any) -> rk.Stack:
    return rk.Stack(cell, I, H, layers, rng=0, **options)


def assert_bits(found: Any, expected: Any) -> None:
    for one, two in zip(found, expected, strict=True):
        assert one.tobytes() == two.tobytes()


def flat(output: Any, states: Any) -> list[Any]:
    return [output, *(s for state in states for s in state)]


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "mut1_projected", "lstm_projected"])
def test_gives_the_bits_of_the_stack(cell: str, bidirectional: bool, layers: int) -> None:
    options: Any = {"proj_size": 7, "recurrent_dropout": 0.1} if cell == "lstm_projected" else {"zoneout": 0.1}
    stack = stack_of(cell, layers, bidirectional=bidirectional, **options)
    prepared = stack.prepare()
    assert (prepared.num_layers, prepared.num_directions) == (layers, 1 + bidirectional)
    run = stack.forward(X, training=False)
    assert_bits(flat(*prepared.forward(X)), flat(run.output, run.state))
    state = tuple(tuple(s + np.float32(0.5) for s in of) for of in run.state)
    resets = np.random.default_rng(1).random((T, B)) < 0.3
    ragged: Any = {"lengths": [6, 2, 4], "resets": resets, "reset_state": state}
    run = stack.forward(X, state, training=False, **ragged)
    assert_bits(flat(*prepared.forward(X, state, **ragged)), flat(run.output, run.state))
    gates = rk.cell_info(cell)["rows"][0] * H
    term = [np.full((B, gates), 0.5, np.float32), *[None] * (len(run.state) - 1)]
    run = stack.forward(X, training=False, term=term)
    assert_bits(flat(*prepared.forward(X, term=term)), flat(run.output, run.state))


def test_tokens_and_a_limit() -> None:
    stack, tokens = stack_of(cell_clip=0.2), np.random.default_rng(2).integers(0, I, (T, B))
    run = stack.forward(tokens, training=False)
    assert_bits(flat(*stack.prepare(tokens=True).forward(tokens)), flat(run.output, run.state))


@pytest.mark.parametrize("weights", ["full", "bfloat16", "int8"])
def test_a_stepper_gives_the_bits_of_the_sequence(weights: str) -> None:
    prepared = stack_of().prepare(weights=weights)
    output, final = prepared.forward(X)
    stepper = prepared.stepper(B)
    for x_t, expected in zip(X, output, strict=True):
        assert_bits([stepper(x_t)], [expected])
    assert_bits(flat(output[0], stepper.state), flat(output[0], final))
    going, copied = stepper, pickle.loads(pickle.dumps(stepper))
    assert_bits([copied(X[0])], [going(X[0])])
    stepper.reset(final)
    after = stepper(X[0]).copy()
    with pytest.raises(ValueError, match=r"^state: expected 2, one for each layer"):
        stepper.reset(final[:1])
    with pytest.raises(ValueError, match=r"^state\[1\]\[0\]: expected shape"):
        stepper.reset((final[0], tuple(s[:1] for s in final[1])))
    second = stepper(X[1]).copy()
    stepper.reset(final)
    assert_bits([after, second], [stepper(X[0]).copy(), stepper(X[1])])


def test_int8_is_the_layers_one_by_one() -> None:
    stack = stack_of(bidirectional=True)
    quantized = rk.quantize_params("lstm", stack.params)
    for prepared in (stack.prepare(weights="int8"), rk.PreparedStack("lstm", quantized)):
        assert {layer.weights for layer in prepared.layers} == {"int8"}
        x, made = X, iter(prepared.layers)
        for _ in range(2):
            x = np.concatenate([next(made).forward(x)[0], next(made).forward(x, reverse=True)[0]], -1)
        assert_bits([prepared.forward(X)[0]], [x])
        exact = stack.forward(X, training=False).output
        assert 0 < np.abs(x - exact).max() < 0.02


def test_copies_pickles_and_its_text() -> None:
    prepared = stack_of(bidirectional=True).prepare(weights="int8")
    expected = flat(*prepared.forward(X))
    for other in (copy.copy(prepared), copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared))):
        assert_bits(flat(*other.forward(X)), expected)
    text = "PreparedStack('lstm', I=5, H=20, layers=2, directions=2, float32, weights='int8', "
    assert repr(prepared).startswith(text)
    assert repr(stack_of().prepare().stepper(3)).endswith("batch_size=3)")
    assert prepared.nbytes == sum(layer.nbytes for layer in prepared.layers)


def test_what_does_not_fit_is_named() -> None:
    params = stack_of().params
    reverse = stack_of(bidirectional=True).params
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "a layer": (rk.init_params("lstm", I, H), "params: expected weight_ih_l0 .* a layer alone is a Prepared"),
        "a gap": (
            {n.replace("_l1", "_l2"): w for n, w in params.items()},
            "params: expected weight_ih_l1, of 3 layers",
        ),
        "half a direction": (
            {n: w for n, w in reverse.items() if n[-10:] != "l1_reverse"},
            "params: expected weight_ih_l1_reverse, of 2 layers",
        ),
        "another width": (
            params | {n: w for n, w in rk.Stack("lstm", I, 9, 2).params.items() if n.endswith("_l1")},
            r"params\['weight_ih_l1'\]: expected 20 inputs and 20 outputs, by the layers below, got 9 and 9",
        ),
        "no weight": (
            {n: w for n, w in params.items() if n != "weight_hh_l1"},
            "params: of layer _l1, expected weight_ih, weight_hh .* got no weight_hh",
        ),
        "another shape": (params | {"bias_ih_l1": np.ones(3, "f4")}, r"params\['bias_ih_l1'\]: expected shape"),
    }
    for given, message in wrong.values():
        with pytest.raises(ValueError, match=f"^{message}"):
            rk.PreparedStack("lstm", given)
    with pytest.raises(ValueError, match=r"^stack: expected one direction"):
        stack_of(bidirectional=True).prepare().stepper()


def test_a_stack_has_steppers_that_share_nothing() -> None:
    stack = stack_of("gru", 3)
    expected = stack.forward(X, training=False)
    stepper = stack.stepper(B)
    for x_t in X[:3]:
        stepper(x_t)
    others = [copy.copy(stepper), copy.deepcopy(stepper), pickle.loads(pickle.dumps(stepper))]
    for other in others:  # each goes on by itself
        assert_bits([other(x_t).copy() for x_t in X[3:]], expected.output[3:])
    assert_bits([stepper(x_t.tolist()).copy() for x_t in X[3:].astype(np.float64)], expected.output[3:])
    for other in (stepper, *others):
        assert_bits(flat(expected.output, other.state), flat(expected.output, expected.state))
    begun = stack.stepper(B, stepper.state)
    assert_bits([begun(X[0])], [stepper(X[0])])


@pytest.mark.parametrize(
    ("x_t", "error", "words"),
    [
        (X[0][:, 1:], ValueError, r"^x_t: expected shape"),
        (X[0].astype(np.float64), TypeError, r"^x_t: expected "),
        (X[0][:1], ValueError, r"^x_t: expected the stepper's batch size"),
        (np.zeros(B, np.int64), TypeError, r"^x_t: expected vectors"),
    ],
)
def test_what_is_no_step_moves_no_layer(x_t: Any, error: type[Exception], words: str) -> None:
    stepper = stack_of("gru", 2).stepper(B)
    stepper(X[0])
    before = stepper.state
    with pytest.raises(error, match=words):
        stepper(x_t)
    assert_bits(flat(X, stepper.state), flat(X, before))


def test_steps_in_both_directions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^stack: expected one direction; the reverse one begins with the last step"):
        stack_of(bidirectional=True).stepper(B)
    with pytest.raises(TypeError, match="batch_size"):
        stack_of().stepper("3")  # type: ignore[arg-type]
