"""The dual of a cell: a cell whose states are those of another and their tangents.

`dual` differentiates forward what `adjoint` differentiates backward, and the result is a cell again, which every engine
runs. Its forward is forward mode: J v stands in the second half of its states. Its backward is the derivative of the
first cell's backward, since the gradient of <dᵀJ, v> is that of <d, J v>. Not here: the dual's arrays, which are
arranged from those of the two (`rnnkernels.torch.duals`).

Primes mark what belongs to tangents, which no name of a user's has. A gate g of a recurrent product becomes three:

=======  =====================  ==================
gate     row of x, x'           recurrent row
=======  =====================  ==================
``g``    W x + b                U h + b
``g'``   W x' + W' x + b'       U' h + b'
``g''``                         U h'
=======  =====================  ==================
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .graph import Graph, Product
from .operations import OPERATIONS
from .simplify import Builder, simplified

if TYPE_CHECKING:
    from .graph import Equations, Node

MOST_STATES, MOST_GATES, MOST_STEPS = 8, 16, 4  # that the kernels have room for

DIRECT = "x itself"  # x is wider than H in a dual, so what reads x itself has inputs of every step


def tangent_name(name: str) -> str:
    """Return the name of a state's, weight's or gate's tangent."""
    return f"{name}'"


def has_form(equations: Equations) -> bool:
    """Whether a cell has a dual, be it of any size: it has one product, of h alone, or none."""
    return all(product.kind == "hidden" for product in equations.products)


def find_excess(equations: Equations) -> str | None:
    """Return in words what of a cell's dual the kernels have no room for; None where they have."""
    counts = (
        ("states", 2 * len(equations.states), MOST_STATES),
        ("gates", 2 * len(equations.gates) + sum(len(product.gates) for product in equations.products), MOST_GATES),
        ("inputs of every step", 2 * (len(equations.steps) + equations.direct), MOST_STEPS),
        ("element-wise weights", 2 * len(equations.weights), MOST_GATES),
    )
    return next((f"expected at most {most} {what}, got {count}" for what, count, most in counts if count > most), None)


def has_dual(equations: Equations) -> bool:
    """Whether the kernels can run a cell's dual, as far as states and gates say it."""
    return has_form(equations) and find_excess(equations) is None


def dual(equations: Equations) -> Equations:
    """Return a cell's states and their tangents as the equations of one cell.

    Parameters
    ----------
    equations
        Of a cell that `has_dual`.

    Returns
    -------
    Equations
        States, weights and inputs of every step: the cell's, then their tangents. Gates: the cell's, then the ``g'`` in
        the same order, then the ``g''`` of those that multiply h. x is (..., 2·I): x, then x'. Of a cell that reads x
        itself, x and x' are inputs of every step: the first of the cell's and the first of the tangents.

    Raises
    ------
    ValueError
        If the cell has no dual.
    """
    if not has_dual(equations):
        raise ValueError(f"{equations.name}: expected a cell of one product, of h, and of few states and gates")
    equations = simplified(equations)
    primes = tangent_name
    recurrent = equations.rows
    steps = (*([DIRECT] if equations.direct else []), *equations.steps)
    growing = _Dual(len(equations.states))
    growing.grow(equations.graph.nodes)
    values, tangents = growing.values, growing.tangents
    of_products: tuple[Product, ...] = ()
    if recurrent:
        heads = equations.heads
        vectors = [growing.graph.node("state", attribute=state) for state in (0, len(equations.states))]
        of_h = (*recurrent, *map(primes, recurrent))
        of_tangent = tuple(primes(primes(gate)) for gate in recurrent)
        of_products = (
            Product((vectors[0],), of_h, "hidden", heads),
            Product((vectors[1],), of_tangent, "feedback", heads),
        )
    return replace(
        equations,
        name=primes(equations.name),
        states=(*equations.states, *map(primes, equations.states)),
        gates=(*equations.gates, *map(primes, equations.gates), *(primes(primes(gate)) for gate in recurrent)),
        inputs=(*equations.inputs, *map(primes, equations.inputs)),
        direct=False,
        products=of_products,
        weights=(*equations.weights, *map(primes, equations.weights)),
        initial=(*equations.initial, *equations.initial),
        steps=(*steps, *map(primes, steps)),
        new=(*(values[node] for node in equations.new), *(tangents[node] for node in equations.new)),
        graph=growing.graph,
        names=(),
    )


class Growing:
    """A graph of values and tangents while it is made; `leaf` says what the leaves' are.

    Attributes
    ----------
    values, tangents
        Of the nodes that `grow` was given; where a node has no tangent it is `zero`.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.build = Builder(graph)
        self.zero = graph.constant(0.0)
        self.values: dict[Node, Node] = {}
        self.tangents: dict[Node, Node] = {}

    def grow(self, nodes: list[Node]) -> None:
        """Add every node's value and its tangent."""
        values, tangents, zero = self.values, self.tangents, self.zero
        for node in nodes:
            if not node.arguments:
                values[node], tangents[node] = self.leaf(node)
                continue
            arguments = [values[argument] for argument in node.arguments]
            value = values[node] = self.graph.node(node.operation, *arguments, line=node.line)
            total: Node | None = None
            # A rule is linear in the gradient that comes: given the tangent of an argument instead, it gives its part.
            for place, argument in enumerate(node.arguments):
                come = tangents[argument]
                if come is not zero:
                    part = OPERATIONS[node.operation].derivative(self.build, come, value, *arguments)[place]
                    if part is not None:
                        total = part if total is None else self.build("add", total, part)
            tangents[node] = zero if total is None else total

    def leaf(self, node: Node) -> tuple[Node, Node]:
        """Return a leaf of the new graph, and its tangent."""
        raise NotImplementedError


class _Dual(Growing):
    """That of a dual."""

    def __init__(self, states: int) -> None:
        super().__init__(Graph())
        self.states = states

    def leaf(self, node: Node) -> tuple[Node, Node]:
        """Return a leaf of the dual, and its tangent."""
        make, attribute = self.graph.node, node.attribute
        if node.operation == "constant":
            return make("constant", attribute=attribute), self.zero
        if node.operation == "state" and isinstance(attribute, int):
            return make("state", attribute=attribute), make("state", attribute=attribute + self.states)
        if node.operation == "direct":
            return make("step", attribute=DIRECT), make("step", attribute=tangent_name(DIRECT))
        if node.operation == "product" and isinstance(attribute, tuple):
            prime = tangent_name(str(attribute[1]))
            rows = make("product", attribute=(0, prime)), make("product", attribute=(1, tangent_name(prime)))
            return make("product", attribute=attribute), self.build("add", *rows)
        return make(node.operation, attribute=attribute), make(node.operation, attribute=tangent_name(str(attribute)))
