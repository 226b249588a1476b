"""A cell's function is called once; what it did is its equations."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from cell_functions import FUNCTIONS

import rnnkernels as rk
from rnnkernels.equations import composites, functions
from rnnkernels.equations.adjoint import derive
from rnnkernels.equations.evaluating import evaluate
from rnnkernels.equations.refusing import NAMES
from rnnkernels.equations.simplify import simplified
from rnnkernels.equations.tracing import trace
from rnnkernels.equations.values import PerStep

ANY = np.array([-90.0, -3.0, -1.0, -0.5, 0.0, 0.25, 1.0, 2.5, 90.0])


def lstm_p(x: Any, h: Any, c: Any, w: Any) -> Any:
    """LSTM with peepholes."""
    u = rk.product(h)
    i = rk.sigmoid(x.i + u.i + w.i * c)
    f = rk.sigmoid(x.f + u.f + w.f * c)
    g = rk.tanh(x.g + u.g)
    d = f * c + i * g
    o = rk.sigmoid(x.o + u.o + w.o * d)
    return o * rk.tanh(d), d


def gru_d(x: Any, h: Any, gamma: PerStep, *, low: float = -math.inf) -> Any:
    k = gamma * h
    u = rk.product(k)
    z, r = rk.sigmoid(x.z + u.z), rk.sigmoid(x.r + u.r)
    v = rk.product(r * k)
    n = rk.tanh(x.n + v.n)
    return rk.maximum(n + z * (k - n), low)


def test_names_and_their_order() -> None:
    cell = trace(lstm_p, "lstm_p", {"f": 0.0})
    assert (cell.name, cell.states, cell.steps, cell.direct) == ("lstm_p", ("h", "c"), (), False)
    assert cell.gates == cell.inputs == cell.rows == ("i", "f", "g", "o")
    assert (cell.weights, cell.initial) == (("i", "f", "o"), (None, 0.0, None))
    assert [(product.kind, product.gates) for product in cell.products] == [("hidden", cell.gates)]
    assert cell.doc == "LSTM with peepholes."
    assert {name for _, name in cell.names} >= {"i", "f", "g", "d", "o"}


def test_gates_stand_in_the_order_of_their_first_appearance() -> None:
    def cell(x: Any, h: Any) -> Any:
        u = rk.product(h)
        a, b = x.a, u.b
        return a * u.a + b * rk.direct(x) * x.c

    traced = trace(cell, "cell")
    assert (traced.gates, traced.inputs, traced.rows) == (("a", "b", "c"), ("a", "c"), ("a", "b"))
    assert traced.direct
    assert traced.products[0].gates == ("a", "b")  # though u.b was asked for first


def test_two_products_and_an_input_of_every_step() -> None:
    cell = trace(gru_d, "gru_d")
    assert [(product.kind, product.gates) for product in cell.products] == [("feedback", ("z", "r")), ("gated", ("n",))]
    assert cell.steps == ("gamma",)
    assert cell.settings == (("low", -math.inf),)
    assert trace(gru_d, "gru_d", settings={"low": -1.0}).settings == (("low", -1.0),)


def test_several_vectors_have_weights_of_their_own() -> None:
    def cell(x: Any, h: Any, a: Any, b: Any) -> Any:
        u, v = rk.product(h), rk.product(a, b * 2.0)
        return rk.tanh(x.n + u.n + v.m), u.n, v.m

    traced = trace(cell, "cell")
    assert [(product.kind, len(product.operands)) for product in traced.products] == [("hidden", 1), ("feedback", 2)]
    assert (traced.gates, traced.rows) == (("n", "m"), ("n",))


def test_annotations_may_be_texts() -> None:
    for text in ("PerStep", "rk.PerStep", "rnnkernels.PerStep"):

        def cell(x: Any, h: Any, decay: Any) -> Any:
            return decay * h + x.n

        cell.__annotations__["decay"] = text
        assert trace(cell, "cell").steps == ("decay",)


def test_equal_subexpressions_are_one_node() -> None:
    def cell(x: Any, h: Any) -> Any:
        return rk.tanh(x.n + h) * rk.tanh(x.n + h) + rk.product(h).n * rk.product(h).n

    operations = [node.operation for node in trace(cell, "cell").graph.nodes]
    assert operations.count("tanh") == operations.count("product") == 1


def test_the_same_product_twice_is_one() -> None:
    def cell(x: Any, h: Any) -> Any:
        return rk.product(h).a * x.a + rk.product(h).b

    assert [product.gates for product in trace(cell, "cell").products] == [("a", "b")]


def test_nodes_know_their_lines() -> None:
    cell = trace(lstm_p, "lstm_p")
    begin = lstm_p.__code__.co_firstlineno
    (tanh, _) = [node for node in cell.graph.nodes if node.operation == "tanh"]
    assert tanh.line == f"test_tracing.py:{begin + 5}"
    again: Any = copy.deepcopy(tanh.line)
    assert (again, again.number, again.source) == (tanh.line, begin + 5, "g = rk.tanh(x.g + u.g)")


def test_helpers_loops_and_lists_are_pythons() -> None:
    def gate(x: Any, u: Any, name: str) -> Any:
        return rk.sigmoid(getattr(x, name) + getattr(u, name))

    def cell(x: Any, h: Any) -> Any:
        u = rk.product(h)
        return sum(gate(x, u, name) * 0.5**k for k, name in enumerate("abc"))

    traced = trace(cell, "cell")
    assert traced.gates == ("a", "b", "c")
    assert [node.operation for node in traced.graph.nodes].count("add") == 5  # none of sum's 0


def test_numbers_of_numpy_stand_on_either_side() -> None:
    def cell(x: Any, h: Any) -> Any:
        return np.float64(2.0) * x.n - h / np.float32(4.0) + np.array(0.5)

    numbers = [node.attribute for node in trace(cell, "cell").graph.nodes if node.operation == "constant"]
    assert numbers == [2.0, 4.0, 0.5]


def value_of(function: Any, x: Any) -> Any:
    """What a function of one value gives."""

    def cell(x: Any, h: Any) -> Any:
        return function(x.n)

    traced = trace(cell, "cell")
    (result,) = evaluate(traced.new, {("input", "n"): x})
    return result


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_compute_what_they_say(name: str) -> None:
    function, expected = FUNCTIONS[name]
    np.testing.assert_allclose(value_of(function, ANY), expected(ANY), rtol=1e-14, atol=1e-15)


def slope_of(function: Any, x: float) -> float:
    """The derived slope of a function of one value."""

    def cell(x: Any, h: Any) -> Any:
        return function(x.n)

    simple = simplified(trace(cell, "cell"))
    gradient = derive(simple).inputs["n"]
    assert gradient is not None
    (result,) = evaluate([gradient], {("input", "n"): np.array(x), ("d_new", 0): np.array(1.0)})
    return float(result)


@pytest.mark.parametrize(
    ("name", "function", "at", "expected"),
    [
        ("relu", rk.relu, 0.0, 0.0),
        ("abs", rk.abs, 0.0, 0.0),
        ("hard_sigmoid, below", rk.hard_sigmoid, -3.0, 0.0),
        ("hard_sigmoid, above", lambda x: rk.hard_sigmoid(x, slope=0.25, offset=0.5), 2.0, 0.0),
        ("hard_sigmoid, between", rk.hard_sigmoid, 0.0, 1.0 / 6.0),
        ("clip, below", lambda x: rk.clip(x, -1.0, 2.0), -1.0, 0.0),
        ("clip, above", lambda x: rk.clip(x, -1.0, 2.0), 2.0, 0.0),
        ("elu", lambda x: rk.elu(x, 0.5), 0.0, 0.5),
        ("elu, far above", rk.elu, 1000.0, 1.0),
        ("elu, far below", rk.elu, -1000.0, 0.0),
        ("softplus, far above", rk.softplus, 1000.0, 1.0),
        ("softplus, far below", rk.softplus, -1000.0, 0.0),
        ("silu, far above", rk.silu, 1000.0, 1.0),
        ("gelu, far above", rk.gelu, 1000.0, 1.0),
        ("gelu by tanh, far above", lambda x: rk.gelu(x, "tanh"), 1000.0, 1.0),
    ],
)
def test_slopes_at_kinks_and_far_out(name: str, function: Any, at: float, expected: float) -> None:
    assert slope_of(function, at) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (lambda x: x < 1.0, 0.0),
        (lambda x: x >= 1.0, 0.0),
        (lambda x: x == x, 0.0),  # noqa: PLR0124
        (lambda x: x != x, 1.0),  # noqa: PLR0124
        (lambda x: ~(x < 1.0), 1.0),
        (lambda x: (x < 1.0) | (x != 1.0), 1.0),
    ],
)
def test_comparisons_with_nan_are_false(condition: Any, expected: float) -> None:
    assert value_of(lambda x: rk.where(condition(x), 1.0, 0.0), np.array([np.nan])) == expected


def test_the_names_that_errors_advise_are_functions() -> None:
    assert {*functions.__all__, *composites.__all__} - {"product", "direct"} == NAMES
