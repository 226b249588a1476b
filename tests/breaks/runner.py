"""Runs breaks: a copy of the sources, a build where one is needed, the tests, and what came of it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .record import CPU, EMULATED, GRID, NATIVE, NOTHING, OVERLAP, RESIDENT, STRESS, TSAN, Break

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 600  # for the tests of one break; one that hangs has been noticed, too
# -O1 compiles in a third of the time. Python gets two sets, the scalar one and the fastest; check_sets has every one.
CONFIGURE = {
    CPU: ("_cpu", []),
    EMULATED: ("_cuda_emulated", ["-DRNNKERNELS_CUDA_EMULATED=ON"]),
    NATIVE: ("check_sets", ["-DRNNKERNELS_NATIVE=ON"]),
    RESIDENT: ("check_resident", ["-DRNNKERNELS_NATIVE=ON"]),
    GRID: ("check_grid", ["-DRNNKERNELS_NATIVE=ON"]),
    OVERLAP: ("check_overlap", ["-DRNNKERNELS_NATIVE=ON"]),
    STRESS: ("stress_threads", ["-DRNNKERNELS_NATIVE=ON", "-DRNNKERNELS_STRESS=ON"]),
    TSAN: ("stress_threads", ["-DRNNKERNELS_NATIVE=ON", "-DRNNKERNELS_STRESS=ON", "-DRNNKERNELS_SANITIZE=thread"]),
}
PROGRAMS = {NATIVE, RESIDENT, GRID, OVERLAP, STRESS, TSAN}
# An allocator that gives large blocks back to the system takes most of an emulated run's time (check, `emulated`).
KEEPS_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


@dataclass
class Outcome:
    """What came of a break: `found` is red, green, or why it could not be judged."""

    of: Break
    found: str
    first: str  # the test that failed first
    seconds: float


class Copy:
    """The sources in a folder of their own, beside builds of them."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder, self.source = root, folder, folder / "source"
        self.built: set[str] = set()
        self._sync()

    def run(self, b: Break) -> Outcome:
        """Apply a break, build, test, and take the break back."""
        begin = time.monotonic()
        if b.builds not in PROGRAMS:
            self._build_module()
        file = self.source / b.file
        kept = file.read_text(encoding="utf-8")
        b.apply(self.source)
        try:
            why = "" if b.builds == NOTHING else self._build(b.builds, again=True)
            found, first = ("does not compile", why) if why else self._test(b.tests, b.builds)
        finally:
            file.write_text(kept, encoding="utf-8")
            self.built.discard(b.builds)
        return Outcome(b, found, first, time.monotonic() - begin)

    def without_breaks(self, outcomes: list[Outcome]) -> None:
        """Run each test that went red once more; what is red without its break as well says nothing."""
        for kind in (NOTHING, EMULATED):
            red = [o for o in outcomes if o.found == "red" and _tested_by(o.of.builds) == kind]
            tests = sorted({o.first for o in red if "::" in o.first})
            if not tests:
                continue
            self._build_module()
            if kind == EMULATED:
                self._build(EMULATED)  # it still has the last break in it
            if self._test(shlex.join(tests), kind, first_only=False)[0] == "green":
                continue
            for o in red:
                if "::" in o.first and self._test(shlex.quote(o.first), kind)[0] != "green":
                    o.found = "red without it, too"
        for kind in sorted(PROGRAMS):
            red = [o for o in outcomes if o.found == "red" and o.of.builds == kind]
            for arguments in sorted({o.of.tests for o in red}):
                self._build(kind)
                if self._test(arguments, kind)[0] != "green":
                    for o in red:
                        if o.of.tests == arguments:
                            o.found = "red without it, too"

    # ---- the sources -------------------------------------------------------------------------------

    def _sync(self) -> None:
        """Bring the copy up to date; a file that is the same stays as old as it is, for the builds' sake."""
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listing = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True).stdout
        names = {name for name in listing.split("\0") if name and (self.root / name).is_file()}
        for name in names:
            here, there = self.root / name, self.source / name
            if not there.is_file() or there.read_bytes() != here.read_bytes():
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(here, there)
        for there in self.source.rglob("*.py"):  # a test that is no more would still be run
            name = there.relative_to(self.source).as_posix()
            if name not in names and not name.startswith("build/"):
                there.unlink()

    # ---- builds and tests --------------------------------------------------------------------------

    def _build_module(self) -> None:
        """Build what every test of Python imports, without a break in it, and put it where the tests find it."""
        why = self._build(CPU)
        if why:
            raise RuntimeError(f"without a break the sources do not compile: {why}")
        for module in (self.folder / CPU).glob("_cpu*.so"):
            link = self.source / "python" / "rnnkernels" / module.name
            link.unlink(missing_ok=True)
            link.symlink_to(module)

    def _build(self, kind: str, again: bool = False) -> str:
        """Build a kind, where it is not up to date; return what the compiler said where it failed."""
        if kind in self.built and not again:
            return ""
        target, options = CONFIGURE[kind]
        folder = self.folder / kind
        configure = ["cmake", "-S", str(self.source), "-B", str(folder), "-G", "Ninja", "--log-level=WARNING"]
        configure += [
            "-DCMAKE_BUILD_TYPE=Debug",
            "-DCMAKE_CXX_FLAGS_DEBUG=-O1",
            f"-DPython_EXECUTABLE={sys.executable}",
        ]
        configure += options
        if kind != NATIVE:
            sets = "scalar" if kind in {STRESS, TSAN} else _sets()
            configure.append(f"-DRNNKERNELS_INSTRUCTION_SETS={sets}")
        for command in (configure, ["cmake", "--build", str(folder), "--target", target]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                lines = (done.stdout + done.stderr).splitlines()
                return next((line for line in lines if "error:" in line), lines[-1] if lines else "no word")
        self.built.add(kind)
        return ""

    def _test(self, tests: str, kind: str, first_only: bool = True) -> tuple[str, str]:
        """Run tests, or a program; return red or green, and which failed first."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RNNKERNELS_")}
        environment |= {"PYTHONPATH": str(self.source / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
        command += [*(["-x"] if first_only else []), *shlex.split(tests)]
        if kind in PROGRAMS:
            command = [str(self.folder / kind / CONFIGURE[kind][0]), *shlex.split(tests)]
            environment["TSAN_OPTIONS"] = "halt_on_error=1"
        if kind == EMULATED:
            module = next((self.folder / EMULATED).glob("_cuda_emulated*.so"))
            environment |= {"RNNKERNELS_CUDA_EMULATED": str(module), "RNNKERNELS_ISA": "scalar"} | KEEPS_BLOCKS
            environment["PYTHONPATH"] += os.pathsep + str(self.source / "tests" / "support")
            command += ["-p", "cuda_emulated", "-m", "not slow"]
        try:
            done = subprocess.run(
                command, cwd=self.source, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return "red", f"nothing ended in {SECONDS} s"
        if done.returncode == 0:
            return "green", ""
        if kind in PROGRAMS or done.returncode < 0:
            said = done.stderr.strip().splitlines()
            told = [line for line in said if line.startswith(("SUMMARY", "stress_threads:"))] or said[-1:]
            return "red", told[0] if told else f"signal {-done.returncode}"
        failed = re.search(r"^(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - .*)?$", done.stdout, flags=re.MULTILINE)
        if failed is None:  # no test ran: no such test, say
            return "not run", (done.stdout + done.stderr).strip().splitlines()[-1]
        return "red", failed[1]


def _tested_by(builds: str) -> str:
    """What runs the tests of a break: a program, pytest on the emulated backend, or pytest alone."""
    return builds if builds in PROGRAMS or builds == EMULATED else NOTHING


def _sets() -> str:
    from rnnkernels import _cpu

    return f"scalar;{_cpu.instruction_sets()[-1]}"


def table(outcomes: list[Outcome]) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = ["| break | file | built | found | first to fail | s |", "|---|---|---|---|---|---|"]
    for o in outcomes:
        first = o.first.replace("|", "\\|")
        lines.append(f"| {o.of.name} | `{o.of.file}` | {o.of.builds} | {o.found} | `{first}` | {o.seconds:.0f} |")
    counts = {found: sum(o.found == found for o in outcomes) for found in sorted({o.found for o in outcomes})}
    return [*lines, "", ", ".join(f"{count} {found}" for found, count in counts.items())]
