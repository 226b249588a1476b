"""Training of an attending recurrence: the time of others over that of rnnkernels.torch.AttentionRecurrent.

`python -m benchmarks attention [--cells lstm gru] [--threads N] [--what loop cells compile jax] [--shapes 0 1 ...]
 [--out FILE.jsonl]`

A call is a forward and a backward to x, features and all parameters, at B 32, with additive scores. Gradients are
compared with those of the loop in float64 before a time is printed. `--what`: the peers (peers/attending.py).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import rnnkernels as rk

from . import machine, results
from .arguments import parse
from .measure import alternate
from .peers import attending
from .peers.attending import PEERS, Call, Problem, as_tensors
from .workloads import GRADIENT_TOLERANCE

CELLS = ("lstm", "gru")  # which PyTorch has a cell of

BATCH = 32
# T, I, L, D, H.
SHAPES: tuple[tuple[int, ...], ...] = (
    (20, 128, 49, 128, 128),
    (20, 256, 49, 512, 512),
    (20, 256, 196, 512, 512),
    (50, 128, 49, 512, 256),
    (50, 256, 100, 256, 256),
    (100, 128, 196, 128, 128),
    (100, 256, 49, 256, 512),
)


def problem_of(cell: str, shape: Sequence[int]) -> Problem:
    """A layer and its arrays, of float32."""
    import torch

    import rnnkernels.torch as rnn

    steps, inputs, places, width, hidden = shape
    torch.manual_seed(0)
    layer = rnn.AttentionRecurrent(cell, inputs, width, hidden)
    x = torch.randn(steps, BATCH, inputs, requires_grad=True)
    features = torch.randn(BATCH, places, width, requires_grad=True)
    return Problem(layer, x, features, torch.randn(steps, BATCH, hidden))


def exact(problem: Problem) -> dict[str, Any]:
    """The gradients by the loop in float64."""
    x, features = (tensor.detach().double().requires_grad_() for tensor in (problem.x, problem.features))
    layer = copy.deepcopy(problem.layer).double()
    return attending.loop(Problem(layer, x, features, problem.d_output.double()))()


def check(line: str, expected: dict[str, Any], found: dict[str, Any]) -> None:
    """Raise RuntimeError where gradients differ."""
    for name, grad in as_tensors(found).items():
        error, size = float((grad.double() - expected[name]).norm()), float(expected[name].norm())
        if not error <= GRADIENT_TOLERANCE * size:
            raise RuntimeError(f"{line}: the gradients of {name} differ by {error:.1e} of {size:.1e}")


def calls_of(problem: Problem, line: str, peers: Sequence[str]) -> dict[str, Callable[[], Any]]:
    """Return everyone's call, each checked."""
    expected = exact(problem)
    makers: dict[str, Callable[[Problem], Call]] = {"ours": attending.ours, **{name: PEERS[name] for name in peers}}
    calls: dict[str, Callable[[], Any]] = {}
    for name, make in makers.items():
        calls[name] = make(problem)
        check(f"{line}, {name}", expected, calls[name]())
    return calls


def main(arguments: Sequence[str]) -> int:
    about = "An attending recurrence, others' and ours."
    args = parse("attention", about, arguments, cells=CELLS, what=tuple(PEERS), shapes=len(SHAPES))
    pin = machine.pin(args.threads)
    if pin is not None:  # before JAX is imported, whose threads are as many as there are processors
        pin()
    import torch

    rk.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    peers = [name for name in args.what if name != "jax" or find_spec("jax")]
    if len(peers) < len(args.what):
        print("left out: jax: not installed")
    run = results.new_run(machine.describe())
    lines = [run]
    ratios: list[float] = []
    print("the others' time over ours, training")
    for cell in args.cells:
        for shape in (SHAPES[number] for number in args.shapes):
            steps, inputs, places, width, hidden = shape
            text = f"{cell:4} T{steps} B{BATCH} I{inputs} L{places} D{width} H{hidden}"
            timings = alternate(calls_of(problem_of(cell, shape), text, peers), seconds=args.seconds)
            medians = {name: timing.median for name, timing in timings.items()}
            over = {name: medians[name] / medians["ours"] for name in peers}
            ratios.append(min(over.values()))
            line = {"kind": "attention", "run": run["run"], "cell": cell, "mode": "training"}
            line |= {"shape": [steps, BATCH, *shape[1:]], "threads": args.threads}
            line |= {"instruction_set": rk.instruction_set(), "medians": medians, "ratio": ratios[-1]}
            lines.append(line)
            if args.out:
                results.merge(args.out, lines)
            print(f"{text}: " + "  ".join(f"{name} {ratio:.2f}" for name, ratio in over.items()), flush=True)
    best = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"the fastest of them: {best:.2f} (geometric mean), {min(ratios):.2f} at least")
    return 0
