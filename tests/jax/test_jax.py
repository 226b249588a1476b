"""The JAX function: values and gradients of every cell, jit, vmap, what is refused, and the interface to XLA.

What the kernels compute is test_parity.py's; here it must arrive: the same bits as rk.forward and rk.backward, and, for
the cells that a few lines state, what jax.lax.scan and its gradient give.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import FORMS, Array, make
from processes import HIDE, python
from separate_calls import reset_state

import rnnkernels as rk
import rnnkernels.jax as rkj
from rnnkernels import _cpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
SHAPE = (4, 3, 5, 6)


@pytest.fixture
def x64() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def assert_equal(one: Any, two: Any) -> None:
    """Trees of the same structure, bit for bit."""
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def assert_close(one: Any, two: Any, tolerance: float) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=tolerance)


def vjp_of(p: Any, **options: Any) -> tuple[Any, Any]:
    """What JAX gives: (output, state) and the gradients of (x, params, state)."""
    results, pull = jax.vjp(lambda x, w, s: rkj.forward(p.cell, x, w, s, **options), p.x, p.params, p.state)
    return results, pull((jnp.asarray(p.d_output), tuple(map(jnp.asarray, p.d_state))))


def expected_of(p: Any, **options: Any) -> tuple[Any, Any]:
    """The same of rk.forward and rk.backward."""
    run = p.forward(**options)
    grads = rk.backward(run, p.d_output, p.d_state)
    return (run.output, run.state), (grads.x, grads.params, grads.state)


# ---- every cell ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", FORMS)
def test_every_cell(cell: str, dtype: str, x64: None) -> None:
    p = make(cell, SHAPE, dtype)
    assert_equal(vjp_of(p), expected_of(p))


@pytest.mark.parametrize("cell", FORMS)
def test_every_cell_with_bfloat16_products(cell: str) -> None:
    p = make(cell, SHAPE, "float32")
    found = vjp_of(p, products="bfloat16")
    assert_equal(found, expected_of(p, products="bfloat16"))
    jitted = jax.jit(partial(rkj.forward, cell, products="bfloat16"))(p.x, p.params, p.state)
    assert_equal(jitted, found[0])
    if _cpu.low_kernels("bfloat16")[1] is not None:
        assert not np.array_equal(found[0][0], p.forward().output)


def test_bfloat16_products_of_float64_are_refused(x64: None) -> None:
    p = make("lstm", SHAPE, "float64")
    with pytest.raises(TypeError, match=r"^products: bfloat16 needs float32 parameters, got float64"):
        rkj.forward("lstm", p.x, p.params, products="bfloat16")


@pytest.mark.parametrize("cell", FORMS)
def test_every_cell_ragged_in_reverse_from_zeros(cell: str) -> None:
    p = make(cell, (5, 4, 5, 6), "float32", bias=False)
    options: dict[str, Any] = {"lengths": np.array([2, 5, 0, 3], np.int32), "reverse": True}
    results, pull = jax.vjp(lambda x, w: rkj.forward(cell, x, w, **options), p.x, p.params)
    dx, d_params = pull((jnp.asarray(p.d_output), tuple(map(jnp.asarray, p.d_state))))
    run = rk.forward(cell, p.x, p.params, **options)
    grads = rk.backward(run, p.d_output, p.d_state)
    assert_equal(results, (run.output, run.state))
    assert_equal((dx, d_params), (grads.x, grads.params))


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "lstm_projected"])
@pytest.mark.parametrize(
    "options",
    [
        {"lengths": [3, 0, 5, 5, 1, 0, 2]},
        {"lengths": [0] * 7},
        {"reverse": True},
        {"lengths": [3, 0, 5, 5, 1, 0, 2], "reverse": True},
    ],
    ids=str,
)
def test_ragged(cell: str, options: Any) -> None:
    p = make(cell, (5, 7, 5, 17), "float32")
    options = options | ({"lengths": np.array(options["lengths"], np.int32)} if "lengths" in options else {})
    assert_equal(vjp_of(p, **options), expected_of(p, **options))


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("cell", ["gru", "slstm"])
def test_tokens(cell: str, kind: str, x64: None) -> None:
    p = make(cell, (5, 3, 9, 6), tokens=True)
    p.x = p.x.astype(kind)
    results, pull = jax.vjp(lambda w: rkj.forward(cell, p.x, w, p.state), p.params)
    (found,) = pull((jnp.asarray(p.d_output), tuple(map(jnp.asarray, p.d_state))))
    expected, (_, d_params, _) = expected_of(p)
    assert_equal((results, found), (expected, d_params))


@pytest.mark.parametrize("shape", [(0, 2, 3, 5), (3, 0, 3, 5), (0, 0, 1, 1)], ids=str)
@pytest.mark.parametrize("options", [{}, {"reverse": True}], ids=str)
@pytest.mark.parametrize("cell", ["lstm", "indrnn", "mut1"])
def test_nothing_to_do(cell: str, options: Any, shape: Any) -> None:
    p = make(cell, shape, "float32")
    assert_equal(vjp_of(p, **options), expected_of(p, **options))


# ---- resets -------------------------------------------------------------------------------------

RESETS = np.random.default_rng(2).random((5, 7)) < 0.4
LENGTHS = np.array([3, 0, 5, 5, 1, 0, 2], np.int32)
ROWS: dict[str, Any] = {
    "some": {"resets": RESETS},
    "some, in reverse": {"resets": RESETS, "reverse": True},
    "some, lengths": {"resets": RESETS, "lengths": LENGTHS},
    "some, lengths, in reverse": {"resets": RESETS, "lengths": LENGTHS, "reverse": True},
    "all": {"resets": np.ones_like(RESETS)},
    "none": {"resets": np.zeros_like(RESETS)},
}


@pytest.mark.parametrize("options", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize(
    ("cell", "dtype"), [("lstm", "float32"), ("gru_reset_before", "float64"), ("slstm", "float32")]
)
def test_resets(cell: str, dtype: str, options: Any, x64: None) -> None:
    """Those of the NumPy call, bit for bit: values and every gradient, under jit too."""
    p = make(cell, (5, 7, 5, 9), dtype)
    anew = reset_state(p)
    run = rk.forward(cell, p.x, p.params, p.state, reset_state=anew, **options)
    grads = rk.backward(run, p.d_output, p.d_state)
    zeros = tuple(np.zeros_like(s) for s in p.state)

    def forward(x: Any, params: Any, state: Any, reset: Any, resets: Any) -> Any:
        return rkj.forward(cell, x, params, state, reset_state=reset, **options | {"resets": resets})

    for function in (forward, jax.jit(forward)):
        given = p.x, p.params, p.state, anew
        results, pull = jax.vjp(lambda *a, f=function: f(*a, options["resets"]), *given)
        assert_equal(results, (run.output, run.state))
        found = pull((jnp.asarray(p.d_output), tuple(map(jnp.asarray, p.d_state))))
        assert_equal(found, (grads.x, grads.params, grads.state, grads.reset_state or zeros))


@pytest.mark.parametrize("given", ["state", "reset_state", "neither"])
def test_resets_begin_with_zeros_where_nothing_is_given(given: str) -> None:
    p = make("lstm", (5, 7, 5, 9), "float32")
    states: Any = {} if given == "neither" else {given: p.state}
    run = rk.forward("lstm", p.x, p.params, resets=RESETS, **states)
    grads = rk.backward(run, p.d_output, p.d_state)
    results, pull = jax.vjp(lambda s: rkj.forward("lstm", p.x, p.params, resets=RESETS, **s), states)
    assert_equal(results, (run.output, run.state))
    (found,) = pull((jnp.asarray(p.d_output), tuple(map(jnp.asarray, p.d_state))))
    expected = {"state": grads.state, "reset_state": grads.reset_state}
    assert_equal(found, {name: expected[name] for name in states})


def test_resets_are_separate_calls() -> None:
    p = make("gru", (6, 2, 5, 9), "float32")
    resets = np.zeros((6, 2), bool)
    resets[2, 0] = resets[4, 1] = True
    output, (h,) = rkj.forward("gru", p.x, p.params, p.state, resets=resets, reset_state=reset_state(p))
    for row, cut in ((0, 2), (1, 4)):
        one = slice(row, row + 1)
        before = rkj.forward("gru", p.x[:cut, one], p.params, (p.state[0][one],))
        behind = rkj.forward("gru", p.x[cut:, one], p.params, (reset_state(p)[0][one],))
        assert_equal(output[:, one], jnp.concatenate([before[0], behind[0]]))
        assert_equal(h[one], behind[1][0])


def test_vmap_of_resets_folds_them_into_the_batch() -> None:
    p = make("lstm", SHAPE, "float32")
    xs, states = batch_of(p, 3)
    resets = np.random.default_rng(3).random((3, *SHAPE[:2])) < 0.4
    anew = tuple(np.stack([s + np.float32(k) for k in range(3)]) for s in p.state)

    def run(x: Any, state: Any, cut: Any, reset: Any) -> Any:
        return rkj.forward("lstm", x, p.params, state, resets=cut, reset_state=reset)

    def one(k: int, reset: Any) -> Any:
        return run(xs[k], tuple(s[k] for s in states), resets[k], reset)

    of_each = [tuple(s[k] for s in anew) for k in range(3)]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *map(one, range(3), of_each))
    assert_equal(jax.vmap(run)(xs, states, resets, anew), stacked)
    assert calls_in(jax.vmap(run), xs, states, resets, anew) == 1
    moved = jax.vmap(run, in_axes=(0, 0, 2, 0))(xs, states, np.moveaxis(resets, 0, 2), anew)
    assert_equal(moved, stacked)

    def loss(reset: Any) -> Any:
        return jax.vmap(run)(xs, states, resets, reset)[0].sum()

    each = [jax.grad(lambda reset, k=k: one(k, reset)[0].sum())(of_each[k]) for k in range(3)]
    assert_equal(jax.grad(loss)(anew), jax.tree.map(lambda *a: jnp.stack(a), *each))


# ---- half precisions ----------------------------------------------------------------------------

HALVES = ["bfloat16", "float16"]


def half(tree: Any, dtype: str) -> Any:
    """Arrays in half precision."""
    return jax.tree.map(lambda a: jnp.asarray(a).astype(dtype), tree)


def wide(tree: Any) -> Any:
    """The same numbers in float32."""
    return jax.tree.map(lambda a: np.asarray(a.astype(np.float32)), tree)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("cell", FORMS)
def test_halves_are_computed_in_float32(cell: str, dtype: str) -> None:
    """Values and gradients are the float32 call's on the same numbers, rounded once."""
    p = make(cell, SHAPE, "float32")
    given = half((p.x, p.params, p.state), dtype)
    ahead = half((p.d_output, tuple(p.d_state)), dtype)
    x, params, state = wide(given)
    run = rk.forward(cell, x, params, state)
    grads = rk.backward(run, *wide(ahead))
    expected = half(((run.output, run.state), (grads.x, grads.params, grads.state)), dtype)

    def forward(x: Any, params: Any, state: Any) -> Any:
        return rkj.forward(cell, x, params, state)

    for function in (forward, jax.jit(forward)):
        results, pull = jax.vjp(function, *given)
        assert_equal((results, pull(ahead)), expected)


