"""`python -m benchmarks.builds cost [SOURCE]`: what building the package costs, and with `--cell` one more cell.

A copy of the tree is configured and compiled as `pip install .` does it, in a temporary folder. Seconds are the
processor's, of all compilers and of CMake; the time by the clock depends on who else is there. With them stands the
time of a fixed file (`yardstick`), compiled beside the tree: seconds of another machine are compared by it.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine, results

from . import one_more_cell
from .build import BuildError

# What the build reads.
TREE = ("CMakeLists.txt", "cmake", "csrc", "python")
YARDSTICK_FLAGS = (
    "-std=c++20",
    "-O3",
    "-c",
    "-o",
    os.devnull,
)  # not those of a Debug build, nor CXXFLAGS: always the same


@dataclass
class Cost:
    """Of a build. Seconds are the processor's."""

    seconds: float
    wall: float
    module_bytes: int
    sets: list[str]
    yardstick: float
    units: dict[str, float] = field(default_factory=dict)  # seconds by object


@dataclass
class CellCost:
    """Of one more cell, over all instruction sets and dtypes; bytes are of one set."""

    seconds: float
    bytes_per_set: float
    yardstick: float
    cells: int  # that were added


class Tree:
    """A copy of the sources, and its build."""

    def __init__(self, source: Path, folder: Path, options: Sequence[str] = ()) -> None:
        self.source, self.build, self.log = folder / "source", folder / "build", folder / "seconds"
        self.source.mkdir()
        for name in TREE:
            if (source / name).is_dir():
                shutil.copytree(source / name, self.source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            elif (source / name).exists():
                shutil.copy(source / name, self.source)
        launcher = ";".join([sys.executable, "-S", "-E", str(Path(__file__).with_name("timed.py")), str(self.log)])
        command = ["cmake", "-G", "Ninja", "-S", str(self.source), "-B", str(self.build), "--log-level=STATUS"]
        command += ["-D", "CMAKE_BUILD_TYPE=Release", "-D", f"CMAKE_CXX_COMPILER_LAUNCHER={launcher}"]
        command += ["-D", f"Python_EXECUTABLE={sys.executable}", *options]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = re.search(r"instruction sets ([\w;]+)", said)
        self.sets = found[1].split(";") if found else []

    def compile(self) -> dict[str, float]:
        """Bring the build up to date: the seconds of each object that was compiled."""
        self.log.write_text("", "utf-8")
        command = ["cmake", "--build", str(self.build)]
        said = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if said.returncode:
            print(said.stdout[-4000:], file=sys.stderr)
            said.check_returncode()
        lines = [line.split(" ", 1) for line in self.log.read_text("utf-8").splitlines()]
        return {made: float(seconds) for seconds, made in lines if made.endswith((".o", ".obj"))}

    def install(self, folder: Path) -> int:
        """Make a package in a folder, as `pip install .` does: the bytes of its module."""
        command = ["cmake", "--install", str(self.build), "--prefix", str(folder), "--strip", "--component", "python"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return sum(file.stat().st_size for file in (folder / "rnnkernels").glob("_cpu*.so"))

    def yardstick(self) -> float:
        """Seconds that the fixed file takes now: the least of three, on all processors at once as the build was."""
        cache = (self.build / "CMakeCache.txt").read_text("utf-8")
        compiler = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.*)$", cache, flags=re.MULTILINE)
        assert compiler is not None
        file = self.build / "yardstick.cpp"
        file.write_text(YARDSTICK, "utf-8")
        times, count = [], machine.available_cpus()
        for _ in range(3):
            begin = _children()
            running = [subprocess.Popen([compiler[1], *YARDSTICK_FLAGS, str(file)]) for _ in range(count)]
            if any(process.wait() for process in running):
                raise BuildError(f"{compiler[1]}: expected it to compile {file.name}")
            times.append((_children() - begin) / count)
        return min(times)


# Templates, inlining and vectors, as in the tree; and nothing of any library.
YARDSTICK = """\
template <class T, int N> struct Sum {
    static T run(const T* a, const T* b, int n) {
        T lanes[N] = {};
        for (int i = 0; i + N <= n; i += N)
            for (int k = 0; k < N; ++k) lanes[k] += a[i + k] * b[i + k] / (1 + lanes[k] * lanes[k]);
        T sum = Sum<T, N - 1>::run(a, b, n);
        for (int k = 0; k < N; ++k) sum = sum / 2 + lanes[k];
        return sum;
    }
};
template <class T> struct Sum<T, 0> {
    static T run(const T*, const T*, int) { return 0; }
};
double of_doubles(const double* a, const double* b, int n) { return Sum<double, 64>::run(a, b, n); }
"""


def measure(
    source: Path, *, cell: bool = False, keep: Path | None = None, options: Sequence[str] = ()
) -> tuple[Cost, CellCost | None]:
    """Build a tree, and again with more cells; keep the package, without those, in a folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin, clock = _children(), time.monotonic()
        tree = Tree(source, folder, options)
        units = tree.compile()
        seconds, wall = _children() - begin, time.monotonic() - clock
        size = tree.install(keep or folder / "package")
        cost = Cost(seconds, wall, size, tree.sets, tree.yardstick(), units)
        if not cell:
            return cost, None
        added = one_more_cell.add(tree.source)
        more = tree.compile()
        grown = tree.install(folder / "more") - size
        rose = sum(time - units.get(made, 0.0) for made, time in more.items())
        yardstick = statistics.fmean([cost.yardstick, tree.yardstick()])
        return cost, CellCost(rose / added, grown / added / max(1, len(tree.sets)), yardstick, added)


def text(cost: Cost, cell: CellCost | None) -> list[str]:
    slowest = sorted(cost.units.items(), key=lambda unit: -unit[1])
    rows = [f"{seconds:7.1f} s  {made}" for made, seconds in slowest]
    rows.append(
        f"build: {cost.seconds:.0f} processor seconds (the yardstick: {cost.yardstick:.2f}), "
        f"{cost.wall:.0f} s by the clock; {cost.module_bytes / 1e6:.2f} MB; {' '.join(cost.sets)}"
    )
    if cell:
        rows.append(
            f"one more cell: {cell.seconds:.2f} processor seconds, "
            f"{cell.bytes_per_set / 1e3:.1f} kB for each set; of {cell.cells} that were added"
        )
    return rows


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.builds cost", description="What a build costs.")
    parser.add_argument("source", type=Path, nargs="?", default=machine.REPOSITORY, help="default: this tree")
    parser.add_argument("--cell", action="store_true", help="also what one more cell costs: most is compiled twice")
    parser.add_argument("--keep", type=Path, help="leave the package in this folder, for the other commands")
    parser.add_argument("--define", action="append", default=[], metavar="NAME=VALUE", help="for CMake")
    parser.add_argument("--name", default="", help="what the results call the build")
    parser.add_argument("--out", type=Path, metavar="FILE.jsonl", help="lines of the same measurements are replaced")
    args = parser.parse_args(arguments)
    options = [part for value in args.define for part in ("-D", value)]
    try:
        cost, cell = measure(args.source.resolve(), cell=args.cell, keep=args.keep, options=options)
    except (BuildError, subprocess.CalledProcessError) as error:
        parser.error(str(error))
    print(*text(cost, cell), sep="\n")
    if args.out:
        run = results.new_run(machine.describe())
        line: dict[str, Any] = {"kind": "cost", "run": run["run"], "what": args.name, **asdict(cost)}
        results.merge(args.out, [run, line | ({"cell": asdict(cell)} if cell else {})])
    return 0


def _children() -> float:
    """Processor seconds of the children that have ended, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
