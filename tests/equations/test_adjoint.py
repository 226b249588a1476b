"""Derived gradients against the complex step in float64: of every operation, of random equations, and once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pytest
from random_equations import FORMS, Points, random_equations, random_leaves

from rnnkernels.equations.adjoint import d_new, d_operand, derive, differentiate
from rnnkernels.equations.evaluating import evaluate
from rnnkernels.equations.graph import Graph, Node
from rnnkernels.equations.operations import OPERATIONS
from rnnkernels.equations.simplify import Builder, simplified

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rnnkernels.equations.adjoint import Backward
    from rnnkernels.equations.graph import Attribute, Equations
    from rnnkernels.equations.operations import Array

Leaf: TypeAlias = "tuple[str, Attribute]"
STEP = 1e-30


def complex_step(outputs: Sequence[Node], leaves: Points, leaf: Leaf) -> list[Array]:
    """Return the derivatives of outputs by one leaf."""
    return [value.imag / STEP for value in evaluate(outputs, {**leaves, leaf: leaves[leaf] + 1j * STEP})]


def close(got: Array, expected: Array, message: str) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11 * (1 + np.abs(expected).max()), err_msg=message)


@pytest.mark.parametrize("name", OPERATIONS)
def test_derivatives_of_every_operation(name: str) -> None:
    graph = Graph()
    arguments = [graph.node("weight", attribute=place) for place in range(OPERATIONS[name].arity)]
    node, d = graph.node(name, *arguments), graph.node("d_new", attribute=0)
    draw = np.random.default_rng(0)
    leaves: Points = {("d_new", 0): draw.normal(size=20)}
    leaves.update({("weight", place): draw.uniform(0.1, 2, 20) for place in range(len(arguments))})
    if name not in ("log", "sqrt"):
        leaves["weight", 0] *= draw.choice([-1, 1], 20)
    if name == "where_eq":
        leaves["weight", 0][::2] = leaves["weight", 1][::2]
    gradients = differentiate(Builder(graph), {node: [d]})
    for place, argument in enumerate(arguments):
        (expected,) = complex_step([node], leaves, ("weight", place))
        got = evaluate([gradients.get(argument, graph.constant(0.0))], leaves)[0]
        close(got, expected * leaves["d_new", 0], f"{name}, argument {place}")


@pytest.mark.parametrize(
    ("operation", "other", "expected"),
    [("maximum", 1.0, (0, 1)), ("minimum", 1.0, (0, 1)), ("abs", 0.0, (0,)), ("relu", 0.0, (0,))],
)
def test_at_a_kink(operation: str, other: float, expected: tuple[int, ...]) -> None:
    graph = Graph()
    arguments = [graph.node("weight", attribute=place) for place in range(OPERATIONS[operation].arity)]
    node, d = graph.node(operation, *arguments), graph.node("d_new", attribute=0)
    gradients = differentiate(Builder(graph), {node: [d]})
    leaves: Points = {("weight", 0): np.array(other), ("weight", 1): np.array(other), ("d_new", 0): np.array(1.0)}
    assert tuple(evaluate([gradients[argument] for argument in arguments], leaves)) == expected


def test_a_clip_has_no_slope_at_its_bounds() -> None:
    graph = Graph()
    c, d = graph.node("state", attribute=0), graph.node("d_new", attribute=0)
    low, high = graph.constant(-1.0), graph.constant(1.0)
    leaves: Points = {("state", 0): np.array([-2, -1, -0.5, 0, 0.5, 1, 2]), ("d_new", 0): np.array(3.0)}
    for first, second in (("maximum", "minimum"), ("minimum", "maximum")):
        bounds = {"maximum": low, "minimum": high}
        node = graph.node(second, graph.node(first, c, bounds[first]), bounds[second])
        gradient = differentiate(Builder(graph), {node: [d]})[c]
        np.testing.assert_array_equal(evaluate([gradient], leaves)[0], [0, 0, 3, 3, 3, 0, 0])


def gradients_of(seed: int) -> tuple[Equations, Backward, list[tuple[Node, Leaf]], dict[Leaf, Node | None]]:
    """Return simplified equations, their gradients, the results with what comes in, and the leaves' gradients."""
    equations = simplified(random_equations(seed))
    backward = derive(equations)
    results: list[tuple[Node, Leaf]] = [(node, ("d_new", state)) for state, node in enumerate(equations.new)]
    for number, product in enumerate(equations.products):
        if product.kind == "gated":
            results.append((product.operands[0], ("d_operand", (number, 0))))
    leaves: dict[Leaf, Node | None] = {("direct", None): backward.direct}
    leaves.update({("input", gate): node for gate, node in backward.inputs.items()})
    leaves.update({("weight", weight): node for weight, node in backward.weights.items()})
    leaves.update({("step", step): node for step, node in backward.steps.items()})
    leaves.update({("state", state): node for state, node in enumerate(backward.states)})
    for number, gates in enumerate(backward.products):
        leaves.update({("product", (number, gate)): node for gate, node in gates.items()})
    return equations, backward, results, leaves


@pytest.mark.parametrize("block", range(len(FORMS)))
def test_gradients_of_random_equations(block: int) -> None:
    for seed in range(block, 40 * len(FORMS), len(FORMS)):
        equations, backward, results, gradients = gradients_of(seed)
        graph = equations.graph
        points = random_leaves(equations, seed)
        zero = graph.constant(0.0)
        for leaf, gradient in gradients.items():
            parts = complex_step([node for node, _ in results], points, leaf)
            expected = np.sum([part * points[come] for part, (_, come) in zip(parts, results, strict=True)], axis=0)
            close(evaluate([gradient or zero], points)[0], expected, f"{seed}: {leaf}")
        for number, product in enumerate(equations.products):
            if product.kind != "feedback":
                continue
            for state in range(len(equations.states)):
                parts = complex_step(product.operands, points, ("state", state))
                received = [part * points["d_operand", (number, vector)] for vector, part in enumerate(parts)]
                expected = points["d_new", state] + np.sum(received, axis=0)
                got = backward.fed_back.get(state, d_new(graph, state))
                close(evaluate([got], points)[0], expected, f"{seed}: what is fed back, state {state}")


def test_gradients_have_gradients() -> None:
    for seed in range(4 * len(FORMS)):
        equations, _, _, gradients = gradients_of(seed)
        graph = equations.graph
        points = random_leaves(equations, seed)
        known: list[Node] = [node for node in gradients.values() if node is not None]
        seeds = {node: [graph.constant(1.0 + place)] for place, node in enumerate(dict.fromkeys(known))}
        second = differentiate(Builder(graph), seeds)
        come: list[Leaf] = [("d_new", state) for state in range(len(equations.states))]
        for leaf in [*gradients, *come]:
            parts = complex_step(list(seeds), points, leaf)
            expected = np.sum([part * (1.0 + place) for place, part in enumerate(parts)], axis=0)
            gradient = second.get(graph.node(leaf[0], attribute=leaf[1]), graph.constant(0.0))
            close(evaluate([gradient], points)[0], expected, f"{seed}: {leaf}")


def test_late_gradients_are_added_last() -> None:
    graph = Graph()
    a, d, late = graph.node("state", attribute=0), d_new(graph, 0), d_operand(graph, 1)
    total = differentiate(Builder(graph), {a: [late, d]}, [late])[a]
    assert total.arguments == (d, late)