@pytest.mark.parametrize("dtype", HALVES)
def test_halves_under_vmap_with_tokens_lengths_and_resets(dtype: str) -> None:
    p = make("gru", (4, 3, 5, 6), "float32", tokens=True)
    params, state = half((p.params, p.state), dtype)
    lengths, resets = np.array([4, 0, 2], np.int32), np.eye(4, 3, dtype=bool)
    xs = np.stack([p.x, (p.x + 1) % 5])

    def run(x: Any) -> Any:
        return rkj.forward("gru", x, params, state, lengths=lengths, resets=resets, reset_state=state)

    assert_equal(jax.vmap(run)(xs), jax.tree.map(lambda *a: jnp.stack(a), *map(run, xs)))
    expected = rk.forward(
        "gru", p.x, wide(params), wide(state), lengths=lengths, resets=resets, reset_state=wide(state)
    )
    assert_equal(run(p.x), half((expected.output, expected.state), dtype))
    assert run(p.x)[0].dtype == dtype


# ---- against jax.lax.scan -----------------------------------------------------------------------

sigmoid = jax.nn.sigmoid


def _lstm(a: Any, u: Any, s: Any, n: Any) -> Any:
    i, f, g, o = jnp.split(a + u, 4, axis=1)
    c = sigmoid(f) * s[1] + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def _gru(a: Any, u: Any, s: Any, n: Any) -> Any:
    (a_r, a_z, a_n), (u_r, u_z, u_n) = jnp.split(a, 3, axis=1), jnp.split(u, 3, axis=1)
    z = sigmoid(a_z + u_z)
    return ((1 - z) * jnp.tanh(a_n + sigmoid(a_r + u_r) * u_n) + z * s[0],)


