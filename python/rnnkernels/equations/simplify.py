"""Simpler graphs of the same bits, and contraction to fused multiply-adds.

`Builder` folds as it makes nodes, and only where no bit of a result changes: constants in float64, ``x*1``, ``x/1``,
``x - 0``, signs that move outward, a choice whose branches are one; ``x + 0`` stays, since it turns -0 into 0.

Contraction is a promise about the forward. ``a*b + c`` becomes ``fma(a, b, c)``, rounded once, where the product has no
other use. Of two products the left is contracted: ``f*c + i*g`` is ``fma(f, c, i*g)``. ``c + a*b`` is ``fma(a, b, c)``,
``c - a*b`` is ``fma(-a, b, c)``, ``a*b - c`` is ``fma(a, b, -c)``. A backward adds up gradients: there it is the last
product that is contracted, whatever else it is used for, since that costs no operation.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .evaluating import reached
from .graph import LEAVES, Graph
from .operations import OPERATIONS

if TYPE_CHECKING:
    from .graph import Equations, Node


class Builder:
    """Makes nodes of a graph, folded.

    Attributes
    ----------
    graph
        Where the nodes are.
    clipped
        For a node inside of a clip, what says the same of its bounds: the clip's own output.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.clipped: dict[Node, Node] = {}

    def constant(self, value: float) -> Node:
        """Return the node of a number."""
        return self.graph.constant(value)

    @staticmethod
    def value(node: Node) -> float:
        """Return the number of a constant."""
        number = node.attribute
        if node.operation != "constant" or not isinstance(number, float):
            raise ValueError(f"node: expected a constant, got {node!r}")
        return number

    def __call__(self, operation: str, *arguments: Node, line: str | None = None) -> Node:
        """Return the node of an operation, or a simpler one of the same value."""
        if all(argument.operation == "constant" for argument in arguments):
            with np.errstate(all="ignore"):
                numbers = [np.asarray(self.value(argument)) for argument in arguments]
                return self.graph.constant(float(OPERATIONS[operation].compute(*numbers)), line)
        return self._fold(operation, arguments, line) or self.graph.node(operation, *arguments, line=line)

    def _fold(self, operation: str, arguments: tuple[Node, ...], line: str | None) -> Node | None:
        """Return what an operation is folded to, None where it stays."""
        a, b = arguments[0], arguments[1] if len(arguments) > 1 else None
        if b is None:
            return a.arguments[0] if operation == "neg" and a.operation == "neg" else None
        if operation == "mul":
            return self._fold_product(a, b, line)
        if operation == "div":
            if _is(b, 1.0):
                return a
            return self("neg", self("div", a.arguments[0], b, line=line), line=line) if a.operation == "neg" else None
        if operation == "add":
            if b.operation == "neg":
                return self("sub", a, b.arguments[0], line=line)
            return self("sub", b, a.arguments[0], line=line) if a.operation == "neg" else None
        if operation == "sub":
            if _is(b, 0.0):
                return a
            return self("add", a, b.arguments[0], line=line) if b.operation == "neg" else None
        if operation == "fma":
            return self._fold_fma(a, b, arguments[2], line)
        if operation in ("maximum", "minimum"):
            return a if _is(b, -math.inf if operation == "maximum" else math.inf) else None
        if operation.startswith("where"):
            return self._fold_choice(operation, *arguments)
        return None

    def _fold_product(self, a: Node, b: Node, line: str | None) -> Node | None:
        for one, other in ((a, b), (b, a)):
            if _is(one, 1.0):
                return other
            if _is(one, -1.0):
                return self("neg", other, line=line)
        if a.operation == "neg":
            return self("neg", self("mul", a.arguments[0], b, line=line), line=line)
        if b.operation == "neg":
            return self("neg", self("mul", a, b.arguments[0], line=line), line=line)
        return None

    def _fold_fma(self, a: Node, b: Node, c: Node, line: str | None) -> Node | None:
        for one, other in ((a, b), (b, a)):
            if _is(one, 1.0):
                return self("add", other, c, line=line)
        if a.operation == b.operation == "neg":
            return self("fma", a.arguments[0], b.arguments[0], c, line=line)
        # One way of writing each: the sign is the first factor's.
        return self("fma", b, a, c, line=line) if b.operation == "neg" else None

    def _fold_choice(self, operation: str, a: Node, b: Node, yes: Node, no: Node) -> Node | None:
        if yes is no:
            return yes
        if a.operation == b.operation == "constant":
            with np.errstate(invalid="ignore"):
                first, second = self.value(a), self.value(b)
            holds = {"where_gt": first > second, "where_ge": first >= second, "where_eq": first == second}[operation]
            return yes if holds else no
        return None


