"""Calls whose derivatives come of duals and linear cells, to compare with the loop of PyTorch's operations.

Not a test file. Import it after `pytest.importorskip("torch")`.
"""

from __future__ import annotations

from typing import Any

import torch

import rnnkernels as rk
from rnnkernels._asked import Asked
from rnnkernels.torch import duals, loops
from rnnkernels.torch.spec import Spec, make_spec
from rnnkernels.torch.transforms import DUALS

T, B, H = 5, 3, 4
OPTIONS: dict[str, dict[str, Any]] = {
    "dense": {},
    "all states": {"all_states": True},
    "ragged": {"lengths": torch.tensor([2, 5, 0]), "reverse": True, "all_states": True},
    "resets": {"resets": torch.tensor([[t == 2 and b == 1 for b in range(B)] for t in range(T)])},
    "packed": {"batch_sizes": torch.tensor([3, 2, 2, 1, 1])},
    "packed, reversed": {"batch_sizes": torch.tensor([3, 2, 2, 1, 1]), "reverse": True},
}

Tensors = tuple[torch.Tensor, ...]


def make(
    cell: str,
    options: str,
    *,
    states: bool = True,
    tokens: bool = False,
    bias: bool = True,
    shape: tuple[int, int, int] = (T, B, H),
    inputs: int | None = None,
    proj_size: int | None = None,
    **asked: Any,
) -> Any:
    """Return a call's spec, its tensors, and gradients of its results and directions like these."""
    torch.manual_seed(0)
    steps, batch, hidden = shape
    info = rk.cell_info(cell)
    inputs = hidden if inputs is None or info["direct"] else inputs
    proj_size = hidden if info["projected"] and proj_size is None else proj_size
    params = rk.init_params(cell, inputs, hidden, bias=bias, rng=0, dtype="float64", proj_size=proj_size)
    rows = (9, 1) if options.startswith("packed") else (steps, batch)
    width = inputs + len(info["elements"]) * hidden
    x = torch.randint(0, inputs, rows) if tokens else torch.randn(*rows, width, dtype=torch.float64)
    count = len(info["states"])
    reset = states and options == "resets"
    given: list[torch.Tensor] = [x, *map(torch.from_numpy, params.values())]
    widths = [hidden if proj_size is None else proj_size, *[hidden] * (count - 1)]
    given += [torch.rand(batch, w, dtype=torch.float64) + 1 for w in widths * (states + reset)]
    given += [torch.randn(batch, len(params["weight_ih"]), dtype=torch.float64)] if states else []
    spec = make_spec(Asked(cell, **{**OPTIONS[options], **asked}), tuple(params), (states, reset, states))
    results = loops.run(spec, x, tuple(given[1:]))
    return spec, tuple(given), like(results), like(tuple(given)), like(results)


def like(tensors: Tensors) -> Tensors:
    """Return random tensors of their shapes."""
    return tuple(torch.randn(t.shape, dtype=torch.float64) for t in tensors)


def compare(spec: Spec, given: Tensors, d_results: Tensors, v: Tensors, v_d: Tensors) -> None:
    """Compare all derivatives that the fused backward has not, with directions in all or in a few of the tensors."""
    assert duals.serves(spec, given)
    weights = len(spec.names)
    alone = (v[0], *[None] * (len(v) - 1))
    no_weights = (v[0], *[None] * weights, *v[1 + weights :])
    for name, arguments in (
        ("forward_derivative", (v,)),
        ("second_derivative", (d_results, v)),
        ("second_derivative", (d_results, alone)),
        ("second_derivative", (d_results, (None, *no_weights[1:]))),
        ("forward_second_derivative", (d_results, (*v, *v_d))),
    ):
        found, right = (getattr(module, name)(spec, given, *arguments) for module in (DUALS, loops))
        for one, other in zip(found, right, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")
