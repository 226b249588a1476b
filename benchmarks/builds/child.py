"""The process that has imported one build: `python -m benchmarks.builds.child`, started by build.py.

It reads `[question, arguments]`, one JSON line each, and writes one line for each. The answers go to what was its
standard output; whatever else prints goes to the standard error.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import rnnkernels as rk
from benchmarks import machine
from benchmarks.measure import seconds_of, settle

from . import answers, cases
from . import lines as timed


def about() -> dict[str, Any]:
    file = Path(rk.__file__)
    modules = [module for module in file.parent.glob("_cpu*") if module.suffix in {".so", ".pyd"}]
    return {
        "file": str(file),
        "prefix": sys.prefix,
        "cells": list(rk.cells()),
        "instruction_sets": list(rk.instruction_sets()),
        "instruction_set": rk.instruction_set(),
        "module_bytes": sum(module.stat().st_size for module in modules),
    }


def severe() -> None:
    """Have results and scratch memory start as NaN, so that what a kernel forgets to write shows, and as many threads
    serve as a case sets, whatever processors there are. In a build that can.
    """
    for name in ("set_poison", "set_oversubscribed"):
        switch = getattr(getattr(rk, "_cpu", None), name, None)
        if switch is not None:
            switch(True)


def digests(cell: str, dtype: str, asked: str | None, quick: bool) -> dict[str, dict[str, str]]:
    """What a cell's cases give: the digest of every array, by case and by array."""
    severe()
    return {str(case): answers.digests(case.answer()) for case in cases.of(cell, dtype, asked, quick=quick)}


def arrays(cell: str, dtype: str, case: str, quick: bool, file: str) -> None:
    """Write what one case gives to a file; no arrays where this build has no such case."""
    severe()
    found = [one for one in cases.of(cell, dtype, case, quick=quick) if str(one) == case]
    answers.save(Path(file), found[0].answer() if found else {})


CPUS = machine.cpus()


class Timer:
    """The line that is timed now: its arrays are made once, and stay until the next one's."""

    job: timed.Job

    def begin(self, line: dict[str, Any]) -> dict[str, str]:
        """Make a line's arrays: digests of what it answers."""
        _pin(CPUS)  # threads that the line's first call starts may go anywhere
        self.job = timed.job(timed.Line(**{**line, "shape": tuple(line["shape"])}))
        return answers.digests(self.job.answer())

    def answer(self, file: str) -> None:
        """Write the answer's arrays to a file."""
        answers.save(Path(file), self.job.answer())

    def sample(self, calls: int, cpus: list[int], warm: bool, pause: float) -> float:
        """Seconds per call, over as many calls; with `warm` after one that is not kept, as the other had the caches."""
        _pin(cpus)
        settle(pause)
        if warm:
            self.job.call()
        return seconds_of(self.job.call, calls)


def _pin(cpus: Iterable[int]) -> None:
    if cpus:
        os.sched_setaffinity(0, cpus)


def lines(quick: bool) -> list[dict[str, Any]]:
    return [dataclasses.asdict(line) for line in timed.lines(quick=quick)]


TIMER = Timer()
QUESTIONS: dict[str, Callable[..., Any]] = {
    "about": about,
    "digests": digests,
    "arrays": arrays,
    "lines": lines,
    "begin": TIMER.begin,
    "answer": TIMER.answer,
    "sample": TIMER.sample,
}


def main() -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        what, arguments = json.loads(line)
        out.write(json.dumps(QUESTIONS[what](**arguments)) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
