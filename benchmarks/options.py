"""What an option costs: our training step with it over the same without, by turns in one run.

`python -m benchmarks options [--cells lstm gru] [--threads N] [--out FILE.jsonl]`

Answers are checked first: the output with masks against the reference, gradients along a random direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import rnnkernels as rk
from rnnkernels import reference

from . import machine, results
from .arguments import parse
from .measure import alternate
from .shapes import Shape
from .workloads import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, Workload

SHAPES: tuple[Shape, ...] = ((100, 1, 256, 256), (100, 16, 128, 128), (100, 32, 256, 256))

MASKS: dict[str, dict[str, Any]] = {
    "recurrent dropout": {"recurrent_dropout": 0.25},
    "recurrent dropout per step": {"recurrent_dropout": 0.25, "per_step": True},
    "weight dropout": {"weight_dropout": 0.5},
}
READINGS: dict[str, dict[str, Any]] = {
    "all states": {"all_states": True},
    "norms": {"norms": True},
    'memory="states"': {"memory": "states"},
    'memory="replay"': {"memory": "replay"},
}


def of(cell: str) -> dict[str, dict[str, Any]]:
    """The options by name: what `rk.forward` takes for each, and `norms`, which `rk.backward` takes."""
    masks = {"zoneout": {"zoneout": zoneout(cell)}, **MASKS}
    return {name: {"noise": rk.Noise(1, **rates)} for name, rates in masks.items()} | READINGS


def together(cell: str) -> dict[str, dict[str, Any]]:
    """All masks in one call, and with the readings."""
    noise = rk.Noise(2, layer=3, first_step=5, **of_stack(cell))
    return {
        "all masks": {"noise": noise},
        "all masks, all states, norms": {"noise": noise, "all_states": True, "norms": True},
        'all masks, memory="states"': {"noise": noise, "memory": "states"},
        'all masks, memory="replay"': {"noise": noise, "memory": "replay"},
    }


def of_stack(cell: str) -> dict[str, Any]:
    """All masks, as `rk.Stack` takes them."""
    return {"zoneout": zoneout(cell), "recurrent_dropout": 0.25, "per_step": True, "weight_dropout": 0.5}


def zoneout(cell: str) -> tuple[float, ...]:
    """A rate for every state that may have one, each another: no product, no part of a value kept in parts."""
    info = rk.cell_info(cell)
    names = info["states"]
    zoned = [not (info["projected"] and k == 0) and not ("n" in names and k > 0) for k in range(len(names))]
    return tuple(0.1 + 0.05 * k if may else 0.0 for k, may in enumerate(zoned))


def training(work: Workload, options: dict[str, Any]) -> Callable[[], rk.Gradients]:
    forward = {name: value for name, value in options.items() if name != "norms"}
    norms = options.get("norms", False)

    def train() -> rk.Gradients:
        return rk.backward(rk.forward(work.cell, work.x, work.params, **forward), work.d_output, norms=norms)

    return train


def check(work: Workload, name: str, options: dict[str, Any]) -> None:
    """Raise RuntimeError where output or gradients are not the reference's."""
    noise = options.get("noise")
    run = rk.forward(work.cell, work.x, work.params, noise=noise)
    expected, _ = reference.forward(work.cell, work.x, work.params, noise=noise)
    error = np.linalg.norm(run.output - expected) / np.linalg.norm(expected)
    grads = training(work, options)().params
    rng = np.random.default_rng(0)
    direction = {key: rng.standard_normal(value.shape) for key, value in grads.items()}
    slope = reference.directional_derivative(
        work.cell, work.x, work.params, None, work.d_output, None, direction, noise=noise
    )
    ours = sum(float((grads[key] * value).sum()) for key, value in direction.items())
    if not (error < OUTPUT_TOLERANCE and abs(ours - slope) < GRADIENT_TOLERANCE * abs(slope)):
        raise RuntimeError(f"{name}: {work} is off by {error:.1e}, its gradients by {abs(ours / slope - 1):.1e}")


def main(arguments: Sequence[str]) -> int:
    args = parse("options", "What an option costs.", arguments, cells=rk.cells())
    rk.set_num_threads(args.threads)
    run = results.new_run(machine.describe())
    lines = [run]
    print("training with an option over training without")
    for cell in args.cells:
        for shape in SHAPES:
            work = Workload(cell, "training", shape)
            for name, options in of(cell).items():
                check(work, name, options)
            calls: dict[str, Callable[[], Any]] = {"plain": training(work, {})}
            calls |= {name: training(work, options) for name, options in of(cell).items()}
            medians = {name: timing.median for name, timing in alternate(calls, seconds=args.seconds).items()}
            over = {name: median / medians["plain"] for name, median in medians.items() if name != "plain"}
            line = {"kind": "options", "run": run["run"], "cell": cell, "shape": list(shape), "threads": args.threads}
            line |= {"instruction_set": rk.instruction_set(), "median": medians["plain"], "over": over}
            lines.append(line)
            costs = "  ".join(f"{name} {ratio:.2f}" for name, ratio in over.items())
            print(f"{cell:6} T{shape[0]} B{shape[1]} H{shape[3]}: {costs}", flush=True)
    if args.out:
        results.merge(args.out, lines)
    return 0
