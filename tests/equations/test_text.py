"""Equations as text, and back; a text that says something else is refused."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest

import rnnkernels as rk
from rnnkernels.equations.text import from_json, meaning, to_json
from rnnkernels.equations.tracing import trace
from rnnkernels.equations.values import PerStep


def everything(x: Any, h: Any, c: Any, w: Any, gamma: PerStep, *, top: float = math.inf, bottom: float = -0.0) -> Any:
    """Has one of each."""
    u = rk.product(h)
    v = rk.product(gamma * c)
    r = rk.sigmoid(x.r + u.r + w.r * c)
    n = rk.elu(x.n + rk.product(r * h).n + rk.direct(x))
    unread = r * 3.0  # noqa: F841
    return rk.clip(n, bottom, top), v.m * gamma + c


EQUATIONS = trace(everything, "everything", {"r": 1.0})
TEXT = to_json(EQUATIONS)


def test_a_text_is_the_equations() -> None:
    back = from_json(json.loads(json.dumps(TEXT)))
    assert to_json(back) == TEXT
    for field in ("name", "states", "gates", "inputs", "direct", "weights", "initial", "steps", "settings", "doc"):
        assert getattr(back, field) == getattr(EQUATIONS, field), field
    assert [(p.kind, p.gates) for p in back.products] == [(p.kind, p.gates) for p in EQUATIONS.products]
    assert {name for _, name in back.names} >= {"r", "n"}
    assert math.copysign(1.0, dict(back.settings)["bottom"]) == -1.0


def test_it_is_json_that_any_program_reads() -> None:
    json.dumps(TEXT, allow_nan=False)
    assert TEXT["settings"] == {"top": "inf", "bottom": -0.0}


def test_what_nothing_reads_is_left_out() -> None:
    assert len(TEXT["nodes"]) < len(EQUATIONS.graph.nodes)
    assert ["constant", [], 3.0] not in TEXT["nodes"]


def test_meaning_has_neither_names_nor_prose() -> None:
    def other(x: Any, h: Any) -> Any:
        """Of other words."""
        renamed = x.n + h
        return rk.tanh(renamed)

    def same(x: Any, h: Any) -> Any:
        return rk.tanh(x.n + h)

    def different(x: Any, h: Any) -> Any:
        return rk.tanh(h + x.n)

    assert meaning(trace(other, "a")) == meaning(trace(same, "b")) != meaning(trace(different, "a"))


def changed(**fields: Any) -> dict[str, Any]:
    return copy.deepcopy(TEXT) | fields


def with_node(k: int, node: Any) -> dict[str, Any]:
    text = copy.deepcopy(TEXT)
    text["nodes"][k] = node
    return text


NODES = TEXT["nodes"]
PRODUCT = next(k for k, node in enumerate(NODES) if node[0] == "product")
BAD: dict[str, tuple[Any, str]] = {
    "no dict": ([], "equations: expected a dict, as to_json makes it, got list"),
    "format": (changed(format=3), "equations: expected format 1 or 2, got 3"),
    "heads of the old format": (changed(heads=2), r"equations\['heads'\]: expected none in format 1, got 2"),
    "no heads": (changed(format=2), r"equations\['heads'\]: expected an integer of at least 2, got 1"),
    "missing": ({k: v for k, v in TEXT.items() if k != "new"}, "equations: expected .*; new missing"),
    "name": (changed(name="a b"), r"equations\['name'\]: expected a name as Python's functions have, got 'a b'"),
    "name's type": (changed(name=3), r"equations\['name'\]: expected a string, got 3"),
    "states": (changed(states=["h", "h"]), r"equations\['states'\]: expected different names"),
    "no state": (changed(states=[]), r"equations\['states'\]: expected 1 to 8, got 0"),
    "too few new": (changed(new=[0]), r"equations\['new'\]: expected 2 states, got 1"),
    "new of no node": (changed(new=[0, 10**6]), r"equations\['new'\]: expected the number of a node before it"),
    "new's type": (changed(new=["0", 0]), r"equations\['new'\]: expected the number of a node before it, got '0'"),
    "settings": (changed(settings={"top": "a"}), r"equations\[\"settings\['top'\]\"\]: expected a number, got 'a'"),
    "weights": (changed(weights={"r": 0.5}), r"equations\['weights'\]\['r'\]: expected 0, 1 or None, got 0.5"),
    "other weights": (changed(weights={"k": None}), r"equations\['weights'\]: expected r, got k"),
    "variables": (changed(variables={"r": -1}), r"equations\['variables'\]: expected the number of a node"),
    "operation": (with_node(-1, ["evil", [0], None]), r"equations\['nodes\[\d+\]'\]: expected an operation or a leaf"),
    "arity": (with_node(-1, ["add", [0], None]), r"equations\['nodes\[\d+\]'\]: expected 2 arguments of add"),
    "a node behind": (
        with_node(0, ["neg", [1], None]),
        r"equations\['nodes\[0\]'\]: expected the number of a node before",
    ),
    "constant": (with_node(0, ["constant", [], "nan"]), r"equations\['nodes'\]: expected a number, got 'nan'"),
    "huge": (with_node(0, ["constant", [], 10**400]), r"equations\['nodes'\]: expected a number"),
    "state": (with_node(0, ["state", [], 2]), r"equations\['nodes\[0\]'\]: expected an operation or a leaf"),
    "gate": (with_node(0, ["input", [], "a b"]), r"equations\['nodes\[0\]'\]: expected an operation or a leaf"),
    "product": (with_node(PRODUCT, ["product", [], [7, "r"]]), r"expected a product's number and a gate"),
    "products": (changed(products=[[0]]), r"equations\['nodes\[\d+\]'\]: expected a product's number and a gate"),
    "an unread product": (changed(products=[*TEXT["products"], [0]]), r"expected products whose gates are read"),
    "an unread state": (changed(new=[0, 0]), "is not used: no new state depends on it"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_text_that_says_something_else_is_refused(name: str) -> None:
    text, expected = BAD[name]
    with pytest.raises((TypeError, ValueError), match=expected):
        from_json(text)
