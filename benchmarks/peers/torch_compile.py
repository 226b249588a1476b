"""PyTorch's compiler on the loop that a cell is where PyTorch has no layer.

Compiled are BLOCK steps at a time. A whole loop of 100 is unrolled by the compiler and takes minutes for each shape,
which few users wait for; one step alone gains nothing.
"""

from __future__ import annotations

from typing import Any

from benchmarks.workloads import Workload

from .base import Peer, Timed
from .torch_eager import LAYERS, LOOPS, tensors, timed

BLOCK = 5


class TorchCompile(Peer):
    """The loops, or those of every cell: where there is a layer the compiled loop is asked for, not expected."""

    name = "torch.compile"
    packages = ("torch",)

    def __init__(self, *, every_cell: bool = False) -> None:
        self.every_cell = every_cell

    def supports(self, work: Workload) -> bool:
        cells = LAYERS + LOOPS if self.every_cell else LOOPS
        # A sequence that is shorter than a block, or ends in half a one, would be compiled again for its rest.
        return work.mode in {"inference", "training"} and work.cell in cells and work.shape[0] % BLOCK == 0

    def prepare(self, work: Workload, threads: int) -> Timed:
        import torch

        from .torch_loops import before_the_loop, several_steps, zeros

        torch.set_num_threads(threads)
        torch.compiler.reset()  # else the shapes before this one count as a reason to compile for any shape
        params = tensors(work)
        steps = torch.compile(several_steps(work.cell), dynamic=False)

        def run(x: Any) -> Any:
            parts, weights = before_the_loop(work.cell, x, params)
            inputs, parts = x.unbind(0), parts.unbind(0)
            state = zeros(work.cell, x, params)
            outputs: list[Any] = []
            for begin in range(0, len(parts), BLOCK):
                block = slice(begin, begin + BLOCK)
                found, state = steps(inputs[block], parts[block], state, weights)
                outputs += found
            return torch.stack(outputs)

        return timed(work, run, params)
