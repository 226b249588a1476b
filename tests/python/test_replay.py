"""memory="replay": the bits of a run that keeps everything, in a fraction of the memory, as predicted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import FORMS, make
from separate_calls import reset_state, term_of
from tolerances import assert_close, gradient_length

import rnnkernels as rk
from rnnkernels.memory import MEMORY
from rnnkernels.memory.replay import piece_length

SHAPE = (23, 4, 5, 9)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", FORMS)
def test_gives_what_keeping_everything_gives(cell: str, tokens: bool) -> None:
    p = make(cell, SHAPE, "float32", tokens=tokens)
    rng = np.random.default_rng(0)
    lengths = np.array([23, 0, 7, 12])
    resets = rng.random(SHAPE[:2]) < 0.1
    choices: list[dict[str, Any]] = [
        {},
        {"lengths": lengths},
        {"reverse": True, "lengths": lengths, "term": term_of(p)},
        {"resets": resets, "reset_state": reset_state(p)},
        {"resets": resets, "lengths": lengths, "reverse": True},
    ]
    for options in choices:
        whole, pieces = p.forward(**options), p.forward(memory="replay", **options)
        assert pieces.output.tobytes() == whole.output.tobytes()
        expected, found = (rk.backward(run, p.d_output, p.d_state) for run in (whole, pieces))
        again = rk.backward(pieces, p.d_output, p.d_state)
        for k in range(len(p.state)):
            assert pieces.state[k].tobytes() == whole.state[k].tobytes()
            assert found.state[k].tobytes() == expected.state[k].tobytes()
        if found.x is not None and expected.x is not None:
            assert found.x.tobytes() == expected.x.tobytes()
        length = gradient_length(*SHAPE)
        for name, value in found.params.items():
            assert_close(value, expected.params[name], "gradient", length, name)
            assert value.tobytes() == again.params[name].tobytes()
        if "resets" in options:
            assert found.reset_state is not None
            assert expected.reset_state is not None
            for mine, theirs in zip(found.reset_state, expected.reset_state, strict=True):
                assert_close(mine, theirs, "gradient", length)
        if "term" in options:
            assert found.term is not None
            assert expected.term is not None
            assert_close(found.term, expected.term, "gradient", length)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "lstm_fgr", "gru"])
def test_keeps_what_was_predicted(cell: str) -> None:
    steps, batch, inputs, hidden = shape = (400, 3, 2, 32)
    p = make(cell, shape, "float32")
    assert p.forward().reserve_bytes == rk.training_bytes(cell, steps, batch, hidden)
    kept = p.forward(memory="replay").reserve_bytes
    predicted = rk.training_bytes(cell, steps, batch, hidden, memory="replay")
    k = piece_length(cell, steps)
    piece = make(cell, (k, batch, inputs, hidden), "float32").forward()
    states = len(rk.cell_info(cell)["states"]) * batch * hidden * 4
    # the first piece starts from the caller's own states
    assert kept - states + piece.reserve_bytes + piece.output.nbytes == predicted
    if cell != "rnn_tanh":  # which keeps nothing but its output
        assert predicted < rk.training_bytes(cell, steps, batch, hidden) / 5


@pytest.mark.slow  # and so not under a sanitizer, which keeps what is freed
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_a_long_sequence_takes_little_more_memory_than_its_arrays() -> None:
    """The peak of a process, against that of the same run without a backward to come."""
    program = """
import re, sys
from pathlib import Path
import numpy as np
import rnnkernels as rk
rk.set_num_threads(1)
steps, hidden = 400_000, 32
x = np.zeros((steps, 1), np.int64)
params = rk.init_params("lstm", 4, hidden, rng=0)
def peak():  # not getrusage's, which begins with the parent's
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak()
run = rk.forward("lstm", x, params, memory=sys.argv[1])
rk.backward(run, run.output)
print(peak() - before)
"""
    # glibc keeps some of what is freed, by thresholds that move with what was freed before: hold them where they begin.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}

    def measure(memory: str) -> int:
        command = [sys.executable, "-c", program, memory]
        return int(subprocess.run(command, check=True, capture_output=True, env=os.environ | allocator).stdout)

    peak = {memory: measure(memory) for memory in MEMORY}
    output = 400_000 * 32 * 4
    kept = rk.training_bytes("lstm", 400_000, 1, 32)
    assert peak["all"] > 0.8 * (kept + output)
    assert peak["states"] < 1.1 * (output + rk.training_bytes("lstm", 400_000, 1, 32, memory="states")) + 8e6
    assert peak["replay"] < 2.5 * output + 8e6


def test_one_step_and_none() -> None:
    for steps in (0, 1, 2):
        p = make("lstm", (steps, 2, 3, 5))
        whole, pieces = p.forward(), p.forward(memory="replay")
        assert pieces.output.tobytes() == whole.output.tobytes()
        mine, theirs = (rk.backward(run, p.d_output, p.d_state) for run in (pieces, whole))
        for a, b in zip(mine.state, theirs.state, strict=True):
            assert a.tobytes() == b.tobytes()


def test_says_what_is_wrong() -> None:
    p = make("lstm", SHAPE)
    with pytest.raises(ValueError, match="memory: expected one of all, states, replay, got 'none'"):
        p.forward(memory="none")
    with pytest.raises(ValueError, match="memory: expected one of"):
        rk.training_bytes("lstm", 1, 1, 1, memory="some")
    run = p.forward(memory="replay")
    with pytest.raises(ValueError, match=r"d_output: expected shape \(T, B, H\) = \(23, 4, 9\), got \(22, 4, 9\)"):
        rk.backward(run, p.d_output[1:])
    with pytest.raises(ValueError, match="lengths: expected 0 to T = 23, got 24"):
        p.forward(memory="replay", lengths=[1, 2, 3, 24])
    with pytest.raises(ValueError, match="reset_state: expected resets with it"):
        p.forward(memory="replay", reset_state=p.state)
    inference = p.forward(memory="replay", training=False)
    with pytest.raises(ValueError, match="run: expected one made with training=True"):
        rk.backward(inference, p.d_output)
