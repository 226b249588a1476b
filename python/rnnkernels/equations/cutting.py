"""A smallest set of values that others are made of: a cut of a graph, by the largest flow.

Not here: which values are wanted, and what the set is for (`linear`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from .evaluating import reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .graph import Node

_Side: TypeAlias = "tuple[int, int]"  # a node's number, and 0 where values enter it, 1 where they leave

_FROM, _TO = (-1, 0), (-1, 1)
_ANY = 1 << 30


def smallest_cut(wanted: Iterable[Node], at_hand: Callable[[Node], bool]) -> tuple[Node, ...]:
    """Return as few values as can be of which, with those that are at hand, all of `wanted` are made.

    Of several such sets it is the one that leaves the least to be made.

    Parameters
    ----------
    wanted
        Of one graph.
    at_hand
        Whether a value need not be in the set.

    Returns
    -------
    tuple of Node
        In the order of the graph.
    """
    wanted = list(wanted)
    nodes = reached(wanted)
    room: dict[_Side, dict[_Side, int]] = {_FROM: {}, _TO: {}}  # from a side to those behind it: what may still flow

    def join(one: _Side, other: _Side, most: int) -> None:
        room.setdefault(one, {})[other] = most
        room.setdefault(other, {}).setdefault(one, 0)

    for node in nodes:
        if at_hand(node):
            join((node.number, 0), (node.number, 1), 0)
            continue
        join((node.number, 0), (node.number, 1), 1)
        for argument in node.arguments:
            join((argument.number, 1), (node.number, 0), _ANY)
        if not node.arguments:
            join(_FROM, (node.number, 0), _ANY)
    for node in wanted:
        join((node.number, 1), _TO, _ANY)

    while (path := _path(room)) is not None:
        for one, other in path:
            room[one][other] -= 1
            room[other][one] += 1
    behind = _reaches(room)
    return tuple(
        node for node in nodes if not at_hand(node) and (node.number, 1) in behind and (node.number, 0) not in behind
    )


def _path(room: dict[_Side, dict[_Side, int]]) -> list[tuple[_Side, _Side]] | None:
    """Return the steps of a shortest way on which something may still flow; every way is one of a single unit."""
    came = {_FROM: _FROM}
    waiting = deque([_FROM])
    while waiting:
        side = waiting.popleft()
        for other, most in room[side].items():
            if most > 0 and other not in came:
                came[other] = side
                waiting.append(other)
    if _TO not in came:
        return None
    path, side = [], _TO
    while side != _FROM:
        path.append((came[side], side))
        side = came[side]
    return path


def _reaches(room: dict[_Side, dict[_Side, int]]) -> set[_Side]:
    """Return the sides from which something may still flow to the end."""
    found = {_TO}
    waiting = deque([_TO])
    while waiting:
        side = waiting.popleft()
        for other in room[side]:
            if other not in found and room[other][side] > 0:
                found.add(other)
                waiting.append(other)
    return found
