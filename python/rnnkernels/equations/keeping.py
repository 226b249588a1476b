"""What a step's forward keeps for its backward: what is dear, but not what is at hand or cheap to make again.

At hand in a backward are the states before the step, the states after it, element-wise weights and inputs of the step.
Of what else the backward reads,

- outputs of dear functions are kept, and so are inputs and products;
- a dear function of what is at hand, ``tanh(c')`` in an LSTM, is made again: that costs one function and saves a vector
  of the reserve, which is memory that every step writes and reads;
- at most two cheap operations are made again of what is kept and at hand; what takes more is kept itself.

A step of two products comes in halves, and a second half has less at hand: a forward's lacks the products of the first,
a backward's the new states. What it cannot make is kept as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .adjoint import Dependence, d_new, d_operand
from .evaluating import reached
from .graph import LEAVES
from .operations import OPERATIONS

if TYPE_CHECKING:
    from .adjoint import Backward
    from .graph import Equations, Node

MOST_MADE_AGAIN = 2  # cheap operations
_AT_HAND = frozenset(("constant", "weight", "step", "state"))


@dataclass(frozen=True)
class Kept:
    """What a forward keeps.

    Attributes
    ----------
    nodes
        In the order of the reserve.
    first_half
        Those that the first half of a forward makes; all where there are no halves.
    """

    nodes: tuple[Node, ...]
    first_half: frozenset[Node]


def gated_product(equations: Equations) -> int | None:
    """Return the number of the product of a value of the step, None where there is none."""
    return next((number for number, product in enumerate(equations.products) if product.kind == "gated"), None)


def find_results(backward: Backward) -> list[Node]:
    """Return the gradients that a step's backward gives, each once; not those of what is fed back."""
    groups = (backward.inputs, backward.weights, backward.steps, *backward.products)
    found = [*(gradient for group in groups for gradient in group.values()), backward.direct, *backward.states]
    return list(dict.fromkeys(node for node in found if node is not None))


def _cost(node: Node, at_hand: Callable[[Node], bool], kept: Collection[Node], most: int = MOST_MADE_AGAIN) -> int:
    """Return how many operations make a node again; more than `most` where it should not be done."""
    if node in kept or at_hand(node):
        return 0
    if most == 0 or node.operation in LEAVES:
        return most + 1
    if OPERATIONS[node.operation].dear:
        return 1 if all(map(at_hand, node.arguments)) else most + 1
    cost = 1
    for argument in node.arguments:
        if cost <= most:
            cost += _cost(argument, at_hand, kept, most - cost)
    return cost


def _keep(needed: Iterable[Node], at_hand: Callable[[Node], bool], kept: set[Node]) -> None:
    """Add to `kept` what makes all of `needed`."""

    def cheap(node: Node) -> bool:
        return node.operation not in LEAVES and not OPERATIONS[node.operation].dear

    for node in sorted(needed, key=lambda node: (cheap(node), node.number)):
        if _cost(node, at_hand, kept) > MOST_MADE_AGAIN:
            kept.add(node)


def _read(nodes: Iterable[Node], of: Collection[Node]) -> set[Node]:
    """Return those of `of` that `nodes` read."""
    return {argument for node in nodes for argument in node.arguments if argument in of}


def find_second_half(nodes: list[Node], late: Dependence, early: Dependence) -> set[Node]:
    """Return those of a backward's nodes that its second half makes.

    All that comes of the operand's gradient, and what these read that no other gradient is in.
    """
    second = {node for node in nodes if late(node)}
    read = {argument for node in second for argument in node.arguments}
    for node in reversed(nodes):
        if node in read and not early(node):
            second.add(node)
            read.update(node.arguments)
    return second


def find_kept(equations: Equations, backward: Backward) -> Kept:
    """Return what is kept between the forward and the backward of simplified equations."""
    graph, new = equations.graph, set(equations.new)
    results = find_results(backward)
    operands = [operand for product in equations.products for operand in product.operands]
    forward = set(reached((*equations.new, *operands)))
    backward_only = [node for node in reached(results) if node not in forward]
    needed = _read(backward_only, forward) | {node for node in results if node in forward}

    def at_hand_late(node: Node) -> bool:
        return node.operation in _AT_HAND

    def at_hand(node: Node) -> bool:
        return at_hand_late(node) or node in new

    kept: set[Node] = set()
    number = gated_product(equations)
    if number is None:
        _keep(needed, at_hand, kept)
        nodes = tuple(sorted(kept, key=lambda node: node.number))
        return Kept(nodes, frozenset(nodes))

    operand = equations.products[number].operands[0]
    gated_gates = {(number, gate) for gate in equations.products[number].gates}
    late = Dependence([d_operand(graph, number)])
    early = Dependence(d_new(graph, state) for state in range(len(equations.new)))
    second = find_second_half(backward_only, late, early)
    _keep(needed, at_hand, kept)
    _keep(_read(second, forward) | {operand}, at_hand_late, kept)

    # The forward's second half makes what comes of the gated product. What it reads beside was kept by the first, or is
    # cheap to make again, or no business of the first.
    of_gated = Dependence(node for node in forward if node.operation == "product" and node.attribute in gated_gates)
    in_first = set(reached([operand, *(node for node in kept if not of_gated(node))]))

    def at_hand_forward(node: Node) -> bool:
        return at_hand_late(node) or node.operation in ("input", "direct")

    read = _read((node for node in forward if of_gated(node)), forward) | new
    makes: dict[Node, bool] = {}
    for node in sorted(forward, key=lambda node: node.number):
        if node in kept or of_gated(node):
            makes[node] = True
        elif node.operation in LEAVES:
            makes[node] = node.operation != "product"
        elif node in in_first:
            makes[node] = _cost(node, at_hand_forward, kept) <= MOST_MADE_AGAIN
        else:
            makes[node] = all(makes[argument] for argument in node.arguments)
        if node in read and not makes[node]:
            makes[node] = True
            kept.add(node)
            in_first.update(reached([node]))
    nodes = tuple(sorted(kept, key=lambda node: node.number))
    return Kept(nodes, frozenset(node for node in nodes if not of_gated(node)))
