"""Equations of known cells, their graphs made by hand: what is tested below the tracing does not need the tracing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rnnkernels.equations.graph import Equations, Graph, Node, Product


@dataclass(frozen=True)
class Term:
    """A node that can be written in formulas."""

    node: Node
    of: Hand

    def __add__(self, other: Term) -> Term:
        return self.of("add", self, other)

    def __sub__(self, other: Term) -> Term:
        return self.of("sub", self, other)

    def __mul__(self, other: Term) -> Term:
        return self.of("mul", self, other)

    def __truediv__(self, other: Term) -> Term:
        return self.of("div", self, other)

    def __neg__(self) -> Term:
        return self.of("neg", self)


@dataclass
class Hand:
    """A graph, and the terms that are made in it."""

    graph: Graph = field(default_factory=Graph)

    def __call__(self, operation: str, *terms: Term) -> Term:
        return Term(self.graph.node(operation, *(term.node for term in terms)), self)

    def leaf(self, operation: str, attribute: str | int | tuple[int, str] | None = None) -> Term:
        return Term(self.graph.node(operation, attribute=attribute), self)

    def number(self, value: float) -> Term:
        return Term(self.graph.constant(value), self)

    def x(self, gate: str) -> Term:
        return self.leaf("input", gate)

    def u(self, gate: str, product: int = 0) -> Term:
        return self.leaf("product", (product, gate))

    def w(self, name: str) -> Term:
        return self.leaf("weight", name)

    def state(self, number: int) -> Term:
        return self.leaf("state", number)

    def sigmoid(self, term: Term) -> Term:
        return self("sigmoid", term)

    def tanh(self, term: Term) -> Term:
        return self("tanh", term)

    def equations(
        self,
        name: str,
        states: tuple[str, ...],
        inputs: str,
        products: Mapping[str, tuple[tuple[Term, ...], str]],
        new: tuple[Term, ...],
        *,
        gates: str = "",
        direct: bool = False,
        weights: tuple[str, ...] = (),
    ) -> Equations:
        """Return the equations; gates have one letter, `products` are operands and gates by kind."""
        found = tuple(
            Product(tuple(term.node for term in operands), tuple(own), kind)
            for kind, (operands, own) in products.items()
        )
        nodes = tuple(term.node for term in new)
        initial = (None,) * len(weights)
        every = tuple(gates or inputs)
        return Equations(name, states, every, tuple(inputs), direct, found, weights, initial, (), nodes, self.graph)


def lstm(*, peepholes: bool = False, clip: float | None = None) -> Equations:
    """Return an LSTM's."""
    e = Hand()
    h, c = e.state(0), e.state(1)

    def gate(name: str, seen: Term) -> Term:
        total = e.x(name) + e.u(name)
        return e.sigmoid(total + e.w(name) * seen if peepholes else total)

    i, f, g = gate("i", c), gate("f", c), e.tanh(e.x("g") + e.u("g"))
    d = f * c + i * g
    if clip is not None:
        d = e("minimum", e("maximum", d, e.number(-clip)), e.number(clip))
    o = gate("o", d)
    weights = ("i", "f", "o") if peepholes else ()
    name = "lstm_peephole" if peepholes else "lstm"
    products = {"hidden": ((h,), "ifgo")}
    return e.equations(name, ("h", "c"), "ifgo", products, (o * e.tanh(d), d), weights=weights)


def gru() -> Equations:
    """Return a GRU's that resets after the product."""
    e = Hand()
    h = e.state(0)
    r, z = e.sigmoid(e.x("r") + e.u("r")), e.sigmoid(e.x("z") + e.u("z"))
    n = e.tanh(e.x("n") + r * e.u("n"))
    return e.equations("gru", ("h",), "rzn", {"hidden": ((h,), "rzn")}, (n + z * (h - n),))


def mut1() -> Equations:
    """Return MUT1's: two products, and a function of x alone."""
    e = Hand()
    h = e.state(0)
    z, r = e.sigmoid(e.x("z")), e.sigmoid(e.x("r") + e.u("r"))
    n = e.tanh(e.tanh(e.leaf("direct")) + e.u("n", 1))
    products = {"hidden": ((h,), "r"), "gated": ((r * h,), "n")}
    return e.equations("mut1", ("h",), "zr", products, (h + z * (n - h),), gates="zrn", direct=True)


def mut2() -> Equations:
    """Return MUT2's: two products, and x itself."""
    e = Hand()
    h = e.state(0)
    z, r = e.sigmoid(e.x("z") + e.u("z")), e.sigmoid(e.leaf("direct") + e.u("r"))
    n = e.tanh(e.x("n") + e.u("n", 1))
    products = {"hidden": ((h,), "zr"), "gated": ((r * h,), "n")}
    return e.equations("mut2", ("h",), "zn", products, (h + z * (n - h),), gates="zrn", direct=True)


def mut3() -> Equations:
    """Return MUT3's: tanh(h) is fed back, and there are two products."""
    e = Hand()
    h = e.state(0)
    z, r = e.sigmoid(e.x("z") + e.u("z", 1)), e.sigmoid(e.x("r") + e.u("r"))
    n = e.tanh(e.x("n") + e.u("n", 2))
    products = {"hidden": ((h,), "r"), "feedback": ((e.tanh(h),), "z"), "gated": ((r * h,), "n")}
    return e.equations("mut3", ("h",), "zrn", products, (h + z * (n - h),))


def swapping() -> Equations:
    """Return equations whose states change places."""
    e = Hand()
    h, c = e.state(0), e.state(1)
    a = e.tanh(e.x("a") + e.u("a"))
    return e.equations("swapping", ("h", "c"), "a", {"hidden": ((h,), "a")}, (c * a, h + c))
