"""Calls on the threads of an executor: the same bits, whoever comes, none started, all given back."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from problems import make
from processes import python

import rnnkernels as rk

SHAPE = (30, 24, 8, 160)


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(found[name].tobytes() == wanted[name].tobytes() for name in wanted)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_calls_have_the_same_bits_on_an_executor(workers: int) -> None:
    p = make("lstm", SHAPE, "float32")
    rk.set_num_threads(1)
    alone = p.results()
    rk.set_num_threads(3)
    with ThreadPoolExecutor(workers) as pool:
        for _ in range(5):
            with rk.on_executor(pool, 3):
                assert all(same(p.results(), alone) for _ in range(4))
        assert pool.submit(lambda: 5).result(timeout=60) == 5  # its threads are its own again


def test_the_executors_threads_do_the_work_and_no_others_are_started() -> None:
    found = python("""
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, rnnkernels as rk
from rnnkernels import _cpu
_cpu.set_oversubscribed(True)
rk.set_num_threads(2)
def threads():
    return {p.name for p in Path("/proc/self/task").iterdir()}
def ticks(names):
    fields = [Path(f"/proc/self/task/{name}/stat").read_text().rsplit(")", 1)[1].split() for name in names]
    return sum(int(f[11]) + int(f[12]) for f in fields)
p, x = rk.init_params("lstm", 64, 256, rng=0), np.zeros((100, 64, 64), np.float32)
rk.set_num_threads(1)
for _ in range(3):
    rk.forward("lstm", x, p)  # so long a call has a thread look for Ctrl-C
rk.set_num_threads(2)
with ThreadPoolExecutor(1) as pool:
    before = threads()
    pool.submit(int).result()
    with rk.on_executor(pool, 2):
        for _ in range(20):
            rk.forward("lstm", x, p)
        lent = threads() - before
        print(len(lent), ticks(lent) > 5)
""")
    assert found.stdout.split() == ["1", "True"], found.stderr


def test_an_executor_that_is_busy_is_not_waited_for() -> None:
    p = make("gru", SHAPE, "float32")
    rk.set_num_threads(1)
    alone = p.results()
    rk.set_num_threads(2)
    go_on = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(go_on.wait, 60)
        with rk.on_executor(pool, 2):
            assert same(p.results(), alone)
        assert not busy.done()
        go_on.set()


class Slow:
    """Runs what it is given when it is told to, on a thread of its own."""

    def __init__(self) -> None:
        self.tasks: list[Any] = []

    def submit(self, fn: Any, /, *args: Any) -> Future[None]:
        self.tasks.append((fn, args))
        return Future()


def test_a_task_that_comes_after_the_end_does_nothing() -> None:
    pool = Slow()
    with rk.on_executor(pool, 3):
        make("lstm", SHAPE, "float32").results()
    assert len(pool.tasks) == 2
    for fn, args in pool.tasks:
        fn(*args)


def test_contexts_nest_and_other_threads_are_left_alone() -> None:
    p = make("lstm", SHAPE, "float32")
    rk.set_num_threads(1)
    alone = p.results()
    rk.set_num_threads(2)
    wrong: list[str] = []

    def other() -> None:
        if not same(p.results(), alone):
            wrong.append("another thread")

    with ThreadPoolExecutor(2) as outer, ThreadPoolExecutor(2) as inner, rk.on_executor(outer, 3):
        with rk.on_executor(inner, 2):
            helper = threading.Thread(target=other)
            helper.start()
            assert same(p.results(), alone)
            helper.join()
        assert same(p.results(), alone)
    assert same(p.results(), alone)
    assert not wrong


def test_an_error_inside_gives_the_threads_back() -> None:
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ZeroDivisionError), rk.on_executor(pool, 2):
            1 / 0  # noqa: B018
        assert pool.submit(lambda: 5).result(timeout=60) == 5


def test_a_child_of_a_fork_ends_the_context_of_its_parent() -> None:
    done = python("""
import os
from concurrent.futures import ThreadPoolExecutor
import numpy as np, rnnkernels as rk
rk.set_num_threads(2)
p, x = rk.init_params("lstm", 8, 160, rng=0), np.ones((20, 24, 8), np.float32)
with ThreadPoolExecutor(1) as pool:
    with rk.on_executor(pool, 2):
        wanted = rk.forward("lstm", x, p).output.tobytes()
        child = os.fork()
        right = rk.forward("lstm", x, p).output.tobytes() == wanted
    if child == 0:
        os._exit(0 if right and rk.forward("lstm", x, p).output.tobytes() == wanted else 1)
    print(os.waitpid(child, 0)[1], right)
""")
    assert done.stdout.split() == ["0", "True"], done.stderr


def test_what_is_no_executor_is_named() -> None:
    for wrong in (None, 5, np.zeros(3), ThreadPoolExecutor):
        with pytest.raises(TypeError, match=r"^executor: expected an object with submit"), rk.on_executor(wrong):  # type: ignore[arg-type]
            pass
    with ThreadPoolExecutor(1) as pool:
        for threads in (0, 1025, True, "2", 1.5):
            with pytest.raises((TypeError, ValueError), match=r"^threads\b"), rk.on_executor(pool, threads):  # type: ignore[arg-type]
                pass
