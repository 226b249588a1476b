"""Which brackets of a text have no partner, whatever a bracket is in its language. No language is known here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["Bracket", "lines_unmatched"]


class Bracket(NamedTuple):
    """A bracket of a text."""

    line: int
    kind: str  # the same for both partners
    opens: bool


def lines_unmatched(brackets: Iterable[Bracket], strengths: Mapping[str, int]) -> set[int]:
    """Return the lines on which a bracket has no partner.

    A closing bracket takes the nearest open one of its kind. It passes over open ones that are weaker, which then have
    no partner, and never over others: so a brace that is missing spoils a few lines, not all that follow.

    Parameters
    ----------
    brackets : iterable of Bracket
        In the order of the text.
    strengths : mapping of str to int
        Of each kind.
    """
    lines: set[int] = set()
    opened: list[Bracket] = []
    for bracket in brackets:
        if bracket.opens:
            opened.append(bracket)
            continue
        at = len(opened) - 1
        while at >= 0 and strengths[opened[at].kind] < strengths[bracket.kind]:
            at -= 1
        if at < 0 or opened[at].kind != bracket.kind:
            lines.add(bracket.line)
            continue
        lines.update(each.line for each in opened[at + 1 :])
        del opened[at:]
    return lines | {each.line for each in opened}
