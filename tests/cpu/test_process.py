"""A call and the process it runs in: Ctrl-C, daemon threads at the end, memory that runs out, batches of nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import python, sanitized

ROOT = Path(__file__).resolve().parents[2]

# Arrays, and one call of every kind that takes long: seconds where nothing ends it. Big steps (one row, wide), many
# small ones, and few of very many rows; each alone and on two threads.
CALLS = """
import numpy as np, rnnkernels as rk

def layer(cell, width):
    return rk.init_params(cell, 8, width, rng=0, **({"proj_size": width // 2} if "projected" in cell else {}))

def arrays(steps, batch):
    return np.random.default_rng(0).standard_normal((steps, batch, 8), dtype=np.float32)

CELLS = ("lstm", "gru_reset_before", "lstm_projected", "lstm_layer_norm", "mut3")
wide, narrow = {cell: layer(cell, 1024) for cell in CELLS}, layer("gru", 16)
long, crowd, row = arrays(9000, 1), arrays(3, 400), arrays(1500000, 1)
CALLS = {f"{cell}": lambda cell=cell: rk.forward(cell, long, wide[cell], training=False) for cell in CELLS}
CALLS["small steps"] = lambda: rk.forward("gru", row, narrow, training=False)

def crowd_slowly():
    rk.set_instruction_set("scalar")
    try:
        rk.forward("lstm", crowd, wide["lstm"], training=False)
    finally:
        rk.set_instruction_set(rk.instruction_sets()[-1])

CALLS["crowd"] = crowd_slowly
CALLS["reverse"] = lambda: rk.forward("lstm", long, wide["lstm"], training=False, reverse=True)
crowded = layer("lstm", 256)
prepared = rk.Prepared("lstm", wide["lstm"])
CALLS["prepared"] = lambda: prepared.forward(long)
"""

INTERRUPTED = (
    CALLS
    + """
import os, signal, threading, time

signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background ignores it

def interrupt(call):
    # Seconds from the signal to the exception; a call that ends by itself has not heard it.
    sent = []
    def send():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(0.15, send).start()
    try:
        call()
    except KeyboardInterrupt:
        return time.perf_counter() - sent[0]
    try:
        time.sleep(9)
    except KeyboardInterrupt:
        return 9

small = arrays(40, 3)
expected = rk.forward("lstm", small, crowded).output.tobytes()
for threads in (1, 2):
    rk.set_num_threads(threads)
    kept = rk.forward("lstm", long[:3000], wide["lstm"])
    ahead = np.ones_like(kept.output)
    for name, call in {**CALLS, "backward": lambda: rk.backward(kept, ahead)}.items():
        late = interrupt(call)
        for _ in range(4):  # a machine may be busy
            if late > 0.25:
                late = min(late, interrupt(call))
        right = rk.forward("lstm", small, crowded).output.tobytes() == expected
        print(name, threads, "threads:", f"{late:.3f} s", "late" if late > 0.25 else "", "" if right else "wrong")
"""
)


def test_ctrl_c_ends_a_call_within_a_quarter_of_a_second() -> None:
    """However big its steps; and the next call is right."""
    done = python(INTERRUPTED)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 20
    assert not [line for line in lines if "late" in line or "wrong" in line]


HANDLED = (
    CALLS
    + """
import os, signal, threading

def work():
    return rk.forward("lstm", long[:2500], wide["lstm"], training=False).output.tobytes()

expected = work()
small = arrays(40, 3)
of_small = rk.forward("lstm", small, crowded).output.tobytes()
heard = []

def handler(*_):  # calls the kernels itself, and sees denormals
    heard.append(rk.forward("lstm", small, crowded).output.tobytes() == of_small)
    heard.append(bool((np.array([1e-40], "f4") * np.float32(1))[0] != 0))

signal.signal(signal.SIGUSR1, handler)
for threads in (1, 2):
    rk.set_num_threads(threads)
    timers = [threading.Timer(wait, os.kill, (os.getpid(), signal.SIGUSR1)) for wait in (0.1, 0.3)]
    for timer in timers:
        timer.start()
    during = work()
    count = len(heard)
    for timer in timers:
        timer.join()
    print(during == expected, count >= 2, all(heard))
    heard.clear()
"""
)


def test_a_handler_that_returns_lets_the_call_go_on() -> None:
    done = python(HANDLED)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["True True True"] * 2


STEPPED = """
import os, signal, threading, time, numpy as np, rnnkernels as rk

signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background ignores it

params = rk.init_params("lstm", 8, 512, rng=0)
x = np.random.default_rng(0).standard_normal((2, 12000, 8), dtype=np.float32)
expected = rk.Prepared("lstm", params).forward(x)[0][1]
stepper = rk.Prepared("lstm", params).stepper(12000)
stepper(x[0])
before = [state.tobytes() for state in stepper.state]
stopped = 0
for wait in (0.06, 0.12, 0.2, 0.3, 0.4):
    timer = threading.Timer(wait, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        begun = time.perf_counter()
        stepper(x[1])
        timer.join()
        time.sleep(1)
    except KeyboardInterrupt:
        if [state.tobytes() for state in stepper.state] == before:
            stopped += 1
        else:  # the step was done
            assert stepper.state[0].tobytes() == expected.tobytes()
            break
print(stopped)
stepper.reset([np.frombuffer(state, np.float32).reshape(12000, 512) for state in before])
assert stepper(x[1]).tobytes() == expected.tobytes()
"""


def test_a_step_that_is_stopped_leaves_the_states_as_they_were() -> None:
    done = python(STEPPED)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1


DAEMONS = """
import threading, time, numpy as np, rnnkernels as rk

params = rk.init_params("lstm", 32, 64, rng=0)
x = np.zeros((60, 8, 32), np.float32)
prepared = rk.Prepared("lstm", params)
stepper = rk.Prepared("lstm", params).stepper(8)

def train():
    run = rk.forward("lstm", x, params)
    rk.backward(run, run.output)

def forever(work):
    while True:
        work()

for work in (train, train, lambda: prepared.forward(x), lambda: stepper(x[0]), lambda: rk.Prepared("lstm", params)):
    threading.Thread(target=forever, args=(work,), daemon=True).start()
time.sleep(0.1)
"""


def test_a_program_ends_while_daemon_threads_are_in_calls() -> None:
    for _ in range(8):
        done = python(DAEMONS)
        assert (done.returncode, done.stderr) == (0, "")


FAILING = """
import ctypes, sys, numpy as np, rnnkernels as rk
from rnnkernels import _cpu

library = ctypes.CDLL(None)
fail, failed = library.fail_allocation, library.allocation_failed
fail.argtypes = [ctypes.c_long]
params = rk.init_params("lstm", 40, 300, rng=0)
x = np.random.default_rng(0).standard_normal((7, 3, 40), dtype=np.float32)
layer = rk.functional.as_layer("lstm", params)

def training():
    output, state, reserve, _ = _cpu.forward("lstm", x, layer, None, True)
    return _cpu.backward("lstm", x, layer, None, output, reserve, output, None)[1]

def layers():
    return [made[0] for made in _cpu.forward_layers("lstm", x, [layer], [None], True, [None])]

def prepared():
    return _cpu.prepare("lstm", layer, "full", False, ()).forward(x, None, None, None, None)[:1]

def steps():
    stepper = _cpu.stepper(_cpu.prepare("lstm", layer, "full", False, ()), 3, None)
    return [stepper.step(x[0]).copy(), *stepper.state()]

for call in (training, layers, prepared, steps):
    expected = [None if array is None else array.tobytes() for array in call()]
    for number in range(10000):
        fail(number)
        try:
            found = call()
        except MemoryError:
            found = None
        over = not failed()
        fail(-1)
        if over:  # there are no more than so many
            break
        again = call() if found is None else found
        assert [None if array is None else array.tobytes() for array in again] == expected, (call, number)
    print(call.__name__, number)
"""


def test_every_allocation_may_fail(tmp_path: Path) -> None:
    """It is a MemoryError, or does without; nothing is freed twice, and the next call is right."""
    compiler = shutil.which(os.environ.get("CXX") or "c++")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C++ compiler, on Linux")
    if sanitized():
        pytest.skip("the sanitizer has an allocator of its own")
    library = tmp_path / "failing.so"
    source = ROOT / "tests" / "native" / "failing_allocations.cpp"
    subprocess.run([compiler, "-std=c++20", "-O1", "-fPIC", "-shared", source, "-o", library], check=True, timeout=120)
    done = subprocess.run(
        [sys.executable, "-c", FAILING],
        env=os.environ | {"LD_PRELOAD": str(library), "MALLOC_CHECK_": "3", "RNNKERNELS_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = {name: int(count) for name, count in map(str.split, done.stdout.splitlines())}
    assert list(counts) == ["training", "layers", "prepared", "steps"]
    assert all(count >= 5 for count in counts.values()), counts


ENDLESS = """
import numpy as np, rnnkernels as rk

T = 2**40
x = np.zeros((T, 0, 8), np.float32)
for cell in ("lstm", "gru_reset_before", "lstm_projected", "lstm_layer_norm"):
    projected = {"proj_size": 8} if cell == "lstm_projected" else {}
    params = rk.init_params(cell, 8, 16, rng=0, **projected)
    for options in ({}, {"reverse": True}, {"lengths": []}, {"resets": np.zeros((T, 0), bool)}):
        for memory in rk.memory.MEMORY:
            run = rk.forward(cell, x, params, memory=memory, **options)
            grads = rk.backward(run, run.output, norms=True)
            assert run.output.shape[:2] == grads.x.shape[:2] == grads.norms[0].shape == (T, 0)
            assert list(grads.params) == list(params)
            assert not any(grad.any() for grad in grads.params.values())
    output, state = rk.Prepared(cell, params).forward(x)
    assert output.shape == run.output.shape
    assert [s.shape for s in state] == [s.shape for s in run.state]
stack = rk.functional.forward_layers("gru", x, [rk.init_params("gru", 8, 8, rng=0)] * 2, [None, None])
assert [run.output.shape for run in stack] == [(T, 0, 8)] * 2
"""


def test_steps_of_an_empty_batch_are_not_walked() -> None:
    """2**40 of them, forwards and backwards: an end at once."""
    done = python(ENDLESS)
    assert done.returncode == 0, done.stderr
