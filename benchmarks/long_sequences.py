"""What `memory=` costs and saves over a long sequence: bytes by `Stack.training_bytes`, time over `memory="all"`.

`python -m benchmarks long-sequences [--cells lstm gru] [--shape 20000x4x64x128] [--layers 2] [--threads N]`
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np

import rnnkernels as rk
from rnnkernels._cli_bench import Shape, shape_named
from rnnkernels.memory import MEMORY

from .measure import seconds_of


def step(stack: rk.Stack, x: Any, d_output: Any, memory: str) -> Any:
    return stack.backward(stack.forward(x, memory=memory), d_output)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks long-sequences", description=__doc__)
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru"], choices=rk.cells(), metavar="CELL")
    parser.add_argument("--shape", type=shape_named, default=Shape(20_000, 4, 64, 128), metavar="TxBxIxH")
    parser.add_argument("--layers", type=int, default=2, metavar="N")
    parser.add_argument("--threads", type=int, default=rk.num_threads(), metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    args = parser.parse_args(arguments)
    rk.set_num_threads(args.threads)
    steps, batch, inputs, hidden = args.shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, inputs), dtype=np.float32)
    d_output = rng.standard_normal((steps, batch, hidden), dtype=np.float32)
    print(
        f"{args.layers} layers, T x B x I x H = {args.shape}, float32, {args.threads} threads, {rk.instruction_set()}\n"
    )
    print('| cell | | `memory="all"` | `"states"` | `"replay"` |\n|---|---|---:|---:|---:|')
    for cell in args.cells:
        stack = rk.Stack(cell, inputs, hidden, args.layers, rng=0)
        sizes = [stack.training_bytes(steps, batch, memory=memory) for memory in MEMORY]
        calls: dict[str, Callable[[], object]] = {m: partial(step, stack, x, d_output, m) for m in MEMORY}
        expected = calls["all"]().params  # type: ignore[attr-defined]
        for memory in MEMORY:
            found = calls[memory]().params  # type: ignore[attr-defined]
            worst = max(float(np.abs(found[k] - v).max() / np.abs(v).max()) for k, v in expected.items())
            if not worst < 1e-3:
                raise RuntimeError(f"{cell}, memory={memory!r}: gradients are off by {worst:.1e}")
        times: dict[str, list[float]] = {memory: [] for memory in MEMORY}
        for _ in range(args.rounds):  # in turn; a call is seconds long
            for memory, call in calls.items():
                times[memory].append(seconds_of(call, 1))
        print(f"| `{cell}` | memory | " + " | ".join(f"{size / 1e6:,.0f} MB" for size in sizes) + " |")
        ratios = [median(times[memory]) / median(times["all"]) for memory in MEMORY]
        print("| | time | " + " | ".join(f"{ratio:.2f}×" for ratio in ratios) + " |", flush=True)
    return 0
