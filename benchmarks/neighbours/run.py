"""`python -m benchmarks.neighbours`: measure, print, and keep the lines.

Ctrl-C keeps what was measured; every process that was started has ended then.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import rnnkernels as rk
from benchmarks import machine, results
from benchmarks.builds.build import Build, BuildError
from benchmarks.peers import peers
from benchmarks.results import Line

from . import beside, calls, problems, report, training
from .figures import LIBRARY, OURS
from .loops import LOOPS
from .processes import Who, builds

PEERS = ("torch", "onnxruntime")
WHAT = ("calls", "loops")


def main(arguments: Sequence[str]) -> int:
    parser, args = _parse(arguments)
    try:
        of_builds = builds(args.library)
    except BuildError as error:
        parser.error(f"--library: {error}")
    run = results.new_run(machine.describe())
    print(f"{run['machine']}, commit {run['commit']}, {rk.instruction_set()}")
    print(", ".join(f"{name} {version}" for name, version in run["versions"].items()))
    absent = {name: why for name in args.victims if name in PEERS and (why := peers([name])[0].missing())}
    absent |= {f"{name} as a neighbour": why for name in args.neighbours if (why := beside.missing(name))}
    for name, why in absent.items():
        print(f"left out: {name}: {why}")
    args.victims = [name for name in args.victims if name not in absent]
    args.neighbours = [name for name in args.neighbours if not beside.missing(name)]

    begin = time.monotonic()
    lines: list[Line] = []
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            for found in _measure(args, of_builds, Path(folder)):
                for line in found:
                    line |= {"run": run["run"], "instruction_set": rk.instruction_set()}
                    print(report.row(line), flush=True)
                lines += found
        except KeyboardInterrupt:
            status = 130
        except (BuildError, calls.WrongAnswerError) as error:
            print(error, file=sys.stderr)
            status = 1
    print(f"\n{len(lines)} lines in {time.monotonic() - begin:.0f} s", "", *report.summary(lines), sep="\n")
    if args.out and lines:
        results.merge(args.out, [run, *lines])
    return status


def participants(victims: Sequence[str], threads: Sequence[int], *, quick: bool, library: bool) -> list[Who]:
    """Who takes part: everybody on every number of threads; with `quick` the peers on the largest alone."""
    found = []
    for victim in victims:
        counts = threads if victim == OURS or not quick else [max(threads)]
        found += [Who(victim, count) for count in counts]
        if victim == OURS and library:
            found += [Who(LIBRARY, count) for count in threads]
    return found


def _measure(args: argparse.Namespace, of_builds: dict[str, Build], folder: Path) -> Iterator[list[Line]]:
    whos = participants(args.victims, args.threads, quick=args.quick, library=LIBRARY in of_builds)
    ours = [who for who in whos if who.peer == OURS]
    chosen = problems.QUICK if args.quick else problems.PROBLEMS
    seconds = args.seconds or (0.9 if args.quick else 1.5)
    parts = {
        "calls": lambda: calls.measure(args.neighbours, chosen, whos, of_builds, seconds=seconds, folder=folder),
        "loops": lambda: training.measure(list(LOOPS), ours, of_builds, rounds=3 if args.quick else 6, folder=folder),
    }
    return chain.from_iterable(parts[what]() for what in args.what)


def _parse(arguments: Sequence[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    everything = machine.available_cpus()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.neighbours",
        description="A call beside other people's threads, over the same call alone; answers checked first.",
        epilog="`python -m benchmarks.neighbours draw FILE` draws docs/neighbours.svg and prints the table.",
    )
    parser.add_argument("--quick", action="store_true", help="few problems, peers on all threads alone: three minutes")
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT), help="default: both")
    parser.add_argument("--victims", nargs="+", choices=(OURS, *PEERS), default=[OURS, *PEERS])
    names = list(beside.PACKAGES)
    parser.add_argument("--neighbours", nargs="+", choices=names, default=names)
    parser.add_argument("--threads", type=int, nargs="+", help="of the victims; default: 1 and 2")
    parser.add_argument("--seconds", type=float, help="per victim, problem and neighbour; default: 1.5, quick 0.9")
    parser.add_argument("--library", metavar="DIR", help="another build of ours: a folder that holds rnnkernels")
    parser.add_argument("--out", type=Path, metavar="FILE.jsonl", help="lines of the same measurements are replaced")
    args = parser.parse_args(arguments)
    args.threads = sorted(set(args.threads or (1, min(2, everything))))
    if not all(1 <= count <= everything for count in args.threads):
        parser.error(f"--threads: expected numbers from 1 to {everything}, the processors of this machine")
    if args.seconds is not None and not args.seconds > 0:
        parser.error("--seconds: expected a number above 0")
    return parser, args
