"""NumPy's OpenBLAS on our threads, and the process: idle threads, forks, signals, a system that refuses threads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from blas_programs import BEGIN, can_share, said
from processes import sanitized

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _shared() -> None:
    if not can_share():
        pytest.skip("no OpenBLAS that can be shared")


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


def test_products_that_a_fork_has_held_up() -> None:
    """The first call behind a fork frees buffers that others still use: small products take them, large ones notice."""
    if sanitized():
        pytest.skip("a fork takes the locks of the sanitizer's allocator along")
    code = """
wrong, done, begun = [], threading.Event(), threading.Barrier(7)
rk.share_blas()

def multiply(a, b):
    expected = (a @ b).tobytes()
    begun.wait()
    while not done.is_set():
        if (a @ b).tobytes() != expected:
            wrong.append(a.shape)

large, small = (np.random.default_rng(0).standard_normal((size, size)) for size in (600, 100))
pairs = [(large, large)] * 3 + [(small, small.T)] * 3  # small @ small would need no buffer
multiplying = [threading.Thread(target=multiply, args=pair) for pair in pairs]
for thread in multiplying:
    thread.start()
begun.wait()
for nap in (0.02, 0.02, 0.15) * 6:  # the last one: no fork was lately
    time.sleep(nap)
    made = os.fork()
    if made == 0:
        os._exit(0)
    os.waitpid(made, 0)
done.set()
for thread in multiplying:
    thread.join()
print(wrong)
"""
    assert said(code) == ["[]"]


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
