"""Threads: several callers at once, forks, settings; and denormals, which the pool flushes."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import numpy as np
import pytest
from problems import make

import rnnkernels as rk
from rnnkernels import _cpu

SHAPE = (20, 24, 8, 96)


def _digest(queue: multiprocessing.Queue[bytes]) -> None:
    queue.put(make("lstm", SHAPE, "float32").results()["d weight_hh"].tobytes())


def test_several_python_threads_at_once() -> None:
    rk.set_num_threads(2)
    problems = [make(cell, SHAPE, "float32", seed=i) for i, cell in enumerate(("lstm", "gru", "gru_reset_before"))]
    expected = [p.results() for p in problems]
    wrong: list[str] = []

    def work(i: int) -> None:
        for _ in range(20):
            for name, value in problems[i].results().items():
                if value.tobytes() != expected[i][name].tobytes():
                    wrong.append(name)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.. was called:RuntimeWarning")  # JAX's, where its tests ran before
def test_a_forked_child_has_a_pool_of_its_own() -> None:
    rk.set_num_threads(2)
    expected = make("lstm", SHAPE, "float32").results()["d weight_hh"].tobytes()  # the pool is now up
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[bytes] = context.Queue()
    children = [context.Process(target=_digest, args=(queue,)) for _ in range(3)]
    for child in children:
        child.start()
    assert [queue.get(timeout=60) for _ in children] == [expected] * 3
    for child in children:
        child.join(timeout=60)
        assert child.exitcode == 0


def test_the_number_of_threads_can_change_between_calls() -> None:
    p = make("gru", SHAPE, "float32")
    expected = p.results()["output"].tobytes()
    for threads in (1, 4, 2, 9, 1, 3) * 5:
        rk.set_num_threads(threads)
        assert p.forward().output.tobytes() == expected


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "lstm_layer_norm", "mut3"])
@pytest.mark.parametrize("ragged", [False, True])
def test_steps_that_are_cut_into_pieces_have_the_bits_of_one_thread(cell: str, ragged: bool) -> None:
    """So long a step is several pieces for each thread, of which others may take some."""
    shape = (6, 40, 24, 520)
    p = make(cell, shape, "float32")
    assert _cpu.plan(cell, *shape, "float32", 2)["pieces"] > 1
    options = {"lengths": np.arange(40) % 6 + 1} if ragged else {}
    rk.set_num_threads(1)
    alone = p.results(**options)
    for threads in (2, 3, 5):
        rk.set_num_threads(threads)
        for name, value in p.results(**options).items():
            assert value.tobytes() == alone[name].tobytes(), (threads, name)


def test_the_number_of_threads_may_change_between_forward_and_backward() -> None:
    p = make("gru", SHAPE, "float32")
    expected = p.results()["d weight_ih"].tobytes()
    rk.set_num_threads(1)
    run = p.forward()
    rk.set_num_threads(3)
    assert rk.backward(run, p.d_output, p.d_state).params["weight_ih"].tobytes() == expected


def test_a_run_is_differentiated_by_the_set_that_made_it() -> None:
    """A reserve's layout belongs to its instruction set, whatever is chosen since."""
    p = make("lstm", SHAPE)
    for isa in rk.instruction_sets():
        rk.set_instruction_set(isa)
        expected = p.results()["d weight_ih"].tobytes()
        run = p.forward()
        for other in rk.instruction_sets():
            rk.set_instruction_set(other)
            assert rk.backward(run, p.d_output, p.d_state).params["weight_ih"].tobytes() == expected


def test_the_gil_is_released() -> None:
    """Another Python thread runs while a kernel does."""
    p = make("lstm", (200, 32, 32, 128), "float32")
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.0005):
            ticks += 1

    ticker = threading.Thread(target=tick)
    ticker.start()
    before = ticks
    while ticks < before + 5:  # hangs here, and in the time limit of CI, if the GIL is kept
        p.forward()
    done.set()
    ticker.join()


