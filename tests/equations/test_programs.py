"""What programs are made of: no more instructions and registers than the built-in cells have operations."""

from __future__ import annotations

import pytest
from hand_traced import Hand, Term, gru, lstm, mut1, mut2, mut3, swapping
from random_equations import random_equations, random_leaves
from run_program import run_step

from rnnkernels.equations.graph import Equations
from rnnkernels.equations.lowering import lower
from rnnkernels.equations.program import GateRow, Program, WeightRow


@pytest.mark.parametrize(
    ("equations", "counts"),
    [
        (lstm(), {"forward": 6, "backward": 8}),
        (lstm(peepholes=True), {"forward": 6, "backward": 13}),
        (gru(), {"forward": 5, "backward": 5}),
        (mut1(), {"forward": 4, "forward_state": 2, "backward": 4, "backward_gates": 3}),
        (mut2(), {"forward": 3, "forward_state": 2, "backward": 3, "backward_gates": 3}),
        (mut3(), {"feedback": 1, "feedback_backward": 3}),
    ],
    ids=lambda value: value.name if isinstance(value, Equations) else "",
)
def test_counts_of_instructions(equations: Equations, counts: dict[str, int]) -> None:
    programs = lower(equations).programs
    assert {phase: len(programs[phase].instructions) for phase in counts} == counts
    assert max(program.registers for program in programs.values()) <= 2


def test_few_registers_of_long_programs() -> None:
    most = max(program.registers for seed in range(200) for program in lower(random_equations(seed)).programs.values())
    assert most <= 24


def text(program: Program) -> list[str]:
    return str(program).splitlines()


def test_the_program_of_a_gru() -> None:
    lowered = lower(gru())
    assert text(lowered.programs["forward"]) == [
        "saved 0 = sigmoid_add(input 0, hidden 0)",
        "saved 1 = sigmoid_add(input 1, hidden 1)",
        "saved 3 = tanh_fma(saved 0, hidden 2, input 2)",
        "new 0 = lerp(saved 1, state 0, saved 3)",
        "saved 2 = copy(hidden 2)",
    ]
    assert text(lowered.programs["backward"]) == [
        "slot 1 = sub_mul_sigmoid_slope(state 0, saved 3, d_new 0, saved 1)",
        "slot 2 = fnma_tanh_slope(d_new 0, saved 1, d_new 0, saved 3)",
        "d_state 0 = mul(d_new 0, saved 1)",
        "slot 3 = mul(slot 2, saved 0)",
        "slot 0 = mul_sigmoid_slope(slot 2, saved 2, saved 0)",
    ]


def test_the_program_of_an_lstm() -> None:
    lowered = lower(lstm())
    assert text(lowered.programs["forward"])[3:] == [
        "new 1 = fma_mul(saved 1, state 1, saved 0, saved 2)",
        "saved 3 = sigmoid_add(input 3, hidden 3)",
        "new 0 = mul_tanh(saved 3, new 1)",
    ]
    assert text(lowered.programs["backward"])[:3] == [
        "register 0 = tanh(new 1)",
        "slot 3 = mul_sigmoid_slope(d_new 0, register 0, saved 3)",
        "register 0 = fma_tanh_slope(d_new 0, saved 3, register 0, d_new 1)",
    ]


def operations_of(new: Term, inputs: str) -> tuple[list[str], list[str]]:
    """Return the operations of a cell without products, of one state: its forward's and its backward's."""
    programs = lower(new.of.equations("cell", ("h",), inputs, {}, (new,))).programs
    forward, backward = ([each.operation for each in programs[way].instructions] for way in ("forward", "backward"))
    return forward, backward


