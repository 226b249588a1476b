"""`rnnkernels bench`: what a layer of one's own sizes takes here, beside PyTorch's where that is installed.

A first look, in seconds. `python -m benchmarks --shape`, in a checkout, has every peer and checks more.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

import rnnkernels as rk
from rnnkernels import _threads
from rnnkernels._cli_cell import SAID as CELLS_SAID
from rnnkernels._cli_cell import cell_named
from rnnkernels._cli_machine import argument, set_machine
from rnnkernels._scalars import shown
from rnnkernels.charlm.command_line import number, whole

__all__ = ["Shape", "add_bench", "shape_named"]

Call = Callable[[], Any]

IN_TORCH = {"rnn_tanh": "RNN", "rnn_relu": "RNN", "lstm": "LSTM", "gru": "GRU"}
MODES = ("inference", "training")
TOLERANCE = 1e-3  # of an answer's norm: float32 sums of many terms, in another order
MOST_NUMBERS = 2**40  # in all arrays: beyond any machine

ROUNDS = (5, 50)
PAUSE = 0.02  # seconds before a sample: another library's idle threads may still spin
SAMPLE = 0.004  # seconds of calls in a sample


class Shape(NamedTuple):
    """Steps, batch, inputs, units."""

    steps: int  # T
    batch: int  # B
    inputs: int  # I
    hidden: int  # H

    def __str__(self) -> str:
        return "x".join(map(str, self))


DEFAULT = (Shape(100, 1, 256, 256), Shape(100, 32, 128, 256))


def shape_named(text: str) -> Shape:
    """Return the shape that an argument like ``200x16x80x256`` names.

    Raises
    ------
    ArgumentTypeError
        If it is no four numbers of at least 1, or of arrays that fit nowhere.
    """
    words = text.lower().replace("×", "x").split("x")
    wanted = "expected TxBxIxH, steps, batch, inputs and units, such as 200x16x80x256"
    if len(words) != 4:
        raise argparse.ArgumentTypeError(f"{wanted}, got {shown(text)}")
    numbers = []
    for name, word in zip("TBIH", words, strict=True):
        if not (word.isascii() and word.isdigit() and len(word) < 20 and int(word) >= 1):
            raise argparse.ArgumentTypeError(f"{wanted}, got {shown(word)} for {name}")
        numbers.append(int(word))
    shape = Shape(*numbers)
    if shape.steps * shape.batch * (shape.inputs + shape.hidden) + 4 * shape.hidden * sum(shape[2:]) > MOST_NUMBERS:
        raise argparse.ArgumentTypeError(f"{wanted}, got {text}, whose arrays fit into no memory")
    return shape


def add_bench(commands: Any) -> None:
    """Add the command to the others."""
    command = commands.add_parser(
        "bench",
        help="time a layer of your sizes",
        description="Time inference and training of one layer, of random numbers, in float32; beside PyTorch's layer "
        "where PyTorch is installed and has the cell, whose answers are compared first.",
    )
    command.set_defaults(command=_bench, backend=None)
    command.add_argument(
        "--shape",
        type=shape_named,
        action="append",
        default=None,
        metavar="TxBxIxH",
        help=f"steps, batch, inputs and units; may be given again (default: {' and '.join(map(str, DEFAULT))})",
    )
    command.add_argument(
        "--cell", type=cell_named, default="lstm", metavar="CELL", help=f"{CELLS_SAID} (default: lstm)"
    )
    command.add_argument(
        "--seconds", type=number, default=1.0, metavar="X", help="for each participant and line (default: 1)"
    )
    command.add_argument(
        "--threads", type=whole, default=None, metavar="N", help="threads, at most (default: all that may be used)"
    )


def _bench(options: argparse.Namespace) -> int:
    set_machine(options)
    if not 0 < options.seconds < 1e6:
        raise ValueError(f"--seconds: expected a number above 0, got {options.seconds}")
    torch = _torch(options.cell)
    source, threads = _threads.deciding()
    many = f"{threads} thread{'s' if threads > 1 else ''} ({source})"
    print(f"{options.cell}, float32, {rk.instruction_set()}, {many}; medians")
    beside = f"{'PyTorch':>12}{'ratio':>8}" if torch is not None else ""
    print(f"{'T x B x I x H':18}{'call':10}{'time':>12}{'Gflop/s':>9}{'keeps':>10}{beside}")
    for shape in options.shape or DEFAULT:
        with argument("input_size", f"--shape {shape}"):
            problem = _Problem(options.cell, shape)
        for mode in MODES:
            calls: dict[str, Call] = {"ours": problem.ours(mode)}
            if torch is not None:
                calls["torch"] = problem.theirs(torch, mode)
                problem.compare(calls, mode)
            seconds = _medians(calls, options.seconds)
            kept = problem.kept if mode == "training" else 0
            line = f"{shape!s:18}{mode:10}{_time(seconds['ours']):>12}"
            line += f"{problem.flops(mode) / seconds['ours'] * 1e-9:9.1f}{_memory(kept):>10}"
            if torch is not None:
                line += f"{_time(seconds['torch']):>12}{seconds['torch'] / seconds['ours']:7.2f}x"
            print(line, flush=True)
    return 0


def _torch(cell: str) -> Any:
    """Return PyTorch where it is installed and has the cell, with as many threads as ours; else None."""
    if cell not in IN_TORCH:
        return None
    threads = rk.num_threads()
    try:
        import torch  # noqa: PLC0415 - not needed; takes seconds
    except ImportError:
        return None
    torch.set_num_threads(threads)
    return torch


class _Problem:
    """A layer's arrays, and its calls in either library."""

    def __init__(self, cell: str, shape: Shape) -> None:
        steps, batch, inputs, hidden = shape
        rng = np.random.default_rng(0)
        self.cell, self.shape = cell, shape
        self.params = rk.init_params(cell, inputs, hidden, rng=rng)
        self.x = rng.standard_normal((steps, batch, inputs), dtype=np.float32)
        self.d_output = rng.standard_normal((steps, batch, hidden), dtype=np.float32)
        self.kept = rk.training_bytes(cell, steps, batch, hidden)

    def flops(self, mode: str) -> int:
        """Return twice the multiply-adds of the products; a training has three times a forward's."""
        weights = sum(array.size for array in self.params.values() if array.ndim == 2)
        return 2 * self.shape.steps * self.shape.batch * weights * (3 if mode == "training" else 1)

    def ours(self, mode: str) -> Call:
        def infer() -> Any:
            return rk.forward(self.cell, self.x, self.params, training=False).output

        def train() -> Any:
            return rk.backward(rk.forward(self.cell, self.x, self.params), self.d_output).params["weight_hh"]

        return infer if mode == "inference" else train

    def theirs(self, torch: Any, mode: str) -> Call:
        options = {"nonlinearity": "relu"} if self.cell == "rnn_relu" else {}
        layer = getattr(torch.nn, IN_TORCH[self.cell])(*self.shape[2:], **options)
        layer.load_state_dict({f"{name}_l0": torch.from_numpy(array) for name, array in self.params.items()})
        x, d_output = torch.from_numpy(self.x), torch.from_numpy(self.d_output)

        def infer() -> Any:
            with torch.inference_mode():
                return layer(x)[0].numpy()

        x_needs = x.clone().requires_grad_() if mode == "training" else x
        leaves = [layer.weight_hh_l0, layer.weight_ih_l0, layer.bias_ih_l0, layer.bias_hh_l0, x_needs]

        def train() -> Any:
            return torch.autograd.grad(layer(x_needs)[0], leaves, d_output)[0].numpy()

        return infer if mode == "inference" else train

    def compare(self, calls: Mapping[str, Call], mode: str) -> None:
        """Raise FloatingPointError where the answers differ: a time of something else says nothing."""
        ours, theirs = (np.asarray(calls[name](), np.float64) for name in ("ours", "torch"))
        error = float(np.linalg.norm(ours - theirs) / max(float(np.linalg.norm(theirs)), 1e-30))
        if not error < TOLERANCE:
            raise FloatingPointError(f"{self.cell} {self.shape}: {mode} differs from PyTorch's by {error:.1e}")


def _medians(calls: Mapping[str, Call], seconds: float) -> dict[str, float]:
    """Return the seconds of each call, which take turns."""
    for call in calls.values():
        call()
    slowest = max(_seconds_of(call, 1) for call in calls.values())
    rounds = int(min(ROUNDS[1], max(ROUNDS[0], seconds / max(slowest, SAMPLE + PAUSE))))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(PAUSE)
            once = _seconds_of(call, 1)  # not kept: the caches belonged to the other library
            samples[name].append(_seconds_of(call, max(1, round(SAMPLE / max(once, 1e-6)))))
    return {name: statistics.median(found) for name, found in samples.items()}


def _seconds_of(call: Call, calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def _memory(size: int) -> str:
    """Return bytes in words; nothing for none."""
    unit, scale = next((pair for pair in (("GB", 1e9), ("MB", 1e6)) if size >= pair[1]), ("kB", 1e3))
    return f"{size / scale:.1f} {unit}" if size else ""