def test_denormals_are_flushed_inside_a_call_and_the_setting_is_restored(isa: str) -> None:
    tiny = np.array([1e-40], "f4")
    assert (tiny * np.float32(1.0))[0] != 0
    p = make("rnn_relu", (3, 2, 4, 5), "float32")
    zeros = {name: np.zeros_like(value) for name, value in p.params.items()}
    zeros["bias_ih"] += np.float32(1e-40)
    assert not rk.forward("rnn_relu", p.x, zeros).output.any()
    assert (tiny * np.float32(1.0))[0] != 0


def test_plans_are_sensible() -> None:
    def plan(batch: int, hidden: int, threads: int) -> Any:
        return _cpu.plan("lstm", 100, batch, hidden, hidden, "float32", threads)

    for batch in (1, 2, 7, 32, 129):
        for hidden in (1, 8, 100, 512, 2000):
            for threads in (1, 2, 3, 8, 96):
                p = plan(batch, hidden, threads)
                assert 1 <= p["row_groups"] * p["unit_groups"] <= p["threads"] <= threads
                assert p["row_groups"] <= batch
                assert 1 <= p["pieces"] <= 8
                assert p["pieces"] * p["unit_groups"] <= hidden
                assert p["forward_chunk"] >= 1
                assert p["backward_chunk"] >= 1
                # Chunks set the order of sums: they may not depend on the number of threads.
                alone = plan(batch, hidden, 1)
                assert p["backward_chunk"] == alone["backward_chunk"]
    assert plan(1, 8, 8) == plan(1, 8, 1)  # too small to share
    assert plan(1, 512, 2)["unit_groups"] == 2  # one row: share units
    assert plan(64, 128, 2)["row_groups"] == 2  # many rows: share rows
    assert plan(4, 128, 2)["pieces"] == 1  # short steps: nothing to take over
    assert plan(64, 1024, 2)["pieces"] > 2  # long ones: others can help a thread that lost its processor
    wide = _cpu.plan("lstm", 300, 1, 1100, 40, "float32", 3)  # steps too small to share, their inputs not
    assert (wide["threads"], wide["row_groups"], wide["unit_groups"]) == (3, 1, 1)


def test_plans_know_what_low_precision_takes() -> None:
    def plan(batch: int, hidden: int, weights: str | None) -> Any:
        return _cpu.plan("lstm", 30, batch, hidden, hidden, "float32", 2, weights or "full")

    # A thread's share of the weights fits its cache: the threads divide rows, and need not meet after each step.
    assert (plan(64, 512, None)["unit_groups"], plan(64, 512, "int8")["unit_groups"]) == (2, 1)
    assert (plan(64, 360, None)["unit_groups"], plan(64, 360, "bfloat16")["unit_groups"]) == (2, 1)
    # A piece is as long as in float32, so there are fewer: each of them converts its rows.
    serving = str(_cpu.low_kernels("int8", None)[1])
    if serving.startswith("amx") or "vnni" in serving or "dot" in serving:
        assert plan(64, 512, "int8")["pieces"] <= 2 < plan(64, 512, None)["pieces"]
        assert (plan(1, 128, None)["threads"], plan(1, 128, "int8")["threads"]) == (2, 1)  # shorter than a meeting
        assert plan(16, 512, "int8")["unit_groups"] == 2  # 8 rows would leave half of an instruction idle
        assert plan(16, 256, "int8")["row_groups"] == 2  # but so short a step is not worth a meeting


def test_calls_run_on_a_loaded_openmp_runtime() -> None:
    torch = pytest.importorskip("torch")
    p = make("lstm", (20, 16, 64, 64), "float32")
    before = rk.num_threads()
    try:
        rk.set_num_threads(2)
        torch.set_num_threads(2)
        assert _cpu.share_openmp(None)
        alone = p.results()
        assert not _cpu.share_openmp("libnothing.so.0")
        if not _cpu.share_openmp("libgomp.so.1"):
            pytest.skip("this PyTorch has another OpenMP runtime")
        for threads in (2, 1, 3):  # of PyTorch: as many, fewer (ours serve then), more
            torch.set_num_threads(threads)
            torch.ones(1000, 1000).sum()
            for name, value in p.results().items():
                np.testing.assert_array_equal(value, alone[name], err_msg=name)
    finally:
        torch.set_num_threads(2)
        rk.set_num_threads(before)
