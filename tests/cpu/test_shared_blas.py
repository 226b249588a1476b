"""NumPy's OpenBLAS on our threads: the same bits, from anywhere, and back again; how it is switched.

Not here: what else happens in the process (test_shared_blas_process.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from blas_programs import BEGIN, can_share, said
from problems import make
from processes import python

import rnnkernels as rk
from rnnkernels import _cpu

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FLOATS = ("float32", "float64")
SIZES = (1, 3, 17, 65, 100, 257, 400)


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    """OpenBLAS cuts its work for two threads, on every machine; its own ones before and after the test."""
    before = [threads for _, threads, _ in _cpu.blas()]
    for number in range(len(before)):
        _cpu.set_blas_threads(number, 2)
    rk.set_num_threads(2)
    if not can_share():
        pytest.skip("no OpenBLAS that can be shared")
    yield
    rk.unshare_blas()
    for number, threads in enumerate(before):
        _cpu.set_blas_threads(number, threads)


def products(dtype: str, sizes: tuple[int, ...] = SIZES) -> Iterator[tuple[str, bytes]]:
    """What BLAS and LAPACK have a hand in, by name: matrices, vectors, triangles, factorisations."""
    rng = np.random.default_rng(1)
    for n in sizes:
        a, b = rng.standard_normal((n, 2 * n)).astype(dtype), rng.standard_normal((2 * n, n + 3)).astype(dtype)
        square = a @ a.T  # syrk
        positive = square + 2 * n * np.eye(n, dtype=dtype)
        results = {
            "gemm": a @ b,
            "transposed": b.T @ a.T,
            "syrk": square,
            "gemv": a @ b[:, 0],
            "transposed gemv": a.T @ b[:n, 0],
            "dot": a.ravel() @ a.ravel(),
            "cholesky": np.linalg.cholesky(positive),
            "solve": np.linalg.solve(positive, a),
        }
        for name, value in results.items():
            yield f"{name} {n}", value.tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
def test_bits_are_those_of_openblas_own_threads(dtype: str) -> None:
    expected = dict(products(dtype))
    assert rk.share_blas()
    assert dict(products(dtype)) == expected
    rk.unshare_blas()
    assert dict(products(dtype)) == expected


def test_what_is_shared_is_said() -> None:
    names = rk.share_blas()
    assert [Path(path).name for path, _, shared in _cpu.blas() if shared] == list(names)
    assert rk.share_blas() == names
    rk.unshare_blas()
    assert not any(shared for _, _, shared in _cpu.blas())


def at_once(*works: Any) -> None:
    """Run functions in Python threads of their own."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_several_python_threads_multiply_while_a_kernel_runs() -> None:
    """No two calls work in one buffer, and none waits for the pool."""
    sizes = (100, 257)
    expected = {dtype: dict(products(dtype, sizes)) for dtype in FLOATS}
    p = make("lstm", (20, 24, 8, 96), "float32")
    of_kernel = p.results()
    rk.share_blas()
    wrong: list[str] = []
    finished: list[bool] = []

    def multiply() -> None:
        try:
            for _ in range(15):
                for dtype in FLOATS:
                    wrong.extend(name for name, value in products(dtype, sizes) if value != expected[dtype][name])
        finally:
            finished.append(True)

    def run() -> None:
        while len(finished) < 3:
            wrong.extend(name for name, value in p.results().items() if value.tobytes() != of_kernel[name].tobytes())

    at_once(multiply, multiply, multiply, run)
    assert not wrong


def test_thousands_of_small_products_end() -> None:
    a = np.random.default_rng(0).standard_normal((80, 80))
    expected = (a @ a).tobytes()
    p = make("gru", (20, 24, 8, 96), "float32")
    rk.share_blas()
    wrong: list[int] = []

    def multiply() -> None:
        wrong.extend(i for i in range(1500) if (a @ a).tobytes() != expected)

    def run() -> None:
        for _ in range(100):
            p.forward()

    at_once(multiply, multiply, multiply, run)
    assert not wrong


def test_sharing_may_change_while_products_run() -> None:
    a = np.random.default_rng(0).standard_normal((100, 100))
    expected = (a @ a).tobytes()
    wrong: list[int] = []

    def multiply() -> None:
        wrong.extend(i for i in range(400) if (a @ a).tobytes() != expected)

    def change() -> None:
        for _ in range(300):
            rk.share_blas()
            rk.unshare_blas()

    at_once(multiply, multiply, change)
    assert not wrong


def test_scipys_copy_is_shared_too() -> None:
    code = """
import scipy.linalg

b = np.asfortranarray(a)
expected = scipy.linalg.blas.dgemm(1.0, b, b).tobytes()
names = rk.share_blas()
print(1 <= len(names) <= len(_cpu.blas()), all(name.startswith("lib") for name in names))
print(scipy.linalg.blas.dgemm(1.0, b, b).tobytes() == expected, product() == of_product)
"""
    pytest.importorskip("scipy")
    assert said(code) == ["True True"] * 2


# ---- arithmetic ----


@pytest.mark.parametrize("dtype", FLOATS)
def test_denormals_are_no_zeros(dtype: str) -> None:
    """Though our threads flush them in our own calls."""
    rk.share_blas()
    make("lstm", (20, 24, 8, 96), "float32").forward()
    tiny = np.full((300, 300), np.finfo(dtype).smallest_subnormal * 3, dtype)
    assert (np.eye(300, dtype=dtype) @ tiny == tiny).all()
    assert (tiny @ np.eye(300, dtype=dtype) == tiny).all()


def test_overflow_is_warned_of_as_before() -> None:
    large = np.full((300, 300), 1e30, np.float32)

    def said() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            large @ large
        return [str(warning.message) for warning in caught]

    before = said()
    rk.share_blas()
    assert said() == before


# ---- the switch ----


def test_the_environment_variable() -> None:
    code = """
if sys.argv[1:]:
    rk.share_blas() if sys.argv[1] == "share" else rk.unshare_blas()
rk.set_num_threads(1)
kernel()
alone = any(shared for _, _, shared in _cpu.blas())
rk.set_num_threads(2)
kernel()
print(alone, any(shared for _, _, shared in _cpu.blas()))
"""
    code = BEGIN.replace("of_product, of_kernel = product(), kernel()", "") + code
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RNNKERNELS_")}

    def said_with(value: str, *arguments: str) -> str:
        command = [sys.executable, "-c", code, *arguments]
        environment = variables | {"RNNKERNELS_SHARE_BLAS": value}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        return done.stdout.strip() or done.stderr.splitlines()[-1]

    assert said_with("1") == "False True"
    assert said_with("0") == "False False"
    assert said_with("1", "unshare") == "False False"
    assert said_with("0", "share") == "True True"
    for wrong in ("2", "yes", "-1", "00", "\N{SNOWMAN}"):
        assert said_with(wrong).startswith(
            "ValueError: environment variable RNNKERNELS_SHARE_BLAS: expected 0 or 1, got"
        )


def test_info_says_what_is_shared() -> None:
    alone = python("import rnnkernels as rk, rnnkernels.cli; rk.cli.main(['info'])").stdout
    assert "shared BLAS:     none" in alone.splitlines()
    shared = python("import rnnkernels as rk, rnnkernels.cli; rk.share_blas(); rk.cli.main(['info'])").stdout
    assert "shared BLAS:     lib" in shared


def test_the_character_model_holds_openblas_to_one_thread_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from rnnkernels.charlm import blas

    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    before = _cpu.blas()
    with blas.one_blas_thread():
        assert {threads for _, threads, _ in _cpu.blas()} == {1}
    assert _cpu.blas() == before
