"""The process of one victim, on one number of threads, beside one neighbour: `python -m benchmarks.neighbours.child`.

It reads `[question, arguments]`, one JSON line each, and writes one line for each, as benchmarks/builds/child.py does.
It imports the victim's library and the neighbour's, and of ours what makes the arrays. When the parent is gone, the
input ends, and so does this process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import rnnkernels as rk
from benchmarks.builds.answers import save
from benchmarks.machine import Others
from benchmarks.peers import peers
from benchmarks.peers.base import Timed
from benchmarks.peers.ours import Ours
from benchmarks.workloads import Workload

from . import beside
from .loops import LOOPS, Loop

# Before calls alone: ONNX Runtime's idle threads spin for some 50 ms, OpenBLAS' for up to 0.1 s. What others use of
# the machine is read in the second half.
PAUSE = 0.3
# After a round: ONNX Runtime's spin longer where a processor has tpause, and the next round is another process's.
LONGEST = 1.0
# A sample: calls for this long, at least LEAST and at most MOST of them.
SAMPLE = 0.06
LEAST, MOST = 3, 200


def about() -> dict[str, Any]:
    return {"file": rk.__file__, "prefix": sys.prefix, "instruction_set": rk.instruction_set()}


def imported() -> list[str]:
    """Who has threads in this process, beside NumPy and ours."""
    return [name for name in ("jax", "onnxruntime", "rnnkernels.torch", "torch") if name in sys.modules]


class Calls:
    """The calls of one victim beside one neighbour; `stack` ends what the neighbour has started."""

    before: Callable[[], Any] | None
    timed: Timed

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack

    def meet(self, victim: str, threads: int, neighbour: str) -> None:
        """Make the neighbour, and import the victim."""
        self.victim = Ours() if victim == Ours.name else peers([victim])[0]
        self.threads, self.before = threads, beside.before(neighbour)
        self.busy = self.stack.enter_context(beside.busy(neighbour))

    def begin(self, cell: str, mode: str, shape: list[int], file: str) -> None:
        """Make one problem's arrays, and write what a call answers to a file."""
        steps, batch, inputs, hidden = shape
        self.timed = self.victim.prepare(Workload(cell, mode, (steps, batch, inputs, hidden)), self.threads)
        if self.before is not None:
            self.before()
        save(Path(file), self.timed.answer(self.timed.call()))

    def round(self) -> dict[str, Any]:
        """Seconds of calls alone, then of calls with the neighbour; and what others used of the machine before."""
        others = pause()
        alone = samples(self.timed.call)
        self.busy.spin()
        try:
            met = samples(self.timed.call, self.before)
        finally:
            self.busy.rest()
        settle()
        return {"alone": alone, "beside": met, "others": others}


class Steps:
    """The steps of one training loop."""

    loop: Loop

    def begin(self, loop: str, sizes: dict[str, int], threads: int, file: str) -> None:
        """Make the loop, and write what its first steps answer to a file."""
        rk.set_num_threads(threads)
        self.loop = LOOPS[loop](**sizes)
        save(Path(file), self.loop.answer())

    def round(self, seconds: float) -> dict[str, Any]:
        others = pause()
        times = samples(self.loop.step, seconds=seconds)
        settle()
        return {"steps": times, "others": others}


def pause() -> float | None:
    """Sleep until everybody's idle threads sleep; return the share of the machine that others used meanwhile."""
    time.sleep(PAUSE / 2)
    with Others() as others:
        time.sleep(PAUSE / 2)
    return others.share


def settle() -> None:
    """Wait until no thread of this process runs any more, for at most LONGEST."""
    end = time.monotonic() + LONGEST
    used = -1.0
    while time.process_time() - used > 0.002 and time.monotonic() < end:
        used = time.process_time()
        time.sleep(0.02)


def samples(
    call: Callable[[], Any], before: Callable[[], Any] | None = None, *, seconds: float = SAMPLE
) -> list[float]:
    """Seconds of each call; `before` is done right before it, and is not counted."""
    call()  # not counted: the caches were others'
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < LEAST or (len(times) < MOST and time.perf_counter() < end):
        if before is not None:
            before()
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return times


def main() -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with ExitStack() as stack:
        calls, steps = Calls(stack), Steps()
        questions: dict[str, Callable[..., Any]] = {
            "about": about,
            "imported": imported,
            "meet": calls.meet,
            "begin": calls.begin,
            "round": calls.round,
            "begin loop": steps.begin,
            "round of steps": steps.round,
        }
        for line in sys.stdin:
            what, arguments = json.loads(line)
            out.write(json.dumps(questions[what](**arguments)) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