def _gru_reset_before(a: Any, u: Any, s: Any, n: Any) -> Any:
    (a_r, a_z, a_n), (u_r, u_z, _) = jnp.split(a, 3, axis=1), jnp.split(u, 3, axis=1)
    z = sigmoid(a_z + u_z)
    return ((1 - z) * jnp.tanh(a_n + n(sigmoid(a_r + u_r) * s[0])) + z * s[0],)


def _ligru(a: Any, u: Any, s: Any, n: Any) -> Any:
    z, candidate = jnp.split(a + u, 2, axis=1)
    return (sigmoid(z) * s[0] + (1 - sigmoid(z)) * jax.nn.relu(candidate),)


# x's part, h's part, the states, and the last gate's product of something else than h.
STEPS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "rnn_tanh": lambda a, u, *_: (jnp.tanh(a + u),),
    "rnn_relu": lambda a, u, *_: (jax.nn.relu(a + u),),
    "lstm": _lstm,
    "gru": _gru,
    "gru_reset_before": _gru_reset_before,
    "ligru": _ligru,
}


def scan(cell: str, x: Any, params: Any, state: Any) -> Any:
    """The layer as users of JAX write it."""
    hidden = state[0].shape[-1]

    def step(s: Any, x_t: Any) -> Any:
        a = x_t @ params["weight_ih"].T + params["bias_ih"]
        u = s[0] @ params["weight_hh"].T + params["bias_hh"]
        new = STEPS[cell](a, u, s, lambda v: v @ params["weight_hh"][-hidden:].T + params["bias_hh"][-hidden:])
        return new, new[0]

    final, output = jax.lax.scan(step, state, x)
    return output, final


