"""Truncated backpropagation through time: what it equals, what it costs, and what it cannot learn.

The state is carried for ever, the gradient for k2 steps (`rnnkernels.bptt`). Shown here:

- with k2 of at least T nothing is truncated: the gradients are those of full backpropagation, bit for bit;
- memory is that of k2 steps, however long the sequence;
- a cue with a delay of d: every 2·d steps a bit is shown, and asked for in the d-th step, counted from the one that
  shows it. With k2 = d an error of that step reaches the cue, with k2 = d - 1 it does not. The cue's weights begin at
  zero, so that no trace of the bit is in the state by chance: without a gradient they stay there, exactly.
"""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk
from rnnkernels import bptt, optim

from .figures import Figure
from .progress import bar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Array = npt.NDArray[Any]

ROWS = ("truncated backpropagation",)

UNITS = 24
CUE, QUESTION = 0, 1  # inputs: the bit as -1 or 1, and a mark where it is asked for


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Show the three."""
    del pictures
    delay, cues, times = (6, 150, 5) if quick else (16, 500, 100)
    differing = differing_from_full()
    growth = most_alive(400 * times) / most_alive(400)
    reaches, weight = learn(delay, cues, k2=delay)
    short, still = learn(delay, cues, k2=delay - 1)
    print(f"largest weight of the cue: {weight:.3g} with k2 = {delay}, {still:.3g} with k2 = {delay - 1}")
    return [
        Figure("gradients that differ from full BPTT's in any bit, k2 ≥ T", differing, "= 0", differing == 0),
        Figure(f"memory of {times} times the steps, in arrays, as a ratio", growth, "= 1", growth == 1),
        Figure(f"delay {delay}, k2 = {delay}: share of bits right", reaches, "> 0.99", reaches > 0.99),
        Figure(f"delay {delay}, k2 = {delay - 1}: share of bits right", short, "< 0.6, chance is 0.5", short < 0.6),
        Figure(f"the cue's largest weight with k2 = {delay - 1}", still, "= 0", still == 0),
    ]


def differing_from_full(*, steps: int = 50) -> int:
    """Return how many gradients of an LSTM differ, over several k1 and k2 of at least T."""
    rng = np.random.default_rng(0)
    stack, readout = rk.Stack("lstm", 4, UNITS, num_layers=2, rng=rng), rk.Readout(UNITS, 4, rng=rng)
    tokens = rng.integers(4, size=(steps + 1, 3))

    def loss(output: Array, start: int) -> tuple[float, Array, dict[str, Array]]:
        targets = tokens[start + 1 : start + 1 + len(output)]
        return readout.loss_and_gradients(output, targets, reduction="sum")

    full = bptt.full_bptt(stack, tokens[:-1], loss).grads
    pairs = [(1, steps), (7, steps), (steps, steps), (steps, 2 * steps)]
    found = [bptt.truncated_bptt(stack, tokens[:-1], loss, k1=k1, k2=k2).grads for k1, k2 in pairs]
    return sum(grads[name].tobytes() != array.tobytes() for grads in found for name, array in full.items())


def most_alive(steps: int) -> int:
    """Return the most bytes in NumPy's arrays at once, looked at in each loss of a sequence of so many steps."""
    stack = rk.Stack("lstm", 8, UNITS, rng=0)
    chunks = (np.ones((100, 4, 8), np.float32) for _ in range(steps // 100))
    arrays = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    alive = []

    def loss(output: Array, start: int) -> tuple[float, Array, dict[str, Array]]:
        del start
        snapshot = tracemalloc.take_snapshot().filter_traces([arrays])
        alive.append(sum(trace.size for trace in snapshot.traces))
        return 0.0, np.zeros_like(output), {}

    tracemalloc.start()
    try:
        for _ in bptt.windows(stack, chunks, loss, k1=50, k2=100):
            pass
    finally:
        tracemalloc.stop()
    return max(alive)


def learn(delay: int, cues: int, *, k2: int, batch: int = 16) -> tuple[float, float]:
    """Train a GRU on one endless sequence; return the share of right answers to the last cues, and the cue's weights.

    The weights are those that see the cue; their largest magnitude is returned.
    """
    rng = np.random.default_rng(1)
    period = 2 * delay
    stack = rk.Stack("gru", 2, UNITS, rng=rng)
    readout = rk.Readout(UNITS, 2, rng=rng)
    stack.params["weight_ih_l0"][:, CUE] = 0
    optimizer = optim.Adam({**stack.params, **readout.params}, 1e-2)
    bits: Array = np.zeros(batch, np.int64)  # of the present cue
    right: list[float] = []

    def chunks() -> Iterator[Array]:
        for _ in bar(range(cues), f"k2 = {k2}"):
            bits[:] = rng.integers(2, size=batch)
            x = np.zeros((period, batch, 2), np.float32)
            x[0, :, CUE] = 2 * bits - 1
            x[delay - 1, :, QUESTION] = 1
            yield x

    def loss(output: Array, start: int) -> tuple[float, Array, dict[str, Array]]:
        if start % period != delay - 1:  # k1 = 1: the only step of the window that may have an error
            return 0.0, np.zeros_like(output), {name: np.zeros_like(p) for name, p in readout.params.items()}
        right.append(float((readout.logits(output[0]).argmax(axis=1) == bits).mean()))
        return readout.loss_and_gradients(output, bits[None])

    for result in bptt.windows(stack, chunks(), loss, k1=1, k2=k2):
        if result.start % period == delay - 1:
            optim.clip_by_global_norm(result.grads, 1.0)
            optimizer.step(result.grads)
    return float(np.mean(right[-cues // 10 :])), float(np.abs(stack.params["weight_ih_l0"][:, CUE]).max())
