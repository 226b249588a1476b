"""PyTorch's layers and ours in their place: torch.nn's time over that of rnnkernels.torch, in one process.

`python -m benchmarks layers [--cells lstm gru rnn_tanh] [--threads N] [--what dense packed call] [--out FILE.jsonl]`

Both sides are torch.nn modules with the same parameters, called and differentiated as users do. `dense`: the core
shapes. `packed`: batches of different lengths. `call`: one step of one row, which is the price of a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import rnnkernels as rk

from . import machine, results
from .arguments import parse
from .measure import alternate
from .ragged import SHAPES as PACKED_SHAPES
from .ragged import lengths_of
from .shapes import CORE_SHAPES, Shape
from .workloads import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE

NAMES = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN"}
MODES = ("inference", "training")
WHAT = ("dense", "packed", "call")
CALL_SHAPES: tuple[Shape, ...] = ((1, 1, 8, 8), (1, 1, 64, 64))


def pair(name: str, shape: Shape) -> tuple[Any, Any]:
    """A module of torch.nn and ours with its parameters."""
    import torch

    import rnnkernels.torch

    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*shape[2:])
    ours = getattr(rnnkernels.torch, name)(*shape[2:])
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def caller(mode: str, module: Any, x: Any) -> Callable[[], Any]:
    """A function that runs a module on x, or trains it on the sum of squares of its outputs; returns what it found."""
    import torch

    def output(given: Any) -> Any:
        result = module(given)
        first = result if isinstance(result, torch.Tensor) else result[0]
        return first.data if isinstance(first, torch.nn.utils.rnn.PackedSequence) else first

    def infer() -> Any:
        with torch.inference_mode():
            return (output(x),)

    def train() -> Any:
        return torch.autograd.grad(output(x).square().sum(), list(module.parameters()))

    return train if mode == "training" else infer


def check(line: str, mode: str, theirs: Callable[[], Any], ours: Callable[[], Any]) -> None:
    """Raise RuntimeError where the answers differ."""
    tolerance = GRADIENT_TOLERANCE if mode == "training" else OUTPUT_TOLERANCE
    for expected, found in zip(theirs(), ours(), strict=True):
        error, size = float((found - expected).norm()), float(expected.norm())
        if not error <= tolerance * size:  # zeros are: recurrent weights have no gradient in a first step from zeros
            raise RuntimeError(f"{line}: the answers differ by {error:.1e} of {size:.1e}")


def inputs(what: str, shape: Shape) -> Any:
    import torch

    torch.manual_seed(1)
    if what == "cell":
        return torch.randn(*shape[1:3])
    x = torch.randn(*shape[:3])
    if what != "packed":
        return x
    lengths = torch.tensor(lengths_of(shape))
    return torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)


def cases(what: Sequence[str], cells: Sequence[str]) -> list[tuple[str, str, str, Shape]]:
    """(what, cell, class, shape) of all lines."""
    found = []
    for cell in cells:
        name = NAMES[cell]
        if "dense" in what:
            found += [("dense", cell, name, shape) for shape in CORE_SHAPES]
        if "packed" in what:
            found += [("packed", cell, name, shape) for shape in PACKED_SHAPES]
        if "call" in what:
            found += [("call", cell, name, shape) for shape in CALL_SHAPES]
            found += [("cell", cell, f"{name}Cell", shape) for shape in CALL_SHAPES]
    return found


def main(arguments: Sequence[str]) -> int:
    import torch

    args = parse("layers", "torch.nn's layers, and ours in their place.", arguments, cells=NAMES, what=WHAT)
    rk.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    run = results.new_run(machine.describe())
    lines = [run]
    print("torch.nn's time over ours")
    for what, cell, name, shape in cases(args.what, args.cells):
        for mode in MODES:
            theirs, ours = (caller(mode, module, inputs(what, shape)) for module in pair(name, shape))
            text = f"{what:6} {name:8} {mode:9} T{shape[0]} B{shape[1]} I{shape[2]} H{shape[3]}"
            check(text, mode, theirs, ours)
            timings = alternate({"torch": theirs, "ours": ours}, seconds=args.seconds)
            times = {who: timing.median for who, timing in timings.items()}
            line = {"kind": "layers", "run": run["run"], "what": what, "cell": cell, "class": name, "mode": mode}
            line |= {"shape": list(shape), "threads": args.threads, "instruction_set": rk.instruction_set()}
            line |= {"medians": times, "ratio": times["torch"] / times["ours"]}
            lines.append(line)
            print(f"{text}: {line['ratio']:.2f}", flush=True)
    if args.out:
        results.merge(args.out, lines)
    return 0