@pytest.mark.parametrize(
    ("cell", "dtype", "tolerance"),
    [(cell, "float64", 1e-13) for cell in STEPS] + [(cell, "float32", 2e-5) for cell in ("lstm", "gru_reset_before")],
)
def test_scan_agrees(cell: str, dtype: str, tolerance: float, x64: None) -> None:
    p = make(cell, (7, 3, 5, 9), dtype)

    def loss(forward: Any, x: Any, params: Any, state: Any) -> Any:
        output, final = forward(cell, x, params, state)
        value = (output * p.d_output).sum() + sum((s * d).sum() for s, d in zip(final, p.d_state, strict=True))
        return value, (output, final)

    def results(forward: Any) -> Any:
        run = jax.value_and_grad(partial(loss, forward), argnums=(0, 1, 2), has_aux=True)
        return jax.jit(run)(p.x, p.params, p.state)

    assert_close(results(rkj.forward), results(scan), tolerance)


# ---- transformations ----------------------------------------------------------------------------

P = make("lstm", SHAPE, "float32")


def total(x: Any, params: Any, state: Any = None, **options: Any) -> Any:
    """A loss."""
    output, (_, c) = rkj.forward("lstm", x, params, state, **options)
    return (output**2).sum() + c.sum()


def calls_in(function: Any, *arguments: Any) -> int:
    """How many calls of a kernel a function's program has, and whether one is in a loop."""
    text = str(jax.make_jaxpr(function)(*arguments))
    return -1 if "scan[" in text or "while[" in text else text.count("ffi_call[") + text.count("rnnkernels_layer[")


