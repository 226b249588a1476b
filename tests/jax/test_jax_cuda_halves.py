"""Halves through JAX on a GPU: the CUDA backend, emulated, is called with halves, by XLA's own frames.

What is expected are the backend's own results for the same halves, bit for bit, which tests/cuda holds to float64. XLA
compiles for the CPU here, so that the CPU is said to read halves. Not here: what the CPU makes of halves (test_jax.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import FORMS, make

import rnnkernels as rk
import rnnkernels.jax as rkj
from rnnkernels import cuda
from rnnkernels.jax import _calls

if TYPE_CHECKING:
    from problems import Problem
    from xla_on_emulated import Xla

ROOT = Path(__file__).resolve().parents[2]
DTYPES = pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
SHAPE = (5, 4, 5, 6)


@pytest.fixture
def halves(xla: Xla, tensors: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """PyTorch, whose tensors the backend takes, too; what is traced for the CPU goes to it as halves."""
    del xla
    monkeypatch.setattr(_calls, "READS_HALVES", ("cpu", "cuda"))
    return tensors


def resets_of(shape: tuple[int, int]) -> Any:
    return np.random.default_rng(3).random(shape) < 0.3


def rounded(p: Problem, dtype: str) -> Problem:
    """The problem with numbers that are halves."""
    as_half = partial(jax.tree.map, lambda a: np.array(jnp.asarray(a).astype(dtype).astype(jnp.float32)))
    x = p.x if p.x.dtype.kind in "iu" else as_half(p.x)
    return type(p)(p.cell, x, *map(as_half, (p.params, p.state, p.d_output, p.d_state)))


def by_jax(p: Problem, dtype: str, jitted: bool = False, **options: Any) -> tuple[Any, Any]:
    """Results and gradients, (x), parameters and states, by JAX; p has been rounded."""
    half = partial(jax.tree.map, lambda a: jnp.asarray(a).astype(dtype))
    given = {"state": p.state} | options
    states = {name: half(given.pop(name)) for name in ("state", "reset_state") if given.get(name) is not None}

    def run(x: Any, w: Any, states: Any) -> Any:
        return rkj.forward(p.cell, x, w, **states, **{n: v for n, v in given.items() if v is not None})

    tokens = p.x.dtype.kind in "iu"
    x = jnp.asarray(p.x, np.int32) if tokens else half(p.x)
    arrays = (half(p.params), states) if tokens else (x, half(p.params), states)
    function = partial(run, x) if tokens else run
    results, pull = jax.vjp(jax.jit(function) if jitted else function, *arrays)
    return results, pull((half(p.d_output), half(tuple(p.d_state))))


def by_torch(torch: Any, p: Problem, dtype: str, **options: Any) -> tuple[Any, Any]:
    """The same by the backend itself."""
    kind = getattr(torch, dtype)
    half = partial(jax.tree.map, lambda a: torch.from_numpy(np.ascontiguousarray(a)).to(kind))
    tokens = p.x.dtype.kind in "iu"
    given = {"state": p.state} | options
    states = {name: half(given.pop(name)) for name in ("state", "reset_state") if given.get(name) is not None}
    given.pop("state", None)
    run: Any = rk.forward(p.cell, torch.from_numpy(p.x) if tokens else half(p.x), half(p.params), **states, **given)
    grads: Any = rk.backward(run, half(p.d_output), half(tuple(p.d_state)))
    d_states = {"state": grads.state} if "state" in states else {}
    d_states |= {"reset_state": grads.reset_state} if "reset_state" in states else {}
    of_x = () if tokens else (grads.x,)
    return (run.output, run.state), (*of_x, grads.params, d_states)


def assert_equal(found: Any, wanted: Any, dtype: str) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert (a.dtype.name, str(b.dtype)) == (dtype, f"torch.{dtype}")
        np.testing.assert_array_equal(np.asarray(a.astype(jnp.float32)), b.float().numpy())


@DTYPES
@pytest.mark.parametrize("cell", FORMS)
def test_every_cell(cell: str, dtype: str, halves: Any, xla: Xla) -> None:
    p = rounded(make(cell, SHAPE, "float32"), dtype)
    wanted = by_torch(halves, p, dtype)
    assert_equal(by_jax(p, dtype), wanted, dtype)
    assert xla.calls == 2
    assert_equal(by_jax(p, dtype, jitted=True), wanted, dtype)


@DTYPES
@pytest.mark.parametrize("shape", [(0, 3, 5, 6), (4, 0, 5, 6), (1, 1, 1, 1), (3, 2, 7, 13)], ids=str)
@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm_projected"])
def test_odd_shapes(cell: str, shape: tuple[int, int, int, int], dtype: str, halves: Any) -> None:
    p = rounded(make(cell, shape, "float32"), dtype)
    assert_equal(by_jax(p, dtype), by_torch(halves, p, dtype), dtype)


@DTYPES
@pytest.mark.parametrize("kernel", ["resident", "grid", "products"])
def test_kernels_that_want_halves(kernel: str, dtype: str, halves: Any) -> None:
    """Results are that kernel's, which are not those of the plain products: a state after h is kept as it was made."""
    p = rounded(make("lstm", (7, 9, 5, 34), "float32"), dtype)
    cuda.set_kernel(kernel)
    lengths = np.array([7, 0, 3, 1, 7, 7, 5, 2, 6], np.int32)
    given: tuple[dict[str, Any], ...] = ({}, {"lengths": lengths})
    for options in given:
        assert_equal(by_jax(p, dtype, **options), by_torch(halves, p, dtype, **options), dtype)


