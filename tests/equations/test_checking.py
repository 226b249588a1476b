"""The check at definition: right gradients pass, wrong ones are refused in words that name gate and line."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hand_traced import Hand, gru, lstm, mut3
from random_equations import random_equations

from rnnkernels.equations import operations
from rnnkernels.equations.adjoint import derive
from rnnkernels.equations.checking import check
from rnnkernels.equations.graph import Graph
from rnnkernels.equations.lowering import lower
from rnnkernels.equations.simplify import simplified


def test_right_gradients_pass() -> None:
    for equations in (lstm(peepholes=True), gru(), mut3(), *map(random_equations, range(50))):
        check(equations)
        check(equations, lower(equations).backward)


def test_a_wrong_gradient_is_refused() -> None:
    equations = gru()
    backward = derive(simplified(equations))
    for wrong, name in (
        (replace(backward, inputs={**backward.inputs, "z": backward.inputs["r"]}), "x.z"),
        (replace(backward, states=(None,)), "h"),
        (replace(backward, products=({**backward.products[0], "n": None},)), "product 0, gate n"),
    ):
        with pytest.raises(
            ValueError, match=rf"^gru: gradient by {name}: expected .*, as the complex step has it, got"
        ):
            check(equations, wrong)


def test_what_is_fed_back_is_checked() -> None:
    backward = derive(simplified(mut3()))
    with pytest.raises(ValueError, match=r"^mut3: gradient by h: expected"):
        check(mut3(), replace(backward, fed_back={0: backward.states[0] or backward.fed_back[0]}))


def test_a_wrong_rule_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tanh = replace(operations.OPERATIONS["tanh"], derivative=operations.OPERATIONS["sigmoid"].derivative)
    broken = {**operations.OPERATIONS, "tanh": tanh}
    monkeypatch.setattr("rnnkernels.equations.adjoint.OPERATIONS", broken)
    with pytest.raises(ValueError, match="as the complex step has it"):
        check(gru())


def test_the_line_is_named() -> None:
    graph = Graph()
    h, x = graph.node("state", attribute=0), graph.node("input", attribute="a", line="cell.py:7")
    new = graph.node("mul", x, h)
    equations = replace(gru(), name="cell", gates=("a",), inputs=("a",), products=(), new=(new,), graph=graph)
    backward = derive(simplified(equations))
    with pytest.raises(ValueError, match=r"^cell: cell\.py:7: gradient by x\.a: expected"):
        check(equations, replace(backward, inputs={"a": None}))
    # -1 - x^2 has no logarithm anywhere.
    square = graph.node("sub", graph.constant(-1.0), graph.node("mul", x, x))
    nowhere = graph.node("log", square, line="cell.py:9")
    with pytest.raises(ValueError, match=r"^cell: cell\.py:9: expected finite values of log, got none at 8 points"):
        check(replace(equations, new=(nowhere,)))


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    """A choice keeps a NaN out of the value; its gradient is 0 times what is not finite all the same."""
    e = Hand()
    h, x = e.state(0), e.x("a")
    zero = e.number(0.0)
    new = e("where_gt", x, zero, e("sqrt", x), zero) + h
    with pytest.raises(ValueError, match=r"gradient by x\.a: expected 0, as the complex step has it, got nan"):
        check(e.equations("cell", ("h",), "a", {}, (new,)))
    safe = e("where_gt", x, zero, e("sqrt", e("maximum", x, e.number(1e-6))), zero) + h
    check(e.equations("cell", ("h",), "a", {}, (safe,)))


def test_points_where_a_function_is_not_defined_are_left_out() -> None:
    e = Hand()
    check(e.equations("cell", ("h",), "a", {}, (e("log", e.state(0)) * e.x("a"),)))
