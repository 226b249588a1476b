"""A product's sum, bit for bit: chains of 128 values of k, each added to those before it (docs/reproducibility.md).

Every path of a product is held to one statement in NumPy. All numbers are whole and have 13 bits at most, so that
products of two are exact in float32, sums of a float32 and a product in float64: all instruction sets, those without
a fused multiply-add too, have the bits of the statement. Sums are long enough to be rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from problems import sets

import rnnkernels as rk

if TYPE_CHECKING:
    from problems import Array

CHAIN = 128
LENGTHS = (1, 127, 128, 129, 300, 513)


@rk.cell
def chains_of_three_gates(x, h):  # type: ignore[no-untyped-def]
    u = rk.product(h)
    return (x.a + u.a) + (x.b + u.b) + (x.c + u.c)


def whole(rng: np.random.Generator, *shape: int, step: int = 1) -> Array:
    """Multiples of `step` up to 4096 in size."""
    return (step * rng.integers(-4096 // step, 4096 // step + 1, shape)).astype(np.float32)


def product(a: Array, w: Array, start: Array, segments: int = 1, chain: int = CHAIN) -> Array:
    """Start (n) + a (rows, k) times w (n, k); k is segments of equal length, and no chain ends inside a shorter one."""
    k, length = a.shape[1], a.shape[1] // segments
    if length <= chain:
        edges = list(range(0, k, chain // length * length))
    else:
        edges = [s + first for s in range(0, k, length) for first in range(0, length, chain)]
    total = np.zeros((len(a), len(w)), np.float32)
    for first, last in zip(edges, [*edges[1:], k], strict=True):
        sums = np.broadcast_to(start if first == 0 else np.float32(0), total.shape)
        for i in range(first, last):
            sums = (sums.astype(np.float64) + a[:, i, None].astype(np.float64) * w[:, i]).astype(np.float32)
        total = sums if first == 0 else total + sums
    return total


def of_one_chain(a: Array, w: Array, start: Array, segments: int = 1) -> Array:
    return product(a, w, start, segments, chain=a.shape[1])


def problem(rng: np.random.Generator, inputs: int, hidden: int, step: int = 1) -> dict[str, Array]:
    """An rnn_relu whose recurrent weights and bias are zeros."""
    params = {
        name: np.zeros(shape, np.float32) for name, shape in rk.parameter_shapes("rnn_relu", inputs, hidden).items()
    }
    return params | {
        "weight_ih": whole(rng, hidden, inputs, step=step),
        "bias_ih": whole(rng, hidden) * np.float32(512 * step**2),
    }


def equal_and_not_of_one_chain(found: Array, a: Array, w: Array, start: Array) -> None:
    np.testing.assert_array_equal(found, np.maximum(product(a, w, start), 0))
    if a.shape[1] >= 300 and a.shape[0] >= 3:
        assert (found != np.maximum(of_one_chain(a, w, start), 0)).any()


@pytest.mark.parametrize("k", LENGTHS)
def test_of_x(k: int) -> None:
    """Weights not packed, packed where they are used, packed before; tiles of 1 to 12 rows."""
    rng = np.random.default_rng(k)
    for isa in sets():
        rk.set_instruction_set(isa)
        for steps, batch, hidden in (
            (1, 1, 37),
            (1, 2, 37),
            (1, 3, 70),
            (1, 30, 16),
            (4, 5, 7),
            (3, 1, 64),
            (9, 2, 21),
        ):
            params, x = problem(rng, k, hidden), whole(rng, steps, batch, k)
            found = rk.forward("rnn_relu", x, params).output
            equal_and_not_of_one_chain(
                found.reshape(-1, hidden), x.reshape(-1, k), params["weight_ih"], params["bias_ih"]
            )


@pytest.mark.parametrize("hidden", [127, 129, 300])
def test_of_h(hidden: int) -> None:
    rng = np.random.default_rng(hidden)
    for isa in sets():
        rk.set_instruction_set(isa)
        for steps, batch in ((1, 1), (1, 2), (1, 9), (2, 1), (2, 7)):
            params = problem(rng, 1, hidden) | {"weight_hh": whole(rng, hidden, hidden)}
            bias, h = np.zeros(hidden, np.float32), whole(rng, batch, hidden)
            params |= {"bias_hh": params["bias_ih"], "bias_ih": bias}
            found = rk.forward("rnn_relu", np.zeros((steps, batch, 1), np.float32), params, (h,)).output[0]
            equal_and_not_of_one_chain(found, h, params["weight_hh"], params["bias_hh"])


@pytest.mark.parametrize("k", LENGTHS)
def test_of_prepared_weights_in_both_ways_of_keeping_them(k: int) -> None:
    """Of bfloat16 two values of k stand in a pair; weights of 8 bits are kept as they are."""
    rng = np.random.default_rng(k)
    for isa in sets():
        rk.set_instruction_set(isa)
        for weights in ("full", "bfloat16"):
            for batch in (1, 4, 13):
                params, x = problem(rng, k, 35, step=32), whole(rng, 2, batch, k)
                found, _ = rk.Prepared("rnn_relu", params, weights=weights).forward(x)
                rows = x.reshape(-1, k), params["weight_ih"], params["bias_ih"]
                equal_and_not_of_one_chain(found.reshape(-1, 35), *rows)


@pytest.mark.parametrize("hidden", [1, 20, 42, 43, 50, 64, 127, 128, 129, 200])
def test_of_gradients(hidden: int) -> None:
    """Transposed: k is the units of three gates. dL/dx and dL/dh."""
    rng = np.random.default_rng(hidden)
    for isa in sets():
        rk.set_instruction_set(isa)
        for batch, inputs in ((1, 5), (3, 40), (14, 7)):
            params = {
                name: whole(rng, *shape)
                for name, shape in rk.parameter_shapes(chains_of_three_gates, inputs, hidden).items()
            }
            x, h = whole(rng, 1, batch, inputs), np.zeros((batch, hidden), np.float32)
            run = rk.forward(chains_of_three_gates, x, params, (h,), training=True)
            d = whole(rng, 1, batch, hidden)
            found = rk.backward(run, d)
            assert found.x is not None
            a = np.tile(d[0], 3)
            for name, gradient in (("weight_ih", found.x[0]), ("weight_hh", found.state[0])):
                w, start = params[name].T, np.zeros(params[name].shape[1], np.float32)
                np.testing.assert_array_equal(gradient, product(a, w, start, 3))
                if hidden >= 64 and batch > 1 and len(w) > 7:
                    assert (gradient != of_one_chain(a, w, start, 3)).any()


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_a_token_is_a_row_of_zeros_with_a_one(cell: str) -> None:
    rng = np.random.default_rng(3)
    params = rk.init_params(cell, 300, 9, rng=rng)
    for steps, batch in ((2, 3), (150, 3)):  # gathered, and a table
        tokens = rng.integers(0, 300, (steps, batch))
        tokens[:2, 0] = 0, 299
        vectors = np.eye(300, dtype=np.float32)[tokens]
        found, expected = (rk.forward(cell, x, params).output for x in (tokens, vectors))
        assert found.tobytes() == expected.tobytes()
