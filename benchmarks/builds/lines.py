"""What `speed` times, as a list of lines in groups, and each line's call, made with the benchmarks' own workloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

import rnnkernels as rk
from benchmarks import options, ragged
from benchmarks.peers.ours import Ours, PackedPerCall, Prepared
from benchmarks.shapes import CORE_SHAPES, FUSED_ELSEWHERE, Shape
from benchmarks.workloads import STREAM_STEPS, Workload

from .answers import Answer, named
from .problems import of_gradients, of_run

TWO = ("inference", "training")
# One step at a time, of sizes where a call costs as much as its arithmetic, and more.
STREAMS: tuple[Shape, ...] = ((1, 1, 64, 64), (1, 1, 8, 8), (1, 4, 64, 64), (1, 1, 256, 256))
PACKED: tuple[Shape, ...] = ((100, 1, 64, 64), (100, 1, 512, 512), (10, 16, 128, 128))
# Layers that one thread would run alone: they run side by side on two.
STACKED: tuple[Shape, ...] = ((200, 1, 64, 64), (100, 1, 128, 128))
EVERY: tuple[Shape, ...] = ((50, 1, 64, 64), (20, 16, 128, 128))


@dataclass(frozen=True)
class Line:
    """One thing to time."""

    group: str
    what: str  # the option, or the way to call; empty where the group says all
    cell: str
    mode: str
    shape: Shape
    threads: int


@dataclass(frozen=True)
class Job:
    """A line's call, and the arrays that one such call, or a stream's first calls, answer with."""

    call: Callable[[], Any]
    answer: Callable[[], Answer]


@dataclass(frozen=True)
class Group:
    """Lines of one kind: everything with everything."""

    cells: Sequence[str]
    modes: Sequence[str]
    shapes: Sequence[Shape]
    threads: Sequence[int]
    whats: Sequence[str] = ("",)


def groups(*, quick: bool) -> dict[str, Group]:
    """All groups by name; with `quick` a few cells and shapes of each."""
    both, named_options = ("lstm", "gru"), tuple(options.of("lstm"))
    streamed = ("stepper", "step")
    if quick:
        return {
            "core": Group(both, TWO, CORE_SHAPES[:5:2], (1, 2)),
            "options": Group(both, ("training",), options.SHAPES[1:2], (1,), named_options),
            "streaming": Group(both, ("streaming",), STREAMS[:2], (1,), streamed),
            "ragged": Group(both, TWO, ragged.SHAPES[:1], (1,)),
            "prepared": Group(both, ("inference",), PACKED[:1], (1,), ("full", "bfloat16")),
            "wavefront": Group(both[:1], TWO, STACKED[:1], (2,), ("2 layers",)),
            "cells": Group(rk.cells(), TWO, EVERY[:1], (1,)),
        }
    forms = (*FUSED_ELSEWHERE, "slstm", "lstm_projected", "lstm_layer_norm")
    return {
        "core": Group(FUSED_ELSEWHERE, TWO, CORE_SHAPES, (1, 2)),
        "options": Group(both, ("training",), options.SHAPES, (1, 2), named_options),
        "streaming": Group(forms, ("streaming",), STREAMS, (1,), streamed),
        "ragged": Group(both, TWO, ragged.SHAPES, (1, 2)),
        "prepared": Group(both, ("inference",), PACKED, (1,), ("full", "bfloat16")),
        "wavefront": Group(("rnn_tanh", *both), TWO, STACKED, (2,), ("2 layers", "4 layers")),
        "cells": Group(rk.cells(), TWO, EVERY, (1,)),
    }


def lines(*, quick: bool) -> Iterator[Line]:
    """All lines, in the order of the groups."""
    for name, group in groups(quick=quick).items():
        for cell, threads, shape in product(group.cells, group.threads, group.shapes):
            for what, mode in product(group.whats, group.modes):
                yield Line(name, what, cell, mode, shape, threads)


def job(line: Line) -> Job:
    """Make a line's arrays, and set the number of threads."""
    rk.set_num_threads(line.threads)
    mode = "bfloat16" if line.what == "bfloat16" else line.mode
    work = Workload(line.cell, mode, line.shape)
    if line.group == "streaming":
        return _stream(line, work)
    if line.group == "wavefront":
        return _stack(line, work, int(line.what.split()[0]))
    if line.group == "ragged":
        lengths = ragged.lengths_of(line.shape)
        call = ragged.ours(work, lengths)
    elif line.group == "options":
        call = options.training(work, options.of(line.cell)[line.what])
    else:
        peer = Prepared() if line.what == "full" else Ours()
        call = peer.prepare(work, line.threads).call
    return Job(call, lambda: _arrays(call()))


def _arrays(result: Any) -> Answer:
    """What a call returned: gradients, a run, or an output."""
    if hasattr(result, "params"):
        return of_gradients(result)
    return of_run(result) if hasattr(result, "output") else {"output": result}


def _stream(line: Line, work: Workload) -> Job:
    peer = Ours() if line.what == "stepper" else PackedPerCall()

    def first() -> Answer:
        timed = peer.prepare(work, line.threads)
        return {"output": np.stack([np.array(timed.call()) for _ in range(STREAM_STEPS)])}

    return Job(peer.prepare(work, line.threads).call, first)


def _stack(line: Line, work: Workload, layers: int) -> Job:
    stack = rk.Stack(line.cell, *line.shape[2:], layers, rng=1)

    def infer() -> Any:
        return stack.forward(work.x, training=False)

    def train() -> Any:
        return stack.backward(stack.forward(work.x), work.d_output)

    if line.mode == "training":
        return Job(train, lambda: of_gradients(train()))
    return Job(infer, lambda: {"output": infer().output} | named("state", infer().state))
