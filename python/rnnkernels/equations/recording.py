"""What a trace has seen so far: the graph, and where each gate, weight and product was asked for first.

A `Recording` is written by the values that a cell's function computes with, and read when the function has returned.
Not here: the operators (`values`), and the rules on what was returned (`tracing`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .graph import Graph, Node
from .places import here, refused, user_frame

if TYPE_CHECKING:
    from types import CodeType

MOST_NODES = 1000  # of a trace: a loop that runs away is told of, not waited for


@dataclass
class Multiplied:
    """A product that was asked for."""

    operands: tuple[Node, ...]
    kind: str  # as in `graph.Product`
    heads: int
    line: str


@dataclass
class Recording:
    """The graph of a function that is running, and the names that it has used."""

    name: str
    code: CodeType | None = None  # of the function: its variables name the nodes when the cell is shown
    line: str | None = None  # of all nodes, where no user's function is running
    graph: Graph = field(default_factory=Graph)
    gates: dict[str, str] = field(default_factory=dict)  # gate → line; in order of first appearance, as all of these
    inputs: dict[str, str] = field(default_factory=dict)
    direct: str | None = None  # line
    products: list[Multiplied] = field(default_factory=list)
    rows: dict[str, tuple[int, str]] = field(default_factory=dict)  # gate → its product, line
    weights: dict[str, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)  # node's number → the variable that held it first
    is_open: bool = True

    def node(self, operation: str, *arguments: Node, attribute: Any = None) -> Node:
        """Return the node of an operation on the line that is running."""
        line = self.here()
        if len(self.graph.nodes) > MOST_NODES:
            raise refused(f"more than {MOST_NODES} operations in a step of {self.name}", line, ValueError)
        frame = user_frame() if self.code else None
        if frame is not None and frame.f_code is self.code:
            self.remember(frame.f_locals)
        return self.graph.node(operation, *arguments, attribute=attribute, line=line)

    def here(self) -> str:
        """Return the line that is running."""
        return self.line or here()

    def remember(self, variables: dict[str, Any]) -> None:
        """Note which variables hold which nodes: a node has the name of the first."""
        for name, value in variables.items():
            node = value._node if hasattr(type(value), "_node") else None
            if isinstance(node, Node):
                self.names.setdefault(node.number, name)

    def input(self, gate: str) -> Node:
        """Return the leaf of ``x.gate``."""
        self.inputs.setdefault(gate, self._gate(gate))
        return self.node("input", attribute=gate)

    def row(self, product: int, gate: str) -> Node:
        """Return the leaf of ``u.gate``, u the gates of a product."""
        line = self._gate(gate)
        known, first = self.rows.setdefault(gate, (product, line))
        if known != product:
            raise refused(
                f"gate {gate!r} is a row of two products, and of the other one since {first}: "
                f"a gate used in two ways has no common row; give each product gates of its own",
                line,
                ValueError,
            )
        return self.node("product", attribute=(product, gate))

    def weight(self, name: str) -> Node:
        """Return the leaf of ``w.name``."""
        self.weights.setdefault(name, self.here())
        return self.node("weight", attribute=name)

    def itself(self) -> Node:
        """Return the leaf of x itself."""
        self.direct = self.direct or self.here()
        return self.node("direct")

    def _gate(self, gate: str) -> str:
        line = self.here()
        self.gates.setdefault(gate, line)
        return line

    def multiply(self, operands: tuple[Node, ...], heads: int = 1) -> int:
        """Return the number of the product of these operands, an old one where there is one."""
        line = self.here()
        self._check_heads(len(operands), heads, line)
        for number, product in enumerate(self.products):
            if product.operands == operands:
                return number
        kind = self._kind(operands, line)
        for product in self.products:
            if product.kind == kind:
                raise refused(f"{_SECOND[kind]}; the first is at {product.line}", line, ValueError)
        self.products.append(Multiplied(operands, kind, heads, line))
        return len(self.products) - 1

    def _check_heads(self, vectors: int, heads: int, line: str) -> None:
        """Raise where a product of so many vectors, of these heads, has no place beside the others."""
        several = max([vectors, *(len(product.operands) for product in self.products)])
        if several > 1 and max([heads, *(product.heads for product in self.products)]) > 1:
            raise refused(
                "heads beside a product of several vectors: its weights, weight_gg, have none, and all products of a "
                "cell have the same",
                line,
                ValueError,
            )
        for product in self.products:
            if product.heads != heads:
                raise refused(
                    f"a product of {_said(heads)} beside one of {_said(product.heads)}: all rows of weight_hh are as "
                    f"long; the first is at {product.line}",
                    line,
                    ValueError,
                )

    def _kind(self, operands: tuple[Node, ...], line: str) -> str:
        """Return which of the three kinds of product this is, or raise where it is none."""
        below = leaves(operands)
        kinds = {leaf.operation for leaf in below}
        if any(leaf.operation == "product" and self._is_gated(leaf) for leaf in below):
            raise refused(
                "a third product in a chain: a step has a product, and one of what was made from its gates; "
                "this operand was made from the gates of the second",
                line,
                ValueError,
            )
        if not kinds - {"constant"}:
            raise refused("a product multiplies what the states make, and this operand is a number", line, ValueError)
        of_states = kinds <= {"constant", "state", "step"}
        if len(operands) > 1 and not of_states:
            raise refused(
                "a product of several vectors multiplies what is made of states (and rk.PerStep inputs) alone, "
                "element by element: not of x, weights or another product",
                line,
                ValueError,
            )
        (first, *more) = operands
        if not more and first.operation == "state" and first.attribute == 0:
            return "hidden"
        return "feedback" if of_states else "gated"

    def _is_gated(self, leaf: Node) -> bool:
        return isinstance(leaf.attribute, tuple) and self.products[leaf.attribute[0]].kind == "gated"


_SECOND = {
    "hidden": "a second product of h: its gates are the first one's",  # not reached: equal operands are one product
    "feedback": "a second product of an expression of states: a step has one such beside that of h itself",
    "gated": "a second product of what was made from x, weights or another product's gates: a step has one such",
}


def _said(heads: int) -> str:
    return f"{heads} head{'' if heads == 1 else 's'}"


def leaves(nodes: tuple[Node, ...] | list[Node]) -> list[Node]:
    """Return what these nodes are made of: leaves, each once."""
    return [node for node in below(nodes) if not node.arguments]


def below(nodes: tuple[Node, ...] | list[Node]) -> list[Node]:
    """Return these nodes and all that they are made of, each once, in the order of their numbers."""
    found: dict[int, Node] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.number not in found:
            found[node.number] = node
            waiting += node.arguments
    return [found[number] for number in sorted(found)]