def _is(node: Node, number: float) -> bool:
    """Whether a node is this number, of this sign."""
    return node.operation == "constant" and repr(node.attribute) == repr(number)


def _count_uses(nodes: Iterable[Node]) -> dict[Node, int]:
    uses: dict[Node, int] = {}
    for node in nodes:
        for argument in node.arguments:
            uses[argument] = uses.get(argument, 0) + 1
    return uses


def contract(
    build: Builder, roots: Collection[Node], fixed: Collection[Node] = (), *, of_sums: bool = False
) -> dict[Node, Node]:
    """Fold and contract what `roots` are made of.

    Parameters
    ----------
    build
        Of the graph where the new nodes are to be; that of `roots`, or another.
    roots
        Results.
    fixed
        Nodes that stay as they are, of `build`'s graph.
    of_sums
        Whether these are the sums of a backward: of two products the last is contracted, and whatever else it is used
        for.

    Returns
    -------
    dict
        The new node of every node that `roots` are made of.
    """
    kept = set(fixed)
    nodes = reached(roots)
    uses = _count_uses(nodes)
    for root in roots:
        uses[root] = uses.get(root, 0) + 1

    def product(node: Node) -> Node | None:
        """Return the product that `node` is, up to its sign, where it may be contracted."""
        inner = node.arguments[0] if node.operation == "neg" else node
        once = of_sums or (uses[node] == 1 and uses[inner] == 1)
        return inner if once and inner.operation == "mul" and inner not in kept else None

    def combine(node: Node) -> Node | None:
        """Return a sum or difference as a fused multiply-add."""
        for place in (1, 0) if of_sums else (0, 1):
            factor, other = node.arguments[place], node.arguments[1 - place]
            inner = product(factor)
            if inner is not None:
                a, b = (new[argument] for argument in inner.arguments)
                rest, subtracts = new[other], node.operation == "sub"
                if (factor is not inner) != (subtracts and place == 1):
                    a = build("neg", a)
                if subtracts and place == 0:
                    rest = build("neg", rest)
                return build("fma", a, b, rest, line=node.line)
        return None

    new: dict[Node, Node] = {}
    for node in nodes:
        if node in kept:
            new[node] = node
        elif node.operation in LEAVES:
            new[node] = build.graph.node(node.operation, attribute=node.attribute, line=node.line)
        else:
            fused = combine(node) if node.operation in ("add", "sub") else None
            if fused is None:
                arguments = (new[argument] for argument in node.arguments)
                fused = build(node.operation, *arguments, line=node.line)
            new[node] = fused
    return new


def _fold_all(build: Builder, roots: Iterable[Node]) -> dict[Node, Node]:
    """Fold what `roots` are made of into another graph."""
    new: dict[Node, Node] = {}
    for node in reached(roots):
        if node.operation in LEAVES:
            new[node] = build.graph.node(node.operation, attribute=node.attribute, line=node.line)
        else:
            new[node] = build(node.operation, *(new[argument] for argument in node.arguments), line=node.line)
    return new


def simplified(equations: Equations) -> Equations:
    """Return the same equations, folded and contracted, in a graph of their own that holds nothing else."""
    roots = (*equations.new, *(operand for product in equations.products for operand in product.operands))
    folded = _fold_all(Builder(Graph()), roots)  # first: signs that move outward make and hide products
    build = Builder(Graph())
    results = [folded[root] for root in roots]
    contracted = contract(build, list(dict.fromkeys(results)))
    new = {root: contracted[result] for root, result in zip(roots, results, strict=True)}
    # Contraction leaves nodes behind that nothing reads: a graph of those that are read.
    graph = Graph()
    tidy: dict[Node, Node] = {}
    for node in reached(new.values()):
        arguments = (tidy[argument] for argument in node.arguments)
        tidy[node] = graph.node(node.operation, *arguments, attribute=node.attribute, line=node.line)
    variables = {equations.graph.nodes[number]: name for number, name in equations.names}
    named = [(tidy.get(contracted.get(folded[node], node)), name) for node, name in variables.items() if node in folded]
    return replace(
        equations,
        new=tuple(tidy[new[node]] for node in equations.new),
        products=tuple(
            replace(product, operands=tuple(tidy[new[operand]] for operand in product.operands))
            for product in equations.products
        ),
        graph=graph,
        names=tuple((node.number, name) for node, name in named if node is not None),
    )
