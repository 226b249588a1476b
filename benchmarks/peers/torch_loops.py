"""The cells' steps in PyTorch: what torch_eager, torch_compile and torch_cells run where PyTorch has no layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnkernels import steps
from rnnkernels.steps import Arrays, State
from rnnkernels.torch.loops import LIBRARY, before_the_loop, transposed

__all__ = ["LIBRARY", "before_the_loop", "several_steps", "transposed", "zeros"]

# (inputs, their parts, state, weights) → outputs, state
Steps = Callable[[tuple[Any, ...], tuple[Any, ...], State, Arrays], tuple[list[Any], State]]


def zeros(cell: str, x: Any, params: dict[str, Any]) -> State:
    """A state to start from; x is (..., B, I)."""
    return tuple(x.new_zeros(x.shape[-2], width) for width in steps.state_widths(cell, transposed(params)))


def several_steps(cell: str) -> Steps:
    """A function of as many steps as there are parts; what torch.compile is given."""
    step = steps.step_of(cell)

    def run(inputs: tuple[Any, ...], parts: tuple[Any, ...], state: State, weights: Arrays) -> tuple[list[Any], State]:
        outputs = []
        for x, part in zip(inputs, parts, strict=True):
            state = step(LIBRARY, x, part, state, weights)
            outputs.append(state[0])
        return outputs, state

    return run
