"""Weights of int8 in prepared layers: the reference's numbers, and what else a row's results may depend on: nothing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from problems import EMPTY_SHAPES, FORMS, SHAPES, Array, every_cell_and_every_set, make, sets, zoneout_of

import rnnkernels as rk
from rnnkernels import _cpu
from rnnkernels.reference import low_precision

# Off and on the 8 numbers of x that share a scale and the groups of 4 that an instruction takes, and many blocks.
WIDE = [(2, 3, 32, 64), (2, 1, 65, 31), (2, 5, 100, 33)]

# A state's last bit may move an integer of the next step by one: about a scale of the weights times one of the state.
ONE_STEP, SEVERAL = 4e-6, 2e-3


def assert_bits(found: Any, expected: Any) -> None:
    for one, two in zip(found, expected, strict=True):
        assert one.tobytes() == two.tobytes()


def flat(result: tuple[Array, tuple[Array, ...]]) -> list[Array]:
    return [result[0], *result[1]]


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize(("cell", "isa"), every_cell_and_every_set())
def test_agrees_with_the_reference(cell: str, isa: str, tokens: bool) -> None:
    rk.set_instruction_set(isa)
    for shape in [*SHAPES, *WIDE]:
        p = make(cell, shape, "float32", tokens=tokens)
        layer = rk.Prepared(cell, p.params, weights="int8", tokens=tokens)
        state = p.state
        for t in range(len(p.x)):  # each step from the kernels' own states: the same numbers are quantised
            after = layer.step(p.x[t], state)
            _, expected = low_precision.forward(cell, p.x[t : t + 1], p.params, state, arithmetic="int8")
            for mine, theirs in zip(after, expected, strict=True):
                distance = np.abs(mine - theirs)
                limit = ONE_STEP * max(1.0, float(np.abs(theirs).max()))
                assert np.median(distance) <= limit
                assert distance.max() <= (SEVERAL if inner_product(cell) else limit)
            state = after
        output, final = layer.forward(p.x, p.state)
        assert_bits(final, state)
        expected_output, _ = low_precision.forward(cell, p.x, p.params, p.state, arithmetic="int8")
        assert np.abs(output - expected_output).max() <= 10 * SEVERAL


def inner_product(cell: str) -> bool:
    """Whether a product multiplies what the step itself makes, in float32: r h, or what is projected."""
    operands = {operand for _, _, operand in rk.cell_info(cell)["gates"]}
    return "gated" in operands or rk.cell_info(cell)["projected"]


@pytest.mark.parametrize("cell", FORMS)
def test_every_set_and_every_kernel_has_the_same_integers(cell: str) -> None:
    """The sums are exact, so what sets differ in is the cell's functions alone."""
    p = make(cell, (1, 3, 70, 33), "float32")
    found = {}
    for isa in sets():
        rk.set_instruction_set(isa)
        layer = rk.Prepared(cell, p.params, weights="int8")
        assert layer._layer.instruction_set == isa
        bits = []
        for kernels in _cpu.low_kernels("int8")[0]:
            _cpu.choose_low_kernels("int8", kernels)
            bits.append(flat(rk.Prepared(cell, p.params, weights="int8").forward(p.x, p.state)))
        _cpu.choose_low_kernels("int8", None)
        found[isa] = bits[0]
        for other in bits[1:]:
            assert_bits(other, bits[0])
        assert_bits(flat(layer.forward(p.x, p.state)), bits[0])
    for others in found.values():
        for mine, first in zip(others, next(iter(found.values())), strict=True):
            np.testing.assert_allclose(mine, first, atol=SEVERAL if inner_product(cell) else ONE_STEP)


@pytest.mark.parametrize("cell", FORMS)
def test_quantised_parameters_give_the_same_bits(cell: str) -> None:
    for shape in [*SHAPES, *WIDE, *EMPTY_SHAPES]:
        for bias in (True, False):
            p = make(cell, shape, "float32", bias=bias)
            expected = flat(rk.Prepared(cell, p.params, weights="int8").forward(p.x, p.state))
            layer = rk.Prepared(cell, rk.quantize_params(cell, p.params))
            assert layer.weights == "int8"
            for threads in (1, 3):
                rk.set_num_threads(threads)
                assert_bits(flat(layer.forward(p.x, p.state)), expected)


