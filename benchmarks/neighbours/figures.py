"""Figures of the times of calls, and what is asked of them. Nothing here measures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.results import Line

# What is asked of us, as ratios at two decimals.
OVER_ONE_THREAD = 1.15  # beside a neighbour: our time on more threads over that on one, beside the same
OVER_PEERS = 1.0  # our slow-down over the better peer's
LOOP = 1.05  # a training loop's step, with NumPy's threads as they come, over it with one thread of NumPy's

Figures = dict[str, Any]
OURS, LIBRARY = "rnnkernels", "library"


def quantile(times: Sequence[float], part: float) -> float:
    """The value that a `part` of the times do not exceed, between two of them in proportion."""
    ordered = sorted(times)
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def mean(ratios: Sequence[float]) -> float:
    """The geometric mean."""
    return math.exp(statistics.fmean(map(math.log, ratios)))


def of_calls(alone: Sequence[float], met: Sequence[float]) -> Figures:
    """Of calls alone and calls met by a neighbour: seconds, and how much slower the median and the 90th percentile are.

    A slow-down is over the median alone. `mean` is of all that were met: it has the calls that waited for a processor,
    however few.
    """
    base = statistics.median(alone)
    return {
        "alone": base,
        "alone_p90": quantile(alone, 0.9),
        "median": statistics.median(met),
        "p90": quantile(met, 0.9),
        "mean": statistics.fmean(met),
        "slower": statistics.median(met) / base,
        "slower_p90": quantile(met, 0.9) / base,
        "calls": len(met),
    }


def of_loop(default: Sequence[float], one: Sequence[float]) -> Figures:
    """Of a loop's steps with NumPy's threads as they come, and with one."""
    medians = {"default": statistics.median(default), "one": statistics.median(one)}
    return {**medians, "ratio": medians["default"] / medians["one"], "steps": len(default)}


def add_criteria(lines: Iterable[Line]) -> None:
    """Give lines of calls the ratios that are asked of us, where what they need was measured.

    ``over_one``: our median on several threads over that on one, of the same problem beside the same neighbour.
    ``over_peers``: our slow-down over that of the better peer. Beside nothing neither says anything.
    """
    lines = [line for line in lines if line["what"] != "nothing"]
    one = {_problem(line): line["victims"] for line in lines if line["threads"] == 1}
    for line in lines:
        victims: Mapping[str, Figures] = line["victims"]
        if "slower" not in victims.get(OURS, {}):
            continue
        ours = victims[OURS]
        alone = one.get(_problem(line), {}).get(OURS, {})
        if line["threads"] > 1 and "median" in alone:
            line["over_one"] = ours["median"] / alone["median"]
        peers = [v["slower"] for name, v in victims.items() if name not in {OURS, LIBRARY} and "slower" in v]
        if peers:
            line["over_peers"] = ours["slower"] / min(peers)


def verdict(value: float, most: float) -> str:
    """Return ok or short."""
    return "ok" if round(value, 2) <= most else "short"


def _problem(line: Line) -> tuple[Any, ...]:
    return line["what"], line["cell"], line["mode"], tuple(line["shape"])
