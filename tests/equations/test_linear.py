"""The linear cell of a cell against the complex step, and the cut that finds its coefficients."""
# mypy: allow-untyped-defs, allow-untyped-calls
# The equations are written as a user writes them.

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hand_traced import gru, lstm, mut1, mut2, mut3
from random_equations import FORMS, random_equations, random_leaves

import rnnkernels as rk
from rnnkernels.equations import builtin
from rnnkernels.equations.cutting import smallest_cut
from rnnkernels.equations.evaluating import evaluate
from rnnkernels.equations.graph import Graph
from rnnkernels.equations.linear import AT_REST, linear
from rnnkernels.equations.lowering import lower
from rnnkernels.equations.simplify import simplified
from rnnkernels.equations.tracing import trace
from rnnkernels.equations.zoned import zoned

if TYPE_CHECKING:
    from random_equations import Points

    from rnnkernels.equations.graph import Equations, Node
    from rnnkernels.equations.linear import Linear

STEP = 1e-30


def built_in(name: str, cell_clip: float | None = None) -> Equations:
    found = builtin.equations_of(name, cell_clip)
    assert found is not None
    return found


def weights_and_steps(x, h, c, w, gamma: rk.PerStep):  # type: ignore[no-untyped-def]
    """Two products, with everything that a tangent at rest can come from."""
    u = rk.product(gamma * h)
    i = rk.sigmoid(x.i + u.i + w.i * c)
    d = gamma * c + i * rk.tanh(rk.product(i * h).g + w.g * rk.direct(x))
    return i * rk.tanh(d), d


def has_linear(equations: Equations) -> bool:
    try:
        linear(equations)
    except ValueError:
        return False
    return True


CELLS = {
    "gru_reset_before": built_in("gru_reset_before"),
    "lstm_fgr": built_in("lstm_fgr", 0.3),
    "mgu zoned": zoned(built_in("mgu"), (0.3,)),
    "weights_and_steps": trace(weights_and_steps, "weights_and_steps"),
    **{each.name: each for each in (gru(), lstm(peepholes=True), mut1(), mut2(), mut3())},
}
RANDOM = [random_equations(seed) for seed in range(20 * len(FORMS))]
SERVED = list(filter(has_linear, RANDOM))


def test_which_cells_have_one() -> None:
    """All forms have; what multiplies tangents may be too much, and a product of x alone has no tangent."""
    assert len(SERVED) > len(RANDOM) // 4
    assert {int(each.name.removeprefix("random_")) % len(FORMS) for each in SERVED} == set(range(len(FORMS)))
    many = trace(
        lambda x, h: rk.tanh(sum(getattr(x, f"g{k}") * getattr(rk.product(h), f"g{k}") for k in range(12))), "m"
    )
    with pytest.raises(ValueError, match=r"^m: expected at most 10 values that tangents .*, got 14$"):
        linear(many)
    alone = trace(lambda x, h: h + rk.product(rk.tanh(x.a)).b, "alone")
    with pytest.raises(ValueError, match=r"^alone: expected products of what the states make$"):
        linear(alone)


def test_names_and_places() -> None:
    of = linear(CELLS["gru_reset_before"])
    assert of.equations.name == "gru_reset_before linear'"
    assert of.equations.states == ("h'",)
    assert of.equations.steps == ("a 0", "a 1", "a 2", "a 3")
    assert of.equations.gates == ("r", "z", "n", "b 0")
    assert of.equations.inputs == ("b 0",)
    assert [(product.kind, product.gates) for product in of.equations.products] == [
        ("hidden", ("r", "z")),
        ("gated", ("n",)),
    ]
    assert [node.operation for node in of.coefficients] == ["state", "sigmoid", "sigmoid", "tanh"]
    assert [node.operation for node in of.shown] == ["sigmoid", "sigmoid", "tanh"]
    assert of.showing is not None
    assert of.showing.states == ("h", "shown 0", "shown 1", "shown 2")
    few = linear(built_in("mgu"))
    assert few.equations.steps == ("a 0", "a 1", "a 2", "b 0")
    assert few.equations.inputs == ("none",)


def test_what_x_feeds() -> None:
    """By the cell's own weights, and what finds no room as an input of every step behind them."""
    of = linear(CELLS["gru_reset_before"])
    assert of.fed is not None
    assert of.fed.name == "gru_reset_before fed'"
    assert of.fed.inputs == of.fed.gates == ("r", "z", "n")
    assert of.fed.steps == ("a 0", "a 1", "a 2", "a 3")
    wider = linear(CELLS["lstm_fgr"]).fed
    assert wider is not None
    assert wider.gates == (*built_in("lstm_fgr").gates, "a 4")
    assert wider.inputs == ("i", "f", "g", "o", "a 4")
    assert linear(built_in("mut1")).fed is None  # tanh of x itself is a fifth
    assert linear(CELLS["weights_and_steps"]).fed is None


def test_elementwise_weights_stay_weights() -> None:
    of = linear(CELLS["lstm_fgr"])
    assert of.equations.weights == ("i", "f", "o")
    assert not [node for node in of.coefficients if node.operation == "weight"]


