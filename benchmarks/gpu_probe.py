"""What a GPU takes for the parts of a step, before any kernel of ours: the floor of one product and one pass per step.

`python -m benchmarks.gpu_probe [--out FILE.jsonl]`

Launches one after another and as nodes of a CUDA graph, memory bandwidth, and the step's recurrent product at the
shapes of gpu_timings, all through PyTorch and by CUDA events.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from . import machine, results
from .gpu_timings import SHAPES, milliseconds

REPEATS = 200
GATES = 4  # an LSTM's


def microseconds(call: Callable[[], Any], *, graph: bool) -> float:
    """The median time of one of REPEATS calls in a row, launched one by one or as a graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)

    def many() -> None:
        for _ in range(REPEATS):
            call()

    run = many
    if graph:
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            many()
        run = captured.replay
    run()
    return 1e3 * statistics.median(milliseconds(run) for _ in range(7)) / REPEATS


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    run = results.new_run({**machine.describe(), "gpu": torch.cuda.get_device_name()})
    found: dict[str, float] = {}
    small = torch.zeros(1, device="cuda")
    found["launch, us"] = microseconds(lambda: small.add_(1), graph=False)
    found["graph node, us"] = microseconds(lambda: small.add_(1), graph=True)
    large = torch.empty(1 << 28, device="cuda")
    to = torch.empty_like(large)
    found["copy, GB/s"] = 2 * large.numel() * 4 / 1e3 / microseconds(lambda: to.copy_(large), graph=False)

    for dtype in ("float32", "tf32", "bfloat16"):
        torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
        kind = torch.float32 if dtype == "tf32" else getattr(torch, dtype)
        for _, batch, _, hidden in SHAPES:
            h = torch.randn(batch, hidden, device="cuda").to(kind)
            weight = torch.randn(GATES * hidden, hidden, device="cuda").to(kind)
            u = torch.empty(batch, GATES * hidden, device="cuda", dtype=kind)
            name = f"product B{batch} H{hidden} {dtype}"
            found[f"{name}, us"] = microseconds(lambda: torch.mm(h, weight.T, out=u), graph=True)  # noqa: B023
    for name, value in found.items():
        print(f"{name:40s} {value:10.2f}")
    if options.out:
        line = {"kind": "gpu", "what": "probe", "found": found, "run": run["run"]}
        results.merge(options.out, [run, line])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
