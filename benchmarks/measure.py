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


# A library's idle threads may spin for some milliseconds after its call (libgomp's do) and would take a core from
# whoever comes next: wait until they sleep.
PAUSE = 0.01
# A sample is as many calls as fill this time.
SAMPLE = 0.004


def alternate(
    work: Mapping[str, Callable[[], object]], *, seconds: float = 1.0, least: int = 5, most: int = 60
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
    slowest = max(_seconds(call, 1) for call in work.values())
    rounds = int(min(most, max(least, seconds / max(slowest, SAMPLE))))
    samples: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, call in work.items():
            time.sleep(PAUSE)
            once = _seconds(call, 1)  # not kept: the caches belonged to the other library
            samples[name].append(_seconds(call, max(1, round(SAMPLE / max(once, 1e-6)))))
    return {name: _summary(times) for name, times in samples.items()}


def _seconds(call: Callable[[], object], calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls


def _summary(times: list[float]) -> Timing:
    low, median, high = statistics.quantiles(times, n=4)
    return Timing(median, low, high, len(times))
