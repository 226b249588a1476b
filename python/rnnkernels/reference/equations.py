"""Cells from equations as cells of the reference: their forward graph, evaluated in float64 or complex128.

No derivative is taken from a graph here: gradients are complex steps, as those of every cell of the reference. So they
check what was derived from the graph, and share nothing with it but the equations.

The element-wise inputs of a step (`rk.PerStep`) stand behind x, each H numbers: x is (..., T, B, I + S·H).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels.equations.evaluating import evaluate

from .cells import Array, Cell, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnkernels.equations.graph import Equations, Product

__all__ = ["cell_of", "hidden_size"]


def hidden_size(equations: Equations, params: Mapping[str, Array]) -> int:
    """Return H by what a layer of these equations has; raise ValueError where its heads cannot share that."""
    rows = {
        "weight_ih": len(equations.inputs),
        "weight_hh": len(equations.rows),
        "weight_diagonal": len(equations.weights),
    }
    for name, count in rows.items():
        if count and name in params:
            hidden = int(params[name].shape[-1 if name == "weight_diagonal" else -2]) // count
            if hidden % equations.heads:
                of = f"{equations.heads}, the heads of {equations.name:s}"
                raise ValueError(f"hidden_size: expected a multiple of {of}, got {hidden}")
            return hidden
    raise ValueError(f"params: expected what {equations.name} has, {', '.join(rows)}, got {', '.join(params)}")


def cell_of(equations: Equations) -> Cell:
    """Return the reference's cell of these equations."""

    def step(x: Array, states: State, p: Any) -> State:
        return _step(equations, x, states, p)

    return Cell(equations.states, step)


def _step(equations: Equations, x: Array, states: State, p: Any) -> State:
    """Take a step; x is (..., B, I + S·H)."""
    hidden = states[0].shape[-1]
    x, *given = np.split(x, x.shape[-1] - hidden * np.arange(len(equations.steps), 0, -1), axis=-1)
    leaves: dict[Any, Array] = {("state", k): state for k, state in enumerate(states)}
    leaves |= {("step", name): value for name, value in zip(equations.steps, given, strict=True)}
    if equations.direct:
        leaves["direct", None] = x
    if equations.inputs:
        sums = np.split(p.weight_ih(x) + p.bias_ih, len(equations.inputs), axis=-1)
        leaves |= {("input", gate): value for gate, value in zip(equations.inputs, sums, strict=True)}
    if equations.weights:
        parts = np.split(p.weight_diagonal, len(equations.weights), axis=-1)
        leaves |= {("weight", name): value for name, value in zip(equations.weights, parts, strict=True)}
    # What a gated product multiplies is made of what other products gave.
    for number in sorted(range(len(equations.products)), key=lambda k: equations.products[k].kind == "gated"):
        product = equations.products[number]
        found = _multiply(equations, product, evaluate(product.operands, leaves), hidden, p)
        leaves |= {("product", (number, gate)): value for gate, value in found.items()}
    return tuple(evaluate(equations.new, leaves))


def _multiply(equations: Equations, product: Product, vectors: list[Array], hidden: int, p: Any) -> dict[str, Array]:
    """Return what a product gives its gates, (..., B, H) each."""
    if len(vectors) > 1:
        whole = p.weight_gg(np.concatenate(np.broadcast_arrays(*vectors), axis=-1))
        return dict(zip(product.gates, np.split(whole, len(product.gates), axis=-1), strict=True))
    found = {}
    for gate in product.gates:
        place = equations.rows.index(gate)
        rows = slice(place * hidden, (place + 1) * hidden)
        bias = p.bias_hh[..., rows] if isinstance(p.bias_hh, np.ndarray) else 0.0
        found[gate] = p.weight_hh.of_heads(vectors[0], rows, product.heads) + bias
    return found
