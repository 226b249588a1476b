"""A cell's derived gradients against the complex step, in float64 at random points, when it is defined.

The complex step takes the equations as they were traced: what it says owes nothing to simplification, to the rules of
derivatives, or to where a sum of gradients was cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from .adjoint import derive
from .evaluating import evaluate, reached
from .simplify import simplified

if TYPE_CHECKING:
    from .adjoint import Backward
    from .graph import Attribute, Equations, Node
    from .operations import Array

POINTS = 8
TOLERANCE = 1e-6  # of the largest derivative by a leaf; rounding alone stays far below
_STEP = 1e-30  # its square is nothing beside 1, so that no difference is taken

Leaf: TypeAlias = "tuple[str, Attribute]"


def name_of(equations: Equations, leaf: Leaf) -> str:
    """Return what the user calls a leaf."""
    operation, attribute = leaf
    if operation == "state" and isinstance(attribute, int):
        return equations.states[attribute]
    if operation == "product" and isinstance(attribute, tuple):
        return f"product {attribute[0]}, gate {attribute[1]}"
    return {"input": f"x.{attribute}", "weight": f"w.{attribute}", "direct": "direct(x)"}.get(operation, str(attribute))


def _gradients(equations: Equations, backward: Backward) -> dict[Leaf, Node | None]:
    """Return the gradients of the leaves."""
    found: dict[Leaf, Node | None] = {("state", state): node for state, node in enumerate(backward.states)}
    found.update({("input", gate): node for gate, node in backward.inputs.items()})
    found.update({("weight", weight): node for weight, node in backward.weights.items()})
    found.update({("step", step): node for step, node in backward.steps.items()})
    for number, gates in enumerate(backward.products):
        found.update({("product", (number, gate)): node for gate, node in gates.items()})
    if equations.direct:
        found["direct", None] = backward.direct
    return found


def _line(equations: Equations, leaf: Leaf) -> str:
    line = equations.graph.node(leaf[0], attribute=leaf[1]).line
    return f"{line}: " if line else ""


def _check_finite(equations: Equations, roots: list[Node], values: dict[Leaf, Array]) -> Array:
    """Return at which points all results are finite; refuse equations where none is, by the line that begins it."""
    finite = np.ones(POINTS, dtype=bool)
    for value in evaluate(roots, values):
        finite &= np.isfinite(value)
    if finite.any():
        return finite
    nodes = reached(roots)
    for node, value in zip(nodes, evaluate(nodes, values), strict=True):
        if not np.isfinite(value).any():
            line = f"{node.line}: " if node.line else ""
            raise ValueError(
                f"{equations.name}: {line}expected finite values of {node.operation}, got none at {POINTS} points"
            )
    raise ValueError(f"{equations.name}: expected finite values, got none at {POINTS} points")


def check(equations: Equations, backward: Backward | None = None) -> None:
    """Refuse equations whose derived gradients are not the derivatives.

    Parameters
    ----------
    equations
        As traced.
    backward
        Their gradients, where these were derived already (`rnnkernels.equations.lowering.lower`).

    Raises
    ------
    ValueError
        If a gradient differs from the complex step or is not finite, or if a result is finite at none of the points:
        the message names the gate or state and the user's line.
    """
    if backward is None:
        backward = derive(simplified(equations))
    draw = np.random.default_rng(0)
    gradients = _gradients(equations, backward)
    leaves = list(gradients)
    results: list[tuple[Node, Leaf]] = [(node, ("d_new", state)) for state, node in enumerate(equations.new)]
    fed: list[tuple[Node, Leaf]] = []
    for number, product in enumerate(equations.products):
        if product.kind != "hidden":
            of = fed if product.kind == "feedback" else results
            of += [(operand, ("d_operand", (number, vector))) for vector, operand in enumerate(product.operands)]
    come = [leaf for _, leaf in (*results, *fed)]
    drawn = draw.normal(size=(len(leaves) + len(come), POINTS))
    drawn[:, POINTS // 2 :] = np.abs(drawn[:, POINTS // 2 :])  # what takes a logarithm wants positive numbers
    values: dict[Leaf, Array] = dict(zip((*leaves, *come), drawn, strict=True))

    roots = [node for node, _ in (*results, *fed)]
    finite = _check_finite(equations, roots, values)
    # One evaluation for all: row i steps along leaf i.
    stepped: dict[Leaf, Array] = {leaf: values[leaf] + np.zeros((len(leaves), 1), dtype=complex) for leaf in leaves}
    for place, leaf in enumerate(leaves):
        stepped[leaf][place] += 1j * _STEP
    slopes = [np.imag(value) / _STEP + np.zeros((len(leaves), POINTS)) for value in evaluate(roots, stepped)]
    parts = [slope * values[leaf] for slope, leaf in zip(slopes, come, strict=True)]
    expected = np.sum(parts[: len(results)], axis=0)
    wanted = [(leaf, gradients[leaf], expected[place]) for place, leaf in enumerate(leaves)]
    if fed:
        fed_back = np.sum(parts[len(results) :], axis=0)
        for state, node in backward.fed_back.items():
            place = leaves.index(("state", state))
            wanted.append((("state", state), node, values["d_new", state] + fed_back[place]))

    known = [node for _, node, _ in wanted if node is not None]
    derived = dict(zip(known, evaluate(known, values), strict=True))
    for leaf, gradient, slope in wanted:
        got = np.zeros(POINTS) if gradient is None else derived[gradient] + np.zeros(POINTS)
        right = np.abs(got - slope) <= TOLERANCE * (1 + np.max(np.abs(slope[finite])))  # False of a NaN
        if not right[finite].all():
            point = int(np.argmin(right | ~finite))
            raise ValueError(
                f"{equations.name}: {_line(equations, leaf)}gradient by {name_of(equations, leaf)}: expected "
                f"{slope[point]:g}, as the complex step has it, got {got[point]:g}"
            )
