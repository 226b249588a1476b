"""int8 weights and bfloat16 products on the CPU: what they compute, for every form of cell; what nothing may change.

Each step is held to the NumPy statement (`rnnkernels.reference.low_precision`) from the kernels' own states, so that a
number that the two round differently is not carried on. What the instruction for bfloat16 rounds is held bit for bit.
Not here: what Python asks for (test_int8.py, test_bfloat16_products.py), kernels beside each other (tests/native).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import EMPTY_SHAPES, FORMS, SHAPES, Array, Problem, make

import rnnkernels as rk
from rnnkernels import _cpu
from rnnkernels._arguments import as_layer
from rnnkernels.quantized import MATRICES
from rnnkernels.reference import low_precision as reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rnnkernels.parameters import Layer

# Beside SHAPES: off the groups of two and four k, off blocks of 8, several panels, tiles of a few and of many rows.
WIDE = [(2, 1, 67, 130), (2, 3, 9, 70), (1, 29, 13, 37), (1, 61, 70, 20)]


@pytest.fixture(params=["int8", "bfloat16"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["fastest", "slowest"])
def kernels(request: pytest.FixtureRequest, isa: str, kind: str) -> Iterator[str]:
    """The kernels of each instruction set that serve, and those that serve where the processor has no instruction."""
    usable, _ = _cpu.low_kernels(kind)
    if kind == "bfloat16" and not usable:
        pytest.skip("bfloat16 products are those of float32 here")
    if request.param == "slowest":
        if len(usable) < 2:
            pytest.skip("one set of kernels")
        _cpu.choose_low_kernels(kind, usable[0])
    yield kind
    _cpu.choose_low_kernels(kind, None)


def layer_of(p: Problem) -> Layer:
    return as_layer(p.cell, p.params)


def prepare(p: Problem, kind: str, **options: Any) -> Any:
    tokens = p.x.dtype.kind == "i"
    weights = "int8" if kind == "int8" else "full"
    products = "full" if kind == "int8" else "bfloat16"
    return _cpu.prepare(p.cell, layer_of(p), weights, tokens, [], products=products, **options)


def run(prepared: Any, x: Array, state: Any = None, schedule: Any = None) -> tuple[Array, tuple[Array, ...]]:
    output, final = prepared.forward(x, state, schedule, None, None)
    return output, final


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", FORMS)
def test_is_what_the_reference_says(kernels: str, cell: str, tokens: bool) -> None:
    for shape in [*SHAPES, *WIDE]:
        p = make(cell, shape, "float32", tokens=tokens)
        prepared = prepare(p, kernels)
        state = p.state
        for x_t in p.x:
            expected, states = reference.forward(cell, x_t[None], p.params, state, arithmetic=kernels)
            found, state = run(prepared, x_t[None], state)
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
            for mine, theirs in zip(state, states, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("cell", FORMS)
def test_a_sequence_is_its_steps_on_any_number_of_threads(kernels: str, cell: str) -> None:
    for shape in [(5, 3, 9, 70), (9, 7, 20, 33), (4, 30, 6, 40), (3, 1, 300, 40)]:
        p = make(cell, shape, "float32")
        prepared = prepare(p, kernels)
        output, final = run(prepared, p.x, p.state)
        for threads in (1, 3):
            rk.set_num_threads(threads)
            again, _ = run(prepared, p.x, p.state)
            assert again.tobytes() == output.tobytes()
            state = p.state
            for t, x_t in enumerate(p.x):
                h, state = run(prepared, x_t[None], state)
                assert h[0].tobytes() == output[t].tobytes()
            for mine, theirs in zip(state, final, strict=True):
                assert mine.tobytes() == theirs.tobytes()
        stepper = _cpu.stepper(prepared, shape[1], None)
        stepper.reset(list(p.state), None)
        for t, x_t in enumerate(p.x):
            taken = stepper.step(x_t)
            assert taken is not None
            assert taken.tobytes() == output[t].tobytes()


@pytest.mark.parametrize("cell", FORMS)
def test_a_row_knows_neither_its_neighbours_nor_padding(kernels: str, cell: str) -> None:
    p = make(cell, (6, 9, 11, 37), "float32")
    prepared = prepare(p, kernels)
    output, _ = run(prepared, p.x, p.state)
    for row in range(p.x.shape[1]):
        alone = p.rows(slice(row, row + 1))
        assert run(prepared, alone.x, alone.state)[0][:, 0].tobytes() == output[:, row].tobytes()
    loud = p.x.copy()
    loud[:, 4] *= 1e4
    loud[:, 5] = np.nan
    loud[3:, 6] = np.inf
    others = [row for row in range(9) if row not in (4, 5, 6)]
    again, _ = run(prepared, loud, p.state)
    assert again[:, others].tobytes() == output[:, others].tobytes()
    assert again[:3, 6].tobytes() == output[:3, 6].tobytes()  # later steps are unseen


def test_ragged_rows_are_those_of_dense_ones(kernels: str) -> None:
    for cell, batch in itertools.product(FORMS, (5, 40)):  # of the second two threads have every other row each
        p = make(cell, (7, batch, 6, 20), "float32")
        prepared = prepare(p, kernels)
        lengths = np.array([7, 2, 5, 1, 4] * (batch // 5))
        order = np.argsort(-lengths, kind="stable")
        starts = np.concatenate([[0], np.cumsum([(lengths > t).sum() for t in range(7)])])
        places = np.array([t * batch + b for t in range(7) for b in order if lengths[b] > t])
        state = [np.ascontiguousarray(s[order]) for s in p.state]
        for threads in (1, 2):
            rk.set_num_threads(threads)
            output, _ = run(prepared, p.x, state, (starts, places))
            dense, _ = run(prepared, p.x, p.state)
            for b, length in enumerate(lengths):
                assert output[:length, b].tobytes() == dense[:length, b].tobytes()


def test_a_row_that_is_not_finite_has_no_number_in_its_products(kernels: str) -> None:
    p = make("rnn_relu", (1, 6, 21, 40), "float32")
    for bad in (np.nan, np.inf, -np.inf):
        x = p.x.copy()
        x[0, 2, 17] = bad
        output, _ = run(prepare(p, kernels), x, p.state)
        assert np.isfinite(output[0, [0, 1, 3, 4, 5]]).all()
        if kernels == "int8":
            assert np.isnan(output[0, 2]).all()
        else:  # a float's own arithmetic
            assert not np.isfinite(output[0, 2]).all() or (output[0, 2] == 0).any()


def test_rows_of_zeros_and_of_the_least_numbers_give_the_bias(kernels: str) -> None:
    p = make("rnn_relu", (1, 3, 8, 20), "float32")
    x = np.zeros_like(p.x)
    x[0, 1] = 1e-40
    x[0, 2] = -0.0
    output, _ = run(prepare(p, kernels), x, [np.zeros_like(p.state[0])])
    expected = np.maximum(p.params["bias_ih"] + p.params["bias_hh"], 0)
    for row in output[0]:
        assert row.tobytes() == expected.tobytes()


@pytest.mark.parametrize("cell", FORMS)
def test_empty_calls_are_empty(kernels: str, cell: str) -> None:
    for shape in EMPTY_SHAPES:
        p = make(cell, shape, "float32")
        output, final = run(prepare(p, kernels), p.x, p.state)
        assert output.shape == p.d_output.shape
        for mine, theirs in zip(final, p.state, strict=True):
            np.testing.assert_array_equal(mine, theirs)


# ---- int8 ----


def test_int8_has_the_same_products_on_every_set_of_kernels() -> None:
    p = make("rnn_relu", (1, 17, 83, 70), "float32")
    found = {}
    for isa in rk.instruction_sets():
        rk.set_instruction_set(isa)
        for name in _cpu.low_kernels("int8")[0]:
            _cpu.choose_low_kernels("int8", name)
            found[isa, name] = run(prepare(p, "int8"), p.x, p.state)[0].tobytes()
        _cpu.choose_low_kernels("int8", None)
    assert len(set(found.values())) == 1


def test_int8_takes_scales_and_gives_back_what_they_were_of(isa: str) -> None:
    for cell in FORMS:
        p = make(cell, (3, 2, 13, 37), "float32")
        scales, rounded, integers = {}, dict(p.params), dict(p.params)
        for name in MATRICES:
            if name in p.params:
                scales[name] = reference.quantize(p.params[name])[1] * np.float32(1.5)
                q = np.rint(p.params[name] / scales[name][:, None])
                rounded[name] = q * scales[name][:, None]
                integers |= {name: q.astype(np.int8), f"{name}_scale": scales[name]}
        given = tuple(scales.get(name) for name in MATRICES)
        expected = run(prepare(p, "int8", scales=given), p.x, p.state)[0]
        again = Problem(cell, p.x, rounded, p.state, p.d_output, p.d_state)
        assert run(prepare(again, "int8", scales=given), p.x, p.state)[0].tobytes() == expected.tobytes()
        first, _ = reference.forward(cell, p.x[:1], integers, p.state, arithmetic="int8")
        np.testing.assert_allclose(expected[:1], first, rtol=2e-5, atol=2e-5)


def test_int8_takes_a_quarter_of_the_memory() -> None:
    p = make("lstm", (1, 1, 256, 256), "float32")
    full = _cpu.prepare("lstm", layer_of(p), "full", False, [])
    assert prepare(p, "int8").nbytes < 0.27 * full.nbytes


def test_wrong_use_is_named() -> None:
    p = make("lstm", (1, 1, 3, 4), "float32")
    scale = np.ones(16, np.float32)
    with pytest.raises(ValueError, match="scales: expected None but for int8 weights"):
        _cpu.prepare("lstm", layer_of(p), "full", False, [], scales=(scale, scale, None, None))
    with pytest.raises(ValueError, match="scale_hh: expected"):
        _cpu.prepare("lstm", layer_of(p), "int8", False, [], scales=(scale, scale[:3], None, None))
    with pytest.raises(ValueError, match="scale_gg: expected None, as the layer has no such matrix"):
        _cpu.prepare("lstm", layer_of(p), "int8", False, [], scales=(None, None, scale, None))
    with pytest.raises(ValueError, match="weights: expected full, bfloat16 or int8, got 'int4'"):
        _cpu.prepare("lstm", layer_of(p), "int4", False, [])
    with pytest.raises(ValueError, match="products: expected full or bfloat16, got 'half'"):
        _cpu.prepare("lstm", layer_of(p), "full", False, [], products="half")
    exact = p.astype("float64")
    with pytest.raises(TypeError, match="weights: int8 needs float32 parameters, got float64"):
        _cpu.prepare("lstm", layer_of(exact), "int8", False, [])
    with pytest.raises(TypeError, match="products: bfloat16 needs float32 parameters, got float64"):
        _cpu.forward("lstm", exact.x, layer_of(exact), None, False, products="bfloat16")
    with pytest.raises(ValueError, match="name: expected kernels of this set for int8, got 'none'"):
        _cpu.choose_low_kernels("int8", "none")


# ---- bfloat16 ----


def fused(a: Array, b: Array, c: Array) -> Array:
    """a * b + c of float32, rounded once: a double rounded to odd, and that to a float."""
    product = a.astype(np.float64) * b
    total = product + c
    back = total - product
    error = (product - (total - back)) + (c - back)
    odd = (total.view(np.int64) & 1) == 1
    outward = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where(odd | (error == 0), total, outward).astype(np.float32)


def in_pairs(a: Array, weight: Array, bias: Array) -> Array:
    """The product of rows (B, K) with a weight (R, K), as vdpbf16ps makes it: of each pair of k the odd one first."""
    a, weight = (reference.round_to_bfloat16(m).astype(np.float32) for m in (a, weight))
    total = np.broadcast_to(bias, (len(a), len(weight))).copy()
    count = a.shape[1]
    for k in range(0, count, 2):
        for at in (k + 1, k) if k + 1 < count else (k,):
            total = fused(*np.broadcast_arrays(a[:, at, None], weight[None, :, at], total))
    return total


def in_tiles(a: Array, weight: Array, bias: Array) -> Array:
    """The same as tdpbf16ps makes it: even and odd k of 32 apart, then added to the sum; the bias comes last."""
    a, weight = (reference.round_to_bfloat16(m).astype(np.float32) for m in (a, weight))
    total = np.zeros((len(a), len(weight)), np.float32)
    for first in range(0, a.shape[1], 32):
        halves = [np.zeros_like(total), np.zeros_like(total)]
        for k in range(first, min(first + 32, a.shape[1])):
            halves[k % 2] = fused(*np.broadcast_arrays(a[:, k, None], weight[None, :, k], halves[k % 2]))
        total = (halves[0] + halves[1]) + total
    return total + bias


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (33, 17), (64, 64), (100, 61), (20, 129)])
@pytest.mark.parametrize("batch", [1, 2, 5, 13, 30, 70])
@pytest.mark.parametrize(("kernels", "product"), [("avx512_bf16", in_pairs), ("amx_bf16", in_tiles)])
def test_bfloat16_sums_are_those_of_the_instruction(
    shape: tuple[int, int], batch: int, kernels: str, product: Callable[[Array, Array, Array], Array]
) -> None:
    if kernels not in _cpu.low_kernels("bfloat16")[0]:
        pytest.skip(f"no {kernels}")
    p = make("rnn_relu", (1, batch, shape[1], shape[0]), "float32")
    _cpu.choose_low_kernels("bfloat16", kernels)
    try:
        found = _cpu.forward("rnn_relu", p.x, layer_of(p), list(p.state), False, products="bfloat16")[0][0]
    finally:
        _cpu.choose_low_kernels("bfloat16", None)
    x = product(p.x[0], p.params["weight_ih"], p.params["bias_ih"])
    u = product(p.state[0], p.params["weight_hh"], p.params["bias_hh"])
    assert found.tobytes() == np.maximum(x + u, 0).tobytes()


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", FORMS)
def test_bfloat16_of_a_call_is_that_of_a_prepared_layer(isa: str, cell: str, tokens: bool) -> None:
    for shape in [*SHAPES, *EMPTY_SHAPES, (1, 1, 9, 40), (3, 2, 30, 70)]:
        p = make(cell, shape, "float32", tokens=tokens)
        expected, final = run(prepare(p, "bfloat16"), p.x, p.state)
        for training in (False, True):
            made = _cpu.forward(cell, p.x, layer_of(p), list(p.state), training, products="bfloat16")
            assert made[0].tobytes() == expected.tobytes()
            for mine, theirs in zip(made[1], final, strict=True):
                assert mine.tobytes() == theirs.tobytes()


def test_bfloat16_without_an_instruction_is_float32(isa: str) -> None:
    _cpu.choose_low_kernels("bfloat16", "none")
    try:
        assert _cpu.low_kernels("bfloat16")[1] is None
        p = make("gru", (4, 3, 7, 20), "float32")
        made = _cpu.forward("gru", p.x, layer_of(p), list(p.state), False, products="bfloat16")
        assert made[0].tobytes() == p.forward().output.tobytes()
        rounded = _cpu.prepare("gru", layer_of(p), "bfloat16", False, [], products="bfloat16")
        alone = _cpu.prepare("gru", layer_of(p), "bfloat16", False, [])
        assert run(rounded, p.x, p.state)[0].tobytes() == run(alone, p.x, p.state)[0].tobytes()
    finally:
        _cpu.choose_low_kernels("bfloat16", None)
