"""The machine's limits: multiply-adds per second and bytes read per second, by a program compiled for it (probe.cpp).

`python -m benchmarks roofline [--threads 1 2] [--out FILE.jsonl]`

Without a compiler nothing is measured and shares of the peak stay empty.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import rnnkernels as rk

from . import machine, results

PROBE = Path(__file__).with_name("probe.cpp")
# Bytes of a register and the compiler's options. "scalar" has no peak worth a comparison.
_SETS = {
    "avx512": (64, ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma"]),
    "avx2": (32, ["-mavx2", "-mfma"]),
    "neon": (16, []),
}


def measure(threads: Sequence[int], seconds: float = 0.005) -> dict[int, dict[str, Any]]:
    """Per number of threads ``{"flops": {set: {dtype: GFLOP/s}}, "bandwidth": [[bytes, GB/s], ...]}``.

    Both are of all threads together; a working set is shared out among them. Empty without a compiler.
    """
    compiler = shutil.which(os.environ.get("CXX") or "c++")
    sets = [name for name in rk.instruction_sets() if name in _SETS]
    if compiler is None or not sets:
        return {}
    found: dict[int, dict[str, Any]] = {count: {"flops": {}} for count in threads}
    with tempfile.TemporaryDirectory() as folder:
        for name in sets:  # the widest last: its bandwidth is kept
            size, flags = _SETS[name]
            program = Path(folder) / f"probe_{name}"
            command = [compiler, "-std=c++17", "-O3", "-ffp-contract=fast", f"-DRNNKERNELS_PROBE_BYTES={size}", *flags]
            command += ["-pthread", str(PROBE), "-o", str(program)]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                continue
            for count in threads:
                printed = subprocess.run(
                    [program, str(count), str(seconds)], capture_output=True, check=True, preexec_fn=machine.pin(count)
                )
                limits = json.loads(printed.stdout)
                found[count]["bandwidth"] = limits.pop("bandwidth")
                found[count]["flops"][name] = limits
    return {count: limits for count, limits in found.items() if limits["flops"]}


def peak(limits: dict[str, Any] | None, instruction_set: str, dtype: str = "float32") -> float | None:
    """Flops per second, or None if it was not measured."""
    gflops = (limits or {}).get("flops", {}).get(instruction_set, {}).get(dtype)
    return None if gflops is None else 1e9 * float(gflops)


def bandwidth(limits: dict[str, Any] | None, size: float) -> float | None:
    """Bytes per second at a working set of `size` bytes, between the measured ones on a log scale; or None."""
    curve = (limits or {}).get("bandwidth")
    if not curve:
        return None
    size = min(max(size, curve[0][0]), curve[-1][0])
    for (left, slow), (right, fast) in pairwise(curve):
        if size <= right:
            part = math.log(size / left) / math.log(right / left)
            return 1e9 * float(slow + part * (fast - slow))
    return None


def line(run: str, threads: int, limits: dict[str, Any]) -> results.Line:
    """A line of results."""
    return {"kind": "roofline", "run": run, "threads": threads, **limits}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks roofline", description="Measure the machine's limits.")
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, rk.num_threads()}))
    parser.add_argument("--seconds", type=float, default=0.02, help="per round, of 20")
    parser.add_argument("--out", type=Path, help="JSON lines; lines of other kinds in it are kept")
    args = parser.parse_args(arguments)
    found = measure(args.threads, args.seconds)
    if not found:
        print("no compiler (c++ or $CXX), or no instruction set that has a probe: nothing measured")
        return 0
    run = results.new_run(machine.describe())
    print(f"{run['machine']} ({platform.machine()}), caches {run['caches']}")
    for threads, limits in found.items():
        print(f"\n{threads} thread{'s' if threads > 1 else ''}")
        for name, speeds in limits["flops"].items():
            print(f"  {name:8} " + "  ".join(f"{dtype} {speed:7.1f} GFLOP/s" for dtype, speed in speeds.items()))
        for size, speed in limits["bandwidth"]:
            print(f"  read {size >> 10:6} KB {speed:7.1f} GB/s")
    if args.out:
        results.merge(args.out, [run, *(line(run["run"], threads, limits) for threads, limits in found.items())])
    return 0