def test_jit_takes_traced_lengths() -> None:
    run = jax.jit(lambda lengths: rkj.forward("lstm", P.x, P.params, lengths=lengths)[0])
    for lengths in ([4, 1, 2], [0, 4, 4]):
        expected = rk.forward("lstm", P.x, P.params, lengths=lengths).output
        assert_equal(run(np.array(lengths, np.int32)), expected)


def batch_of(p: Any, count: int) -> tuple[Array, tuple[Array, ...]]:
    xs = np.stack([p.x + np.float32(0.1 * k) for k in range(count)])
    return xs, tuple(np.stack([s - np.float32(0.1 * k) for k in range(count)]) for s in p.state)


def test_vmap_folds_into_the_batch() -> None:
    xs, states = batch_of(P, 4)
    lengths = np.array([[1, 2, 3], [0, 4, 2], [4, 4, 4], [0, 0, 0]], np.int32)

    def run(x: Any, state: Any, length: Any) -> Any:
        return rkj.forward("lstm", x, P.params, state, lengths=length)

    expected = [run(xs[k], tuple(s[k] for s in states), lengths[k]) for k in range(4)]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *expected)
    assert_equal(jax.vmap(run)(xs, states, lengths), stacked)
    assert calls_in(jax.vmap(run), xs, states, lengths) == 1
    moved = jax.vmap(run, in_axes=(2, 0, 1), out_axes=(3, 0))(np.moveaxis(xs, 0, 2), states, lengths.T)
    assert_equal((jnp.moveaxis(moved[0], 3, 0), moved[1]), stacked)
    only_x = jax.vmap(lambda x: run(x, P.state, lengths[0]))(xs)
    assert_equal(only_x[0][2], run(xs[2], P.state, lengths[0])[0])
    only_lengths = jax.vmap(lambda length: run(P.x, P.state, length))(lengths)
    assert_equal(only_lengths[0][1], run(P.x, P.state, lengths[1])[0])
    twice = jax.vmap(jax.vmap(run))(*jax.tree.map(lambda a: a.reshape(2, 2, *a.shape[1:]), (xs, states, lengths)))
    assert_equal(jax.tree.map(lambda a: a.reshape(4, *a.shape[2:]), twice), stacked)


def test_grad_of_vmap_is_one_call_each_way() -> None:
    xs, states = batch_of(P, 4)

    def loss(x: Any, params: Any, state: Any) -> Any:
        return jax.vmap(total, (0, None, 0))(x, params, state).sum()

    found = jax.grad(loss, argnums=(0, 1, 2))(xs, P.params, states)
    each = [jax.grad(total, argnums=(0, 1, 2))(xs[k], P.params, tuple(s[k] for s in states)) for k in range(4)]
    summed = jax.tree.map(lambda *a: sum(a), *[g[1] for g in each])
    assert_close(found[1], summed, 1e-4)
    assert_equal((found[0], found[2]), jax.tree.map(lambda *a: jnp.stack(a), *[(g[0], g[2]) for g in each]))
    assert calls_in(jax.grad(loss, argnums=(0, 1, 2)), xs, P.params, states) == 2


def test_vmap_of_grad_gives_each_ones_gradient() -> None:
    xs, _ = batch_of(P, 3)
    found = jax.vmap(jax.grad(total, argnums=1), (0, None))(xs, P.params)
    each = [jax.grad(total, argnums=1)(x, P.params) for x in xs]
    assert_equal(found, jax.tree.map(lambda *a: jnp.stack(a), *each))