@pytest.mark.parametrize("equations", [*CELLS.values(), *SERVED], ids=lambda each: each.name)
def test_a_step(equations: Equations) -> None:
    """Tangents of the new states and of what products multiply: those of the complex step."""
    points, at_rest, along = (random_leaves(equations, seed) for seed in (0, 1, 2))
    state = {leaf for leaf in points if leaf[0] == "state"}
    tangents = {leaf: along[leaf] if leaf in state else at_rest[leaf] for leaf in points}
    of = linear(equations)
    moved = {gate: product for product in of.equations.products for gate in product.gates}
    for leaf in points:
        if leaf[0] == "product" and isinstance(leaf[1], tuple) and leaf[1][1] in moved:
            tangents[leaf] = at_rest[leaf] + along[leaf]
    stepped: Points = {leaf: value + 1j * STEP * tangents[leaf] for leaf, value in points.items()}
    new, operands = of.cell.new, [operand for product in of.cell.products for operand in product.operands]
    right = [np.imag(value) / STEP for value in evaluate((*new, *operands), stepped)]

    found = evaluate((*of.equations.new, *_operands(of.equations)), leaves_of_linear(of, points, at_rest, along))
    rest = evaluate([pair[1] for vectors in of.operands for pair in vectors], leaves_of_graph(points, at_rest))
    for one, other in zip(found[: len(new)], right, strict=False):
        close(one, other)
    for one, other, wanted in zip(found[len(new) :], rest, right[len(new) :], strict=True):
        close(one + other, wanted)


def leaves_of_graph(points: Points, at_rest: Points) -> Points:
    return points | {(kind, (AT_REST, attribute)): value for (kind, attribute), value in at_rest.items()}


def leaves_of_linear(of: Linear, points: Points, at_rest: Points, along: Points) -> Points:
    """Return the leaves of a linear cell: its coefficients, what is added, and the tangents of the states."""
    read = (*of.coefficients, *of.added)
    names = (*of.equations.steps, *of.equations.inputs)
    kinds = ["step"] * len(of.equations.steps) + ["input"] * len(of.equations.inputs)
    values = [np.asarray(value) for value in evaluate(read, leaves_of_graph(points, at_rest))]
    values += [np.zeros(())] * (len(names) - len(read))
    found: Points = dict(zip(zip(kinds, names, strict=True), values, strict=True))
    kept = ("state", "product", "weight")
    moving = {leaf: (points if leaf[0] == "weight" else along)[leaf] for leaf in points if leaf[0] in kept}
    return found | moving


def _operands(equations: Equations) -> list[Node]:
    return [operand for product in equations.products for operand in product.operands]


def close(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one + 0 * other, other, rtol=1e-9, atol=1e-11 * (1 + np.abs(other).max()))


@pytest.mark.parametrize("name", CELLS)
def test_a_linear_cell_is_its_own(name: str) -> None:
    of = linear(replace(CELLS[name], name="first"))
    again = linear(of.equations)
    assert again.equations is of.equations
    assert len(again.coefficients) == len(of.coefficients)
    assert len(again.added) == len(of.added)


@pytest.mark.parametrize("equations", [*CELLS.values(), *SERVED], ids=lambda each: each.name)
def test_the_kernels_take_it(equations: Equations) -> None:
    """Of random cells a few keep more than there is room for."""
    made = linear(equations).equations
    if equations in CELLS.values():
        lower(made)
        return
    with contextlib.suppress(ValueError):
        lower(made)


def test_a_cut_is_the_smallest_that_leaves_least_to_be_made() -> None:
    graph = Graph()
    node = graph.node
    a, b, w = node("input", attribute="a"), node("input", attribute="b"), node("weight", attribute="w")
    both = node("add", node("mul", a, w), b)
    ends = [node("sigmoid", both), node("tanh", both)]
    at_hand = {w, graph.constant(1.0)}.__contains__
    assert smallest_cut(ends, at_hand) == (both,)
    assert smallest_cut([*ends, a], at_hand) == (a, both)
    assert smallest_cut([ends[0], node("sub", ends[0], graph.constant(1.0))], at_hand) == (ends[0],)
    assert smallest_cut([w], at_hand) == ()
    assert smallest_cut(ends, lambda each: each is b or at_hand(each)) == (both,)
    assert smallest_cut([*ends, node("neg", a)], lambda each: each is both or at_hand(each)) == (node("neg", a),)


def test_states_that_keep_a_part_of_themselves() -> None:
    equations = simplified(built_in("lstm"))
    points = random_leaves(equations, 0)
    mixed = zoned(equations, (0.25, 0.0))
    assert mixed.name == "lstm(keeping (0.25, 0.0))"
    h, c = evaluate(mixed.new, points)
    plain_h, plain_c = evaluate(equations.new, points)
    np.testing.assert_allclose(h, 0.25 * points["state", 0] + 0.75 * plain_h, rtol=1e-15)
    np.testing.assert_array_equal(c, plain_c)
    assert zoned(equations, (0.0, 0.0)) is equations
