"""A cell from equations in `rnnkernels.jax`: run by test_everywhere.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from own_layers import CELLS as OWN
from own_layers import B, H, I, T, numbers

import rnnkernels as rk
from tests.equations.builtin import CELLS

jax = pytest.importorskip("jax")
rkj = pytest.importorskip("rnnkernels.jax")

DTYPES = ("float32", "float64")
EVERY = (*OWN, *(CELLS[cell] for cell in ("lstm", "gru", "gru_reset_before", "lstm_peephole", "indrnn")))


@pytest.fixture(autouse=True)
def _x64() -> Any:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def loss(cell: str, x: Any, params: Any, state: Any, **options: Any) -> Any:
    output, final = rkj.forward(cell, x, params, state, **options)
    return (output**2).sum() + sum(s.sum() for s in final)


def assert_same(found: Any, wanted: Any) -> None:
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", EVERY)
def test_values_and_gradients_are_numpys(cell: str, dtype: str) -> None:
    x, params, state = numbers(cell, dtype)
    lengths = np.array([T, 2, 0])
    run = rk.forward(cell, x, params, state, lengths=lengths)
    grads = rk.backward(run, 2 * run.output, tuple(np.ones_like(s) for s in run.state))
    wanted = grads.x, grads.params, grads.state

    def of(x: Any, params: Any, state: Any) -> Any:
        return loss(cell, x, params, state, lengths=lengths)

    assert_same(rkj.forward(cell, x, params, state, lengths=lengths)[0], run.output)
    assert_same(jax.grad(of, (0, 1, 2))(x, params, state), wanted)
    assert_same(jax.jit(jax.grad(of, (0, 1, 2)))(x, params, state), wanted)


@pytest.mark.parametrize("cell", OWN)
def test_vmap(cell: str) -> None:
    x, params, state = numbers(cell)
    many = np.stack([x, 2 * x])
    found = jax.vmap(jax.jit(lambda x: rkj.forward(cell, x, params, state)[0]))(many)
    slopes = jax.jit(jax.vmap(jax.grad(lambda x: loss(cell, x, params, state))))(many)
    for k, each in enumerate(many):
        run = rk.forward(cell, each, params, state)
        np.testing.assert_allclose(found[k], run.output, rtol=1e-12, atol=1e-13)
        right = rk.backward(run, 2 * run.output, tuple(np.ones_like(s) for s in run.state)).x
        assert right is not None
        np.testing.assert_allclose(slopes[k], right, rtol=1e-11, atol=1e-12)


def test_the_name_alone_is_taken() -> None:
    x, params, state = numbers("keeper")
    assert_same(rkj.forward("keeper", x, params, state)[0], rk.forward("keeper", x, params, state).output)
    assert x.shape == (T, B, I)
    assert state[0].shape == (B, H)