def test_mapped_parameters_run_one_after_another() -> None:
    several = [rk.init_params("lstm", 5, 6, rng=seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *a: np.stack(a), *several)
    xs, _ = batch_of(P, 3)

    def loss(x: Any, params: Any) -> Any:
        return jax.vmap(total)(x, params).sum()

    assert_equal(jax.vmap(total)(xs, stacked), jnp.stack([total(x, w) for x, w in zip(xs, several, strict=True)]))
    found = jax.jit(jax.grad(loss, argnums=1))(xs, stacked)
    each = [jax.grad(total, argnums=1)(x, w) for x, w in zip(xs, several, strict=True)]
    assert_equal(found, jax.tree.map(lambda *a: jnp.stack(a), *each))
    assert calls_in(lambda w: jax.vmap(total, (None, 0))(P.x, w), stacked) == -1


def test_scan_over_windows_and_checkpoint() -> None:
    xs, _ = batch_of(P, 3)

    def loss(params: Any, run: Any) -> Any:
        start = tuple(map(jnp.asarray, P.state))
        (h, c), outputs = jax.lax.scan(lambda s, x: run(params, s, x), start, xs)
        return outputs.sum() + h.sum() + c.sum()

    def window(params: Any, s: Any, x: Any) -> Any:
        output, after = rkj.forward("lstm", x, params, s)
        return after, output

    whole = rk.forward("lstm", xs.reshape(-1, *P.x.shape[1:]), P.params, P.state)
    grads = rk.backward(whole, np.ones_like(whole.output), tuple(np.ones_like(s) for s in P.state)).params
    for run in (window, jax.checkpoint(window)):
        assert_close(jax.grad(loss)(P.params, run), grads, 2e-5)


def test_dx_is_made_only_where_it_is_asked_for() -> None:
    text = str(jax.make_jaxpr(jax.grad(lambda w: total(P.x, w)))(P.params))
    both = str(jax.make_jaxpr(jax.grad(total, argnums=(0, 1)))(P.x, P.params))
    wanted = str(15 | 1 << 10)  # four parameters, and the bit of csrc/binding/xla_ffi.cpp
    assert wanted not in text
    assert wanted in both


def test_a_gradient_keeps_the_instruction_set_of_its_forward() -> None:
    sets = rk.instruction_sets()
    rk.set_instruction_set(sets[-1])
    results, pull = jax.vjp(lambda w: rkj.forward("lstm", P.x, w, P.state), P.params)
    rk.set_instruction_set(sets[0])
    (found,) = pull((jnp.asarray(P.d_output), tuple(map(jnp.asarray, P.d_state))))
    rk.set_instruction_set(sets[-1])
    expected, (_, d_params, _) = expected_of(P)
    assert_equal((results, found), (expected, d_params))


def test_several_threads_at_once() -> None:
    run = jax.jit(jax.grad(total, argnums=1))
    expected = run(P.x, P.params)
    found: list[Any] = []

    def work() -> None:
        found.extend(run(P.x, P.params) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    for each in found:
        assert_equal(each, expected)


SHARDED = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import rnnkernels as rk, rnnkernels.jax as rkj
params = rk.init_params("lstm", 5, 7, rng=0)
x = np.random.default_rng(0).standard_normal((4, 6, 5)).astype("f")
rows, same = PartitionSpec(None, "b", None), PartitionSpec()
mesh = Mesh(np.array(jax.devices()), ("b",))
there = jax.device_put(x, NamedSharding(mesh, rows))
def forward(x, w):
    return rkj.forward("lstm", x, w)[0]
def grads(run, x):
    return jax.jit(jax.grad(lambda x, w: (run(x, w) ** 2).sum(), argnums=(0, 1)))(x, params)
def farthest(one, two):
    return max(float(np.abs(np.asarray(a) - b).max()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two)))
assert len(jax.devices()) == 2
expected = grads(forward, x)
print(farthest(grads(forward, there), expected) < 1e-5)
options = {"mesh": mesh, "in_specs": (rows, same), "out_specs": rows}
print(farthest(grads(jax.shard_map(forward, check_vma=False, **options), there), expected) < 1e-5)
try:
    print(grads(jax.shard_map(forward, **options), there))
except NotImplementedError as error:
    print(error)
halves, one = {k: jax.numpy.asarray(v, "bfloat16") for k, v in params.items()}, jax.numpy.asarray(x, "bfloat16")
cuts, anew = np.random.default_rng(1).random((4, 6)) < 0.4, [jax.numpy.full((6, 7), k, "bfloat16") for k in (0.1, 0.2)]
def cut(x, cuts, anew):
    return rkj.forward("lstm", x, halves, resets=cuts, reset_state=anew)[0]
specs = rows, PartitionSpec(None, "b"), PartitionSpec("b")
spread = jax.jit(jax.shard_map(cut, mesh=mesh, in_specs=specs, out_specs=rows, check_vma=False))
print(farthest(spread(one, cuts, anew), cut(one, cuts, anew)) == 0)
"""


@pytest.mark.skipif(not hasattr(jax, "shard_map"), reason="an older JAX")
def test_on_several_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    done = python(SHARDED)
    assert done.returncode == 0, done.stderr
    refused = "rnnkernels.jax: inside a jax.shard_map expected one with check_vma=False"
    assert done.stdout.splitlines() == ["True", "True", refused, "True"]


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        jax.grad(lambda x: jax.grad(total)(x, P.params).sum()),
        jax.hessian(lambda x: total(x, P.params)),
        jax.jit(jax.grad(lambda x: jax.jit(jax.grad(total))(x, P.params).sum())),
    ],
)
def test_second_derivatives_are_refused(function: Any) -> None:
    with pytest.raises(NotImplementedError, match=r"rnnkernels\.jax: second derivatives are not supported"):
        function(P.x)


def test_forward_mode_is_refused() -> None:
    with pytest.raises(TypeError, match=r"forward-mode"):
        jax.jvp(lambda x: total(x, P.params), (P.x,), (P.x,))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"cell": "lstn"}, ValueError, "cell: expected one of .*lstm.*; got 'lstn'"),
        ({"cell": 3}, TypeError, "cell: expected a string, got int"),
        ({"x": P.x[0]}, ValueError, r"x: expected shape \(T, B, I\), got \(3, 5\)"),
        ({"x": P.x[..., :4]}, ValueError, r"x: expected shape \(T, B, I\) = \(4, 3, 5\), got \(4, 3, 4\)"),
        ({"x": P.x.astype("f2")}, TypeError, "x: expected dtype float32, the parameters', got float16"),
        ({"x": P.x.astype("f8")}, TypeError, "x: .*float64 needs jax_enable_x64"),
        ({"x": None}, TypeError, "x: expected an array of numbers, got NoneType"),
        ({"x": np.zeros((4, 3, 5), int)}, ValueError, r"x: expected shape \(T, B\) of tokens, got \(4, 3, 5\)"),
        ({"x": np.array([[2**32 + 1]])}, TypeError, "x: .*integers of more than 32 bits need jax_enable_x64"),
        ({"x": [[2**32 + 1]]}, TypeError, "x: expected an array of numbers, got list"),
        ({"params": None}, TypeError, "params: expected a mapping .*got None"),
        ({"params": {}}, ValueError, "params: expected weight_ih, .*got no weight_ih, no weight_hh"),
        ({"params": P.params | {"w": P.x}}, ValueError, "params: .*an unknown 'w'"),
        (
            {"params": P.params | {"weight_hh": P.params["weight_hh"][:3]}},
            ValueError,
            r"params\['weight_hh'\]: expected shape \(24, 6\), got \(3, 6\)",
        ),
        (
            {"params": P.params | {"weight_ih": P.params["weight_ih"].astype("f2")}},
            TypeError,
            r"params\['weight_hh'\]: expected dtype float16, the parameters', got float32",
        ),
        ({"state": P.state[0]}, TypeError, r"state: expected a tuple of arrays \(h, c\), got ndarray"),
        ({"state": P.state[:1]}, ValueError, r"state: expected 2 arrays \(h, c\), got 1"),
        (
            {"state": (P.state[0], P.state[1][:2])},
            ValueError,
            r"state\[1\]: expected shape \(B, H\) = \(3, 6\), got \(2, 6\)",
        ),
        (
            {"params": {n: w.astype("i4") for n, w in P.params.items()}},
            TypeError,
            r"params\['weight_ih'\]: expected dtype float32, float64, bfloat16, float16, got int32",
        ),
        ({"resets": np.zeros((4, 3))}, TypeError, "resets: .*float64 needs jax_enable_x64"),
        ({"resets": np.zeros((4, 3), int)}, TypeError, "resets: expected booleans, got int"),
        ({"resets": np.zeros((3, 4), bool)}, ValueError, r"resets: expected shape \(T, B\) = \(4, 3\), got \(3, 4\)"),
        ({"reset_state": P.state}, ValueError, "reset_state: expected resets with it, got none"),
        (
            {"resets": np.zeros((4, 3), bool), "reset_state": P.state[:1]},
            ValueError,
            r"reset_state: expected 2 arrays \(h, c\), got 1",
        ),
        ({"lengths": [1, 2]}, ValueError, r"lengths: expected shape \(B,\) = \(3,\), got \(2,\)"),
        ({"lengths": [1.0, 2.0, 3.0]}, TypeError, "lengths: expected integers, got float32"),
    ],
)
def test_bad_input_is_named(changes: Any, error: type[Exception], message: str) -> None:
    arguments = {"cell": "lstm", "x": P.x, "params": P.params, "state": P.state} | changes
    with pytest.raises(error, match=message):
        rkj.forward(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lengths": [4, 5, 0]}, r"lengths: expected 0 to T = 4, got 5 at \[1\]"),
        ({"lengths": [4, 2, -1]}, r"lengths: expected 0 to T = 4, got -1 at \[2\]"),
        ({"x": np.array([[0, 1, 2], [3, 5, 0]])}, r"x: expected tokens in \[0, 5\), got 5 at \[1, 1\]"),
        ({"x": np.array([[0, -1, 2]])}, r"x: expected tokens in \[0, 5\), got -1 at \[0, 1\]"),
    ],
)
def test_bad_values_are_named_when_it_runs(changes: Any, message: str) -> None:
    arguments = {"cell": "lstm", "x": P.x, "params": P.params, "state": P.state} | changes
    for run in (rkj.forward, jax.jit(rkj.forward, static_argnames="cell")):
        with pytest.raises((RuntimeError, ValueError), match=message):  # JAX says which
            jax.block_until_ready(run(**arguments))


def test_without_jax_its_extra_is_named() -> None:
    done = python(HIDE.format(names=("jax",)) + "import rnnkernels.jax")
    assert done.returncode == 1
    assert "pip install 'rnnkernels[jax]'" in done.stderr


# ---- the interface to XLA -----------------------------------------------------------------------


def check_abi(compiler: str, header: Path) -> subprocess.CompletedProcess[str]:
    """Compile the comparison of our header, in a folder as csrc, with jaxlib's."""
    source = ROOT / "tests" / "native" / "check_xla_ffi_abi.cpp"
    command = [compiler, "-std=c++20", "-fsyntax-only", f"-I{header}", f"-I{jax.ffi.include_dir()}", str(source)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("", ""),
        ("std::int64_t rank;", "std::int32_t rank;"),
        ("    int stage;\n    Buffers arguments;\n", "    Buffers arguments;\n    int stage;\n"),
        ("kF64 = 12", "kF64 = 13"),
        ("    const void* internal;\n", ""),
    ],
    ids=["as it is", "size", "order", "value", "missing"],
)
def test_our_words_for_xlas_interface_are_its_own(right: str, wrong: str, tmp_path: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX") or "c++")
    if compiler is None or not (Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h").exists():
        pytest.skip("no compiler, or a jaxlib without its header")
    text = (ROOT / "csrc" / "binding" / "xla_ffi_abi.h").read_text(encoding="utf-8")
    assert right in text
    copy = tmp_path / "binding" / "xla_ffi_abi.h"
    copy.parent.mkdir()
    copy.write_text(text.replace(right, wrong) if right else text, encoding="utf-8")
    done = check_abi(compiler, tmp_path)
    assert (done.returncode == 0) == (not right), done.stderr