@pytest.mark.parametrize("cell", FORMS)
def test_a_row_does_not_see_its_neighbours(cell: str) -> None:
    p = make(cell, (4, 13, 33, 20), "float32")
    layer = rk.Prepared(cell, p.params, weights="int8")
    output, final = layer.forward(p.x, p.state)
    for rows in (slice(0, 1), slice(5, 7), slice(1, 13)):
        alone = p.rows(rows)
        assert_bits(
            flat(layer.forward(alone.x, alone.state)), [output[:, rows].copy(), *(s[rows].copy() for s in final)]
        )
    loud = p.x.copy()
    loud[:, 3] *= 1e6
    loud[:, 8] = np.nan
    others = [k for k in range(13) if k not in (3, 8)]
    assert_bits([layer.forward(loud, p.state)[0][:, others].copy()], [output[:, others].copy()])


@pytest.mark.parametrize("cell", FORMS)
def test_a_step_does_not_see_the_next_one(cell: str) -> None:
    p = make(cell, (6, 3, 33, 20), "float32")
    layer = rk.Prepared(cell, p.params, weights="int8")
    output, _ = layer.forward(p.x, p.state)
    loud = p.x.copy()
    loud[4:] *= 1e6
    assert_bits([layer.forward(loud, p.state)[0][:4].copy()], [output[:4].copy()])
    assert_bits([layer.forward(p.x[:4], p.state)[0]], [output[:4].copy()])


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "lstm_projected"])
def test_padding_resets_and_the_other_direction(cell: str) -> None:
    p = make(cell, (6, 3, 33, 20), "float32")
    layer = rk.Prepared(cell, p.params, weights="int8")
    lengths = np.array([6, 2, 4])
    padded = p.x.copy()
    for row, length in enumerate(lengths):
        padded[length:, row] = 1e6
    output, final = layer.forward(padded, p.state, lengths=lengths)
    for row, length in enumerate(lengths):
        alone = p.rows(slice(row, row + 1))
        found = [output[:length, row : row + 1].copy(), *(s[row : row + 1].copy() for s in final)]
        assert_bits(found, flat(layer.forward(alone.x[:length], alone.state)))
    backwards = layer.forward(p.x[::-1].copy(), p.state)
    assert_bits(flat(layer.forward(p.x, p.state, reverse=True)), [backwards[0][::-1].copy(), *backwards[1]])
    resets = np.zeros((6, 3), bool)
    resets[3] = True
    second = layer.forward(p.x[3:])
    assert_bits([layer.forward(p.x, p.state, resets=resets)[0][3:].copy()], [second[0]])


def test_a_term_noise_and_a_limit() -> None:
    p = make("lstm", (3, 2, 33, 20), "float32")
    noise = rk.Noise(3, zoneout_of("lstm", 0.3), recurrent_dropout=0.2)
    layer = rk.Prepared("lstm", p.params, weights="int8", noise=noise, cell_clip=0.1)
    found = layer.forward(p.x, p.state)
    expected = low_precision.forward("lstm", p.x, p.params, p.state, arithmetic="int8", noise=noise, cell_clip=0.1)
    np.testing.assert_allclose(found[0], expected[0], atol=10 * SEVERAL)
    term = np.full((2, 80), 0.5, np.float32)
    biased = p.params | {"bias_ih": p.params["bias_ih"] + np.float32(0.5)}
    plain = rk.Prepared("lstm", p.params, weights="int8")
    shifted = rk.Prepared("lstm", biased, weights="int8")
    np.testing.assert_allclose(plain.forward(p.x, term=term)[0], shifted.forward(p.x)[0], atol=10 * SEVERAL)


