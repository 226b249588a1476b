"""The values of a graph's nodes, in NumPy: for checks, never for the work of a cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from .graph import LEAVES
from .operations import OPERATIONS

if TYPE_CHECKING:
    from .graph import Attribute, Node
    from .operations import Array

# The arrays of the leaves, by operation and attribute: ("state", 0), ("product", (1, "n")), ("direct", None).
Leaves: TypeAlias = "Mapping[tuple[str, Attribute], Array]"


def reached(nodes: Iterable[Node]) -> list[Node]:
    """Return these nodes and all that they are made of, arguments first."""
    found = {node.number: node for node in nodes}
    waiting = list(found.values())
    while waiting:
        for argument in waiting.pop().arguments:
            if argument.number not in found:
                found[argument.number] = argument
                waiting.append(argument)
    return [found[number] for number in sorted(found)]


def evaluate(nodes: Sequence[Node], leaves: Leaves) -> list[Array]:
    """Return the values of nodes.

    Parameters
    ----------
    nodes
        Of one graph.
    leaves
        An array for every leaf but the constants, by ``(operation, attribute)``; all shapes broadcast. Constants take
        the real dtype of these.

    Returns
    -------
    list of ndarray
        One for each of `nodes`; a constant's has shape ().

    Raises
    ------
    KeyError
        If a leaf has no array.
    """
    real = np.result_type(*(array.real.dtype for array in leaves.values())) if leaves else np.dtype(np.float64)
    values: dict[int, Array] = {}
    with np.errstate(all="ignore"):
        for node in reached(nodes):
            if node.operation == "constant":
                value = np.asarray(node.attribute, dtype=real)
            elif node.operation in LEAVES:
                value = leaves[node.operation, node.attribute]
            else:
                value = OPERATIONS[node.operation].compute(*(values[argument.number] for argument in node.arguments))
            values[node.number] = value
    return [values[node.number] for node in nodes]
