"""The linear cell of a cell: how the tangents of its states go from step to step, while the states are known.

Where a cell's states are known after every step, their tangents obey s'_t = A_t s'_{t-1} + b_t. `linear` makes a cell
of that, of the form that the first has: a product of the tangents where there was one of the states, by the same
weights. What A_t is made of, the *coefficients*, and b_t, what is *added*, are known for all steps beforehand and are
inputs of every step of the linear cell. As few coefficients as can be are found by a cut of the graph (`cutting`).

Where the tangents of x alone come in, and none of parameters, the gates of a linear cell are fed by the first cell's
own weights, x' in the place of x, if it has few coefficients (`Linear.fed`): then nothing is added.

In contrast to a dual (`tangent`) this takes a cell of any form, with two products and with vectors that are fed back,
in two runs of the kernels, one of each cell. A linear cell is its own linear cell, so derivatives of any order have
one. Not here: the arrays (`rnnkernels.torch.linear`).

The tangent of a leaf is a leaf whose attribute is in a pair: ``("at rest", gate)`` of an input or a parameter, of a
row ``("at rest", (product, gate))``, what these tangents give to it at states that stand still; ``("along", state)``,
and of a row ``("along", (product, gate))``, what the states' tangents give.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .adjoint import Dependence
from .cutting import smallest_cut
from .evaluating import reached
from .graph import Graph, Product
from .simplify import simplified
from .tangent import MOST_GATES, MOST_STATES, MOST_STEPS, Growing, tangent_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .graph import Equations, Node

MOST_WIDE = 6  # inputs of every step that find no room as such, and go through gates of x: these multiply them by 1

AT_REST, _ALONG, _FED = "at rest", "along", "along x too"
_COEFFICIENT, _ADDED, _NOTHING = "a", "b", "none"
_SHOWN, _SUFFIX = "shown", " linear'"
_AT_HAND = frozenset(("constant", "weight", "state", "step", "direct"))  # when all steps are taken at once
_Pair = tuple["Node", "Node"]


@dataclass(frozen=True)
class Linear:
    """A cell's linear cell, and what its inputs are made of.

    Attributes
    ----------
    equations
        The linear cell's. Its inputs of every step, then the gates that x feeds: the coefficients, then what is added.
    cell
        The first cell's, simplified.
    coefficients, added
        Nodes of one graph whose leaves are those of the first cell, and tangents of inputs and parameters.
    operands
        Of each product of the first cell: of each vector its value, and its tangent at states that stand still.
    tangents
        The nodes of that graph that are tangents.
    new
        Those that are the states after the step.
    shown
        Those of which, with states and inputs, all the values are made that the tangents read.
    fed
        The linear cell that x' feeds; None where it has too many coefficients.
    fed_coefficients
        Its coefficients.
    showing
        The first cell with these as further states, which no step reads: a run of it has them after every step. None
        where it would have more states than the kernels have room for.
    """

    equations: Equations
    cell: Equations
    coefficients: tuple[Node, ...]
    added: tuple[Node, ...]
    operands: tuple[tuple[_Pair, ...], ...]
    tangents: frozenset[Node]
    new: tuple[Node, ...]
    shown: tuple[Node, ...]
    fed: Equations | None
    fed_coefficients: tuple[Node, ...]
    showing: Equations | None

    def nodes(self, known: Collection[Node], fed: bool) -> list[Node]:
        """Return all that is to be computed where some values are known, in an order in which it can be."""
        pairs = [pair for vectors in self.operands for pair in vectors]
        if not fed:
            return _above((*self.coefficients, *self.added, *(node for pair in pairs for node in pair)), known)
        nodes = _above(self.fed_coefficients, known)
        if any(node.operation == "product" for node in nodes):  # whose operands are no arguments
            nodes = _above((*self.fed_coefficients, *(value for value, _ in pairs)), known)
        return nodes


class _AtRest(Growing):
    """Tangents along inputs and parameters, at states that stand still."""

    def leaf(self, node: Node) -> _Pair:
        """Return a leaf, and its tangent."""
        make, attribute = self.graph.node, node.attribute
        value = make(node.operation, attribute=attribute)
        if node.operation in ("constant", "state"):
            return value, self.zero
        return value, make(node.operation, attribute=(AT_REST, attribute))


class _Along(Growing):
    """Tangents along the states; `also`: along what else.

    Their leaves have a `mark` of their own: a product's rows then stand behind what it multiplies.
    """

    def __init__(self, graph: Graph, mark: str, *also: str) -> None:
        super().__init__(graph)
        self.mark, self._moves = mark, {"state", "product", *also}

    def leaf(self, node: Node) -> _Pair:
        """Return a leaf, and its tangent."""
        make, attribute = self.graph.node, node.attribute
        value = make(node.operation, attribute=attribute)
        moves = node.operation in self._moves
        return value, make(node.operation, attribute=(self.mark, attribute)) if moves else self.zero

    def ends(self, equations: Equations) -> list[Node]:
        """Return the tangents of the new states and of what products multiply."""
        operands = (operand for product in equations.products for operand in product.operands)
        return [self.tangents[node] for node in (*equations.new, *operands)]

    def coefficients(self, equations: Equations) -> tuple[Node, ...]:
        """Return as few values as can be that the tangents are multiplied by."""
        is_moved = Dependence(node for node in self.graph.nodes if _is_tangent(node, self.mark))
        reading = [node for node in reached(self.ends(equations)) if is_moved(node)]
        multipliers = {argument for node in reading for argument in node.arguments if not is_moved(argument)}
        return smallest_cut(multipliers, lambda node: node.operation in ("constant", "weight"))


def linear(equations: Equations) -> Linear:
    """Return a cell's linear cell.

    Parameters
    ----------
    equations
        Of any form.

    Raises
    ------
    ValueError
        If it has more coefficients than a step can have inputs, or a product that no state goes into.
    """
    traced, equations = equations, simplified(equations)
    graph, nodes = Graph(), equations.graph.nodes
    along, rest = _Along(graph, _ALONG), _AtRest(graph)
    along.grow(nodes)
    rest.grow(nodes)
    operands = tuple(
        tuple((rest.values[operand], rest.tangents[operand]) for operand in product.operands)
        for product in equations.products
    )
    if any(all(along.tangents[v] is along.zero for v in product.operands) for product in equations.products):
        raise ValueError(f"{equations.name}: expected products of what the states make")
    own = _own(equations, graph)
    coefficients = own or along.coefficients(equations)
    varies = Dependence(coefficients)
    added = {
        state: rest.tangents[node]
        for state, node in enumerate(equations.new)
        if rest.tangents[node] is not rest.zero or varies(along.tangents[node])
    }
    wide = len(coefficients) + len(added) - MOST_STEPS
    if wide > MOST_WIDE or len(equations.rows) + max(wide, 1) > MOST_GATES:
        raise ValueError(
            f"{equations.name}: expected at most {MOST_STEPS + MOST_WIDE} values that tangents are multiplied by or "
            f"that are added to them, got {len(coefficients) + len(added)}"
        )
    is_tangent = Dependence(node for node in graph.nodes if _is_tangent(node, AT_REST))
    tangents = frozenset(filter(is_tangent, graph.nodes))
    new = tuple(along.values[node] for node in equations.new)
    pairs = [node for vectors in operands for pair in vectors for node in pair]
    read = {
        argument for node in tangents.intersection(reached((*added.values(), *pairs))) for argument in node.arguments
    }
    feeding = _Along(graph, _FED, "input", "direct")
    feeding.grow(nodes)
    fed_coefficients = feeding.coefficients(equations)
    most = MOST_STEPS if equations.direct else MOST_STEPS + MOST_WIDE  # x itself is as wide as H
    feeds = len(fed_coefficients) <= most and not equations.steps
    known = {*read, *coefficients, *(fed_coefficients if feeds else ()), *pairs, *new} - tangents
    shown = smallest_cut(known, lambda node: node.operation in _AT_HAND or node in new)
    return Linear(
        equations=traced if own else _cell(equations, along, coefficients, tuple(added)),
        cell=equations,
        coefficients=coefficients,
        added=tuple(added.values()),
        operands=operands,
        tangents=tangents,
        new=new,
        shown=shown,
        fed=_fed(equations, feeding, fed_coefficients) if feeds else None,
        fed_coefficients=fed_coefficients,
        showing=_showing(equations, along, shown),
    )


def _is_tangent(node: Node, kind: str) -> bool:
    """Whether a node is the leaf of a tangent."""
    return isinstance(node.attribute, tuple) and node.attribute[0] == kind


def _own(equations: Equations, graph: Graph) -> tuple[Node, ...]:
    """Return the coefficients of a cell that was made here, by their names; of another none."""
    if not equations.name.endswith(_SUFFIX):
        return ()
    kinds = (("step", equations.steps), ("input", equations.inputs))
    named = ((kind, name) for kind, names in kinds for name in names if name.startswith(f"{_COEFFICIENT} "))
    return tuple(graph.node(kind, attribute=name) for kind, name in named)


def _cell(equations: Equations, along: _Along, coefficients: tuple[Node, ...], added: tuple[int, ...]) -> Equations:
    """Return the equations of the linear cell; `added`: the states that something is added to."""
    names = [f"{_COEFFICIENT} {k}" for k in range(len(coefficients))] + [f"{_ADDED} {state}" for state in added]
    steps, inputs = names[:MOST_STEPS], names[MOST_STEPS:]
    graph = Graph()
    leaves = [graph.node("step", attribute=name) for name in steps]
    leaves += [graph.node("input", attribute=name) for name in inputs]
    made = _copied(along.ends(equations), graph, dict(zip(coefficients, leaves, strict=False)))
    new = [made[along.tangents[node]] for node in equations.new]
    for state, carrier in zip(added, leaves[len(coefficients) :], strict=True):
        new[state] = graph.node("add", new[state], carrier)
    inputs = inputs or [_NOTHING]
    return replace(
        _moving(equations, along, made, graph),
        name=f"{equations.name}{_SUFFIX}",
        gates=(*_recurrent(equations.gates, equations.products), *inputs),
        inputs=tuple(inputs),
        direct=False,
        steps=tuple(steps),
        new=tuple(new),
    )


def _fed(equations: Equations, along: _Along, coefficients: tuple[Node, ...]) -> Equations:
    """Return the equations of the linear cell that x' feeds."""
    names = [f"{_COEFFICIENT} {k}" for k in range(len(coefficients))]
    steps, inputs = names[:MOST_STEPS], names[MOST_STEPS:]
    graph = Graph()
    leaves = [graph.node("step", attribute=name) for name in steps]
    leaves += [graph.node("input", attribute=name) for name in inputs]
    made = _copied(along.ends(equations), graph, dict(zip(coefficients, leaves, strict=True)))
    return replace(
        _moving(equations, along, made, graph),
        name=f"{equations.name} fed'",
        gates=(*equations.gates, *inputs),
        inputs=(*equations.inputs, *inputs),
        steps=tuple(steps),
    )


def _copied(nodes: list[Node], graph: Graph, made: dict[Node, Node]) -> dict[Node, Node]:
    """Copy nodes, and what they are made of as far as it is not `made`, into a graph; the leaves without their mark."""

    def leaf(node: Node) -> Node:
        attribute = node.attribute
        if isinstance(attribute, tuple) and attribute[0] in (_ALONG, _FED):
            attribute = attribute[1]
        return graph.node(node.operation, attribute=attribute)

    for node in _above(nodes, made):
        arguments = [made[argument] for argument in node.arguments]
        made[node] = graph.node(node.operation, *arguments) if arguments else leaf(node)
    return made


def _moving(equations: Equations, along: _Along, made: dict[Node, Node], graph: Graph) -> Equations:
    """Return the equations with tangents in the place of states and of what products multiply."""
    weights = {node.attribute for node in graph.nodes if node.operation == "weight"}
    own = tuple(weight for weight in equations.weights if weight in weights)
    return replace(
        equations,
        states=tuple(map(tangent_name, equations.states)),
        products=tuple(
            replace(product, operands=tuple(made[along.tangents[operand]] for operand in product.operands))
            for product in equations.products
        ),
        weights=own,
        initial=(None,) * len(own),
        new=tuple(made[along.tangents[node]] for node in equations.new),
        graph=graph,
        settings=(),
        doc="",
        names=(),
    )


def _recurrent(gates: tuple[str, ...], products: tuple[Product, ...]) -> tuple[str, ...]:
    """Return the gates that have recurrent rows, in their order."""
    return tuple(gate for gate in gates if any(gate in product.gates for product in products))


def _showing(equations: Equations, along: _Along, shown: tuple[Node, ...]) -> Equations | None:
    """Return a cell with some values as further states."""
    if len(equations.states) + len(shown) > MOST_STATES:
        return None
    graph, values = Graph(), along.values
    operands = [values[operand] for product in equations.products for operand in product.operands]
    made: dict[Node, Node] = {}
    for node in reached((*(values[node] for node in equations.new), *shown, *operands)):
        arguments = (made[argument] for argument in node.arguments)
        made[node] = graph.node(node.operation, *arguments, attribute=node.attribute)
    return replace(
        equations,
        name=f"{equations.name} shown'",
        states=(*equations.states, *(f"{_SHOWN} {k}" for k in range(len(shown)))),
        products=tuple(
            replace(product, operands=tuple(made[values[operand]] for operand in product.operands))
            for product in equations.products
        ),
        new=(*(made[values[node]] for node in equations.new), *(made[node] for node in shown)),
        graph=graph,
        names=(),
    )


def _above(nodes: Iterable[Node], made: Collection[Node]) -> list[Node]:
    """Return what `nodes` are made of as far as it is not `made`, arguments first."""
    found: dict[int, Node] = {}
    waiting = [node for node in nodes if node not in made]
    while waiting:
        node = waiting.pop()
        if node.number not in found:
            found[node.number] = node
            waiting += [argument for argument in node.arguments if argument not in made]
    return [found[number] for number in sorted(found)]