RAGGED: dict[str, dict[str, Any]] = {
    "lengths": {"lengths": np.array([2, 5, 0, 3], np.int32)},
    "no steps": {"lengths": np.zeros(4, np.int32)},
    "reverse": {"reverse": True},
    "resets": {"resets": resets_of((5, 4)), "lengths": np.array([4, 5, 0, 3], np.int32), "reverse": True},
    "from zeros": {"resets": resets_of((5, 4)), "state": None},
}


@DTYPES
@pytest.mark.parametrize("options", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "lstm_projected", "slstm"])
def test_ragged_batches(cell: str, options: dict[str, Any], dtype: str, halves: Any) -> None:
    p = rounded(make(cell, SHAPE, "float32"), dtype)
    assert_equal(by_jax(p, dtype, **options), by_torch(halves, p, dtype, **options), dtype)


@DTYPES
def test_tokens(dtype: str, halves: Any) -> None:
    p = rounded(make("gru", SHAPE, "float32", tokens=True), dtype)
    assert_equal(by_jax(p, dtype), by_torch(halves, p, dtype), dtype)


@DTYPES
def test_gradients_of_reset_states_are_summed_in_float32(dtype: str, halves: Any) -> None:
    """All of a row's sequences but the first begin with its reset state: the sum of their gradients, rounded once.

    What each of them has is what separate initial states have, a row each.
    """
    p = rounded(make("lstm", (24, 3, 5, 6), "float32"), dtype)
    begun = rounded(make("lstm", (24, 3, 5, 6), "float32", seed=1), dtype).state
    resets = np.zeros((24, 3), bool)
    resets[2::2] = True
    _, (*_, d_states) = by_jax(p, dtype, resets=resets, reset_state=begun)
    alone = type(p)(
        "lstm",
        np.ascontiguousarray(p.x.reshape(12, 2, 3, 5).swapaxes(0, 1).reshape(2, 36, 5)),
        p.params,
        tuple(np.concatenate([s, *[r] * 11]) for s, r in zip(p.state, begun, strict=True)),
        np.ascontiguousarray(p.d_output.reshape(12, 2, 3, 6).swapaxes(0, 1).reshape(2, 36, 6)),
        tuple(np.concatenate([*[np.zeros_like(d)] * 11, d]) for d in p.d_state),
    )
    _, (*_, of_alone) = by_torch(halves, alone, dtype)
    sums = [d.float().numpy().reshape(12, 3, 6)[1:] for d in of_alone["state"]]
    plain, exact = [], []
    for each in sums:
        exact.append(jnp.asarray(np.add.reduce(each.astype(np.float64))).astype(jnp.float32).astype(dtype))
        rounding = jnp.zeros((3, 6), dtype)
        for part in each:
            rounding += jnp.asarray(part).astype(dtype)
        plain.append(rounding)
    for found, wanted in zip(d_states["reset_state"], exact, strict=True):
        np.testing.assert_array_equal(found.astype(jnp.float32), wanted.astype(jnp.float32))
    # The problem can tell: additions that are rounded one by one come to something else.
    assert any((a != b).any() for a, b in zip(plain, exact, strict=True))


@DTYPES
def test_a_mapped_batch_and_a_checkpoint_under_jit(dtype: str, halves: Any, xla: Xla) -> None:
    p = rounded(make("gru", SHAPE, "float32"), dtype)
    half = partial(jax.tree.map, lambda a: jnp.asarray(a).astype(dtype))
    xs, params = half(np.stack([p.x, 2 * p.x, -p.x])), half(p.params)

    def loss(params: Any) -> Any:
        layer = jax.checkpoint(partial(rkj.forward, "gru"))
        return jax.vmap(layer, in_axes=(0, None))(xs, params)[0].astype(jnp.float32).sum()

    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    assert xla.calls == 3  # a forward, one again, a backward; each of all three
    kind = getattr(halves, dtype)
    x = halves.from_numpy(np.concatenate(np.asarray(xs.astype(jnp.float32)), axis=1)).to(kind)
    run: Any = rk.forward("gru", x, {n: halves.from_numpy(w).to(kind) for n, w in p.params.items()})
    wanted: Any = rk.backward(run, halves.ones_like(run.output))
    assert_equal(grads, wanted.params, dtype)
    np.testing.assert_allclose(float(value), float(run.output.float().sum()), rtol=1e-5)


