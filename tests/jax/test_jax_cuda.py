"""The JAX function on a GPU: the CUDA backend, emulated, called by XLA's frames; and what is lowered for "cuda".

The CPU's results through JAX, which test_jax.py holds to the kernels bit for bit, are what is expected. Memory begins
as NaN, and every block of XLA's scratch memory must come back (conftest.py). Not here: halves.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import FORMS, make
from separate_calls import reset_state

import rnnkernels as rk
import rnnkernels.jax as rkj
from rnnkernels import cuda
from rnnkernels.jax import _calls

if TYPE_CHECKING:
    from xla_on_emulated import Xla


def vjp_of(p: Any, **options: Any) -> tuple[Any, Any]:
    given = {"state": p.state, **options}

    def run(x: Any, w: Any, states: dict[str, Any]) -> Any:
        rest = {name: value for name, value in given.items() if name not in states}
        return rkj.forward(p.cell, x, w, **states, **rest)

    states = {name: given[name] for name in ("state", "reset_state") if given.get(name) is not None}
    results, pull = jax.vjp(run, p.x, p.params, states)
    return results, pull((jnp.asarray(p.d_output), tuple(map(jnp.asarray, p.d_state))))


def on_the_cpu(function: Any, *arguments: Any, **named: Any) -> Any:
    """Run it by the CPU's handlers, within a test that has the emulated backend's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_calls, "FORWARD", "rnnkernels_forward")
        patch.setattr(_calls, "BACKWARD", "rnnkernels_backward")
        jax.clear_caches()
        found = jax.tree.map(np.asarray, function(*arguments, **named))
    jax.clear_caches()
    return found


def assert_close(one: Any, two: Any, dtype: str) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(two)
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", FORMS)
def test_every_cell(cell: str, dtype: str, xla: Xla, x64: None) -> None:
    p = make(cell, (4, 3, 5, 6), dtype)
    found = vjp_of(p)
    assert xla.calls == 2
    assert xla.most > 0
    assert_close(found, on_the_cpu(vjp_of, p), dtype)


@pytest.mark.parametrize("shape", [(0, 3, 5, 6), (4, 0, 5, 6), (1, 1, 1, 1), (3, 2, 7, 13)], ids=str)
@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm_projected"])
def test_odd_shapes(cell: str, shape: tuple[int, int, int, int], xla: Xla) -> None:
    p = make(cell, shape, "float32")
    assert_close(vjp_of(p), on_the_cpu(vjp_of, p), "float32")


def resets_of(shape: tuple[int, int]) -> Any:
    return np.random.default_rng(3).random(shape) < 0.3


RAGGED: dict[str, dict[str, Any]] = {
    "lengths": {"lengths": np.array([2, 5, 0, 3], np.int32)},
    "no steps": {"lengths": np.zeros(4, np.int32)},
    "reverse": {"reverse": True},
    "both": {"lengths": np.array([2, 5, 0, 3], np.int32), "reverse": True},
    "resets": {"resets": resets_of((5, 4))},
    "all": {"resets": resets_of((5, 4)), "lengths": np.array([4, 5, 0, 3], np.int32), "reverse": True},
    "from zeros": {"resets": resets_of((5, 4)), "state": None},
}


@pytest.mark.parametrize("options", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "lstm_projected", "slstm"])
def test_ragged_batches(cell: str, options: dict[str, Any], xla: Xla) -> None:
    p = make(cell, (5, 4, 5, 6), "float32")
    assert_close(vjp_of(p, **options), on_the_cpu(vjp_of, p, **options), "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", ["lstm", "lstm_projected"])
def test_reset_states(cell: str, dtype: str, xla: Xla, x64: None) -> None:
    p = make(cell, (5, 4, 5, 6), dtype)
    options = {"resets": resets_of((5, 4)), "reset_state": reset_state(p)}
    assert_close(vjp_of(p, **options), on_the_cpu(vjp_of, p, **options), dtype)


@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_tokens(kind: str, xla: Xla, x64: None) -> None:
    p = make("gru", (4, 3, 5, 6), "float32")
    tokens = np.random.default_rng(0).integers(0, 5, (4, 3)).astype(kind)

    def both() -> Any:
        results, pull = jax.vjp(lambda w: rkj.forward("gru", tokens, w, lengths=[4, 2, 0]), p.params)
        return results, pull((jnp.asarray(p.d_output), tuple(map(jnp.asarray, p.d_state))))

    assert_close(both(), on_the_cpu(both), "float32")


def test_halves_where_no_platform_reads_them(xla: Xla) -> None:
    """Here all is compiled for a CPU: the float32 call's results, rounded."""
    p = make("lstm", (4, 3, 5, 6), "float32")
    half = [jax.tree.map(lambda a: jnp.asarray(a).astype(jnp.bfloat16), part) for part in (p.x, p.params)]
    wide = [jax.tree.map(lambda a: a.astype(jnp.float32), part) for part in half]
    output, _ = rkj.forward("lstm", *half)
    wanted, _ = rkj.forward("lstm", *wide)
    np.testing.assert_array_equal(output, wanted.astype(jnp.bfloat16))