def test_what_makes_no_instruction_more_is_left_as_it_is() -> None:
    """A product and a tanh that make an instruction with what stands inside of them."""
    e = Hand()
    f, h = e.x("f"), e.state(0)
    forward, _ = operations_of(f * h + (e.number(1.0) - f) * e.x("g"), "fg")
    assert forward[2:] == ["one_minus_mul", "fma"]  # f and g are kept
    forward, _ = operations_of(h * e.tanh(f + h), "f")
    assert forward == ["tanh_add", "mul"]
    forward, _ = operations_of(h * e.tanh(f), "f")
    assert "mul_tanh" not in forward  # it is kept for the backward


def test_slots_of_gates_and_weights() -> None:
    merged = [GateRow(name, "projected", "hidden", place, place) for place, name in enumerate("ifgo")]
    lowered = lower(lstm(peepholes=True))
    assert list(lowered.gates) == merged
    assert list(lowered.weights) == [WeightRow(name, "drawn", 4 + place) for place, name in enumerate("ifo")]
    assert lower(gru()).gates[2] == GateRow("n", "projected", "hidden", 2, 3)  # u.n is inside of the reset
    assert lower(mut2()).gates[1] == GateRow("r", "direct", "hidden", 1, 1)
    assert lower(mut1()).gates[2:] == (GateRow("n", "none", "gated", -1, 2), GateRow("x", "direct", "none", 3, -1))


def test_a_slot_is_shared_by_products_and_never_within_one() -> None:
    e = Hand()
    a = e.tanh(e.x("a") + e.x("b") + e.u("a") + e.u("b", 1))
    products = {"hidden": ((e.state(0),), "a"), "feedback": ((e.tanh(e.state(0)),), "b")}
    lowered = lower(e.equations("cell", ("h",), "ab", products, (a,)))
    assert [(gate.dx, gate.du) for gate in lowered.gates] == [(0, 0), (1, 0)]


def test_what_overwrites_waits_in_a_register() -> None:
    lowered = lower(swapping())
    leaves = random_leaves(lowered.equations, 0)
    run_step(lowered, leaves)  # refuses to read what is overwritten
    assert "new 0 = copy(register 0)" in text(lowered.programs["forward"])


def test_what_the_kernels_have_no_room_for_is_refused() -> None:
    e = Hand()
    h = e.state(0)
    products = {"hidden": ((h,), "a")}
    new = e.tanh(e.leaf("direct") + e.u("a"))
    with pytest.raises(ValueError, match=r"^cell: expected a gate that reads x through a weight, as x\.g does"):
        lower(e.equations("cell", ("h",), "", products, (new,), gates="a", direct=True))
    weights = tuple(f"w{number}" for number in range(65))
    total = e.x("a") + e.u("a")
    for weight in weights:
        total = e.tanh(total + e.w(weight) * h)
    few, many = weights[:60], weights
    with pytest.raises(ValueError, match=r"^cell: expected at most 64 gradient slots, got 66"):
        lower(e.equations("cell", ("h",), "a", products, (total,), weights=many))
    for _ in range(65):
        total = e.tanh(total)
    with pytest.raises(ValueError, match=r"^cell: expected at most 64 values kept for the backward, got 129"):
        lower(e.equations("cell", ("h",), "a", products, (total,), weights=few))


def test_a_record_of_numbers() -> None:
    lowered = lower(gru())
    operations = [
        "copy",
        "lerp",
        "mul",
        "sigmoid_add",
        "tanh_fma",
        "mul_sigmoid_slope",
        "sub_mul_sigmoid_slope",
        "fnma_tanh_slope",
    ]
    operands = ["register", "input", "hidden", "state", "new", "saved", "d_new", "d_state", "slot"]
    record = lowered.record(operations, operands)
    registers, rows = record["programs"]["forward"]
    assert registers == 0
    assert rows[3] == (1, 4, 0, 5, 1, 3, 0, 5, 3)
    assert (record["saved"], record["slots"], record["gates"][0]) == (4, 4, ("r", "projected", "hidden", 0, 0))
    with pytest.raises(KeyError, match="sigmoid_add"):
        lowered.record(["copy"], operands)
