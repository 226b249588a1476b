"""Our time against each size: is it what the arithmetic says, and what does another processor bring.

`python -m benchmarks scaling [--cells lstm gru] [--out FILE.jsonl]`

A slope is that of a straight line through log time over log size: 1 is proportional. Without peers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import rnnkernels as rk

from . import machine, results
from .arguments import parse
from .measure import Timing, alternate
from .peers.ours import Ours
from .shapes import Shape
from .workloads import Workload

# A size's name, its place in a shape, the shape around it, its values. H goes with I.
AXES: dict[str, tuple[Shape, tuple[int, ...]]] = {
    "T": ((0, 16, 128, 128), (1, 5, 25, 100, 500)),
    "B": ((50, 0, 128, 128), (1, 4, 16, 64, 128)),
    "H": ((20, 16, 0, 0), (32, 64, 128, 256, 512, 1024)),
}
THREADS_SHAPE: Shape = (100, 32, 256, 256)
MODES = ("inference", "training")


def slope(values: Sequence[float], seconds: Sequence[float]) -> float | None:
    """Of log seconds over log values; None for less than two points."""
    if len(values) < 2:
        return None
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])


def shape_at(axis: str, value: int) -> Shape:
    steps, batch, inputs, hidden = AXES[axis][0]
    return {
        "T": (value, batch, inputs, hidden),
        "B": (steps, value, inputs, hidden),
        "H": (steps, batch, value, value),
    }[axis]


def measure(cell: str, mode: str, axis: str, threads: int, seconds: float) -> dict[int, Timing]:
    """Timings at the axis's values, alternated."""
    ours = Ours()

    def call(shape: Shape, count: int) -> Callable[[], Any]:
        timed = ours.prepare(Workload(cell, mode, shape), count)

        def with_threads() -> Any:
            rk.set_num_threads(count)
            return timed.call()

        return with_threads

    if axis == "threads":
        calls = {count: call(THREADS_SHAPE, count) for count in range(1, threads + 1)}
    else:
        calls = {value: call(shape_at(axis, value), threads) for value in AXES[axis][1]}
    timings = alternate({str(value): work for value, work in calls.items()}, seconds=seconds)
    return {value: timings[str(value)] for value in calls}


def main(arguments: Sequence[str]) -> int:
    args = parse(
        "scaling",
        "Our time against each size.",
        arguments,
        cells=rk.cells(),
        threads="of T, B and H; the most of threads",
        seconds="per point",
    )
    run = results.new_run(machine.describe())
    lines = [run]
    for cell in args.cells:
        for mode in MODES:
            for axis in (*AXES, "threads"):
                timings = measure(cell, mode, axis, args.threads, args.seconds)
                fitted = slope(list(timings), [t.median for t in timings.values()])
                line = {"kind": "scaling", "run": run["run"], "cell": cell, "mode": mode, "axis": axis}
                line |= {"shape": list(AXES[axis][0] if axis in AXES else THREADS_SHAPE), "threads": args.threads}
                line |= {"instruction_set": rk.instruction_set(), "slope": fitted}
                line["points"] = [[value, t.median, t.low, t.high] for value, t in timings.items()]
                lines.append(line)
                points = "  ".join(f"{value}: {1e3 * t.median:.4g}" for value, t in timings.items())
                shown = "-" if fitted is None else f"{fitted:.2f}"
                print(f"{cell:16} {mode:9} against {axis:7} slope {shown:>5}   ms at {points}", flush=True)
    if args.out:
        results.merge(args.out, lines)
    return 0
