"""The reference of products in low precision, against its words: integers in Python's own, sums as fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from problems import make

import rnnkernels as rk
from rnnkernels import reference
from rnnkernels.reference import low_precision

if TYPE_CHECKING:
    from problems import Array


def test_a_matrix_becomes_integers_and_a_scale_for_each_row() -> None:
    w = np.array([[0.5, -1.0, 0.25], [0.0, 0.0, 0.0], [2.0**-140, 1.0, 0.5 / 127 * 1.0000001]], np.float32)
    integers, scale = low_precision.quantize(w)
    np.testing.assert_array_equal(scale, np.array([1.0, 0.0, 1.0], np.float32) / np.float32(127))
    np.testing.assert_array_equal(integers, [[64, -127, 32], [0, 0, 0], [0, 127, 1]])
    assert integers.dtype == np.int8
    assert scale.dtype == np.float32


def test_a_vector_has_one_scale_and_what_rounding_left_a_second_plane() -> None:
    a = np.zeros(19, np.float32)
    a[0], a[7], a[8], a[18] = 1.0, -0.5, 100.0, -2.0
    integers, left, scale = low_precision.quantize_rows(a)
    assert (integers.shape, left.shape, scale.shape) == ((1, 19), (1, 19), (1,))
    np.testing.assert_array_equal(scale, np.float32(100) / np.float32(127))
    assert [integers[0, k] for k in (0, 7, 8, 18)] == [1, -1, 127, -3]  # of 1.27, -0.635, 127, -2.54
    assert [left[0, k] for k in (0, 7, 8, 18)] == [35, 47, 0, 59]  # 128ths of 0.27, 0.365, 0, 0.46
    integers, left, scale = low_precision.quantize_rows(np.ones(low_precision.SCALE_BLOCK + 3, np.float32))
    assert (integers.shape, scale.shape) == ((2, low_precision.SCALE_BLOCK), (2,))
    assert not left.any()


def test_what_is_no_number_or_next_to_nothing() -> None:
    a = np.zeros((4, 9), np.float32)
    a[0, 3], a[1, 8], a[2, :] = np.nan, np.inf, 2.0**-101
    integers, left, scale = low_precision.quantize_rows(a)
    assert not integers.any()
    assert not left.any()
    np.testing.assert_array_equal(np.isnan(scale), [[True], [True], [False], [False]])
    np.testing.assert_array_equal(scale[2:], 0)
    integers, scale = low_precision.quantize(a[2:])
    assert not integers.any()
    assert not scale.any()


def test_bfloat16_is_rounded_to_nearest_even() -> None:
    bits = np.array([0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x7F7FFFFF, 0x007FFFFF, 0x00800000], np.uint32)
    found = low_precision.round_to_bfloat16(bits.view(np.float32))
    np.testing.assert_array_equal(found, [1.0, 1.015625, 1.0, 1.0078125, np.inf, 0.0, 2.0**-126])
    assert np.isnan(low_precision.round_to_bfloat16([np.nan])).all()


@pytest.mark.parametrize("inputs", [1, 7, 8, 9, 70])
def test_a_product_is_the_sum_of_its_words(inputs: int) -> None:
    """An rnn_relu of weights on x alone gives its product where that is positive; what is no sigmoid has two planes."""
    rng = np.random.default_rng(inputs)
    w, x = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, inputs), (1, 2, inputs)))
    params = {"weight_ih": w, "weight_hh": np.zeros((5, 5), np.float32)}
    found = low_precision.forward("rnn_relu", x, params, arithmetic="int8")[0][0]
    expected = [[max(0.0, product(row, a)) for row in w] for a in x[0]]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def product(weights: Array, vector: Array) -> float:
    scale, most = max(map(abs, weights)) / np.float32(127), max(map(abs, vector))
    inverse, of_row = np.float32(127) / most, most / np.float32(127)
    total = Fraction(0)
    for a, w in zip(vector, weights, strict=True):
        exact, q = a * inverse, round(float(w / scale))
        whole = round(float(exact))
        total += (whole + Fraction(round(float((exact - np.float32(whole)) * 128)), 128)) * q
    return float(total * Fraction(float(of_row)) * Fraction(float(scale)))


def test_a_gate_that_a_sigmoid_reads_has_one_plane() -> None:
    """Of a GRU whose n is 0 and whose h is 1 the step gives z: a sigmoid of the first plane's product."""
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((15, 9)).astype(np.float32), rng.standard_normal((1, 2, 9)).astype(np.float32)
    w[10:] = 0
    params = {"weight_ih": w, "weight_hh": np.zeros((15, 5), np.float32)}
    found = low_precision.forward("gru", x, params, [np.ones((2, 5), np.float32)], arithmetic="int8")[0][0]
    (integers, _, of_row), (q, scale) = low_precision.quantize_rows(x[0]), low_precision.quantize(w[5:10])
    sums = integers[:, 0] @ q.astype(np.int64).T * of_row.astype(np.float64) * scale.astype(np.float64)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-sums)), rtol=1e-14)


@pytest.mark.parametrize("arithmetic", low_precision.ARITHMETIC)
@pytest.mark.parametrize("cell", reference.cells())
def test_it_is_near_full_precision_for_every_cell(cell: str, arithmetic: str) -> None:
    p = make(cell, (3, 2, 33, 20), "float32")
    exact, _ = reference.forward(cell, p.x, p.params, p.state, training=False)
    found, _ = low_precision.forward(cell, p.x, p.params, p.state, arithmetic=arithmetic)
    error = np.abs(found - exact).max()
    assert 1e-6 < error < (0.1 if arithmetic == "int8" else 0.03)


def test_quantised_parameters_are_taken_as_they_are() -> None:
    p = make("gru", (3, 2, 33, 20), "float32")
    quantized = rk.quantize_params("gru", p.params)
    for name in ("weight_ih", "weight_hh"):
        integers, scale = low_precision.quantize(p.params[name])
        np.testing.assert_array_equal(quantized[name], integers)
        np.testing.assert_array_equal(quantized[f"{name}_scale"], scale)
    found, expected = (low_precision.forward("gru", p.x, of, arithmetic="int8")[0] for of in (quantized, p.params))
    np.testing.assert_array_equal(found, expected)


def test_a_token_is_its_column() -> None:
    p = make("lstm", (4, 3, 9, 7), "float32", tokens=True)
    whole = p.params | {"weight_hh": np.zeros_like(p.params["weight_hh"])}
    integers, scale = low_precision.quantize(whole["weight_ih"])
    plain = whole | {"weight_ih": (integers * scale[:, None].astype(np.float64))}
    found = low_precision.forward("lstm", p.x, whole, p.state, arithmetic="int8")[0]
    np.testing.assert_allclose(found, reference.forward("lstm", p.x, plain, p.state)[0], rtol=1e-12)
    rounded = low_precision.forward("lstm", p.x, whole, p.state, arithmetic="bfloat16")[0]
    plain["weight_ih"] = low_precision.round_to_bfloat16(whole["weight_ih"])
    np.testing.assert_allclose(rounded, reference.forward("lstm", p.x, plain, p.state)[0], rtol=1e-12)
