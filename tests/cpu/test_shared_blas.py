"""NumPy's OpenBLAS on our threads: the same bits, from anywhere, also beside forks; nothing spins; and back again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import make
from processes import python, sanitized

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
    if not rk.share_blas():
        pytest.skip("no OpenBLAS that can be shared")
    rk.unshare_blas()
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


# ---- the process ----

BEGIN = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore")  # of forks beside threads
import numpy as np

def tasks():
    return {int(task) for task in os.listdir("/proc/self/task")}

own = tasks() - {os.getpid()}  # NumPy's

import rnnkernels as rk
from rnnkernels import _cpu

for number in range(len(_cpu.blas())):
    _cpu.set_blas_threads(number, 2)
own |= tasks() - {os.getpid()}
rk.set_num_threads(2)
params = rk.init_params("lstm", 8, 96, rng=0)
x = np.random.default_rng(0).standard_normal((40, 8, 8), dtype=np.float32)
a = np.random.default_rng(0).standard_normal((300, 300))

def product():
    return (a @ a).tobytes()

def kernel():
    return rk.forward("lstm", x, params).output.tobytes()

def both():
    return product() == of_product and kernel() == of_kernel

of_product, of_kernel = product(), kernel()

def ticks(tasks):  # of a processor's time, 10 ms each
    spent = 0
    for task in tasks:
        with open(f"/proc/self/task/{task}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        spent += int(fields[11]) + int(fields[12])
    return spent
"""


def said(code: str, **environment: str) -> list[str]:
    """Run code after BEGIN in a process of its own; what it printed."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RNNKERNELS_")}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code],
        env=variables | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_idle_threads_sleep() -> None:
    code = """
rk.share_blas()
time.sleep(1)  # NumPy's own fall asleep
before = ticks(own)
for _ in range(200):
    product()
print(ticks(own) - before)
time.sleep(0.2)
before = ticks(tasks())
time.sleep(1)
print(ticks(tasks()) - before)
"""
    of_own, of_all = map(int, said(code))
    assert of_own <= 1
    assert of_all <= 10


def test_unshared_products_run_on_openblas_own_threads() -> None:
    code = """
rk.share_blas()
product()
rk.unshare_blas()
before, count = ticks(own), 0
while ticks(own) < before + 5 and count < 500:
    product()
    count += 1
print(count < 500)
"""
    assert said(code) == ["True"]


def test_a_forked_child_multiplies_and_calls_on_threads_of_its_own() -> None:
    code = """
rk.share_blas()
print(both())

def child(depth):
    if not both() or len(rk.share_blas()) == 0:
        return 1
    time.sleep(0.15)  # so long OpenBLAS' own threads serve
    before = ticks(tasks())
    right = all([both() for _ in range(20)])
    if depth == 0:
        return 0 if right else 1
    made = os.fork()
    if made == 0:
        os._exit(child(depth - 1))
    return 0 if right and os.waitpid(made, 0)[1] == 0 else 1

made = os.fork()
if made == 0:
    os._exit(child(1))
print(os.waitpid(made, 0)[1], both())
"""
    assert said(code) == ["True", "0 True"]


def test_multiprocessing() -> None:
    code = """
import multiprocessing

rk.share_blas()
product(), kernel()

def work(_):
    return all([both() for _ in range(5)])

with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(work, range(6)))
print(both())
"""
    assert said(code) == [str([True] * 6), "True"]


def test_a_process_forks_while_its_threads_multiply() -> None:
    """OpenBLAS takes its buffers back in a fork. A child may not multiply here: other threads' locks came with it."""
    if sanitized():
        pytest.skip("a fork takes the locks of the sanitizer's allocator along")
    code = """
rk.share_blas()
wrong, done = [], threading.Event()

def multiply():
    while not done.is_set():
        if product() != of_product:
            wrong.append(1)

multiplying = [threading.Thread(target=multiply) for _ in range(2)]
for thread in multiplying:
    thread.start()
for i in range(15):
    made = os.fork()
    if made == 0:
        os._exit(0)
    os.waitpid(made, 0)
    time.sleep(0.12 * (i % 3 == 0))
done.set()
for thread in multiplying:
    thread.join()
print(len(wrong))
"""
    assert said(code) == ["0"]


def test_ctrl_c_and_products_in_a_handler_while_our_own_call_runs() -> None:
    code = """
rk.share_blas()
wide = rk.init_params("lstm", 8, 1024, rng=0)
long = np.random.default_rng(0).standard_normal((2000, 1, 8), dtype=np.float32)
heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append(both()))
expected = rk.forward("lstm", long, wide, training=False).output.tobytes()
while not heard:  # until one came while the call was under way
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    print(rk.forward("lstm", long, wide, training=False).output.tobytes() == expected)
    during = len(heard)
    timer.join()
    time.sleep(0.01)
    heard = heard if during else []
print(all(heard))

signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background ignores it
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    while True:
        product()
except KeyboardInterrupt:
    print(both())
"""
    lines = said(code)
    assert len(lines) >= 3
    assert set(lines) == {"True"}


def test_a_system_that_refuses_threads(tmp_path: Path) -> None:
    """OpenBLAS' own serve the call."""
    compiler = shutil.which(os.environ.get("CXX") or "c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    if sanitized():
        pytest.skip("the sanitizer starts threads its own way")
    library = tmp_path / "failing.so"
    source = ROOT / "tests" / "native" / "failing_threads.cpp"
    subprocess.run([compiler, "-std=c++20", "-O1", "-fPIC", "-shared", source, "-o", library], check=True, timeout=120)
    code = """
import ctypes

fail = ctypes.CDLL(None).fail_threads
rk.share_blas()
rk.set_num_threads(1)
fail(1)
count = len(tasks())
print(product() == of_product, len(tasks()) == count)
fail(0)
print(product() == of_product, len(tasks()) > count)
"""
    alone = BEGIN.replace("of_product, of_kernel = product(), kernel()", "of_product = product()")
    done = subprocess.run(
        [sys.executable, "-c", alone + code],
        env=os.environ | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True True"] * 2


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
