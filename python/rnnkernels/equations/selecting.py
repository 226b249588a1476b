"""Which instructions make a phase's results: one for a node, or one for several that are used only there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from .graph import Node

_May: TypeAlias = "Callable[[Node], bool]"


class Selected(NamedTuple):
    """An instruction: what it makes, and of what."""

    node: Node
    operation: str
    arguments: tuple[Node, ...]


_Match: TypeAlias = "tuple[str, tuple[Node, ...]] | None"


def _is_one(node: Node) -> bool:
    return node.operation == "constant" and node.attribute == 1.0


def _minus_from_one(node: Node, free: _May) -> Node | None:
    """Return a of 1 - a."""
    return node.arguments[1] if node.operation == "sub" and free(node) and _is_one(node.arguments[0]) else None


def _slope(node: Node, free: _May) -> tuple[str, Node] | None:
    """Return the function whose slope this is, in terms of its value, and that value."""
    if not free(node):
        return None
    if node.operation == "mul":
        for s, rest in (node.arguments, node.arguments[::-1]):
            if _minus_from_one(rest, free) is s:
                return "sigmoid", s
    if node.operation == "fma":
        minus, t, one = node.arguments
        if minus.operation == "neg" and minus.arguments[0] is t and _is_one(one):
            return "tanh", t
    return None


def _match_function(node: Node, once: _May) -> _Match:
    """Match a sigmoid or tanh of a sum."""
    (inner,) = node.arguments
    if not once(inner):
        return None
    if inner.operation == "add":
        return f"{node.operation}_add", inner.arguments
    if inner.operation != "fma" or inner.arguments[0].operation == "neg" or inner.arguments[2].operation == "neg":
        return None
    a, b, c = inner.arguments
    if node.operation == "sigmoid" and c.operation == "add" and once(c):
        return "sigmoid_add_fma", (*c.arguments, a, b)
    return f"{node.operation}_fma", (a, b, c)


def _match_fma(node: Node, once: _May, free: _May) -> _Match:
    a, b, c = node.arguments
    if a.operation == "neg" and free(a):
        return "fnma", (a.arguments[0], b, c)
    if c.operation == "neg" and free(c):
        return "fms", (a, b, c.arguments[0])
    for part, way in ((a, b), (b, a)):
        if way.operation == "sub" and way.arguments[1] is c and once(way):
            return "lerp", (part, way.arguments[0], c)
        slope = _slope(way, free)
        if slope is not None and slope[0] == "tanh" and _is_plain_product(part, once, free):
            return "fma_tanh_slope", (*part.arguments, slope[1], c)
    return ("fma_mul", (a, b, *c.arguments)) if _is_plain_product(c, once, free) else None


def _is_plain_product(node: Node, once: _May, free: _May) -> bool:
    """Whether a product is read here alone and makes no instruction with what it is made of."""
    return node.operation == "mul" and once(node) and _match_product(node, once, free) is None


def _match_slope(function: str, value: Node, other: Node, once: _May, free: _May) -> _Match:
    """Match something times a function's slope."""
    if other.operation == "mul" and once(other):
        if function == "sigmoid":
            for way, factor in (other.arguments, other.arguments[::-1]):
                if way.operation == "sub" and once(way):
                    return "sub_mul_sigmoid_slope", (*way.arguments, factor, value)
        return f"mul_{function}_slope", (*other.arguments, value)
    if other.operation == "fma" and once(other):
        minus, b, c = other.arguments
        if minus.operation == "neg" and free(minus):
            return f"fnma_{function}_slope", (minus.arguments[0], b, c, value)
    return f"times_{function}_slope", (other, value)


def _match_product(node: Node, once: _May, free: _May) -> _Match:
    pairs = (node.arguments, node.arguments[::-1])
    for other, part in pairs:
        slope = _slope(part, free)
        if slope is not None:
            return _match_slope(*slope, other, once, free)
    for other, part in pairs:
        rest = _minus_from_one(part, free)
        if rest is not None:
            return "one_minus_mul", (rest, other)
    for other, part in pairs:
        if part.operation in ("sub", "mul") and once(part):
            return "sub_mul" if part.operation == "sub" else "mul3", (*part.arguments, other)
    for other, part in pairs:
        if part.operation == "tanh" and once(part) and _match_function(part, once) is None:
            return "mul_tanh", (other, *part.arguments)
    return None


def _match(node: Node, once: _May, free: _May) -> tuple[str, tuple[Node, ...]]:
    """Return the instruction that makes a node.

    `once` says of a node that it is made here and nothing else reads it, `free` that it is made here: what costs
    nothing inside of an instruction may be made in several.
    """
    found: _Match = None
    if node.operation in ("sigmoid", "tanh"):
        found = _match_function(node, once)
    elif node.operation == "fma":
        found = _match_fma(node, once, free)
    elif node.operation == "mul":
        found = _match_product(node, once, free)
    elif node.operation == "sub" and _is_one(node.arguments[0]):
        found = "one_minus", (node.arguments[1],)
    elif node.operation == "add":
        for other, part in (node.arguments[::-1], node.arguments):
            if found is None and part.operation == "add" and once(part):
                found = "add3", (*part.arguments, other)
    return found or (node.operation, node.arguments)


def demanded(results: Iterable[Node], have: Collection[Node]) -> list[Node]:
    """Return what `results` are made of and has to be made, arguments first: no constants, nothing of `have`."""
    waiting = [node for node in results if node not in have and node.operation != "constant"]
    found = {node.number: node for node in waiting}
    while waiting:
        for argument in waiting.pop().arguments:
            if argument.number not in found and argument not in have and argument.operation != "constant":
                found[argument.number] = argument
                waiting.append(argument)
    return [found[number] for number in sorted(found)]


def select(results: Collection[Node], have: Collection[Node]) -> list[Selected]:
    """Return the instructions that make `results` of `have` and constants, each after those that it reads."""
    nodes = demanded(results, have)
    made = set(nodes)
    uses = dict.fromkeys(nodes, 0)
    for node in nodes:
        for argument in node.arguments:
            if argument in made:
                uses[argument] += 1
    wanted = made.intersection(results)
    is_result = frozenset(wanted)

    def free(node: Node) -> bool:
        return node in made

    def once(node: Node) -> bool:
        return uses.get(node) == 1 and node not in is_result

    selected = []
    for node in reversed(nodes):
        if node in wanted:
            operation, arguments = _match(node, once, free)
            wanted.update(argument for argument in arguments if argument in made)
            selected.append(Selected(node, operation, arguments))
    return selected[::-1]
