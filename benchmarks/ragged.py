"""A batch of sequences of different lengths: our time over that of the work in it, and over PyTorch's packed sequences.

`python -m benchmarks ragged [--cells lstm gru] [--threads N] [--out FILE.jsonl]`

The work in it is our own dense time, per step and row, times the steps of all rows.
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
from .workloads import OUTPUT_TOLERANCE, Array, Workload

SHAPES: tuple[Shape, ...] = ((100, 16, 128, 128), (100, 32, 256, 256), (100, 128, 256, 256))
MODES = ("inference", "training")


def lengths_of(shape: Shape) -> Array:
    """Uniform in [1, T], unsorted."""
    return np.random.default_rng(shape).integers(1, shape[0] + 1, shape[1])


def ours(work: Workload, lengths: Array | None) -> Callable[[], Any]:
    def infer() -> Any:
        return rk.forward(work.cell, work.x, work.params, training=False, lengths=lengths)

    def train() -> Any:
        return rk.backward(rk.forward(work.cell, work.x, work.params, lengths=lengths), work.d_output)

    return train if work.mode == "training" else infer


def packed(work: Workload, lengths: Array, threads: int) -> Callable[[], Any]:
    """PyTorch's layer on a PackedSequence, its output padded again."""
    import torch

    torch.set_num_threads(threads)
    rnn = torch.nn.utils.rnn
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[work.cell](*work.shape[2:])
    layer.load_state_dict({f"{name}_l0": torch.tensor(value) for name, value in work.params.items()})
    x, d_output, sizes = torch.tensor(work.x), torch.tensor(work.d_output), torch.tensor(lengths)

    def run(inputs: Any) -> Any:
        sequence = rnn.pack_padded_sequence(inputs, sizes, enforce_sorted=False)
        return rnn.pad_packed_sequence(layer(sequence)[0], total_length=len(work.x))[0]

    def infer() -> Any:
        with torch.inference_mode():
            return run(x)

    leaf = x.clone().requires_grad_()

    def train() -> Any:
        return torch.autograd.grad(run(leaf), [leaf, *layer.parameters()], d_output)

    return train if work.mode == "training" else infer


def check(work: Workload, lengths: Array, output: Array, who: str) -> None:
    """Raise RuntimeError where a row's output is not the reference's, or something stands behind its end."""
    for b, length in enumerate(lengths):
        expected, _ = reference.forward(work.cell, work.x[:length, b : b + 1], work.params)
        error = np.linalg.norm(output[:length, b] - expected[:, 0]) / np.linalg.norm(expected)
        if not error < OUTPUT_TOLERANCE or output[length:, b].any():
            raise RuntimeError(f"{who}: row {b} of {work} is off by {error:.1e}")


def main(arguments: Sequence[str]) -> int:
    args = parse("ragged", "Sequences of different lengths.", arguments, cells=["lstm", "gru"])
    rk.set_num_threads(args.threads)
    run = results.new_run(machine.describe())
    lines = [run]
    print("cell mode shape, share of valid steps: our time over that of the work, PyTorch's packed over ours")
    for cell in args.cells:
        for mode in MODES:
            for shape in SHAPES:
                work, lengths = Workload(cell, mode, shape), lengths_of(shape)
                inference = Workload(cell, "inference", shape)
                check(work, lengths, ours(inference, lengths)().output, "ours")
                check(work, lengths, packed(inference, lengths, args.threads)().numpy(), "torch")
                calls = {"ours": ours(work, lengths), "dense": ours(work, None)}
                calls["packed"] = packed(work, lengths, args.threads)
                timings = alternate(calls, seconds=args.seconds)
                share = float(lengths.sum()) / (shape[0] * shape[1])
                times = {name: timing.median for name, timing in timings.items()}
                over = times["ours"] / (share * times["dense"])
                line = {"kind": "ragged", "run": run["run"], "cell": cell, "mode": mode, "shape": list(shape)}
                line |= {"threads": args.threads, "instruction_set": rk.instruction_set(), "share": share}
                line |= {"medians": times, "over_work": over, "ratio": times["packed"] / times["ours"]}
                lines.append(line)
                print(
                    f"{cell:6} {mode:9} T{shape[0]} B{shape[1]} H{shape[3]} {share:.2f}: "
                    f"{over:.2f}  {line['ratio']:.2f}",
                    flush=True,
                )
    if args.out:
        results.merge(args.out, lines)
    return 0
