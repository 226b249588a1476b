"""`python -m benchmarks.instructions`: counts a few kernels' instructions under callgrind, against expected.json.

Unlike a time, a count is the same in every run and on a busy machine, so that a slowdown shows in review; but it
knows nothing of caches, latencies and threads. It depends on the compiler: counts of another one than
expected.json's are printed and not judged. Exits with 1 when a count rose by more than 2 %, with 2 when it cannot
count. After a change that is meant, or to lock in a gain: --update, and commit the file.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .compare import faults, table

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = Path(__file__).with_name("expected.json")
PRESET = "instructions"
PROGRAM = ROOT / "build" / PRESET / "count_instructions"
SET = "avx2"  # valgrind knows no AVX-512


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the counts to expected.json")
    update = parser.parse_args().update
    for tool in ("cmake", "ninja", "valgrind"):
        if shutil.which(tool) is None:
            print(f"instructions: no {tool} on this machine (apt-get install valgrind, pip install '.[dev]')")
            return 2
    try:
        compiler, counts = count_all()
    except subprocess.CalledProcessError as error:
        print(error.stdout or "", error.stderr or "", f"instructions: {error}", sep="\n", file=sys.stderr)
        return 2
    if update:
        result = {"compiler": compiler, "set": SET, "counts": counts}
        EXPECTED.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    print(*table(expected["counts"], counts), sep="\n")
    if compiler != expected["compiler"]:
        print(f"not judged: expected.json is {expected['compiler']}'s, these are {compiler}'s")
        return 0
    found = faults(expected["counts"], counts)
    for fault in found:
        print(fault)
    return 1 if found else 0


def count_all() -> tuple[str, dict[str, int]]:
    """Build the program; the compiler's name and every kernel's count."""
    run("cmake", "--preset", PRESET, "--log-level=WARNING")
    run("cmake", "--build", "--preset", PRESET, "--target", PROGRAM.name)
    compiler, *kernels = run(str(PROGRAM)).splitlines()
    return compiler, {kernel: count(kernel) for kernel in kernels}


def count(kernel: str) -> int:
    """The instructions of one warm call."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        options = ["--collect-atstart=no", "--toggle-collect=counted_call", f"--callgrind-out-file={out}"]
        run("valgrind", "--tool=callgrind", *options, str(PROGRAM), SET, kernel)
        totals = re.search(r"^totals: (\d+)$", out.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if totals is None or int(totals[1]) == 0:
        raise RuntimeError(f"{kernel}: callgrind counted nothing")
    return int(totals[1])


def run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
