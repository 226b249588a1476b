"""Which gates of a cell sigmoids alone read: behind one a quarter of an error of x is left, and int8 spends less."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph import Equations, Node

# Of what is added up the arguments that the sum changes with as fast as they do.
_SUMMANDS = {"add": (0, 1), "sub": (0, 1), "neg": (0,), "fma": (2,)}


def read_by_sigmoids(equations: Equations) -> tuple[str, ...]:
    """Return the gates whose row of W_ih x goes into sums that sigmoids alone read.

    Parameters
    ----------
    equations
        As traced, or simplified.
    """
    results = [*equations.new, *(node for product in equations.products for node in product.operands)]
    readers: dict[Node, list[tuple[Node, int]]] = {}
    waiting, seen = list(results), set(results)
    while waiting:
        node = waiting.pop()
        for place, argument in enumerate(node.arguments):
            readers.setdefault(argument, []).append((node, place))
            if argument not in seen:
                seen.add(argument)
                waiting.append(argument)

    def behind(node: Node) -> bool:
        return node not in results and all(
            reader.operation == "sigmoid" or (place in _SUMMANDS.get(reader.operation, ()) and behind(reader))
            for reader, place in readers.get(node, ())
        )

    leaves = {node.attribute: node for node in seen if node.operation == "input"}
    return tuple(gate for gate in equations.inputs if gate in leaves and behind(leaves[gate]))