@pytest.mark.parametrize("cell", ["lstm", "gru", "mut3"])
def test_a_token_is_a_vector_of_zeros_and_a_one(cell: str) -> None:
    p = make(cell, (1, 3, 9, 20), "float32", tokens=True)
    vectors = rk.Prepared(cell, p.params, weights="int8").forward(np.eye(9, dtype=np.float32)[p.x], p.state)
    tokens = rk.Prepared(cell, p.params, weights="int8", tokens=True).forward(p.x, p.state)
    for one, two in zip(flat(vectors), flat(tokens), strict=True):
        np.testing.assert_allclose(one, two, atol=SEVERAL if inner_product(cell) else ONE_STEP)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_makes_its_row_none(value: float) -> None:
    p = make("rnn_tanh", (2, 3, 70, 33), "float32")
    p.x[0, 1, 40] = value
    output, _ = rk.Prepared("rnn_tanh", p.params, weights="int8").forward(p.x, p.state)
    np.testing.assert_array_equal(np.isnan(output), np.broadcast_to([[[False], [True], [False]]], output.shape))


def test_zeros_and_rows_of_zeros() -> None:
    p = make("gru", (2, 2, 9, 20), "float32")
    for name in ("weight_ih", "weight_hh"):
        p.params[name][3] = 0
    p.x[0] = 0
    found = rk.Prepared("gru", p.params, weights="int8").forward(p.x)
    assert np.isfinite(found[0]).all()
    nothing = {name: np.zeros_like(value) for name, value in p.params.items()}
    assert not rk.Prepared("gru", nothing, weights="int8").forward(p.x)[0].any()


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", FORMS)
def test_a_stepper_gives_the_bits_of_the_sequence(cell: str, tokens: bool) -> None:
    for shape in [(5, 3, 6, 37), (5, 1, 40, 20)]:
        p = make(cell, shape, "float32", tokens=tokens)
        layer = rk.Prepared(cell, p.params, weights="int8", tokens=tokens)
        output, final = layer.forward(p.x, p.state)
        stepper = layer.stepper(shape[1], p.state)
        for x_t, expected in zip(p.x, output, strict=True):
            assert_bits([stepper(x_t)], [expected])
        assert_bits(stepper.state, final)


def test_copies_and_pickles_hold_the_integers() -> None:
    p = make("lstm", (3, 2, 33, 40), "float32")
    layer = rk.Prepared("lstm", rk.quantize_params("lstm", p.params))
    expected = flat(layer.forward(p.x, p.state))
    for value in p.params.values():
        value[...] = np.nan
    for other in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.weights == "int8"
        assert_bits(flat(other.forward(p.x, p.state)), expected)
    stepper = layer.stepper(2, p.state)
    stepper(p.x[0])
    assert_bits([pickle.loads(pickle.dumps(stepper))(p.x[1])], [stepper(p.x[1])])


def test_takes_a_quarter_of_the_memory() -> None:
    p = make("lstm", (1, 1, 256, 256), "float32")
    full, eighth = rk.Prepared("lstm", p.params), rk.Prepared("lstm", p.params, weights="int8")
    assert eighth.nbytes < 0.3 * full.nbytes


def test_backends_say_which_kernels_serve() -> None:
    for isa in rk.instruction_sets():
        rk.set_instruction_set(isa)
        assert f"int8 by {_cpu.low_kernels('int8')[1]}, " in rk.backends()["cpu"]
        serving = _cpu.low_kernels("bfloat16")[1]
        assert ("no bfloat16)" if serving is None else f"bfloat16 by {serving})") in rk.backends()["cpu"]


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({}, {"products": "bfloat16"}, ValueError, "products: expected 'full' with weights of int8, got 'bfloat16'"),
        ({"weight_hh": np.nan}, {}, ValueError, r"params\['weight_hh'\]: expected finite numbers .* in row 0"),
        ({"weight_ih": np.inf}, {}, ValueError, r"params\['weight_ih'\]: expected finite numbers .* in row 0"),
    ],
)
def test_wrong_use_is_named(change: Any, options: Any, error: type[Exception], message: str) -> None:
    params = make("lstm", (1, 1, 5, 6), "float32").params
    for name, value in change.items():
        params[name][0, 1] = value
    with pytest.raises(error, match=f"^{message}"):
        rk.Prepared("lstm", params, weights="int8", **options)


def test_float64_is_named() -> None:
    with pytest.raises(TypeError, match=r"^weights: int8 needs float32 parameters, got float64"):
        rk.Prepared("lstm", make("lstm", (1, 1, 5, 6), "float64").params, weights="int8")
