"""Equations at random, of every operation and form, and points to evaluate them at."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from rnnkernels.equations.graph import Attribute, Equations, Graph, Node, Product

if TYPE_CHECKING:
    from rnnkernels.equations.operations import Array

Points: TypeAlias = "dict[tuple[str, Attribute], Array]"

FORMS = ("one product", "two products", "fed back", "fed back, several", "all")
_NUMBERS = (0.0, 0.5, 1.0, -1.0, 2.0, 0.1, -3.0)
_CHEAP = ("add", "sub", "mul", "neg", "fma", "maximum", "minimum", "abs", "relu", "where_gt", "where_ge", "where_eq")
_DEAR = ("sigmoid", "tanh", "exp", "expm1", "log", "log_sigmoid", "sqrt", "erf", "div")


class _Grower:
    """Makes nodes of what there is, values that stay finite."""

    def __init__(self, graph: Graph, draw: np.random.Generator) -> None:
        self.graph, self.draw = graph, draw

    def pick(self, pool: list[Node]) -> Node:
        if self.draw.random() < 0.1:
            return self.graph.constant(float(self.draw.choice(_NUMBERS)))
        # Late nodes more often, so that chains are long.
        place = max(self.draw.random(), self.draw.random()) if self.draw.random() < 0.6 else self.draw.random()
        return pool[int(place * len(pool))]

    def safe(self, operation: str, argument: Node) -> Node:
        node, one = self.graph.node, self.graph.constant(1.0)
        if operation in ("log", "sqrt"):
            return node("fma", argument, argument, one)
        return node("tanh", argument) if operation in ("exp", "expm1") else argument

    def grow(self, pool: list[Node], count: int) -> None:
        node = self.graph.node
        for _ in range(count):
            operation = str(self.draw.choice(_CHEAP if self.draw.random() < 0.6 else _DEAR))
            a, b, c, d = (self.pick(pool) for _ in range(4))
            if operation in ("add", "sub", "mul", "maximum", "minimum"):
                new = node(operation, a, b)
            elif operation == "div":
                bound = node("add", self.graph.constant(1.0), node("abs", b))
                new = node("div", a, self.graph.constant(4.0) if self.draw.random() < 0.2 else bound)
            elif operation == "fma":
                new = node("fma", a, b, c)
            elif operation.startswith("where"):
                new = node(operation, a, b, c, d)
            else:
                new = node(operation, self.safe(operation, a))
            pool.append(node("tanh", new) if self.draw.random() < 0.15 else new)


def random_equations(seed: int, *, steps: bool = True, heads: int = 1) -> Equations:
    """Return equations of a form that follows from the seed, perhaps with an element-wise input of every step.

    Of `heads` where the form may have them.
    """
    draw = np.random.default_rng(seed)
    form = FORMS[seed % len(FORMS)]
    heads = 1 if form == "fed back, several" else heads
    graph = Graph()
    grower = _Grower(graph, draw)
    states = tuple("hcmn"[: int(draw.integers(1, 4))])
    old = [graph.node("state", attribute=state) for state in range(len(states))]
    weights = tuple("pq"[: int(draw.integers(0, 3))])
    gammas = ("gamma",) if draw.random() < 0.3 and steps else ()
    direct = bool(draw.random() < 0.4)
    gates = tuple(f"g{number}" for number in range(int(draw.integers(3, 7))))
    inputs = tuple(gate for gate in gates if draw.random() < 0.7) or gates[-1:]
    pool = [*old, *(graph.node("input", attribute=gate) for gate in inputs)]
    pool += [graph.node("weight", attribute=weight) for weight in weights]
    step_leaves = [graph.node("step", attribute=step) for step in gammas]
    pool += step_leaves
    pool += [graph.node("direct")] if direct else []

    kinds = ["hidden"]
    kinds += ["feedback"] if form in ("fed back", "fed back, several", "all") else []
    kinds += ["gated"] if form in ("two products", "all") else []
    # The first gates are one each of the kinds, the others are anything's.
    of_gate = {
        gate: kinds[place] if place < len(kinds) else str(draw.choice(kinds)) for place, gate in enumerate(gates)
    }
    products: list[Product] = []
    for number, kind in enumerate(kinds):
        own = tuple(gate for gate in gates if of_gate[gate] == kind)
        leaves = [graph.node("product", attribute=(number, gate)) for gate in own]
        if kind == "hidden":
            operands = [old[0]]
        elif kind == "feedback":
            made = [*old, *step_leaves]
            grower.grow(made, 4)
            operands = made[-2:] if form == "fed back, several" else made[-1:]
        else:
            grower.grow(pool, int(draw.integers(2, 12)))
            operands = [grower.pick(pool)]
        pool += leaves
        products.append(Product(tuple(operands), own, kind, heads))
    grower.grow(pool, int(draw.integers(3, 25)))
    new = tuple(grower.pick(pool if draw.random() < 0.3 else pool[-12:]) for _ in states)
    initial = tuple((None, 0.0, 1.0)[int(draw.integers(3))] for _ in weights)
    return Equations(
        f"random_{seed}", states, gates, inputs, direct, tuple(products), weights, initial, gammas, new, graph
    )


def random_leaves(equations: Equations, seed: int, points: int = 5) -> Points:
    """Return a value for every leaf of the forward and for every gradient that comes in, of shape (points,)."""
    draw = np.random.default_rng(seed)
    leaves: list[tuple[str, Attribute]] = [("direct", None)]
    leaves += [("input", gate) for gate in equations.inputs]
    leaves += [("weight", weight) for weight in equations.weights]
    leaves += [("step", step) for step in equations.steps]
    leaves += [(kind, state) for kind in ("state", "d_new") for state in range(len(equations.states))]
    for number, product in enumerate(equations.products):
        leaves += [("product", (number, gate)) for gate in product.gates]
        leaves += [("d_operand", (number, vector)) for vector in range(len(product.operands))]
    return {leaf: draw.normal(size=points) for leaf in leaves}
