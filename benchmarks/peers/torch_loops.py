"""The cells' steps in PyTorch: what torch_eager, torch_compile and torch_cells run where PyTorch has no layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from . import steps
from .steps import Arrays, State


def _linear(a: Any, weight: Any, bias: Any) -> Any:
    if bias is None:
        return a @ weight
    return torch.addmm(bias, a, weight) if a.dim() == 2 else torch.nn.functional.linear(a, weight.T, bias)


LIBRARY = steps.Library(
    sigmoid=torch.sigmoid,
    tanh=torch.tanh,
    relu=torch.relu,
    exp=torch.exp,
    log_sigmoid=torch.nn.functional.logsigmoid,
    maximum=torch.maximum,
    linear=_linear,
    split=lambda a, count: a.chunk(count, dim=-1),
    join=lambda pieces: torch.cat(pieces, dim=-1),
    layer_norm=lambda a, gain, shift: torch.nn.functional.layer_norm(a, a.shape[-1:], gain, shift),
)

# (inputs, their parts, state, weights) → outputs, state
Steps = Callable[[tuple[Any, ...], tuple[Any, ...], State, Arrays], tuple[list[Any], State]]


def transposed(params: dict[str, Any]) -> dict[str, Any]:
    """The matrices (in, out), as views."""
    return {name: value.T if value.dim() == 2 else value for name, value in params.items()}


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


def before_the_loop(cell: str, x: Any, params: dict[str, Any]) -> tuple[Any, Arrays]:
    """The input's product for all of x, and the weights as the steps take them."""
    matrices = transposed(params)
    return steps.input_part(LIBRARY, cell, x, matrices), steps.weights(LIBRARY, cell, matrices)
