"""`python -m benchmarks`: every cell against PyTorch, forward and training, at the grid of shapes.

Answers are checked against the float64 reference first; a speed is printed only for a right one.
`python -m benchmarks --draw FILE.jsonl` draws the README's picture from committed results.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import rnnkernels as rk

HEADING = (
    f"{'cell':17} {'mode':10} {'T':>4} {'B':>3} {'I':>5} {'H':>5} "
    f"{'ours ms':>9} {'torch ms':>9} {'ratio':>6} {'GFLOP/s':>8}"
)
ROOT = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three shapes")
    parser.add_argument("--cells", nargs="+", default=list(rk.cells()), choices=rk.cells())
    parser.add_argument("--threads", type=int, default=rk.num_threads())
    parser.add_argument("--seconds", type=float, default=1.0, help="per measurement")
    parser.add_argument("--out", type=Path, help="JSON lines; default: printed only")
    parser.add_argument("--draw", type=Path, metavar="FILE.jsonl", help="draw docs/ratios.svg from results and stop")
    args = parser.parse_args()
    if args.draw:
        from .draw import draw

        draw(args.draw, ROOT.parent / "docs" / "ratios.svg")
        return 0
    try:
        import torch

        from .workloads import MODES, QUICK_SHAPES, SHAPES, Workload
    except ImportError as error:
        print(f"{error}: pip install 'rnnkernels[bench]'", file=sys.stderr)
        return 2

    from .measure import alternate

    rk.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    setting = {
        "machine": _processor(),
        "instruction_set": rk.instruction_set(),
        "threads": args.threads,
        "rnnkernels": rk.__version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    print(", ".join(f"{name} {value}" for name, value in setting.items()))
    print(HEADING)
    lines: list[dict[str, Any]] = []
    for cell in args.cells:
        for shape in QUICK_SHAPES if args.quick else SHAPES:
            workload = Workload(cell, shape)
            workload.check()
            for mode in MODES:
                timing = alternate(workload.calls(mode), seconds=args.seconds)
                ours, peer = timing["rnnkernels"], timing["torch"]
                ratio = peer.median / ours.median
                speed = workload.flops * (3 if mode == "training" else 1) / ours.median / 1e9
                sizes = "{:4} {:3} {:5} {:5}".format(*shape)
                times = f"{ours.median * 1e3:9.3f} {peer.median * 1e3:9.3f}"
                print(f"{cell:17} {mode:10} {sizes} {times} {ratio:6.2f} {speed:8.1f}", flush=True)
                lines.append(
                    setting
                    | {"cell": cell, "mode": mode, "shape": shape, "ratio": ratio, "gflops": speed}
                    | {"ours": vars(ours), "peer": vars(peer)}
                )
    for cell in args.cells:
        for mode in MODES:
            ratios = [line["ratio"] for line in lines if line["cell"] == cell and line["mode"] == mode]
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            print(f"{cell:17} {mode:10} geometric mean {mean:5.2f}  worst {min(ratios):5.2f}")
    if args.out:
        args.out.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return 0


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
