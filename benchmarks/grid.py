"""The measurements of one process: a list of workloads, on one number of threads.

run.py starts it as `python -m benchmarks.grid JOB`, pinned, since some libraries take their threads when they are
imported. A participant with a wrong answer has no speed; if it is us, the process ends.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rnnkernels as rk
from rnnkernels import _cpu

from . import memory, report, roofline
from .machine import Others
from .measure import alternate
from .peers import peers as all_peers
from .peers.base import Peer, Timed
from .peers.ours import Ours
from .results import Line
from .shapes import OWN_MODES, Shape, shapes
from .workloads import Workload


@dataclass(frozen=True)
class Job:
    """What one process is asked for."""

    run: str
    cells: list[str]
    modes: list[str]
    grid: str
    quick: bool
    own_shapes: list[Shape]  # of inference and training, in the grid's place; empty: the grid's
    seconds: float
    threads: int
    peers: list[str] | None
    memory: bool
    limits: dict[str, Any] | None  # of roofline.measure
    out: str  # lines are appended here as they are measured


class WrongAnswerError(Exception):
    """Ours is not the reference's."""


def error_of(timed: Timed, work: Workload) -> float:
    """How far a participant's answer is from the reference's. A stream is begun by this."""
    if work.mode != "streaming":
        return work.error(timed.answer(timed.call()))
    steps = [np.array(timed.answer(timed.call())["output"]) for _ in range(work.steps)]  # copies
    return work.error({"output": np.stack(steps)})


def measure(work: Workload, ours: Peer, peers: Sequence[Peer], *, threads: int, seconds: float) -> Line:
    """Check and time one workload; raise WrongAnswerError if ours is wrong.

    In the line a participant is its timing and its ``error``, or an ``error`` and ``wrong``, or what ``failed``.
    """
    calls = {}
    found: dict[str, dict[str, Any]] = {}
    for peer in (ours, *peers):
        if not peer.supports(work):
            continue
        try:
            timed = peer.prepare(work, threads)
            error = error_of(timed, work)
        except Exception as fault:  # whatever a library does, the others go on
            if peer is ours:
                raise
            found[peer.name] = {"failed": f"{type(fault).__name__}: {fault}".split("\n", maxsplit=1)[0]}
            continue
        found[peer.name] = {"error": error}
        if error < work.tolerance:
            calls[peer.name] = timed.call
        elif peer is ours:
            raise WrongAnswerError(f"{work}: our answer is off by {error:.1e}, allowed is {work.tolerance:.0e}")
        else:
            found[peer.name]["wrong"] = True
    with Others() as others:
        timings = alternate(calls, seconds=seconds)
    for name, timing in timings.items():
        found[name] |= asdict(timing)
    mine = found.pop(ours.name)
    line: Line = {"ours": mine, "peers": found, "others": others.share}
    medians = {peer.name: found[peer.name]["median"] for peer in peers if peer.counted and peer.name in calls}
    if medians:
        best = min(medians, key=lambda name: medians[name])
        line |= {"best": best, "ratio": medians[best] / mine["median"]}
    return line


def shares(work: Workload, seconds: float, limits: dict[str, Any] | None) -> Line:
    """Our speed, and how much of the machine's it is."""
    line: Line = {"gflops": work.flops / seconds * 1e-9}
    peak = roofline.peak(limits, rk.instruction_set())
    if peak:
        line["peak_share"] = work.flops / seconds / peak
    if work.mode == "training" or not work.weight_bytes:  # indrnn's steps read no matrix
        return line
    line["flops_per_byte"] = work.flops / (work.weight_bytes * work.shape[0])
    if work.shape[1] == 1:
        read = work.weight_bytes * work.shape[0] / seconds
        line["weight_gbytes"] = read * 1e-9
        limit = roofline.bandwidth(limits, work.weight_bytes)
        if limit:
            line["bandwidth_share"] = read / limit
    return line


def plan(work: Workload, threads: int) -> dict[str, int]:
    return dict(_cpu.plan(work.cell, *work.shape, "float32", threads))


def workloads(job: Job) -> list[Workload]:
    """In the order of the table; a cell's shapes together."""
    return [
        Workload(cell, mode, shape)
        for cell in job.cells
        for mode in job.modes
        for shape in _shapes(job, mode, cell)
        if shape[2] == shape[3] or not rk.cell_info(cell)["direct"]
    ]


def _shapes(job: Job, mode: str, cell: str) -> tuple[Shape, ...]:
    if not job.own_shapes:
        return shapes(mode, job.grid, cell, quick=job.quick)
    return tuple((t, b, i, h) for t, b, i, h in job.own_shapes) if mode in OWN_MODES else ()


def main(job: Job) -> int:
    from tqdm import tqdm

    rk.set_num_threads(job.threads)
    ours = Ours()
    asked = all_peers(job.peers, quick=job.quick)
    present = [peer for peer in asked if not peer.missing()]
    work = workloads(job)
    columns = [peer.name for peer in present if any(peer.supports(w) for w in work)]
    print(f"\n{job.threads} thread{'s' if job.threads > 1 else ''}, {rk.instruction_set()}; ms per call, ± quartiles")
    print(report.heading(columns), flush=True)
    with Path(job.out).open("a", encoding="utf-8") as out, tqdm(work, disable=None, leave=False) as bar:
        for one in bar:
            bar.set_description(f"{one.cell} {one.mode}")
            line: Line = {"kind": "speed", "run": job.run, "cell": one.cell, "mode": one.mode, "shape": one.shape}
            line |= {"dtype": "float32", "threads": job.threads, "instruction_set": rk.instruction_set()}
            try:
                line |= measure(one, ours, present, threads=job.threads, seconds=job.seconds)
            except WrongAnswerError as fault:
                print(fault, file=sys.stderr)
                return 1
            line |= shares(one, line["ours"]["median"], job.limits)
            line["plan"] = plan(one, job.threads)
            if one.mode == "training":
                line["held_bytes"] = memory.held(one)
                if job.memory:
                    line["peak_bytes"] = memory.peaks(one, job.threads)
            bar.write(report.row(line, columns))
            out.write(json.dumps(line) + "\n")
            out.flush()
            for cached in ("params", "x", "d_output", "_output", "_slopes"):
                one.__dict__.pop(cached, None)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Job(**json.loads(sys.argv[1]))))
    except KeyboardInterrupt:  # run.py keeps what was measured
        sys.exit(130)
