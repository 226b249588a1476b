"""The cells as steps of PyTorch calls: what users write where PyTorch has no layer. No participant itself.

The input's product is made at once for all steps, as users do; a step takes its part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

State = tuple[Any, ...]
# (input's part (B, G*H), state, weight_hh, bias_hh) → state, h first. The bias is in the part where it may be.
Step = Callable[[Any, State, Any, Any], State]


def _rnn_tanh(part: Any, state: State, weight: Any, _: Any) -> State:
    return (torch.tanh(part + state[0] @ weight.T),)


def _rnn_relu(part: Any, state: State, weight: Any, _: Any) -> State:
    return (torch.relu(part + state[0] @ weight.T),)


def _lstm(part: Any, state: State, weight: Any, _: Any) -> State:
    h, c = state
    i, f, g, o = (part + h @ weight.T).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru(part: Any, state: State, weight: Any, bias: Any) -> State:
    (h,) = state
    x_r, x_z, x_n = part.chunk(3, dim=1)
    u_r, u_z, u_n = torch.nn.functional.linear(h, weight, bias).chunk(3, dim=1)
    n = torch.tanh(x_n + torch.sigmoid(x_r + u_r) * u_n)
    return (n + torch.sigmoid(x_z + u_z) * (h - n),)


def _gru_reset_before(part: Any, state: State, weight: Any, _: Any) -> State:
    (h,) = state
    hidden = h.shape[1]
    w_gates, w_new = weight.split([2 * hidden, hidden])
    x_gates, x_new = part.split([2 * hidden, hidden], dim=1)
    r, z = torch.sigmoid(x_gates + h @ w_gates.T).chunk(2, dim=1)
    n = torch.tanh(x_new + (r * h) @ w_new.T)
    return (n + z * (h - n),)


STEPS: dict[str, tuple[Step, int]] = {  # and the number of states
    "rnn_tanh": (_rnn_tanh, 1),
    "rnn_relu": (_rnn_relu, 1),
    "lstm": (_lstm, 2),
    "gru": (_gru, 1),
    "gru_reset_before": (_gru_reset_before, 1),
}


def input_part(cell: str, x: Any, params: dict[str, Any]) -> Any:
    """The input's product with both biases; GRU's second bias stands inside the reset and stays out."""
    bias = params["bias_ih"] if cell == "gru" else params["bias_ih"] + params["bias_hh"]
    return torch.nn.functional.linear(x, params["weight_ih"], bias)


def zeros(cell: str, x: Any, params: dict[str, Any]) -> State:
    """A state to start from; x is (..., B, I)."""
    hidden = params["weight_hh"].shape[1]
    return tuple(x.new_zeros(x.shape[-2], hidden) for _ in range(STEPS[cell][1]))


def several_steps(step: Step) -> Callable[[tuple[Any, ...], State, Any, Any], tuple[list[Any], State]]:
    """A function of as many steps as there are parts; what torch.compile is given."""

    def steps(parts: tuple[Any, ...], state: State, weight: Any, bias: Any) -> tuple[list[Any], State]:
        outputs = []
        for part in parts:
            state = step(part, state, weight, bias)
            outputs.append(state[0])
        return outputs, state

    return steps
