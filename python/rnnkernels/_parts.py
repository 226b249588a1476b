"""Calls in two parts, what stands before a backend's call and what stands behind it, so that others' calls fit between.

A function in parts is a generator: it checks and arranges its arguments, yields the backend's call, is sent its results
and returns what it makes of them. `at_once` runs one as any other function. `side_by_side` arranges several, makes
their calls with nothing between them, which a GPU can put into streams of their own (`cuda.calls.together`), and then
has each make of its results what it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from . import _serve

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

# Parts[T]: of a function that returns a T.
Parts = Generator[Callable[[], Any], Any, T]

__all__ = ["Parts", "at_once", "side_by_side"]


def at_once(parts: Parts[T]) -> T:
    """Run a function in parts; one that needs no call has none."""
    try:
        call = next(parts)
    except StopIteration as end:
        value: T = end.value
        return value
    return at_end(parts, call())


def side_by_side(x: Any, functions: Sequence[Parts[T]]) -> list[T]:
    """Run functions in parts, each of which has a call, with their calls together where a GPU serves `x`."""
    calls = [next(parts) for parts in functions]
    with _serve.together(x):
        results = [call() for call in calls]
    return [at_end(parts, found) for parts, found in zip(functions, results, strict=True)]


def at_end(parts: Parts[T], results: Any) -> T:
    """Return what a function makes of its call's results."""
    try:
        parts.send(results)
    except StopIteration as end:
        value: T = end.value
        return value
    raise RuntimeError("parts: expected one call, got more")
