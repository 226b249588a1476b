"""`python -m benchmarks`: the published grid, or part of it; a process per number of threads.

A process is pinned to as many processors as it may have threads before it imports any library.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import rnnkernels as rk
from rnnkernels._cli_bench import shape_named

from . import machine, report, results, roofline
from .grid import Job
from .peers import peers
from .shapes import GRIDS, MODES


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Every cell against every peer that is installed, answers checked first.",
        epilog="Other commands: roofline, scaling, ragged, options, draw, compare; each has --help.",
    )
    parser.add_argument("--quick", action="store_true", help="few shapes, all threads, short: under two minutes")
    parser.add_argument("--grid", choices=GRIDS, default="core", help="which shapes; default: %(default)s")
    parser.add_argument(
        "--shape",
        type=shape_named,
        action="append",
        metavar="TxBxIxH",
        help="a shape of your own, such as 200x16x80x256, in the grid's place; may be given again",
    )
    parser.add_argument("--cells", nargs="+", default=list(rk.cells()), choices=rk.cells())
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--peers", nargs="+", metavar="PEER", help=f"of {', '.join(p.name for p in peers())}")
    parser.add_argument("--threads", type=int, nargs="+", help="one number or several; default: 1 and all")
    parser.add_argument("--seconds", type=float, help="per participant and workload; default: 1, quick 0.1")
    parser.add_argument("--memory", action="store_true", help="measure the peak memory of training, ours and PyTorch's")
    parser.add_argument("--instruction-set", choices=rk.instruction_sets(), help="ours; the peers choose theirs")
    parser.add_argument("--out", type=Path, metavar="FILE.jsonl", help="lines of the same measurements are replaced")
    args = parser.parse_args(arguments)
    everything = machine.available_cpus()
    threads = args.threads or ([everything] if args.quick else sorted({1, everything}))
    if not all(1 <= count <= everything for count in threads):
        parser.error(f"--threads: from 1 to {everything} on this machine")
    try:
        missing = {peer.name: why for peer in peers(args.peers, quick=args.quick) if (why := peer.missing())}
    except ValueError as error:
        parser.error(str(error))

    run = results.new_run(machine.describe())
    print(f"{run['machine']}, caches {run['caches']}, commit {run['commit']}")
    print(", ".join(f"{name} {version}" for name, version in run["versions"].items()))
    for name, why in missing.items():
        print(f"left out: {name}: {why}")
    with machine.Others() as others:
        limits = roofline.measure(threads)
    if not limits:
        print("left out: shares of the peak: no compiler for the probe")
    elif others.share is not None and others.share > report.BUSY:
        print(
            f"others used {100 * others.share:.0f}% of the machine during the probe: shares of the peak come out high"
        )

    lines = [run, *(roofline.line(run["run"], count, found) for count, found in limits.items())]
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lines.jsonl"
        out.touch()
        for count in threads:
            job = Job(
                run=run["run"],
                cells=args.cells,
                modes=args.modes,
                grid=args.grid,
                quick=args.quick,
                own_shapes=args.shape or [],
                seconds=args.seconds or (0.1 if args.quick else 1.0),
                threads=count,
                peers=args.peers,
                memory=args.memory,
                limits=limits.get(count),
                out=str(out),
            )
            try:
                status = _process(job, args.instruction_set)
            except KeyboardInterrupt:
                status = 130
            if status:
                break
        measured = results.read(out)
    print(f"\n{report.summary(measured)}")
    if args.out and measured:
        results.merge(args.out, [*lines, *measured])
    return status


def _process(job: Job, instruction_set: str | None) -> int:
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.grid", json.dumps(asdict(job))],
        cwd=machine.REPOSITORY,
        env=machine.environment(job.threads, instruction_set),
        preexec_fn=machine.pin(job.threads),
        check=False,
    )
    return child.returncode
