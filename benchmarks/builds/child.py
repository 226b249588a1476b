"""The process that has imported one build: `python -m benchmarks.builds.child`, started by build.py.

It reads `[question, arguments]`, one JSON line each, and writes one line for each. The answers go to what was its
standard output; whatever else prints goes to the standard error.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rnnkernels as rk
from benchmarks.measure import seconds_of, settle

from . import cases, problems
from . import lines as timed


def about() -> dict[str, Any]:
    file = Path(rk.__file__).resolve()
    modules = [module for module in file.parent.glob("_cpu*") if module.suffix in {".so", ".pyd"}]
    return {
        "file": str(file),
        "prefix": str(Path(sys.prefix).resolve()),
        "cells": list(rk.cells()),
        "instruction_sets": list(rk.instruction_sets()),
        "instruction_set": rk.instruction_set(),
        "module_bytes": sum(module.stat().st_size for module in modules),
    }


def poison() -> None:
    """Have results and scratch memory start as NaN, in a build that can: what a kernel forgets to write shows."""
    set_poison = getattr(getattr(rk, "_cpu", None), "set_poison", None)
    if set_poison is not None:
        set_poison(True)


def digests(cell: str, dtype: str, asked: str | None, quick: bool) -> dict[str, dict[str, str]]:
    """What a cell's cases give: the digest of every array, by case and by array."""
    poison()
    return {str(case): problems.digests(case.answer()) for case in cases.of(cell, dtype, asked, quick=quick)}


def arrays(cell: str, dtype: str, case: str, file: str) -> None:
    """Write what one case gives to a file."""
    poison()
    found = next(one for one in cases.of(cell, dtype, None) if str(one) == case)
    problems.save(Path(file), found.answer())


class Timer:
    """The line that is timed now: its arrays are made once, and stay until the next one's."""

    job: timed.Job

    def begin(self, line: dict[str, Any], file: str) -> dict[str, str]:
        """Make a line's arrays and call it once: digests of what it gives, and the arrays in a file."""
        self.job = timed.job(timed.Line(**{**line, "shape": tuple(line["shape"])}))
        answer = self.job.answer()
        problems.save(Path(file), answer)
        return problems.digests(answer)

    def sample(self, calls: int) -> float:
        """Seconds per call, over as many calls, after one that is not kept: the other build had the caches."""
        settle()
        self.job.call()
        return seconds_of(self.job.call, calls)


def lines(quick: bool) -> list[dict[str, Any]]:
    return [dataclasses.asdict(line) for line in timed.lines(quick=quick)]


TIMER = Timer()
QUESTIONS: dict[str, Callable[..., Any]] = {
    "about": about,
    "digests": digests,
    "arrays": arrays,
    "lines": lines,
    "begin": TIMER.begin,
    "sample": TIMER.sample,
}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        what, arguments = json.loads(line)
        answers.write(json.dumps(QUESTIONS[what](**arguments)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
