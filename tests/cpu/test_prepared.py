"""Prepared layers and steppers: the bits of `forward`, for as long as they live; bfloat16; wrong use is named."""

from __future__ import annotations

import threading
from typing import Any, cast

import numpy as np
import pytest
from problems import EMPTY_SHAPES, FORMS, SHAPES, Array, make

import rnnkernels as rk


def round_to_bfloat16(x: Array) -> Array:
    """Nearest even, an independent way: in exact integers of the mantissa."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    rounded: Array = np.ldexp(np.rint(np.ldexp(mantissa, 8)), exponent - 8).astype(np.float32)
    return rounded


def assert_bits(found: Array, expected: Array) -> None:
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", FORMS)
def test_gives_the_bits_of_forward(cell: str, dtype: str, tokens: bool) -> None:
    for shape in [*SHAPES, *EMPTY_SHAPES]:
        for bias in (True, False):
            p = make(cell, shape, dtype, tokens=tokens, bias=bias)
            run = p.forward(training=False)
            layer = rk.Prepared(cell, p.params, tokens=tokens)
            for threads in (1, 3):
                rk.set_num_threads(threads)
                output, state = layer.forward(p.x, p.state)
                assert_bits(output, run.output)
                for mine, theirs in zip(state, run.state, strict=True):
                    assert_bits(mine, theirs)
    assert_bits(layer.forward(p.x)[0], rk.forward(cell, p.x, p.params).output)  # states left out: zeros


@pytest.mark.parametrize("cell", FORMS)
def test_bfloat16_is_float32_with_rounded_weights(cell: str) -> None:
    for shape in [*SHAPES, (3, 1, 40, 70), (3, 2, 7, 129)]:
        for tokens in (False, True):
            p = make(cell, shape, "float32", tokens=tokens)
            layer = rk.Prepared(cell, p.params, weights="bfloat16", tokens=tokens)
            matrices = [name for name, value in p.params.items() if value.ndim == 2]
            rounded = p.params | {name: round_to_bfloat16(p.params[name]) for name in matrices}
            output, state = layer.forward(p.x, p.state)
            run = rk.forward(cell, p.x, rounded, p.state)
            assert_bits(output, run.output)
            for mine, theirs in zip(state, run.state, strict=True):
                assert_bits(mine, theirs)


def test_bfloat16_rounds_to_nearest_even_and_keeps_nan_and_infinity(isa: str) -> None:
    halves = np.array([0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x80000000], np.uint32).view(np.float32)
    special = np.array([np.nan, np.inf, -np.inf, -np.nan, 3.4e38], np.float32)
    for values in (halves, special):
        n = len(values)
        params = {"weight_ih": values[:, None].copy(), "weight_hh": np.zeros((n, n), np.float32)}
        found = rk.Prepared("rnn_relu", params, weights="bfloat16").forward(np.ones((1, 1, 1), np.float32))[0][0, 0]
        if values is halves:
            assert_bits(found, np.array([1.0, 1.015625, 1.0, 1.0078125, 0.0], np.float32))
        else:
            expected = np.array([np.nan, np.inf, 0.0, np.nan, np.inf], np.float32)
            np.testing.assert_array_equal(found, expected)


def test_bfloat16_takes_half_the_memory() -> None:
    p = make("lstm", (1, 1, 256, 256), "float32")
    full, half = rk.Prepared("lstm", p.params), rk.Prepared("lstm", p.params, weights="bfloat16")
    assert full.nbytes > 2 * 256 * 1024 * 4
    assert half.nbytes < 0.51 * full.nbytes


def test_is_a_copy_and_keeps_its_instruction_set() -> None:
    p = make("gru", (4, 3, 5, 20), "float32")
    layer = rk.Prepared("gru", p.params)
    expected = p.forward().output
    for value in p.params.values():
        value[:] = np.nan
    rk.set_instruction_set("scalar")
    assert_bits(layer.forward(p.x, p.state)[0], expected)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", FORMS)
def test_a_stepper_gives_the_bits_of_the_sequence(cell: str, tokens: bool) -> None:
    for shape in [(9, 3, 6, 37), (9, 1, 30, 20), (5, 1, 4, 300)]:
        p = make(cell, shape, "float32", tokens=tokens)
        layer = rk.Prepared(cell, p.params, tokens=tokens)
        output, final = layer.forward(p.x, p.state)
        stepper = layer.stepper(shape[1], p.state)
        for threads in (1, 2):
            rk.set_num_threads(threads)
            for x_t, expected in zip(p.x, output, strict=True):
                assert_bits(stepper(x_t), expected)
            for mine, theirs in zip(stepper.state, final, strict=True):
                assert_bits(mine, theirs)
            stepper.reset(p.state)
        stepper.reset()
        assert_bits(stepper(p.x[0]), layer.step(p.x[0])[0])
        assert_bits(layer.step(p.x[0])[0], rk.step(cell, p.x[0], p.params)[0])


def test_a_stepper_can_be_fed_what_it_gave() -> None:
    p = make("lstm", (1, 2, 20, 20), "float32")
    layer = rk.Prepared("lstm", p.params)
    stepper = layer.stepper(2)
    fed = kept = stepper(p.x[0])
    state = rk.step("lstm", p.x[0], p.params)
    for _ in range(5):
        fed = stepper(fed)
        state = rk.step("lstm", state[0], p.params, state)
        assert_bits(fed, state[0])
    expected = rk.step("lstm", kept.copy(), p.params, state)[0]
    assert_bits(stepper(kept), expected)  # x in the memory this very step writes to


def test_a_steppers_state_is_a_copy_and_a_failed_step_changes_nothing() -> None:
    p = make("lstm", (1, 2, 5, 6), "float32")
    stepper = rk.Prepared("lstm", p.params).stepper(2)
    stepper(p.x[0])
    before = stepper.state
    stepper.state[0][:] = 7
    for wrong in (p.x[0][:1], p.x[0].astype("f8"), p.x, np.array([1, 2]), None):
        with pytest.raises((TypeError, ValueError)):
            stepper(cast("Array", wrong))
    with pytest.raises(ValueError, match=r"state\[1\]: expected shape"):
        stepper.reset((p.state[0], p.state[1][:1]))
    for mine, kept in zip(stepper.state, before, strict=True):
        assert_bits(mine, kept)


def test_lists_strided_arrays_and_small_integers_are_taken() -> None:
    p = make("gru", (1, 2, 5, 6), "float32")
    expected = rk.step("gru", p.x[0], p.params)[0]
    for x_t in (p.x[0].tolist(), np.asfortranarray(p.x[0]), np.repeat(p.x[0], 2, axis=1)[:, ::2]):
        assert_bits(rk.Prepared("gru", p.params).stepper(2)(x_t), expected)
    table = rk.Prepared("gru", p.params, tokens=True)
    for token in ([1, 4], np.array([1, 4], np.uint8), np.array([1, 4], np.uint64), np.array([1, 9, 4])[::2]):
        assert_bits(table.stepper(2)(token), rk.step("gru", [1, 4], p.params)[0])


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda p: rk.Prepared("lstn", p), ValueError, "cell: expected one of"),
        (lambda p: rk.Prepared("gru", p), ValueError, r"params\['weight_ih'\]: expected shape"),
        (lambda p: rk.Prepared("lstm", {k: p[k] for k in ["weight_hh"]}), ValueError, "params: expected weight_ih"),
        (lambda p: rk.Prepared("lstm", p, weights="float16"), ValueError, "weights: expected one of full, bfloat16"),
        (lambda p: rk.Prepared("lstm", p, weights=cast("str", 16)), TypeError, "weights: expected one of .*, got 16"),
        (
            lambda p: rk.Prepared("lstm", {k: v.astype("f8") for k, v in p.items()}, weights="bfloat16"),
            TypeError,
            "weights: bfloat16 needs float32 parameters, got float64",
        ),
        (lambda p: rk.Prepared("lstm", p).stepper(-1), ValueError, "batch_size: expected at least 0"),
        (
            lambda p: rk.Prepared("lstm", p).stepper(cast("int", 1.5)),
            TypeError,
            "batch_size: expected an integer, got 1.5",
        ),
        (lambda p: rk.Stepper(p, 1), TypeError, "layer: expected a Prepared, got dict"),
        (lambda p: rk.Prepared("lstm", p).forward(np.zeros((1, 1), int)), TypeError, "x: expected vectors.*got tokens"),
        (
            lambda p: rk.Prepared("lstm", p, tokens=True).forward(np.zeros((1, 1, 5), "f4")),
            TypeError,
            "x: expected tokens.*got vectors",
        ),
        (
            lambda p: rk.Prepared("lstm", p, tokens=True).stepper(2)(np.array([0, 5])),
            ValueError,
            r"x_t: expected tokens in \[0, 5\), got 5 at \[0, 1\]",
        ),
        (
            lambda p: rk.Prepared("lstm", p).stepper(2)(np.zeros((3, 5), "f4")),
            ValueError,
            "x_t: expected the stepper's",
        ),
        (lambda p: rk.Prepared("lstm", p).step(np.zeros(5, "f4")), ValueError, r"x_t: expected shape \(B, I\)"),
    ],
)
def test_wrong_use_is_named(use: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        use(make("lstm", (1, 1, 5, 6), "float32").params)


def test_many_threads_share_one_layer() -> None:
    p = make("lstm", (20, 3, 9, 70), "float32")
    layer = rk.Prepared("lstm", p.params)
    expected = layer.forward(p.x, p.state)[0].tobytes()
    same: list[bool] = []

    def work() -> None:
        same.extend(layer.forward(p.x, p.state)[0].tobytes() == expected for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 80


def test_two_threads_in_one_stepper_are_told() -> None:
    """Either every step was taken alone, or the second one was refused; never both inside."""
    p = make("lstm", (1, 1, 300, 300), "float32")
    stepper = rk.Prepared("lstm", p.params).stepper()
    refused: list[str] = []

    def work() -> None:
        for _ in range(300):
            try:
                stepper(p.x[0])
            except RuntimeError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(refused) <= {"stepper: expected one call at a time, got a second one"}
    assert np.isfinite(stepper.state[0]).all()


def test_repr_says_what_it_is() -> None:
    p = make("lstm", (1, 1, 5, 6), "float32")
    layer = rk.Prepared("lstm", p.params, weights="bfloat16", tokens=True)
    assert repr(layer).startswith("Prepared('lstm', I=5, H=6, float32, weights='bfloat16', tokens, ")
    assert repr(layer.stepper(3)).endswith("batch_size=3)")
