"""`Stack.training_bytes`: what a training step takes, against the runs' own count and against a process's peak."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rnnkernels as rk
from rnnkernels.memory import MEMORY

STACKS: dict[str, dict[str, Any]] = {
    "one layer": {"cell": "lstm", "num_layers": 1},
    "three layers": {"cell": "gru", "num_layers": 3},
    "two layers with dropout": {"cell": "gru", "num_layers": 2, "dropout": 0.1},
    "both ways": {"cell": "lstm", "num_layers": 2, "bidirectional": True},
    "zoneout": {"cell": "lstm", "num_layers": 2, "zoneout": 0.1},
}

PROGRAM = """
import re, sys
from pathlib import Path
import numpy as np
import rnnkernels as rk
rk.set_num_threads(1)
steps, options, memory = int(sys.argv[1]), eval(sys.argv[2]), sys.argv[3]
stack = rk.Stack(options.pop("cell"), 64, 64, **options, rng=0)
def step(x, d, memory):
    return stack.backward(stack.forward(x, rng=np.random.default_rng(0), memory=memory), d)
def peak():  # not getrusage's, which begins with the parent's
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
def arrays(steps):
    return np.ones((steps, 2, 64), np.float32), np.ones((steps, 2, 64 * stack.num_directions), np.float32)
step(*arrays(1200), memory)  # what does not grow with the steps
x, d = arrays(steps)
before = peak()
step(x, d, memory)
print(peak() - before)
"""


@pytest.mark.slow  # and so not under a sanitizer, which keeps what is freed
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
@pytest.mark.parametrize(
    ("which", "memory"),
    [
        (which, memory)
        for which in STACKS
        for memory in MEMORY
        if memory == "all" or which in ("three layers", "both ways")
    ],
)
def test_the_peak_of_a_process_is_what_was_said(which: str, memory: str) -> None:
    steps = 25_000
    options = dict(STACKS[which])
    stack = rk.Stack(options.pop("cell"), 64, 64, **options, rng=0)
    said = stack.training_bytes(steps, 2, memory=memory) - stack.training_bytes(1200, 2, memory=memory)
    # glibc keeps some of what is freed, by thresholds that move with what was freed before: hold them where they begin.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    command = [sys.executable, "-c", PROGRAM, str(steps), repr(STACKS[which]), memory]
    peak = int(subprocess.run(command, check=True, capture_output=True, env=os.environ | allocator).stdout)
    assert 0.93 * said - 3e6 < peak < 1.07 * said + 3e6, f"{peak / said:.3f}"


def test_one_layer_is_what_the_function_says_and_its_output() -> None:
    stack = rk.Stack("lstm", 8, 32, rng=0)
    for memory in MEMORY:
        one = rk.training_bytes("lstm", 500, 3, 32, memory=memory)
        sequence = 500 * 3 * 4
        assert stack.training_bytes(500, 3, memory=memory, tokens=True) == one + sequence * 32
        assert stack.training_bytes(500, 3, memory=memory) == one + sequence * (32 + 8)
    assert stack.training_bytes(0, 3) == 0
