"""The graph of a cell's equations: nodes, what a cell is made of them, and nothing that computes.

A `Node` is one value of one unit of one row in one step. Nodes of one `Graph` are shared: the same operation on the
same arguments is the same node, so equal subexpressions exist once. What each operation computes, its derivative and
its number in the kernels are in `rnnkernels.equations.operations`.

The leaves:

=============  =========================  ======================================================
operation      attribute                  value
=============  =========================  ======================================================
``constant``   the number
``input``      gate                       row of W_ih x + b_ih
``direct``     None                       x itself
``product``    (number, gate)             row of W_hh v + b_hh, v the operand of that product
``weight``     name                       an element-wise weight
``step``       name                       an element-wise input of every step
``state``      number                     a state before the step, h is 0
``new``        number                     a state after the step         (of a backward only)
``d_new``      number                     its gradient                   (of a backward only)
``d_operand``  (product, vector)          gradient of what a product multiplies  (likewise)
``saved``      number                     what the forward kept          (likewise)
=============  =========================  ======================================================
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TypeAlias

Attribute: TypeAlias = Hashable  # str, float, int, a tuple of these, or None

LEAVES = frozenset(
    ("constant", "input", "direct", "product", "weight", "step", "state", "new", "d_new", "d_operand", "saved")
)


@dataclass(frozen=True, eq=False)
class Node:
    """A value; two nodes of a graph are the same value if, and only if, they are one object."""

    operation: str
    arguments: tuple[Node, ...]
    attribute: Attribute
    number: int  # in its graph: arguments have smaller ones
    line: str | None = None  # "file.py:12" where the user wrote it first

    def __repr__(self) -> str:
        of = ", ".join(f"%{node.number}" for node in self.arguments)
        what = "" if self.attribute is None else f"[{self.attribute!r}]"
        return f"%{self.number} = {self.operation}{what}({of})"


@dataclass
class Graph:
    """Nodes in the order they were made, each once."""

    nodes: list[Node] = field(default_factory=list)
    _known: dict[tuple[str, tuple[int, ...], Attribute], Node] = field(default_factory=dict)

    def node(self, operation: str, *arguments: Node, attribute: Attribute = None, line: str | None = None) -> Node:
        """Return the node of this operation, an old one where there is one."""
        # 0.0 and -0.0 are equal and not the same number; so are 1 and True.
        shown: Attribute = repr(attribute) if isinstance(attribute, float) else attribute
        key = (operation, tuple(node.number for node in arguments), shown)
        found = self._known.get(key)
        if found is None:
            found = Node(operation, arguments, attribute, len(self.nodes), line)
            self._known[key] = found
            self.nodes.append(found)
        return found

    def constant(self, value: float, line: str | None = None) -> Node:
        """Return the node of a number."""
        return self.node("constant", attribute=float(value), line=line)


@dataclass(frozen=True)
class Product:
    """A recurrent product: W_hh's rows of `gates` times the operand.

    One operand vector, or several side by side, whose gates then have weights of their own (``weight_gg``). Of several
    heads each multiplies its own units of the operand alone: W_hh is block-diagonal, and its blocks are all it has.
    """

    operands: tuple[Node, ...]
    gates: tuple[str, ...]  # in order of first appearance
    kind: str  # "hidden": h itself · "feedback": of states and step inputs · "gated": of a product's gates
    heads: int = 1


@dataclass(frozen=True)
class Equations:
    """A cell, traced.

    Gates stand in the order of their first appearance, whether as ``x.g`` or ``u.g``; `inputs` and the gates of all
    products are sublists of it, the rows of ``weight_ih`` and ``weight_hh``.
    """

    name: str
    states: tuple[str, ...]
    gates: tuple[str, ...]
    inputs: tuple[str, ...]  # those that W_ih feeds
    direct: bool  # whether x itself is read
    products: tuple[Product, ...]
    weights: tuple[str, ...]
    initial: tuple[float | None, ...]  # of each weight: None: drawn as matrices are
    steps: tuple[str, ...]
    new: tuple[Node, ...]  # the states after the step
    graph: Graph
    settings: tuple[tuple[str, float], ...] = ()  # what the numbers were when it was traced
    doc: str = ""
    names: tuple[tuple[int, str], ...] = ()  # of nodes, by their numbers: the variables that held them

    @property
    def rows(self) -> tuple[str, ...]:
        """The gates that have rows in ``weight_hh``, in their order; those of several vectors stand in weight_gg."""
        own = {gate for product in self.products if len(product.operands) == 1 for gate in product.gates}
        return tuple(gate for gate in self.gates if gate in own)

    @property
    def heads(self) -> int:
        """The heads of ``weight_hh`` (Gh·H, H / heads): all products with rows in it have as many."""
        return next((product.heads for product in self.products if len(product.operands) == 1), 1)
