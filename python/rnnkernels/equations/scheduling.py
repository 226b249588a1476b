"""In which order a phase's instructions run, where their values stand, and in how many registers.

Values go straight to where a phase has to leave them, and are read there again. Two of these places may be one memory,
a state before and after the step, and so its gradients: the former is read for the last time before the latter is
written, by the same instruction at the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .program import Instruction, Program

if TYPE_CHECKING:
    from .graph import Node
    from .program import Operand
    from .selecting import Selected

_SAME_MEMORY = {"new": "state", "d_state": "d_new"}


@dataclass(eq=False)
class _Item:
    """An instruction before it has its place; it is also the name of its value."""

    operation: str
    sources: tuple[Operand | _Item, ...]
    out: Operand | None = None  # None: a register

    def values(self) -> set[_Item]:
        """Return those of its sources that other instructions make."""
        return {source for source in self.sources if isinstance(source, _Item)}


def _memory(operand: Operand) -> Operand:
    return _SAME_MEMORY.get(operand[0], operand[0]), operand[1]


def _make_items(
    selected: Iterable[Selected],
    results: Iterable[tuple[Operand, Node]],
    have: Mapping[Node, Operand],
    constant: Callable[[Node], Operand],
) -> list[_Item]:
    made: dict[Node, _Item] = {}

    def source(node: Node) -> Operand | _Item:
        if node in made:
            return made[node]
        return constant(node) if node.operation == "constant" else have[node]

    for node, operation, arguments in selected:
        made[node] = _Item(operation, tuple(source(argument) for argument in arguments))
    items = list(made.values())
    for operand, node in results:
        item = made.get(node)
        if item is not None and item.out is None:
            item.out = operand
        else:
            items.append(_Item("copy", (source(node),), operand))
    return items


def _order(items: list[_Item]) -> list[_Item]:
    """Return the instructions in an order that may run and holds few values at a time."""
    waiting = list(items)
    done: set[_Item] = set()
    order: list[_Item] = []

    def readers(item: _Item) -> list[_Item]:
        return [other for other in waiting if item in other.sources]

    def overwrites(item: _Item) -> bool:
        """Whether an instruction writes what another has still to read."""
        if item.out is None:
            return False
        memory = _memory(item.out)
        return any(
            _memory(source) == memory
            for other in waiting
            if other is not item
            for source in other.sources
            if not isinstance(source, _Item)
        )

    def registers(item: _Item) -> int:
        """Return how many registers more are held after an instruction than before."""
        freed = sum(value.out is None and readers(value) == [item] for value in item.values())
        return (item.out is None) - freed

    while waiting:
        ready = [item for item in waiting if item.values() <= done]
        free = [item for item in ready if not overwrites(item)]
        if free:
            item = min(free, key=registers)  # the first of those that are equal
        else:
            # All write what others have to read: one value waits in a register.
            item = ready[0]
            waiting.append(_Item("copy", (item,), item.out))
            item.out = None
        waiting.remove(item)
        done.add(item)
        order.append(item)
    return order


def schedule(
    selected: Iterable[Selected],
    results: Iterable[tuple[Operand, Node]],
    have: Mapping[Node, Operand],
    constant: Callable[[Node], Operand],
) -> Program:
    """Return the program of a phase.

    Parameters
    ----------
    selected
        What is made, each after what it reads.
    results
        Where each result is left, and its node.
    have
        Where the phase finds what it does not make.
    constant
        Where a number stands.
    """
    order = _order(_make_items(selected, results, have, constant))
    last = {source: item for item in order for source in item.values()}
    place: dict[_Item, Operand] = {}
    free: list[int] = []
    count = 0
    instructions = []
    for item in order:
        inputs = tuple(place[source] if isinstance(source, _Item) else source for source in item.sources)
        # An instruction may write what it reads last.
        free += [place[source][1] for source in item.values() if last[source] is item and source.out is None]
        out = item.out
        if out is None:
            free.sort(reverse=True)
            if not free:
                free.append(count)
                count += 1
            out = ("register", free.pop())
        place[item] = out
        instructions.append(Instruction(item.operation, out, inputs))
    return Program(count, tuple(instructions))
