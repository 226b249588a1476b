"""`python -m benchmarks.builds bits BEFORE AFTER`: whether two builds give the same bits, whatever they are asked.

    bits BEFORE AFTER             two builds
    bits BUILD --record FILE      keep what one gives, as digests
    bits BUILD --against FILE     compare with what was kept

Every cell, instruction set and dtype; cases.py says what is asked. What differs is listed by set, cell, dtype and
what was asked, with the arrays and, where there are two builds to ask, the largest difference over an array's
largest value.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import answers
from .build import Build, BuildError, Child

DTYPES = ("float32", "float64")
# Cases of a group that are run again, to measure by how much they differ.
MEASURED = 12
FEW = 12  # lines of the summary

Digests = dict[str, dict[str, str]]  # by case and array
Key = tuple[str, str, str]  # set, cell, dtype
Measure = Callable[[str], dict[str, float]]  # of a case: by how much each array differs


@dataclass
class Difference:
    """What differs in all cases of a group that ask for the same: which arrays, and by how much."""

    set: str
    cell: str
    dtype: str
    what: str
    cases: list[str] = field(default_factory=list)
    arrays: dict[str, float | None] = field(default_factory=dict)  # the largest relative difference; None: not measured

    def __str__(self) -> str:
        known = [size for size in self.arrays.values() if size is not None]
        size = f", by up to {max(known):.1e}" if known else ""
        return f"{self.set} {self.cell} {self.dtype} | {self.what} | {len(self.cases)}×{size}: {', '.join(self.arrays)}"


@dataclass
class Found:
    """What a comparison has counted so far."""

    cases: int = 0
    arrays: int = 0
    raised: list[str] = field(default_factory=list)  # cases in which both builds raise the same
    differences: list[Difference] = field(default_factory=list)


class Record:
    """Digests of a build, kept in a file: it answers as a build's process does."""

    def __init__(self, file: Path) -> None:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            self.about: dict[str, Any] = json.loads(next(lines))  # with what was asked
            self.kept: dict[Key, Digests] = {tuple(key): digests for key, digests in map(json.loads, lines)}


def compare(found: Found, key: Key, before: Digests, after: Digests, measure: Measure | None = None) -> None:
    """Count one group's digests; `measure` says how large the differences of a case are."""
    differences: dict[str, Difference] = {}
    for case in [*before, *(case for case in after if case not in before)]:
        a, b = before.get(case, {}), after.get(case, {})
        found.cases += 1
        found.arrays += len(a.keys() | b.keys())
        what = case.split(" | ")[0]
        if a == b:
            raised = any(name.startswith("raised ") for name in a)
            found.raised += [f"{' '.join(key)} | {case}"] if raised else []
            continue
        difference = differences.setdefault(what, Difference(*key, what))
        difference.cases.append(case)
        difference.arrays |= {name: None for name in {**a, **b} if a.get(name) != b.get(name)}
    found.differences += differences.values()
    for difference in list(differences.values())[:MEASURED]:
        sizes = measure(difference.cases[-1]) if measure else {}
        difference.arrays |= {name: size for name, size in sizes.items() if name in difference.arrays}


def answered(
    builds: Sequence[Build], groups: Sequence[Key], args: argparse.Namespace
) -> Iterator[tuple[Key, list[Child], list[Digests]]]:
    """Each group's digests of every build, made side by side by processes of the group's instruction set."""
    with ExitStack() as stack:
        current, children = "", []
        for key in groups:
            name, cell, dtype = key
            if name != current:
                stack.close()
                current, children = name, [stack.enter_context(Child(build, name)) for build in builds]
            try:
                for child in children:
                    child.begin("digests", cell=cell, dtype=dtype, asked=args.asked, quick=args.quick)
                digests = [child.answer() for child in children]
            except BuildError as error:
                raise BuildError(f"{name} {cell} {dtype}: {error}") from None
            yield key, children, digests


def measured(children: Sequence[Child], key: Key, folder: Path, *, quick: bool) -> Measure | None:
    """A function that runs a case again and says by how much each array differs; None with one build."""
    if len(children) < 2:
        return None

    def measure(case: str) -> dict[str, float]:
        found = []
        for child in children:
            file = folder / f"{child.build.name}.npz"
            child.ask("arrays", cell=key[1], dtype=key[2], case=case, quick=quick, file=str(file))
            found.append(answers.load(file))
        return answers.differences(*found)

    return measure


def keys(args: argparse.Namespace, abouts: Sequence[dict[str, Any]]) -> Iterator[Key]:
    """The groups that all builds have, and were asked for."""

    def common(what: str, wanted: Sequence[str] | None) -> list[str]:
        return [n for n in abouts[0][what] if all(n in about[what] for about in abouts) and (not wanted or n in wanted)]

    for name in common("instruction_sets", args.sets):
        for cell in common("cells", args.cells):
            for dtype in DTYPES:
                if not args.dtypes or dtype in args.dtypes:
                    yield name, cell, dtype


