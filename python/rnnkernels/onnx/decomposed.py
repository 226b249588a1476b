"""LSTM and GRU steps that an exporter wrote as products, Split, Sigmoid, Tanh and Mul: found by what ends them.

An LSTM's step ends in o * tanh(f * c + i * g), a GRU's in (1 - z) * n + z * h or n + z * (h - n). A step is named, and
not turned into a node: what weights belong to it is not looked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .graphs import path_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# What numbers go through between a product and a function, and between functions.
_MOVES = {"Cast", "Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
          "Unsqueeze"}  # fmt: skip
_PRODUCTS = {"Gemm", "MatMul"}
_MOST_STEPS = 12  # from a function back to its product


@dataclass(frozen=True)
class Decomposed:
    """A step of a cell that is written as other operators.

    Attributes
    ----------
    operator : {"LSTM", "GRU"}
    path : str
        Of the node that makes the new state.
    nodes : tuple of str
        The paths of the products of its gates, then of the Sigmoid, Tanh and Mul nodes that make it.
    """

    operator: str
    path: str
    nodes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<decomposed {self.operator} {self.path!r}: {', '.join(self.nodes)}>"


def cells_in(path: str, graph: Any) -> Iterator[Decomposed]:
    """Yield the steps in a graph; `path`: the graph's."""
    found = _Finder(graph)
    for node in graph.node:
        for operator, parts in (("LSTM", found.lstm(node)), ("GRU", found.gru(node))):
            products = found.products(parts)
            if parts and products:
                unique = {id(each): each for each in (*products, *parts)}.values()
                yield Decomposed(operator, path_of(path, node), tuple(path_of(path, each) for each in unique))


class _Finder:
    def __init__(self, graph: Any) -> None:
        self._makers = {name: node for node in graph.node for name in node.output if name}

    def lstm(self, node: Any) -> list[Any]:
        """Return the nodes of o * tanh(f * c + i * g), nothing where a node does not end such a step."""
        for o, tanh in self._pairs(node, "Mul", "Sigmoid", "Tanh"):
            added = self._maker(tanh.input[0])
            for kept, new in self._pairs(added, "Add", "Mul", "Mul"):
                for i, g in self._pairs(new, "Mul", "Sigmoid", "Tanh"):
                    forget = [each for each in map(self._maker, kept.input) if _is(each, "Sigmoid")]
                    if forget:
                        return [i, forget[0], g, o, kept, new, added, tanh, node]
        return []

    def gru(self, node: Any) -> list[Any]:
        """Return the nodes of n + z * (h - n) or (1 - z) * n + z * h likewise."""
        for changed, n in self._pairs(node, "Add", "Mul", "Tanh"):
            for z, difference in self._pairs(changed, "Mul", "Sigmoid", "Sub"):
                if difference.input[1] == n.output[0]:
                    return [z, n, difference, changed, node]
        for new, kept in self._pairs(node, "Add", "Mul", "Mul"):
            for rest, n in self._pairs(new, "Mul", "Sub", "Tanh"):
                z = self._maker(rest.input[1])
                if _is(z, "Sigmoid") and z.output[0] in kept.input:
                    return [z, n, rest, new, kept, node]
        return []

    def products(self, parts: Iterable[Any]) -> list[Any]:
        """Return the products that the functions among some nodes are of, each once."""
        found: dict[int, Any] = {}
        for part in parts:
            if part.op_type in ("Sigmoid", "Tanh"):
                waiting, steps = [part.input[0]], 0
                while waiting and steps < _MOST_STEPS:
                    steps += 1
                    maker = self._maker(waiting.pop(0))
                    if maker is None:
                        continue
                    if maker.op_type in _PRODUCTS:
                        found[id(maker)] = maker
                    elif maker.op_type in _MOVES | {"Add", "Mul"}:
                        waiting += [name for name in maker.input if name]
        return list(found.values())

    def _maker(self, name: str) -> Any:
        return self._makers.get(name)

    def _pairs(self, node: Any, operator: str, first: str, second: str) -> Iterator[tuple[Any, Any]]:
        """Yield the makers of a node's two inputs, in either order, where they are of these operators."""
        if not _is(node, operator) or len(node.input) != 2:
            return
        makers = [self._maker(name) for name in node.input]
        for one, other in (makers, makers[::-1]):
            if _is(one, first) and _is(other, second):
                yield one, other


def _is(node: Any, operator: str) -> bool:
    return node is not None and node.op_type == operator and node.domain in ("", "ai.onnx")
