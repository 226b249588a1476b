"""Fair timing of callables that do the same work: in turn, in one run, medians over rounds.

Machines are shared and clocks drift, so an absolute time means little; what is reported is a ratio of medians
taken side by side. Nothing here knows what is timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds per call over the rounds."""

    median: float
    low: float  # quartiles: the spread
    high: float
    rounds: int


def alternate(
    work: Mapping[str, Callable[[], object]], *, seconds: float = 1.0, least: int = 5, most: int = 200
) -> dict[str, Timing]:
    """Time every callable in turn, round after round.

    Parameters
    ----------
    work : mapping of str to callable
        Each is called once before any clock runs.
    seconds : float
        About how long each callable is given in all.
    least, most : int
        Bounds on the number of rounds.
    """
    for call in work.values():
        call()
    slowest = max(_seconds(call) for call in work.values())
    rounds = int(min(most, max(least, seconds / max(slowest, 1e-9))))
    samples: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, call in work.items():
            call()  # once untimed: the call before belonged to another library, and so did the caches
            samples[name].append(_seconds(call))
    return {name: _summary(times) for name, times in samples.items()}


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _summary(times: list[float]) -> Timing:
    low, median, high = statistics.quantiles(times, n=4)
    return Timing(median, low, high, len(times))