def test_a_mapped_batch_under_jit(xla: Xla) -> None:
    p = make("lstm", (4, 3, 5, 6), "float32")
    x = np.stack([p.x, 2 * p.x, -p.x])

    def run() -> Any:
        return jax.jit(jax.vmap(partial(rkj.forward, "lstm"), in_axes=(0, None)))(x, p.params)

    found = run()
    assert xla.calls == 1
    assert_close(found, on_the_cpu(run), "float32")


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("token", [-1, 5])
def test_a_token_out_of_range(token: int, xla: Xla) -> None:
    p = make("gru", (4, 3, 5, 6), "float32")
    tokens = np.full((4, 3), 2, np.int32)
    tokens[1, 2] = token
    with pytest.raises(Exception, match=rf"x: expected tokens in \[0, 5\), got {token} at \[1, 2\]"):
        jax.block_until_ready(rkj.forward("gru", tokens, p.params))


def test_a_length_out_of_range(xla: Xla) -> None:
    p = make("gru", (4, 3, 5, 6), "float32")
    with pytest.raises(Exception, match=r"lengths: expected 0 to T = 4, got 5 at \[1\]"):
        jax.block_until_ready(rkj.forward("gru", p.x, p.params, lengths=[4, 5, 0]))


def test_a_kernel_that_does_not_serve(xla: Xla) -> None:
    p = make("lstm", (4, 3, 5, 6), "float32")
    cuda.set_kernel("grid")
    with pytest.raises(Exception, match="kernel: grid: expected bfloat16 or float16, got float32"):
        jax.block_until_ready(rkj.forward("lstm", p.x, p.params))


def test_products_of_bfloat16(xla: Xla) -> None:
    p = make("lstm", (4, 3, 5, 6), "float32")
    with pytest.raises(Exception, match="products: expected full on a GPU, got 'bfloat16'"):
        jax.block_until_ready(rkj.forward("lstm", p.x, p.params, products="bfloat16"))


def test_xla_without_memory(xla: Xla) -> None:
    p = make("lstm", (4, 3, 5, 6), "float32")
    xla.limit = 100
    with pytest.raises(Exception, match=r"rnnkernels: XLA: out of memory: \d+ bytes asked for"):
        jax.block_until_ready(rkj.forward("lstm", p.x, p.params))


def test_an_xla_of_before_streams(xla: Xla, monkeypatch: pytest.MonkeyPatch) -> None:
    p = make("lstm", (4, 3, 5, 6), "float32")
    monkeypatch.setattr(xla, "api_bytes", 80)
    with pytest.raises(Exception, match="expected an XLA that gives streams and memory"):
        jax.block_until_ready(rkj.forward("lstm", p.x, p.params))


# ---- what is lowered ----------------------------------------------------------------------------


def lowered(function: Any, *arguments: Any) -> str:
    names = (_calls.FORWARD, _calls.BACKWARD)
    allowed = [jax.export.DisabledSafetyCheck.custom_call(name) for name in names]
    made = jax.export.export(jax.jit(function), platforms=["cuda"], disabled_checks=allowed)
    return str(made(*arguments).mlir_module())


def test_a_program_for_a_gpu_calls_both(emulated: Any) -> None:
    pytest.importorskip("jax.export")
    p = make("lstm", (4, 3, 5, 6), "float32")
    emulated.set_kernel("reference")
    cuda.allow_tf32(True)
    try:
        text = lowered(jax.value_and_grad(lambda w: rkj.forward("lstm", p.x, w)[0].sum()), p.params)
    finally:
        cuda.allow_tf32(False)
    assert f"@{_calls.FORWARD}" in text
    assert f"@{_calls.BACKWARD}" in text
    assert 'kernel = "reference"' in text
    assert f"options = {15 | 1 << 14} : i64" in text


def test_a_program_for_a_gpu_without_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax.export")
    if rk.backends()["cuda"].startswith("not built") is False:
        pytest.skip("it is built here")
    p = make("lstm", (4, 3, 5, 6), "float32")
    with pytest.raises(NotImplementedError, match="on a GPU expected the CUDA backend, got none: not built"):
        lowered(partial(rkj.forward, "lstm"), p.x, p.params)


def test_a_reserve_is_enough_for_either(emulated: Any) -> None:
    for cell in FORMS:
        most = max(rk._cpu.reserve_size(cell, 6, "float32"), emulated.reserve_size(cell, 6, "float32"))
        assert _calls.reserve_size(cell, 6, "float32") == most