@DTYPES
def test_a_vmap_of_gradients(dtype: str, halves: Any) -> None:
    del halves
    p = rounded(make("gru", SHAPE, "float32"), dtype)
    half = partial(jax.tree.map, lambda a: jnp.asarray(a).astype(dtype))
    xs, params = half(np.stack([p.x, -p.x])), half(p.params)

    def loss(params: Any, x: Any) -> Any:
        return rkj.forward("gru", x, params)[0].astype(jnp.float32).sum()

    found = jax.vmap(jax.grad(loss), in_axes=(None, 0))(params, xs)
    for k, x in enumerate(xs):
        wanted = jax.grad(loss)(params, x)
        jax.tree.map(lambda a, b, k=k: np.testing.assert_array_equal(a[k], b), found, wanted)


@pytest.mark.parametrize("kernel", ["resident", "grid"])
def test_a_kernel_that_does_not_serve(kernel: str, halves: Any) -> None:
    del halves
    p = make("lstm_projected", SHAPE, "float32")
    half = partial(jax.tree.map, lambda a: jnp.asarray(a).astype(jnp.bfloat16))
    cuda.set_kernel(kernel)
    with pytest.raises(Exception, match=f"kernel: {kernel}: expected a cell whose .*, got lstm_projected"):
        jax.block_until_ready(rkj.forward(p.cell, half(p.x), half(p.params)))


def test_products_of_bfloat16(halves: Any) -> None:
    del halves
    p = make("lstm", SHAPE, "float32")
    half = partial(jax.tree.map, lambda a: jnp.asarray(a).astype(jnp.bfloat16))
    with pytest.raises(Exception, match="products: expected full on a GPU, got 'bfloat16'"):
        jax.block_until_ready(rkj.forward("lstm", half(p.x), half(p.params), products="bfloat16"))


@DTYPES
def test_a_program_for_a_gpu_has_halves(dtype: str, emulated: Any) -> None:
    """What is lowered for "cuda" calls both functions with halves and no float32; for "cpu" the other way round."""
    pytest.importorskip("jax.export")
    emulated.set_kernel("reference")
    p = make("lstm", SHAPE, "float32")
    half = partial(jax.tree.map, lambda a: jnp.asarray(a).astype(dtype))
    x, params = half(p.x), half(p.params)

    def loss(w: Any) -> Any:
        return rkj.forward("lstm", x, w)[0].sum()

    names = (_calls.FORWARD, _calls.BACKWARD)
    allowed = [jax.export.DisabledSafetyCheck.custom_call(name) for name in names]
    short = {"bfloat16": "bf16", "float16": "f16"}[dtype]
    for platform, there, not_there in (("cuda", short, "xf32"), ("cpu", "xf32", short)):
        made = jax.export.export(jax.jit(jax.value_and_grad(loss)), platforms=[platform], disabled_checks=allowed)
        text = str(made(params).mlir_module())
        calls = [line for line in text.splitlines() if "custom_call" in line and any(f"@{n}" in line for n in names)]
        assert len(calls) == 2
        for line in calls:
            types = line[line.rindex(" : ") :]
            assert there in types
            assert not_there not in types


@DTYPES
def test_a_compiled_program_widens_nothing(dtype: str, halves: Any) -> None:
    """XLA drops what would make float32 of a half and a half of that: of weights and x there is no float32."""
    del halves
    p = make("lstm", SHAPE, "float32")
    half = partial(jax.tree.map, lambda a: jnp.asarray(a).astype(dtype))

    def loss(w: Any, x: Any) -> Any:
        output, (h, c) = rkj.forward("lstm", x, w)
        return (output[-1] * h * c).max()

    text = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(half(p.params), half(p.x)).compile().as_text()
    short = {"bfloat16": "bf16", "float16": "f16"}[dtype]
    for shape in ("24,5", "24,6", "5,4,5"):
        assert f"{short}[{shape}]" in text
        assert f" f32[{shape}]" not in text


# ---- numbers of half precision on the host ------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("", ""),
        ("0x477ff000U", "0x477fe000U"),
        ("+ 0xfffU + (size >> 13 & 1U)", "+ 0x1000U"),
        ("bits + 0x7fffU + (bits >> 16 & 1U)", "bits + 0x7fffU"),
        ("exponent == 0x1fU ? 0xffU : exponent + 112", "exponent + 112"),
        ("size < 0x38800000U", "size < 0x38000000U"),
    ],
    ids=["as it is", "largest", "ties of float16", "ties of bfloat16", "infinity", "small"],
)
def test_halves_on_the_host(right: str, wrong: str, tmp_path: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX") or "c++")
    if compiler is None or not (ROOT / "csrc").is_dir():
        pytest.skip("no compiler, or no sources")
    text = (ROOT / "csrc" / "binding" / "half_numbers.h").read_text(encoding="utf-8")
    assert right in text
    copy = tmp_path / "binding" / "half_numbers.h"
    copy.parent.mkdir()
    text = text.replace("../recurrence/", f"{ROOT}/csrc/recurrence/")
    copy.write_text(text.replace(right, wrong) if right else text, encoding="utf-8")
    source = ROOT / "tests" / "native" / "check_half_numbers.cpp"
    command = [compiler, "-std=c++20", "-fsyntax-only", f"-I{tmp_path}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode == 0) == (not right), done.stderr
