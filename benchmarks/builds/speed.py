"""`python -m benchmarks.builds [speed] BEFORE AFTER`: the speed of two builds, alternated in one run.

Each build has a process of its own, which stays alive and is asked for one sample at a time: before, after, after,
before, ... Answers are compared first. A pair is two samples next to each other, on the same processors: what slows the
machine for a while slows both. A line's ratio is the median over its pairs of before's time over after's. A line that
comes out slower than FLOOR is sampled again, more often each time and by new processes, since where a process happens
to have its memory is worth some percent of a short call; all samples count.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks import machine, results
from benchmarks.measure import SAMPLE

from . import answers
from .build import Build, BuildError, Child

FLOOR = 0.97  # a line's least ratio
MEAN = 0.99  # a group's: 1, less what noise leaves in a mean
TOLERANCE = 2e-4  # the largest difference over the largest value, where bits differ; of float32
LEAST, MOST = 5, 61  # pairs, the first time
PAUSE = 0.002  # before a sample: only our own threads could still spin, and they do for less
SLOW = 0.25  # seconds of a call that caches do not matter to

Line = dict[str, Any]


class Pair:
    """A process of each build, and the line that both have begun."""

    def __init__(self, builds: Sequence[Build], instruction_set: str | None, folder: Path) -> None:
        self.builds, self.instruction_set, self.folder = builds, instruction_set, folder
        self.children: list[Child] = []
        self.cpus = machine.cpus()
        self.renew()
        sets = [child.about["instruction_set"] for child in self.children]
        if sets[0] != sets[1]:
            raise BuildError(f"--instruction-set: expected one that both builds have, they took {' and '.join(sets)}")

    def renew(self) -> None:
        """Go on with new processes."""
        self.close()
        self.children = [Child(build, self.instruction_set) for build in self.builds]

    def close(self) -> None:
        for child in self.children:
            child.close()
        self.children = []

    def begin(self, line: Line) -> tuple[bool, float]:
        """Have both make a line's arrays: whether they answer with the same bits, and by how much they differ."""
        digests = [child.ask("begin", line=line) for child in self.children]
        if digests[0] == digests[1]:
            return True, 0.0
        files = [self.folder / f"{build.name}.npz" for build in self.builds]
        for child, file in zip(self.children, files, strict=True):
            child.ask("answer", file=str(file))
        return False, max(answers.differences(*map(answers.load, files)).values())

    def sample(self, which: int, turn: int, threads: int, calls: int, *, warm: bool) -> float:
        """Seconds of a call of one build; both are given the same processors, others from turn to turn."""
        cpus = [self.cpus[(turn + k) % len(self.cpus)] for k in range(min(threads, len(self.cpus)))]
        found: float = self.children[which].ask("sample", calls=calls, cpus=cpus, warm=warm, pause=PAUSE)
        return found

    def time(self, line: Line, seconds: float, tries: int) -> dict[str, Any]:
        """Time the line that both have begun; at most `tries` times more where it comes out slower."""
        once = min(self.sample(which, 0, line["threads"], 1, warm=True) for which in (0, 1))
        calls, warm = max(1, round(SAMPLE / max(once, 1e-7))), once < SLOW
        pairs = int(min(MOST, max(LEAST, seconds / (2 * (PAUSE + (calls + warm) * once)))))
        times: tuple[list[float], list[float]] = ([], [])
        for attempt in range(1 + tries):
            if attempt:
                self.renew()
                self.begin(line)
            for k in range(pairs << attempt):
                for which in (0, 1) if k % 2 == 0 else (1, 0):
                    times[which].append(self.sample(which, k // 2, line["threads"], calls, warm=warm))
            found = summary(*times)
            if found["ratio"] >= FLOOR:
                break
        return found


def summary(before: Sequence[float], after: Sequence[float]) -> dict[str, Any]:
    """Medians of both; the ratios' median and quartiles over the pairs; and the ratio of the least times.

    The least are the times that nothing disturbed: where they say something else than the median, measure again.
    """
    low, ratio, high = statistics.quantiles([a / b for a, b in zip(before, after, strict=True)], n=4)
    medians = {"before": statistics.median(before), "after": statistics.median(after)}
    return {
        **medians,
        "ratio": ratio,
        "low": low,
        "high": high,
        "least": min(before) / min(after),
        "pairs": len(before),
    }


def wanted(pair: Pair, args: argparse.Namespace) -> list[Line]:
    """The lines that both builds have, and were asked for."""
    first, second = (child.ask("lines", quick=args.quick) for child in pair.children)
    asked = {"group": args.groups, "cell": args.cells, "threads": args.threads}
    return [
        line
        for line in first
        if line in second and all(chosen is None or line[what] in chosen for what, chosen in asked.items())
    ]


def mean(lines: Iterable[Line], of: str = "ratio") -> float:
    """The geometric mean."""
    return math.exp(statistics.fmean(math.log(line[of]) for line in lines))


def text(line: Line) -> str:
    sizes = " ".join(f"{name}{size}" for name, size in zip("TBIH", line["shape"], strict=True))
    return f"{line['what']:28} {line['cell']:23} {line['mode']:9} {sizes:20} {line['threads']} thr"


def row(line: Line) -> str:
    times = f"{1e3 * line['before']:10.4g} {1e3 * line['after']:10.4g} ms"
    spread = f"{line['ratio']:.3f} ({line['low']:.2f} to {line['high']:.2f}) least {line['least']:.3f}"
    differs = "" if line["difference"] == 0 else f"  other bits, by up to {line['difference']:.1e}"
    return f"{text(line)} {times}  {spread}, {line['pairs']} pairs{differs}"


def report(lines: Sequence[Line]) -> list[str]:
    """Geometric mean and worst line of each group and number of threads; then what is slower than allowed."""
    rows, missed = ["geometric means of before's time over after's"], []
    groups = dict.fromkeys((line["group"], line["threads"]) for line in lines)
    for group, threads in groups:
        part = [line for line in lines if (line["group"], line["threads"]) == (group, threads)]
        worst = min(part, key=lambda line: float(line["ratio"]))
        found = f"{len(part):3} lines  {mean(part):.3f}, least {mean(part, 'least'):.3f}  worst {worst['ratio']:.3f}"
        rows.append(f"{group:10} {threads} thr  {found}: {text(worst)}")
        if mean(part) < MEAN:
            missed.append(f"slower: {group}, {threads} thr, in the mean: {mean(part):.3f}")
    missed += [f"slower: {text(line)}: {line['ratio']:.3f}" for line in lines if line["ratio"] < FLOOR]
    return [*rows, *(f"wrong: {text(line)}" for line in lines if line["difference"] > TOLERANCE), *missed]


def run(args: argparse.Namespace) -> int:
    builds = [Build.at(name, place) for name, place in (("before", args.before), ("after", args.after))]
    lines: list[Line] = []
    begin = time.monotonic()
    described = results.new_run(machine.describe()) | {"builds": args.names}
    with tempfile.TemporaryDirectory() as folder, closing(Pair(builds, args.instruction_set, Path(folder))) as pair:
        name = pair.children[0].about["instruction_set"]
        for line in wanted(pair, args):
            if lines and lines[-1]["group"] != line["group"]:
                pair.renew()
            bits, difference = pair.begin(line)
            found = pair.time(line, args.seconds or (1.0 if args.quick else 1.2), args.tries)
            kinds = {"kind": "builds", "run": described["run"], "instruction_set": name}
            kinds |= {**line, "what": f"{line['group']} {line['what']}".strip()}
            lines.append({**kinds, "bits": bits, "difference": difference, **found})
            print(row(lines[-1]), flush=True)
    found_rows = report(lines)
    print(f"\n{len(lines)} lines in {time.monotonic() - begin:.0f} s, {name}", *found_rows, sep="\n")
    if args.out and lines:
        results.merge(args.out, [described, *lines])
    return int(not lines or any(text.startswith(("wrong", "slower")) for text in found_rows))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.builds", description="The speed of two builds.")
    parser.add_argument("before", metavar="BEFORE", help="a folder that holds rnnkernels, or a virtual environment")
    parser.add_argument("after", metavar="AFTER", help="the other build")
    parser.add_argument("--quick", action="store_true", help="a few cells and shapes of each group")
    parser.add_argument("--groups", nargs="+", help="of core, options, streaming, ragged, prepared, wavefront, cells")
    parser.add_argument("--cells", nargs="+")
    parser.add_argument("--threads", type=int, nargs="+")
    parser.add_argument("--seconds", type=float, help="for a line's first samples; default: 1.2, quick 1")
    parser.add_argument("--tries", type=int, default=3, help="how often a slow line is sampled again; default: 3")
    parser.add_argument("--instruction-set", help="default: the fastest")
    parser.add_argument("--names", nargs=2, default=["before", "after"], help="what the results call the builds")
    parser.add_argument("--out", type=Path, metavar="FILE.jsonl", help="lines of the same measurements are replaced")
    args = parser.parse_args(arguments)
    try:
        return run(args)
    except BuildError as error:
        parser.error(str(error))
