"""Everything that a machine with a GPU is asked for, in one command and under ten minutes.

`python3 benchmarks/gpu_check.py [--out FILE.jsonl] [--stages build tests ...] [--seconds 570]`

Stages, each in a process of its own with a bound on its time, the next one run whether or not the one before failed:
build (the package with the CUDA backend for this GPU), import, probe (gpu_probe.py: what the parts of a step take),
tests (every cell against the CPU's float64, repeats, streams, capture), cells (the tests of cells and options through
the GPU), sanitizer (compute-sanitizer on tiny shapes), timings (gpu_timings.py), profile. A table of what passed comes
last; results go to a file of JSON lines, to be committed under benchmarks/results/. It needs no network, and of other
software PyTorch, NumPy, pytest and a compiler.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "build" / "gpu" / "package"

TINY = """
import torch, rnnkernels as rk
from rnnkernels import cuda
ROUNDED = [(torch.bfloat16, False), (torch.float16, False)]
KINDS = {"resident": [*ROUNDED, (torch.float32, False), (torch.float32, True)], "grid": ROUNDED}
for kernel in cuda.kernels():
    cuda.set_kernel(kernel)
    for kind, tf32 in KINDS.get(kernel, [(torch.float32, False)]):
        cuda.allow_tf32(tf32)
        for cell in rk.cells():
            x = torch.randn(3, 2, 5, device="cuda").to(kind)
            proj = 3 if rk.cell_info(cell)["projected"] else None
            params = rk.init_params(cell, 5, 5, rng=0, proj_size=proj)
            params = {n: torch.from_numpy(w).cuda().to(kind) for n, w in params.items()}
            try:
                run = rk.forward(cell, x, params, lengths=[3, 1])
            except ValueError as error:
                print(kernel, cell, error)
                continue
            rk.backward(run, torch.ones_like(run.output))
            print(kernel, cell, kind, "TF32" if tf32 else "", "ran")
    cuda.allow_tf32(False)
    cuda.overlap_layers(True, steps=2)
    for layers, both in ((3, False), (1, True)):
        stack = rk.Stack("lstm", 5, 5, layers, bidirectional=both, dtype="float32", rng=0)
        kind = torch.bfloat16 if kernel in KINDS else torch.float32
        stack.params = {n: torch.from_numpy(w).cuda().to(kind) for n, w in stack.params.items()}
        run = stack.forward(torch.randn(5, 2, 5, device="cuda").to(kind))
        stack.backward(run, torch.ones_like(run.output))
        print(kernel, "overlapped", layers, both, "ran")
    cuda.overlap_layers(False)
torch.cuda.synchronize()
print("ran")
"""

PROFILE = """
import torch, rnnkernels as rk
from torch.profiler import ProfilerActivity, profile
x = torch.randn(256, 64, 512, device="cuda")
params = {n: torch.from_numpy(w).cuda() for n, w in rk.init_params("lstm", 512, 512, rng=0).items()}
def call():
    run = rk.forward("lstm", x, params)
    rk.backward(run, torch.ones_like(run.output))
call(); torch.cuda.synchronize()
with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
    call(); torch.cuda.synchronize()
print(found.key_averages().table(sort_by="cuda_time_total", row_limit=15, max_name_column_width=70))
"""

CONFIGURE = (
    "cmake -S . -B build/gpu -G Ninja -D CMAKE_BUILD_TYPE=Release -D RNNKERNELS_CUDA=ON "
    "-D RNNKERNELS_CUDA_ARCHITECTURES=native -D CMAKE_INSTALL_PREFIX=build/gpu/package "
    "-D RNNKERNELS_INSTRUCTION_SETS='scalar;avx512' -D Python_EXECUTABLE={python}"
)


def stages(out: str) -> dict[str, tuple[str, int]]:
    """What each stage runs, and for how many seconds at most."""
    python = sys.executable
    tests = f"{python} -m pytest -q --maxfail=25 --tb=short --no-header -p no:cacheprovider"
    return {
        "build": (
            (
                f"{CONFIGURE.format(python=python)} && cmake --build build/gpu --target install && "
                "nvidia-smi --query-gpu=name,driver_version,clocks.max.sm --format=csv"
            ),
            300,
        ),
        "import": (f'{python} -c "import rnnkernels as rk; print(rk.backends())"', 60),
        "probe": (f"{python} -m benchmarks.gpu_probe --out {out}", 60),
        "tests": (f"{tests} tests/gpu tests/cuda/test_cuda.py", 150),
        "timings": (f"{python} -m benchmarks.gpu_timings --out {out}", 180),
        "sanitizer": (f"compute-sanitizer --error-exitcode 1 {python} -c '{TINY}'", 90),
        "profile": (f"{python} -c '{PROFILE}'", 60),
        "cells": (
            (
                # Which of the CPU's instruction sets serves says nothing here: one of them will do.
                "RNNKERNELS_ISA=scalar RNNKERNELS_CUDA_KERNEL=reference PYTHONPATH=tests/support:$PYTHONPATH "
                f"{tests} -p cuda_emulated -m 'not slow' tests/kernels"
            ),
            200,
        ),
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out = Path(os.environ.get("OUT", ROOT / "benchmarks" / "results")) / "gpu.jsonl"
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--stages", nargs="+", default=list(stages("")))
    parser.add_argument("--seconds", type=float, default=570, help="for all of them")
    options = parser.parse_args(arguments)
    end = time.monotonic() + options.seconds
    environment = {**os.environ, "PYTHONPATH": f"{PACKAGE}{os.pathsep}{ROOT}"}
    outcome = {}
    every = stages(str(options.out))
    for name in options.stages:
        command, limit = every[name]
        left = end - time.monotonic()
        if left < 5:
            outcome[name] = "not begun: no time left"
            continue
        print(f"\n=== {name}: {command.splitlines()[0][:150]}", flush=True)
        begin = time.monotonic()
        try:
            done = subprocess.run(
                ["bash", "-c", command], cwd=ROOT, env=environment, timeout=min(limit, left), check=False
            )
            said = "passed" if done.returncode == 0 else f"FAILED ({done.returncode})"
        except subprocess.TimeoutExpired:
            said = f"STOPPED after {min(limit, left):.0f} s"
        outcome[name] = f"{said}, {time.monotonic() - begin:.0f} s"
        print(f"--- {name}: {outcome[name]}", flush=True)
    print("\n=== summary")
    for name, said in outcome.items():
        print(f"{name:10s} {said}")
    return 0 if all(said.startswith("passed") for said in outcome.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
