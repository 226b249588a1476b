"""Layers on layers, in one direction and in both: outputs, states and gradients beside those of torch.nn.

A `Stack` takes torch.nn's parameters by their names. Both run the same input from the same states, in float64, and
differentiate the same loss of every output and of every layer's last state.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk

from .figures import Figure
from .progress import bar

if TYPE_CHECKING:
    from pathlib import Path

Array = npt.NDArray[Any]

ROWS = ("multilayer and bidirectional",)
NEEDS = ("torch",)

STEPS, BATCH, INPUTS, UNITS = 20, 4, 7, 16
LAYERS = {
    "rnn_tanh": ("RNN", {}),
    "rnn_relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
}


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Compare all combinations of cell, number of layers and directions; print the largest difference of each."""
    del pictures
    combinations = list(itertools.product(LAYERS, (1, 2) if quick else (1, 2, 3, 4), (False, True)))
    found = {each: compare(*each) for each in bar(combinations, "stacks")}
    for (cell, layers, both), (outputs, gradients) in found.items():
        ways = "both directions" if both else "one direction"
        print(f"{cell:8}  {layers} layers, {ways:15}  outputs {outputs:.1e}  gradients {gradients:.1e}")
    count = len(combinations)
    return [
        Figure(f"{what} of {count} stacks, largest difference from torch.nn", value, "< 1e-10", value < 1e-10)
        for what, value in zip(("outputs", "gradients"), map(max, zip(*found.values(), strict=True)), strict=True)
    ]


def compare(cell: str, layers: int, both: bool) -> tuple[float, float]:
    """Return the largest difference of outputs and states, and of gradients relative to each one's largest element."""
    import torch  # noqa: PLC0415 - optional

    rng = np.random.default_rng(0)
    options: dict[str, Any] = {"num_layers": layers, "bidirectional": both}
    stack = rk.Stack(cell, INPUTS, UNITS, dtype="float64", rng=rng, **options)
    name, settings = LAYERS[cell]
    peer = getattr(torch.nn, name)(INPUTS, UNITS, **options, **settings).double()
    peer.load_state_dict({name: torch.tensor(array) for name, array in stack.params.items()})

    names = rk.cell_info(cell)["states"]
    rows = layers * stack.num_directions
    x = rng.normal(size=(STEPS, BATCH, INPUTS))
    states, d_states = (
        [[rng.normal(size=(BATCH, UNITS)) for _ in names] for _ in range(rows)] for _ in range(2)
    )  # each of each layer and direction
    run = stack.forward(x, states)
    d_output = rng.normal(size=run.output.shape)
    grads = stack.backward(run, d_output, d_states)
    ours = {"x": grads.x, **grads.params, **named("state", grads.state)}

    inputs = torch.tensor(x, requires_grad=True)
    begin = [torch.tensor(np.stack(parts), requires_grad=True) for parts in zip(*states, strict=True)]
    output, end = peer(inputs, tuple(begin) if len(begin) > 1 else begin[0])
    end = end if isinstance(end, tuple) else (end,)
    loss = (output * torch.tensor(d_output)).sum()
    for part, d in zip(end, zip(*d_states, strict=True), strict=True):
        loss = loss + (part * torch.tensor(np.stack(d))).sum()
    loss.backward()
    theirs = {"x": inputs.grad, **{name: p.grad for name, p in peer.named_parameters()}}
    theirs |= {f"state.{row}.{k}": part.grad[row] for k, part in enumerate(begin) for row in range(rows)}

    pairs = [
        (run.output, output),
        *((run.state[row][k], part[row]) for k, part in enumerate(end) for row in range(rows)),
    ]
    outputs = max(float(np.abs(one - two.detach().numpy()).max()) for one, two in pairs)
    gradients = max(difference(ours[name], grad.numpy()) for name, grad in theirs.items())
    return outputs, gradients


def named(name: str, states: Any) -> dict[str, Array]:
    """Return states of layers by names of their own: state.0.0 is h of the first layer."""
    return {f"{name}.{row}.{k}": part for row, parts in enumerate(states) for k, part in enumerate(parts)}


def difference(one: Any, two: Array) -> float:
    """Return the largest difference of two arrays, relative to the second one's largest element."""
    return float(np.abs(one - two).max() / np.abs(two).max())