def record(args: argparse.Namespace, build: Build, about: dict[str, Any]) -> int:
    """Keep what a build gives in a file."""
    groups, cases = list(keys(args, [about])), 0
    with gzip.open(args.record, "wt", encoding="utf-8", compresslevel=5) as file:
        file.write(json.dumps(about | {"quick": args.quick}) + "\n")
        for key, _, digests in answered([build], groups, args):
            file.write(json.dumps([key, digests[0]]) + "\n")
            cases += len(digests[0])
    print(f"{args.record}: {cases:,} cases in {len(groups)} groups")
    return 0 if cases else 1


def contrast(args: argparse.Namespace, builds: Sequence[Build], abouts: list[dict[str, Any]]) -> int:
    """Compare two builds, or one with what was kept."""
    before = Record(args.against) if args.against else None
    if before:
        abouts = [before.about, *abouts]
        args.quick = before.about["quick"]
    groups = [key for key in keys(args, abouts) if before is None or key in before.kept]
    found, begin = Found(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for key, children, digests in answered(builds, groups, args):
            if before:
                part = args.asked or ""
                digests.insert(0, {case: known for case, known in before.kept[key].items() if part in case})
            seen = len(found.differences)
            measure = measured(children, key, Path(folder), quick=args.quick)
            compare(found, key, digests[0], digests[1], measure)
            for difference in found.differences[seen : seen + args.show]:
                print(f"DIFFERS {difference}", flush=True)
            if len(found.differences) > seen + args.show:
                print(f"DIFFERS {' '.join(key)} | {len(found.differences) - seen - args.show} more", flush=True)
    if args.out:
        args.out.write_text("".join(json.dumps(vars(d)) + "\n" for d in found.differences), encoding="utf-8")
    return report(found, len(groups), time.monotonic() - begin, abouts)


def report(found: Found, groups: int, seconds: float, abouts: Sequence[dict[str, Any]]) -> int:
    """Print what was compared; 1 where something differs, or nothing was compared."""
    for what in ("cells", "instruction_sets"):
        alone = set(abouts[0][what]) ^ set(abouts[1][what])
        if alone:
            print(f"in one build only, not compared: {', '.join(sorted(alone))}")
    for case in found.raised[:10]:
        print(f"raised the same error in both: {case}")
    if found.raised:
        print(f"{len(found.raised)} cases raised the same error in both")
    print(f"{found.arrays:,} arrays of {found.cases:,} cases compared in {seconds:.0f} s: {groups} of set, cell, dtype")
    asked = Counter(difference.what for difference in found.differences)
    for what, count in asked.most_common(FEW):
        print(f"differs in {count} of {groups}: {what}")
    if len(asked) > FEW:
        print(f"and {len(asked) - FEW} more that were asked")
    print(f"{sum(len(difference.cases) for difference in found.differences):,} cases differ")
    return 1 if found.differences or not found.cases else 0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.builds bits", description="The bits of two builds.")
    parser.add_argument("before", metavar="BEFORE", help="a folder that holds rnnkernels, or a virtual environment")
    parser.add_argument("after", metavar="AFTER", nargs="?", help="the other build")
    parser.add_argument("--record", type=Path, help="keep what the one build gives in this file")
    parser.add_argument("--against", type=Path, help="compare the one build with what was kept")
    parser.add_argument("--cells", nargs="+", help="default: all")
    parser.add_argument("--sets", nargs="+", help="default: all of this machine")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES)
    parser.add_argument("--asked", metavar="TEXT", help="only cases whose text has this in it, such as stepper or H17")
    parser.add_argument("--quick", action="store_true", help="one shape")
    parser.add_argument("--show", type=int, default=10, help="lines for one set, cell and dtype")
    parser.add_argument("--out", type=Path, help="all differences as JSON lines")
    args = parser.parse_args(arguments)
    if sum(map(bool, (args.after, args.record, args.against))) != 1 or (args.record and args.asked):
        parser.error("expected one of: AFTER, --record FILE (of all that is asked), --against FILE")
    try:
        builds = [Build.at("before" if args.after else "build", args.before)]
        builds += [Build.at("after", args.after)] if args.after else []
        abouts = []
        for build in builds:
            with Child(build) as child:
                abouts.append(child.about)
            print(f"{build.name}: {len(child.about['cells'])} cells, {' '.join(child.about['instruction_sets'])}")
        return record(args, builds[0], abouts[0]) if args.record else contrast(args, builds, abouts)
    except BuildError as error:
        parser.error(str(error))
