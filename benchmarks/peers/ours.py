"""Ourselves: the participant all others are compared with, and other ways to call us as yardsticks."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import rnnkernels as rk
from benchmarks.workloads import Answer, Workload

from .base import Peer, Timed


class Ours(Peer):
    """`rk.forward` and `rk.backward` as users call them, weights packed in each call; streams through a stepper."""

    name = "rnnkernels"
    counted = False

    def supports(self, work: Workload) -> bool:  # noqa: ARG002 - all
        return True

    def prepare(self, work: Workload, threads: int) -> Timed:
        rk.set_num_threads(threads)
        if work.mode == "streaming":
            return _stepper(work)
        if work.mode == "bfloat16":
            return _forward(work, "bfloat16")
        if work.mode == "inference":
            return Timed(lambda: rk.forward(work.cell, work.x, work.params, training=False).output, _output)

        def train() -> rk.Gradients:
            return rk.backward(rk.forward(work.cell, work.x, work.params), work.d_output)

        return Timed(train, _gradients)


class Prepared(Peer):
    """Inference with weights packed once: what a user who calls again and again gets."""

    name = "prepared"
    counted = False

    def supports(self, work: Workload) -> bool:
        return work.mode == "inference"

    def prepare(self, work: Workload, threads: int) -> Timed:
        rk.set_num_threads(threads)
        return _forward(work, "full")


class PreparedFloat32(Prepared):
    """What bfloat16 weights are compared with: our own float32."""

    name = "float32"
    counted = True

    def supports(self, work: Workload) -> bool:
        return work.mode == "bfloat16"


class PackedPerCall(Peer):
    """A stream without a stepper: `rk.step`, which reads the weights as the caller has them at every step."""

    name = "rk.step"
    counted = False

    def supports(self, work: Workload) -> bool:
        return work.mode == "streaming"

    def prepare(self, work: Workload, threads: int) -> Timed:
        rk.set_num_threads(threads)
        return _step(work)


def _forward(work: Workload, weights: str) -> Timed:
    layer = rk.Prepared(work.cell, work.params, weights=weights)
    return Timed(lambda: layer.forward(work.x)[0], _output)


def _stepper(work: Workload) -> Timed:
    stepper = rk.Prepared(work.cell, work.params).stepper(batch_size=work.shape[1])
    inputs = cycle(list(work.x))
    return Timed(lambda: stepper(next(inputs)), _output)


def _step(work: Workload) -> Timed:
    inputs = cycle(list(work.x))
    state: Any = None

    def step() -> Any:
        nonlocal state
        state = rk.step(work.cell, next(inputs), work.params, state)
        return state[0]

    return Timed(step, _output)


def _output(output: Any) -> Answer:
    return {"output": output}


def _gradients(grads: rk.Gradients) -> Answer:
    assert grads.x is not None
    return {"x": grads.x, **grads.params}
