"""What a program here ends with: whether both ways agree, and how much faster one of them is."""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 15
TOLERANCE = 1e-5
HEAD = "| package | what is run | times as fast | checked |\n|---|---|---:|---|"


def same(name: str, theirs: Any, ours: Any) -> str:
    """Return that things (words, tags, phonemes) are equal, or end the program."""
    if theirs != ours:
        sys.exit(f"{name}: expected {theirs}\ngot {ours}")
    return f"{name} equal"


def close(name: str, theirs: Any, ours: Any) -> str:
    """Return how far two arrays of one shape are apart, or end the program where that is more than `TOLERANCE`."""
    theirs, ours = np.asarray(theirs), np.asarray(ours)
    if theirs.shape != ours.shape:
        sys.exit(f"{name}: expected shape {theirs.shape}, got {ours.shape}")
    gap = float(np.abs(theirs - ours).max())
    if not gap <= TOLERANCE:  # nor a NaN
        sys.exit(f"{name}: expected a difference of at most {TOLERANCE}, got {gap}")
    return f"{name} within {gap:.0e}"


def ratio(theirs: Callable[[], object], ours: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return their time over ours: medians of calls that take turns, after one of each that is not counted."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for call, taken in zip((theirs, ours), times, strict=True):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
    return statistics.median(times[0][1:]) / statistics.median(times[1][1:])


def row(package: str, what: str, times: float, *checked: str) -> str:
    """Return a row of the table that `HEAD` begins."""
    return f"| {package} | {what} | {times:.1f}× | {', '.join(checked)} |"
