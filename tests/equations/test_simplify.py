"""Folding changes no bit; contraction keeps its promise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hand_traced import Hand, Term

from rnnkernels.equations.simplify import Builder, simplified

if TYPE_CHECKING:
    from rnnkernels.equations.graph import Node


def new_state(e: Hand, *terms: Term) -> Node:
    """Return a simplified cell's new h; what else `terms` are, are other states."""
    states = ("h", *(f"c{number}" for number in range(len(terms) - 1)))
    return simplified(e.equations("cell", states, "abcd", {"hidden": ((e.state(0),), "a")}, terms)).new[0]


def shown(node: Node) -> str:
    """Return a node as text: gates by their letters."""
    if not node.arguments:
        return f"{node.attribute}"
    return f"{node.operation}({', '.join(map(shown, node.arguments))})"


def test_contraction() -> None:
    e = Hand()
    a, b, c, d = (e.x(gate) for gate in "abcd")
    for term, expected in (
        (a * b + c, "fma(a, b, c)"),
        (c + a * b, "fma(a, b, c)"),
        (a * b + c * d, "fma(a, b, mul(c, d))"),
        (c - a * b, "fma(neg(a), b, c)"),
        (a * b - c, "fma(a, b, neg(c))"),
        (a * b - c * d, "fma(a, b, neg(mul(c, d)))"),
        (-(a * b) + c, "fma(neg(a), b, c)"),
        (c + (-a) * b, "fma(neg(a), b, c)"),
        (a * b + a * b, "add(mul(a, b), mul(a, b))"),
        (a + b, "add(a, b)"),
    ):
        assert shown(new_state(e, term)) == expected


def test_a_product_with_another_use_is_not_contracted() -> None:
    e = Hand()
    a, b, c, _ = (e.x(gate) for gate in "abcd")
    product = a * b
    assert shown(new_state(e, product + c, product)) == "add(mul(a, b), c)"
    assert shown(new_state(e, product + c, e.tanh(product))) == "add(mul(a, b), c)"


def test_folding() -> None:
    e = Hand()
    a, b, _, _ = (e.x(gate) for gate in "abcd")
    one, zero, two = e.number(1.0), e.number(0.0), e.number(2.0)
    for term, expected in (
        (a * one, "a"),
        (one * a, "a"),
        (a / one, "a"),
        (a / two, "div(a, 2.0)"),
        (a - zero, "a"),
        (a + zero, "add(a, 0.0)"),  # -0 + 0 is 0
        (zero - a, "sub(0.0, a)"),
        (e("neg", -a), "a"),
        (a + (-b), "sub(a, b)"),
        ((-a) + b, "sub(b, a)"),
        (a - (-b), "add(a, b)"),
        ((-a) * (-b), "mul(a, b)"),
        ((-a) * b, "neg(mul(a, b))"),
        (a * e.number(-1.0), "neg(a)"),
        (a + two * two, "add(a, 4.0)"),
        (e("minimum", a, e.number(math.inf)), "a"),
        (e("maximum", a, e.number(-math.inf)), "a"),
        (e("minimum", a, two), "minimum(a, 2.0)"),
        (e("where_gt", a, b, a, a), "a"),
        (e("where_gt", two, one, a, b), "a"),
        (e("where_eq", two, one, a, b), "b"),
    ):
        assert shown(new_state(e, term)) == expected


def test_numbers_keep_their_sign() -> None:
    e = Hand()
    folded = Builder(e.graph)("neg", e.number(0.0).node)
    assert math.copysign(1.0, Builder.value(folded)) == -1.0
    with pytest.raises(ValueError, match=r"node: expected a constant"):
        Builder.value(e.x("a").node)


def test_only_what_is_read_stays() -> None:
    e = Hand()
    a = e.x("a")
    e.tanh(a + a)
    assert len(simplified(e.equations("cell", ("h",), "a", {}, (a * a,))).graph.nodes) == 2
