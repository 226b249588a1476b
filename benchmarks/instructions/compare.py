"""Counts of instructions against the expected ones. Nothing here builds or runs anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_RISE = 0.02  # below it are reorderings that the compiler makes of an unrelated change


def table(expected: Mapping[str, int], counts: Mapping[str, int]) -> list[str]:
    """The lines to print: kernel, expected, now, change."""
    lines = [f"{'kernel':44} {'expected':>12} {'now':>12} {'change':>9}"]
    for kernel in {**counts, **expected}:  # the order of counts, then what is gone
        before, now = expected.get(kernel), counts.get(kernel)
        change = f"{now / before - 1:+9.2%}" if before and now else f"{'gone' if before else 'new':>9}"
        lines.append(f"{kernel:44} {_number(before)} {_number(now)} {change}")
    return lines


def faults(expected: Mapping[str, int], counts: Mapping[str, int]) -> list[str]:
    """What must be looked at: a count that rose, and kernels that only one side has."""
    found = [
        f"{kernel}: {counts[kernel] / before - 1:+.2%} instructions, allowed {MOST_RISE:+.0%}"
        for kernel, before in expected.items()
        if kernel in counts and counts[kernel] > before * (1 + MOST_RISE)
    ]
    found += [f"{kernel}: is not in expected.json" for kernel in counts if kernel not in expected]
    found += [f"{kernel}: is in expected.json only" for kernel in expected if kernel not in counts]
    return found


def _number(count: int | None) -> str:
    return f"{'-' if count is None else format(count, ','):>12}"
