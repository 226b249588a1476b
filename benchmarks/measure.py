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


# A library's idle threads may spin after its call, libgomp's for some milliseconds, ONNX Runtime's for about fifty,
# and would take a core from whoever comes next: wait at least PAUSE, then until the process is idle, at most LONGEST.
PAUSE = 0.01
LONGEST = 0.25
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
    slowest = max(seconds_of(call, 1) for call in work.values())
    rounds = int(min(most, max(least, seconds / max(slowest, SAMPLE))))
    samples: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, call in work.items():
            settle()
            once = seconds_of(call, 1)  # not kept: the caches belonged to the other library
            samples[name].append(seconds_of(call, max(1, round(SAMPLE / max(once, 1e-6)))))
    return {name: summary(times) for name, times in samples.items()}


def summary(times: list[float]) -> Timing:
    """Median and quartiles of at least two samples."""
    low, median, high = statistics.quantiles(times, n=4)
    return Timing(median, low, high, len(times))


def settle(pause: float = PAUSE) -> None:
    """Sleep for `pause` seconds, and again until no thread of this process runs any more."""
    end = time.monotonic() + LONGEST
    while True:
        used = time.process_time()  # of all threads
        time.sleep(pause)
        if time.process_time() - used < 0.1 * pause or time.monotonic() > end:
            return


def seconds_of(call: Callable[[], object], calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls
