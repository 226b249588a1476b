"""The derivative of a graph, in the same graph: reverse mode, whose results can be differentiated again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .evaluating import reached
from .operations import OPERATIONS
from .simplify import Builder, contract

if TYPE_CHECKING:
    from .graph import Attribute, Equations, Graph, Node


class Dependence:
    """Whether a node is made of certain leaves; asked of graphs that still grow."""

    def __init__(self, leaves: Iterable[Node]) -> None:
        self._known = dict.fromkeys(leaves, True)

    def __call__(self, node: Node) -> bool:
        """Whether `node` is one of the leaves, or made of one."""
        known, waiting = self._known, [node]
        while waiting:
            top = waiting[-1]
            unknown = [argument for argument in top.arguments if argument not in known]
            if top in known or not unknown:
                known.setdefault(top, any(known[argument] for argument in top.arguments))
                waiting.pop()
            waiting += unknown
        return known[node]


def differentiate(build: Builder, seeds: Mapping[Node, Iterable[Node]], late: Iterable[Node] = ()) -> dict[Node, Node]:
    """Return the gradients of all that values are made of.

    Parameters
    ----------
    build
        Of the values' graph.
    seeds
        What comes to each value from outside: its gradient, in parts.
    late
        Leaves that are known later than all others. What is made of them is added last, so that the rest of a sum is
        one value.

    Returns
    -------
    dict
        From a node, leaf or not, to its gradient. A node that no value varies with is not in it.
    """
    parts = {node: list(gradients) for node, gradients in seeds.items()}
    is_late = Dependence(late)
    gradients: dict[Node, Node] = {}
    for node in reversed(reached(parts)):
        if node.operation == "constant":
            continue
        total: Node | None = None
        for part in sorted(parts.get(node, ()), key=is_late):
            if part.operation == "constant" and build.value(part) == 0.0:
                continue
            total = part if total is None else build("add", total, part)
        if total is None:
            continue
        gradients[node] = total
        if node.arguments:
            of_arguments = OPERATIONS[node.operation].derivative(build, total, node, *node.arguments)
            for argument, gradient in zip(node.arguments, of_arguments, strict=True):
                if gradient is not None:
                    parts.setdefault(argument, []).append(gradient)
    return gradients


@dataclass(frozen=True)
class Backward:
    """The gradients of a step, in the graph of its equations; None where no result varies with a leaf.

    Attributes
    ----------
    inputs, weights, steps
        Of the leaves of that name.
    direct
        Of x itself.
    products
        For every product, of its gates.
    states
        Of the states before the step, along the element-wise paths of the step; the products' part is the engine's.
    fed_back
        Of the states that ``feedback`` products multiply: what comes to them after their step, ``d_new``, and through
        the products of the next one. In its graph these states are those before the step.
    made
        The gated product's operand, whose gradient comes after the gradients of its gates; None where there is none.
    """

    inputs: dict[str, Node | None]
    weights: dict[str, Node | None]
    steps: dict[str, Node | None]
    direct: Node | None
    products: tuple[dict[str, Node | None], ...]
    states: tuple[Node | None, ...]
    fed_back: dict[int, Node]
    made: Node | None


def d_new(graph: Graph, state: int) -> Node:
    """Return the leaf that is the gradient of a state after the step."""
    return graph.node("d_new", attribute=state)


def d_operand(graph: Graph, product: int, vector: int = 0) -> Node:
    """Return the leaf that is the gradient of what a product multiplies."""
    return graph.node("d_operand", attribute=(product, vector))


def derive(equations: Equations) -> Backward:
    """Return the gradients of simplified equations; their graph holds the new nodes too."""
    graph = equations.graph
    build = Builder(graph)
    forward = list(graph.nodes)
    seeds: dict[Node, list[Node]] = {}
    for state, node in enumerate(equations.new):
        seeds.setdefault(node, []).append(d_new(graph, state))
    fed_seeds: dict[Node, list[Node]] = {}
    late, made = [], None
    for number, product in enumerate(equations.products):
        if product.kind == "gated":
            late, made = [d_operand(graph, number)], product.operands[0]
            seeds.setdefault(made, []).extend(late)
        elif product.kind == "feedback":
            for vector, operand in enumerate(product.operands):
                fed_seeds.setdefault(operand, []).append(d_operand(graph, number, vector))
    gradients = differentiate(build, seeds, late)
    fed_gradients = differentiate(build, fed_seeds)

    states = [graph.node("state", attribute=state) for state in range(len(equations.states))]
    fed_states = {
        state: build("add", d_new(graph, state), fed_gradients[leaf])
        for state, leaf in enumerate(states)
        if leaf in fed_gradients
    }
    leaves: dict[Node, Node] = {node: d for node, d in gradients.items() if not node.arguments}
    results = dict.fromkeys((*leaves.values(), *fed_states.values()))
    contracted = contract(build, results, fixed=forward, of_sums=True)

    def of(operation: str, attribute: Attribute = None) -> Node | None:
        gradient = leaves.get(graph.node(operation, attribute=attribute))
        return None if gradient is None else contracted[gradient]

    return Backward(
        inputs={gate: of("input", gate) for gate in equations.inputs},
        weights={weight: of("weight", weight) for weight in equations.weights},
        steps={step: of("step", step) for step in equations.steps},
        direct=of("direct"),
        products=tuple(
            {gate: of("product", (number, gate)) for gate in product.gates}
            for number, product in enumerate(equations.products)
        ),
        states=tuple(of("state", state) for state in range(len(states))),
        fed_back={state: contracted[gradient] for state, gradient in fed_states.items()},
        made=made,
    )
