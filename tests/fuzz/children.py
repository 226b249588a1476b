"""Child processes that try one case after another, and what became of them: a signal and a hang are failures, too.

A child is `python -m tests.fuzz.children MODULE SEED SECONDS CALLS NOTES`: the module has ``case(seed) -> Tried``.
Before each case the child writes its seed into the file NOTES, so that whoever finds the child dead knows which it was.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SECONDS = 20.0  # of one child: a fresh process now and then
PATIENCE = 60.0  # beyond its time, before a child counts as hung
MOST = 20  # failures, after which no more are looked for


@dataclass
class Tried:
    """What was tried: the number of calls of each kind, the failures among them, and the case to go on with."""

    calls: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    cases: int = 0

    @property
    def count(self) -> int:
        return sum(self.calls.values())


def run(
    module: str,
    seconds: float,
    seed: int,
    calls: int | None = None,
    *,
    patience: float = PATIENCE,
    most_seconds: float = SECONDS,
) -> Tried:
    """Try the cases of a module from `seed` on, in one child after another, until the time or the calls are over."""
    tried = Tried()
    begin = time.monotonic()
    while len(tried.failures) < MOST and (calls is None or tried.count < calls):
        left = seconds - (time.monotonic() - begin)
        if left <= 0:
            break
        more = None if calls is None else calls - tried.count
        seed = _child(tried, module, seed, min(left, most_seconds), more, patience)
    return tried


def failures(module: str, seconds: float, seed: int, calls: int | None = None) -> list[str]:
    """Do the same, print the figures, and return what failed: a part of the fuzz command (parts.py)."""
    tried = run(module, seconds, seed, calls)
    kinds = ", ".join(f"{kind} {count}" for kind, count in tried.calls.most_common())
    print(f"{tried.cases} cases, {tried.count} calls: {kinds}", flush=True)
    return tried.failures


def _child(tried: Tried, module: str, seed: int, seconds: float, calls: int | None, patience: float) -> int:
    """Run one child, add what it tried, return the seed that the next begins with."""
    with tempfile.TemporaryDirectory() as folder:
        notes, errors = Path(folder) / "notes", Path(folder) / "errors"
        command = [sys.executable, "-m", __name__, module, str(seed), str(seconds), str(calls or 0), str(notes)]
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
        with (
            errors.open("wb") as stderr,
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr) as child,
        ):
            try:
                said, _ = child.communicate(timeout=seconds + patience)
                how = f"a signal: {signal.Signals(-child.returncode).name}" if child.returncode < 0 else ""
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGABRT)  # faulthandler then says where it was
                said, _ = child.communicate()
                how = f"a hang: nothing ended within {patience:g} s of the child's time"
        text = said.decode()
        if child.returncode == 0 and not how:
            found = json.loads(text.splitlines()[-1])
            tried.calls.update(found["calls"])
            tried.failures += found["failures"]
            tried.cases += found["cases"]
            return int(found["next"])
        noted = notes.read_text(encoding="ascii").split() if notes.exists() else []
        at, done = (int(noted[0]), int(noted[1])) if len(noted) == 2 else (seed, 0)
        tried.calls["before a child's end"] += done
        last = errors.read_text(encoding="utf-8", errors="replace").strip()
        tried.failures.append(f"seed {at}: {how or f'exit code {child.returncode}'}\n{last}")
        return at + 1


def _work(module: str, seed: int, seconds: float, calls: int, notes: str) -> None:
    """Be the child."""
    faulthandler.enable()
    case = importlib.import_module(module).case
    tried = Tried()
    descriptor = os.open(notes, os.O_CREAT | os.O_WRONLY, 0o600)
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(tried.failures) < MOST and not 0 < calls <= tried.count:
        os.pwrite(descriptor, f"{seed:<20} {tried.count:<20}".encode("ascii"), 0)
        try:
            found = case(seed)
            tried.calls.update(found.calls)
            tried.failures += [f"seed {seed}: {failure}" for failure in found.failures]
        except Exception:  # noqa: BLE001 - whatever a case raises is a failure of that case
            tried.failures.append(f"seed {seed}: {traceback.format_exc()}")
        seed, tried.cases = seed + 1, tried.cases + 1
    print(json.dumps({"calls": tried.calls, "failures": tried.failures, "cases": tried.cases, "next": seed}))


if __name__ == "__main__":
    name, first, time_of_it, most, file = sys.argv[1:]
    _work(name, int(first), float(time_of_it), int(most), file)
