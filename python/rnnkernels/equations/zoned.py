"""A cell whose states keep a part of themselves in every step, as masks that are expected make them.

Not here: which rates a cell takes (`rnnkernels.noise`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .simplify import simplified

if TYPE_CHECKING:
    from .graph import Equations, Node


def zoned(equations: Equations, rates: tuple[float, ...]) -> Equations:
    """Return the equations with each new state s' mixed with the old one: rate · s + (1 - rate) · s'.

    Parameters
    ----------
    equations
        As traced.
    rates
        Of each state, in [0, 1); where it is 0 the state stays as it is.
    """
    if not any(rates):
        return equations
    equations = simplified(equations)
    graph = equations.graph

    def mixed(state: int, new: Node) -> Node:
        old = graph.node("mul", graph.constant(rates[state]), graph.node("state", attribute=state))
        return graph.node("add", old, graph.node("mul", graph.constant(1 - rates[state]), new))

    new = tuple(mixed(k, node) if rates[k] > 0 else node for k, node in enumerate(equations.new))
    return replace(equations, name=f"{equations.name}(keeping {rates})", new=new)
