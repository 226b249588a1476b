"""What `speed` times, as a list of lines in groups, and each line's call, made with the benchmarks' own workloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import rnnkernels as rk
from benchmarks import options, ragged
from benchmarks.peers.ours import Ours, PackedPerCall, Prepared
from benchmarks.shapes import CORE_SHAPES, FUSED_ELSEWHERE, Shape
from benchmarks.workloads import STREAM_STEPS, Workload

from .answers import Answer, named
from .problems import of_gradients, of_run

GROUPS = ("core", "options", "streaming", "ragged", "prepared", "wavefront", "cells")
TWO = ("inference", "training")
CELLS = ("lstm", "gru")  # of the options, of ragged batches and of packed weights

STREAMS: tuple[Shape, ...] = ((1, 1, 8, 8), (1, 1, 64, 64), (1, 1, 256, 256), (1, 4, 64, 64))
PACKED: tuple[Shape, ...] = ((100, 1, 64, 64), (100, 1, 512, 512), (10, 16, 128, 128))
# Layers that one thread would run alone: they run side by side on two. (T, B, I, H), and how many layers.
LAYERS: tuple[tuple[Shape, int], ...] = (((200, 1, 64, 64), 2), ((200, 1, 64, 64), 4), ((100, 1, 128, 128), 2))
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


def lines(*, quick: bool) -> Iterator[Line]:
    """All lines, in the order of the groups; with `quick` those of a few shapes."""
    counts = (1, 2)
    known = set(rk.cells())
    for cell in FUSED_ELSEWHERE[2:4] if quick else FUSED_ELSEWHERE:
        for threads in counts:
            for shape in CORE_SHAPES[:5:2] if quick else CORE_SHAPES:
                yield from (Line("core", "", cell, mode, shape, threads) for mode in TWO)
    for cell in CELLS:
        for threads in (1,) if quick else counts:
            for shape in options.SHAPES[1:2] if quick else options.SHAPES:
                yield from (Line("options", name, cell, "training", shape, threads) for name in options.of(cell))
    for cell in CELLS if quick else (*FUSED_ELSEWHERE, "slstm", "lstm_projected", "lstm_layer_norm"):
        for shape in STREAMS[:2] if quick else STREAMS:
            yield from (Line("streaming", way, cell, "streaming", shape, 1) for way in ("stepper", "step"))
    for cell in CELLS:
        for threads in (1,) if quick else counts:
            for shape in ragged.SHAPES[:1] if quick else ragged.SHAPES:
                yield from (Line("ragged", "", cell, mode, shape, threads) for mode in TWO)
    for cell in CELLS:
        for shape in PACKED[:1] if quick else PACKED:
            yield from (Line("prepared", way, cell, "inference", shape, 1) for way in ("full", "bfloat16"))
    for cell in CELLS[:1] if quick else ("rnn_tanh", *CELLS):
        for shape, count in LAYERS[:1] if quick else LAYERS:
            yield from (Line("wavefront", f"{count} layers", cell, mode, shape, 2) for mode in TWO)
    for cell in rk.cells():
        for shape in EVERY[:1] if quick else EVERY:
            yield from (Line("cells", "", cell, mode, shape, 1) for mode in TWO)
    assert set(FUSED_ELSEWHERE) <= known


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
