"""Arguments that no function takes, and the tests that each is refused by its name: one table, a row for each function.

A row is a call that runs. Each of its arguments is replaced by each of `BAD`, and the call has to raise a ValueError or
a TypeError that begins with the argument's name. Left out, by name, is what an argument may be: `legal`.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Test = Callable[..., None]

BAD: dict[str, Any] = {
    "none": None,
    "text": "nonsense",
    "array": np.array([True, False]),  # of which no truth can be told
    "ragged": [[1], [2, 3]],
    "huge": 10**400,  # no float, and in no integer of 64 bits
    "negative": -1,
    "nan": float("nan"),
    "class": int,
    "objects": np.array([None, {}], dtype=object),
}

# What some argument may be: a call does its work with it, or refuses it as it does the others.
ODD: dict[str, Any] = {
    "empty": "",
    "bytes": b"x",
    "endless": 10**5000,  # of which Python makes no text
    "fraction": 1.5,
    "flag": True,
    "block": np.ones((2, 3)),
}

RAN = ": ran"
LONGEST = 600  # characters of an error: a list of cells, and little more


class Row(NamedTuple):
    """A function, and a call of it that runs."""

    name: str
    call: Callable[..., Any]
    good: dict[str, Any]
    legal: Mapping[str, str] = {}  # argument → the names of the values in BAD that it may be

    @property
    def tried(self) -> dict[str, list[str]]:
        """The arguments, and the values that each is replaced by."""
        return {a: [bad for bad in BAD if bad not in self.legal.get(a, "").split()] for a in self.good}


def row(name: str, call: Callable[..., Any], legal: Mapping[str, str] | None = None, /, **good: Any) -> Row:
    """Return a row; `good` are the arguments, by name."""
    return Row(name, call, good, legal or {})


def cases(rows: Iterable[Row]) -> list[Any]:
    """Return a table's rows and arguments, for pytest."""
    return [pytest.param(each, a, id=f"{each.name}-{a}") for each in rows for a in each.good]


def bad_argument_tests(
    rows: Sequence[Row], unlisted: frozenset[str] | set[str] = frozenset()
) -> tuple[Test, Test, Test]:
    """Return a table's tests, for pytest: that its calls run, that no bad argument passes, what an odd one does."""

    @pytest.mark.parametrize("each", rows, ids=lambda each: each.name)
    def runs(each: Row) -> None:
        check_runs(each, unlisted)

    @pytest.mark.parametrize(("each", "argument"), cases(rows))
    def bad(each: Row, argument: str) -> None:
        check_named(each, argument)

    @pytest.mark.parametrize(("each", "argument"), cases(rows))
    def odd(each: Row, argument: str) -> None:
        check_named_or_runs(each, argument)

    return runs, bad, odd


def check_runs(each: Row, unlisted: frozenset[str] | set[str] = frozenset()) -> None:
    """Check that a row's own call runs, and that it names every argument that the function has, but for `unlisted`."""
    parameters = inspect.signature(each.call).parameters
    named = {name for name, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)} - unlisted
    assert named == set(each.good) & named, f"{each.name}: no row for {named - set(each.good)}"
    assert not set(each.legal) - set(each.good)
    run(each.call(**each.good))


def check_named(each: Row, argument: str) -> None:
    """Check that every bad value of an argument is refused by its name."""
    faults = [fault for bad in each.tried[argument] if (fault := refusal(each, argument, bad))]
    assert not faults, "\n".join(faults)


def check_named_or_runs(each: Row, argument: str) -> None:
    """Check that every odd value of an argument is refused by its name, or taken."""
    faults = [fault for odd in ODD if (fault := refusal(each, argument, odd)) and not fault.endswith(RAN)]
    assert not faults, "\n".join(faults)


def refusal(each: Row, argument: str, bad: str) -> str | None:
    """Return what is wrong with how a bad value is refused; None where nothing is."""
    what = f"{each.name}({argument}={bad})"
    try:
        run(each.call(**(each.good | {argument: (BAD | ODD)[bad]})))
    except (TypeError, ValueError) as error:
        if re.match(rf"{re.escape(argument)}\b", str(error)) and len(str(error)) <= LONGEST:
            return None
        return f"{what}: {type(error).__name__}: {str(error)[:200]}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is another one than promised
        return f"{what}: {type(error).__name__}: {str(error)[:200]}"
    return f"{what}{RAN}"


def run(result: Any) -> None:
    """Ask a generator for its first result."""
    if inspect.isgenerator(result):
        next(result, None)
