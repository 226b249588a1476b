"""Programs against the graphs that they are made of: the same bits, forward and backward, of random equations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hand_traced import Hand, gru, lstm, mut1, mut2, mut3, swapping
from random_equations import FORMS, random_equations, random_leaves
from run_program import run_step

from rnnkernels.equations.adjoint import d_new
from rnnkernels.equations.evaluating import evaluate
from rnnkernels.equations.lowering import lower

if TYPE_CHECKING:
    from rnnkernels.equations.graph import Equations, Node

SEEDS = 60 * len(FORMS)


def check(equations: Equations, seed: int) -> None:
    leaves = random_leaves(equations, seed)
    lowered = lower(equations)
    left = run_step(lowered, leaves)
    graph, backward = lowered.equations.graph, lowered.backward
    zero = graph.constant(0.0)

    def same(place: tuple[str, int], node: Node | None) -> None:
        (expected,) = evaluate([node or zero], leaves)
        np.testing.assert_array_equal(
            left[place], np.broadcast_to(expected, left[place].shape), f"{equations.name}: {place}"
        )

    for state, node in enumerate(equations.new):
        same(("new", state), node)  # as it was traced: folding and contraction change no bit of NumPy's
        same(("d_state", state), backward.states[state])
    kinds = {gate: number for number, product in enumerate(equations.products) for gate in product.gates}
    for gate in lowered.gates:
        if gate.input == "projected":
            same(("slot", gate.dx), backward.inputs[gate.name])
        if gate.input == "direct":
            same(("slot", gate.dx), backward.direct)
        if gate.operand != "none":
            same(("slot", gate.du), backward.products[kinds[gate.name]][gate.name])
    assert sum(gate.input == "direct" for gate in lowered.gates) == equations.direct
    for weight in lowered.weights:
        same(("slot", weight.slot), backward.weights[weight.name])
    for place, step in enumerate(equations.steps):
        same(("d_step", place), backward.steps[step])
    for product in equations.products:
        if product.kind == "gated":
            same(("made", 0), product.operands[0])
            same(("forward made", 0), product.operands[0])
        if product.kind == "feedback":
            for vector, operand in enumerate(product.operands):
                same(("vector", vector), operand)
            for state in range(len(equations.states)):
                same(("fed back", state), backward.fed_back.get(state, d_new(graph, state)))
            for step, node in backward.fed_steps.items():
                same(("fed back step", equations.steps.index(step)), node)


@pytest.mark.parametrize("block", range(10))
def test_programs_compute_what_the_graphs_say(block: int) -> None:
    for seed in range(block * SEEDS // 10, (block + 1) * SEEDS // 10):
        check(random_equations(seed), seed)


@pytest.mark.parametrize("equations", [lstm(peepholes=True, clip=0.5), gru(), mut1(), mut2(), mut3(), swapping()])
def test_programs_of_known_cells(equations: Equations) -> None:
    check(equations, 0)


def test_a_new_state_that_the_product_multiplies() -> None:
    e = Hand()
    a = e.tanh(e.x("a") + e.u("a"))
    n = e.tanh(e.x("n") + e.u("n", 1))
    products = {"hidden": ((e.state(0),), "a"), "gated": ((a * a,), "n")}
    check(e.equations("cell", ("h", "c"), "an", products, (n, a)), 0)
