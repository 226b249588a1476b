"""A cell that is a program is a cell as the built-in ones are: equal equations have equal bits.

What was added stays for as long as its process lives: test_added_programs.py runs these tests in one of their own.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hand_programs import CELLS, cell, program

import rnnkernels as rk
from rnnkernels import _added, _cpu

if TYPE_CHECKING:
    from collections.abc import Callable

DTYPES = [np.float32, np.float64]


def added(name: str) -> str:
    """The built-in cell `name` as a program."""
    as_program = f"{name}_program"
    if as_program not in rk.cells():
        _added.add({"name": as_program, **CELLS[name]})
    return as_program


def problem(name: str, steps: int, batch: int, hidden: int, dtype: type) -> tuple[Any, Any, Any]:
    """x (T, B, I), parameters, and a generator for more."""
    rng = np.random.default_rng(steps + 10 * batch + 1000 * hidden)
    inputs = hidden if rk.cell_info(name)["direct"] else 3
    params = rk.init_params(name, inputs, hidden, rng=rng, dtype=dtype)
    for bias in {"bias_ih", "bias_hh"} & set(params):
        params[bias] = rng.standard_normal(params[bias].shape).astype(dtype)
    return rng.standard_normal((steps, batch, inputs)).astype(dtype), params, rng


def compare(name: str, x: Any, params: Any, rng: Any, norms: bool = False, **asked: Any) -> None:
    """A training run of both, its gradients, and a run that keeps nothing."""
    cells = (name, added(name))
    runs = [rk.forward(cell, x, params, **asked) for cell in cells]
    dtype, same = x.dtype, np.testing.assert_array_equal
    given: dict[str, Any] = {"norms": norms}
    given["d_output"] = rng.standard_normal(runs[0].output.shape).astype(dtype)
    given["d_state"] = tuple(rng.standard_normal(state.shape).astype(dtype) for state in runs[0].state)
    if asked.get("all_states"):
        shape = runs[0].output.shape
        given["d_states"] = [None, *(rng.standard_normal(shape).astype(dtype) for _ in runs[0].state[1:])]
    found = [
        (run, rk.backward(run, **given), rk.forward(cell, x, params, training=False, **asked))
        for run, cell in zip(runs, cells, strict=True)
    ]
    (run, gradients, kept_nothing), (run_2, gradients_2, kept_nothing_2) = found
    for a, b in ((run, run_2), (kept_nothing, kept_nothing_2)):
        same(a.output, b.output)
        for state, state_2 in zip((*a.state, *(a.states or ())), (*b.state, *(b.states or ())), strict=True):
            same(state, state_2)
    same(gradients.x, gradients_2.x)
    for d_state, d_state_2 in zip(gradients.state, gradients_2.state, strict=True):
        same(d_state, d_state_2)
    for parameter, gradient in gradients.params.items():
        same(gradient, gradients_2.params[parameter], parameter)
    if norms:
        same(np.asarray(gradients.norms), np.asarray(gradients_2.norms))


@pytest.mark.parametrize("name", CELLS)
def test_its_table_is_the_built_in_ones(name: str) -> None:
    tables = [dict(rk.cell_info(cell)) for cell in (name, added(name))]
    for table in tables:
        del table["name"], table["settings"]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden", [1, 5, 16, 33])
def test_equal_bits(isa: str, name: str, dtype: type, hidden: int) -> None:
    for batch, steps in [(1, 5), (3, 5), (24, 1), (25, 5), (40, 1), (3, 0), (0, 2)]:
        compare(name, *problem(name, steps, batch, hidden, dtype))


@pytest.mark.parametrize("name", CELLS)
def test_units_side_by_side(isa: str, name: str) -> None:
    """Strips of one row and many blocks, and of more blocks than a chunk has."""
    for hidden in (64, 200, 1000):
        compare(name, *problem(name, 2, 1, hidden, np.float32))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_option_of_a_call(isa: str, name: str, dtype: type) -> None:
    x, params, rng = problem(name, 5, 7, 21, dtype)
    states = len(rk.cell_info(name)["states"])
    gates = params["weight_ih"].shape[0]
    asked: list[dict[str, Any]] = [
        {"lengths": [5, 0, 2, 5, 1, 3, 4]},
        {"lengths": [5, 0, 2, 5, 1, 3, 4], "reverse": True},
        {"resets": rng.random((5, 7)) < 0.3},
        {"state": tuple(rng.standard_normal((7, 21)).astype(dtype) for _ in range(states))},
        {"noise": rk.Noise(7, zoneout=0.3, recurrent_dropout=0.2)},
        {"noise": rk.Noise(7, zoneout=0.3, weight_dropout=0.2), "all_states": True},
        {"all_states": True},
        {"norms": True},
    ]
    if gates:
        asked.append({"term": rng.standard_normal((7, gates)).astype(dtype)})
        asked.append({"term": rng.standard_normal((7, gates)).astype(dtype), "lengths": [5, 0, 2, 5, 1, 3, 4]})
    for some in asked:
        compare(name, x, params, rng, **some)
    rk.set_num_threads(3)
    compare(name, x, params, rng)


@pytest.mark.parametrize("name", CELLS)
def test_one_step_at_a_time(isa: str, name: str) -> None:
    x, params, _ = problem(name, 4, 2, 21, np.float32)
    steppers = [rk.Prepared(cell, params).stepper(batch_size=2) for cell in (name, added(name))]
    for row in x:
        np.testing.assert_array_equal(steppers[0](row).copy(), steppers[1](row))


WEIGHTED = cell(  # mgu, whose f sees w h too
    [("f", "projected", "hidden", 0, 0), ("n", "projected", "gated", 1, 1)],
    saved=2,
    slots=3,
    weights=[("f", "drawn", 2)],
    forward="""
        saved.0 = sigmoid_add_fma input.0 hidden.0 weight.0 state.0
        made.0 = mul saved.0 state.0
    """,
    forward_state="""
        saved.1 = tanh_add input.1 gated.0
        new.0 = lerp saved.0 saved.1 state.0
    """,
    backward="""
        slot.0 = sub_mul saved.1 state.0 d_new.0
        register.0 = mul d_new.0 saved.0
        slot.1 = times_tanh_slope register.0 saved.1
        d_state.0 = one_minus_mul saved.0 d_new.0
    """,
    backward_gates="""
        register.0 = fma d_made.0 state.0 slot.0
        slot.0 = times_sigmoid_slope register.0 saved.0
        slot.2 = mul slot.0 state.0
        register.0 = fma d_made.0 saved.0 d_state.0
        d_state.0 = fma slot.0 weight.0 register.0
        made.0 = mul saved.0 state.0
    """,
)


def test_a_weight_in_a_cell_of_two_products(isa: str) -> None:
    """No built-in cell has one: its gradients against differences."""
    if "weighted" not in rk.cells():
        _added.add({"name": "weighted", **WEIGHTED})
    x, params, rng = problem("weighted", 4, 3, 5, np.float64)
    d_output = rng.standard_normal((4, 3, 5))
    gradients = rk.backward(rk.forward("weighted", x, params), d_output).params
    for name, values in params.items():
        for at in rng.integers(0, values.size, 4):
            losses = []
            for step in (1e-6, -1e-6):
                moved = {**params, name: values.copy()}
                moved[name].flat[at] += step
                losses.append(np.sum(rk.forward("weighted", x, moved).output * d_output))
            np.testing.assert_allclose(gradients[name].flat[at], (losses[0] - losses[1]) / 2e-6, rtol=1e-6, atol=1e-8)


# ---- operations


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def tanh_slope(t: Any) -> Any:
    return 1 - t * t


OPERATIONS: dict[str, Callable[..., Any]] = {
    "copy": lambda a: a,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "fma": lambda a, b, c: a * b + c,
    "abs": np.abs,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "erf": np.vectorize(math.erf),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "log_sigmoid": lambda a: np.log(sigmoid(a)),
    "relu": lambda a: np.maximum(a, 0),
    "where_gt": lambda a, b, c, d: np.where(a > b, c, d),
    "where_ge": lambda a, b, c, d: np.where(a >= b, c, d),
    "where_eq": lambda a, b, c, d: np.where(a == b, c, d),
    "fnma": lambda a, b, c: c - a * b,
    "fms": lambda a, b, c: a * b - c,
    "add3": lambda a, b, c: a + b + c,
    "mul3": lambda a, b, c: a * b * c,
    "one_minus": lambda a: 1 - a,
    "one_minus_mul": lambda a, b: (1 - a) * b,
    "sub_mul": lambda a, b, c: (a - b) * c,
    "lerp": lambda a, b, c: a * (b - c) + c,
    "sigmoid_add": lambda a, b: sigmoid(a + b),
    "tanh_add": lambda a, b: np.tanh(a + b),
    "sigmoid_fma": lambda a, b, c: sigmoid(a * b + c),
    "tanh_fma": lambda a, b, c: np.tanh(a * b + c),
    "sigmoid_add_fma": lambda a, b, c, d: sigmoid(c * d + a + b),
    "times_sigmoid_slope": lambda a, b: a * (b * (1 - b)),
    "times_tanh_slope": lambda a, b: a * tanh_slope(b),
    "mul_sigmoid_slope": lambda a, b, c: a * b * (c * (1 - c)),
    "mul_tanh_slope": lambda a, b, c: a * b * tanh_slope(c),
    "mul_tanh": lambda a, b: a * np.tanh(b),
    "fma_mul": lambda a, b, c, d: a * b + c * d,
    "fma_tanh_slope": lambda a, b, c, d: a * b * tanh_slope(c) + d,
    "sub_mul_sigmoid_slope": lambda a, b, c, d: (a - b) * c * (d * (1 - d)),
    "fnma_sigmoid_slope": lambda a, b, c, d: (c - a * b) * (d * (1 - d)),
    "fnma_tanh_slope": lambda a, b, c, d: (c - a * b) * tanh_slope(d),
}


def test_operations_have_names() -> None:
    assert sorted(_cpu.program_operations()) == sorted(OPERATIONS)
    assert _cpu.program_operations()[0] == "copy"
    assert len(set(_cpu.program_operands())) == 20


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_what_its_name_says(isa: str, name: str) -> None:
    """Of a cell whose new state is the operation of four gates, which see one number of x each."""
    function = OPERATIONS[name]
    count = {1: 1}.get(getattr(function, "nin", 0)) or (
        function.nin if isinstance(function, np.ufunc) else 1 if name == "erf" else function.__code__.co_argcount
    )
    of_operation = f"only_{name}"
    if of_operation not in rk.cells():
        zeros = "\n".join([*(f"slot.{g} = copy constant.0" for g in range(4)), "d_state.0 = copy constant.0"])
        forward = f"new.0 = {name} " + " ".join(f"input.{g}" for g in range(count))
        gates = [(gate, "projected", "none", slot, -1) for slot, gate in enumerate("abcd")]
        _added.add({"name": of_operation, **cell(gates, slots=4, forward=forward, backward=zeros)})
    x = np.random.default_rng(0).uniform(-3, 3, (1, 30, 4))
    x[0, ::5, 1] = x[0, ::5, 0]
    if name in ("sqrt", "log"):
        x = np.abs(x)
    hidden = 5
    params = {"weight_ih": np.repeat(np.eye(4), hidden, axis=0), "bias_ih": np.zeros(4 * hidden)}
    full = {**rk.init_params(of_operation, 4, hidden, dtype=np.float64), **params}
    wanted = function(*(x[..., g] for g in range(count)))
    found = rk.forward(of_operation, x, full).output
    for unit in range(hidden):
        np.testing.assert_allclose(found[..., unit], wanted, rtol=1e-13, atol=1e-15)


# ---- refusals


def changed(name: str, **phases: str) -> Any:
    arguments = copy.deepcopy(CELLS[name])
    arguments["programs"].update({phase: program(text) for phase, text in phases.items()})
    return arguments


def with_instruction(name: str, phase: str, instruction: tuple[int, ...]) -> Any:
    arguments = copy.deepcopy(CELLS[name])
    registers, instructions = arguments["programs"][phase]
    arguments["programs"][phase] = (registers, [instruction, *instructions])
    return arguments


def with_line(name: str, phase: str, line: str, first: bool = True) -> Any:
    arguments = copy.deepcopy(CELLS[name])
    registers, instructions = arguments["programs"][phase]
    more, (added_one,) = program(line)
    lines = [added_one, *instructions] if first else [*instructions, added_one]
    arguments["programs"][phase] = (max(registers, more), lines)
    return arguments


def without(name: str, phase: str) -> Any:
    arguments = copy.deepcopy(CELLS[name])
    del arguments["programs"][phase]
    return arguments


def having(name: str, **other: Any) -> Any:
    return {**copy.deepcopy(CELLS[name]), **other}


ONE_GATE = ("a", "projected", "hidden", 0, 0)
SAID = "expected"
REFUSED: list[tuple[Any, str]] = [
    # numbers that are none of an operation, a kind, an operand
    (
        with_instruction("gru", "forward", ()),
        r"programs\['forward'\], instruction 0: expected the number of an operation",
    ),
    (with_instruction("gru", "forward", (99, 0, 0, 0, 0)), "expected the number of an operation first, got 99"),
    (with_instruction("gru", "forward", (-1, 0, 0, 0, 0)), "expected the number of an operation first, got -1"),
    (with_instruction("gru", "forward", (0, 0, 0, 0)), "instruction 0: expected 5 numbers, got 4"),
    (with_instruction("gru", "forward", (0, 0, 0, 20, 0)), r"instruction 0 \(copy\): expected the number of a kind"),
    (with_instruction("gru", "forward", (0, -1, 0, 2, 0)), "expected the number of a kind of operands, got -1"),
    (with_line("gru", "forward", "register.0 = copy input.3"), "expected one of 3 operands of this kind, got input 3"),
    (with_instruction("gru", "forward", (0, 0, -1, 2, 0)), "got register -1"),
    (with_instruction("gru", "forward", (0, 0, 7, 2, 0)), "expected one of 2 operands of this kind, got register 7"),
    (with_line("gru", "forward", "register.0 = copy constant.2"), "got constant 2"),
    (with_line("gru", "forward", "register.0 = copy direct.0"), "got direct 0"),
    (with_line("gru", "forward", "register.0 = copy gated.0"), "got gated 0"),
    (with_line("gru", "forward", "register.0 = copy weight.0"), "got weight 0"),
    (with_line("gru", "backward", "slot.4 = copy d_new.0"), "got slot 4"),
    (with_line("gru", "forward", "register.0 = copy step.0"), "expected one of 0 operands of this kind, got step 0"),
    (with_line("gru", "backward", "d_step.0 = copy d_new.0"), "expected one of 0 operands of this kind, got d_step 0"),
    # what a phase has not
    (with_line("gru", "forward", "register.0 = copy d_new.0"), "expected what this phase reads, got d_new 0"),
    (with_line("gru", "forward", "slot.0 = copy input.0"), "expected what this phase writes, got slot 0"),
    (with_line("gru", "forward", "input.0 = copy input.1"), "expected what this phase writes, got input 0"),
    (with_line("gru", "forward", "constant.0 = copy input.1"), "expected what this phase writes, got constant 0"),
    (with_line("gru", "backward", "register.0 = copy input.0"), "expected what this phase reads, got input 0"),
    (with_line("gru", "backward", "saved.0 = copy d_new.0"), "expected what this phase writes, got saved 0"),
    (with_line("mgu", "forward", "new.0 = copy state.0"), "expected what this phase writes, got new 0"),
    (with_line("mgu", "forward_state", "register.0 = copy hidden.0"), "expected what this phase reads, got hidden 0"),
    (with_line("mgu", "backward_gates", "register.0 = copy new.0"), "expected what this phase reads, got new 0"),
    (with_line("mgu", "backward", "register.0 = copy d_made.0"), "expected what this phase reads, got d_made 0"),
    (with_line("mut3", "feedback", "register.0 = copy fed.0"), "expected what this phase reads, got fed 0"),
    # what is not there yet, or no more
    (with_line("gru", "forward", "new.0 = copy register.0"), "expected what was written before, got register 0"),
    (with_line("gru", "forward", "register.0 = copy saved.0"), "expected what was written before, got saved 0"),
    (with_line("gru", "backward", "register.0 = copy slot.0"), "expected what was written before, got slot 0"),
    (with_line("mgu", "forward", "register.0 = copy saved.1"), "expected what was written before, got saved 1"),
    (with_line("lstm", "forward", "register.0 = copy state.1", first=False), "state 1, which was overwritten"),
    (with_line("lstm", "backward", "slot.0 = copy d_new.1", first=False), "d_new 1, which was overwritten"),
    (
        with_line("mgu", "backward_gates", "slot.1 = copy constant.0"),
        "that the product of the gated state does not read",
    ),
    # what must be written
    (changed("gru", backward="slot.0 = copy d_new.0"), "expected the backward to write d_state 0"),
    (changed("rnn_relu", forward="register.0 = copy input.0"), "expected the forward to write new 0"),
    (having("gru", saved=5), "expected the forward to write saved 4"),
    (having("gru", slots=5), "expected the backward to write slot 4"),
    (changed("mut3", feedback="register.0 = copy state.0"), "expected the feedback to write vector 0"),
    (changed("mgu", backward_gates="slot.0 = copy d_made.0"), "expected the backward to write made 0"),
    # programs of other cells
    (without("gru", "backward"), r"programs\['backward'\]: expected a program of a cell with such gates, got none"),
    (without("mgu", "forward_state"), r"programs\['forward_state'\]: expected a program"),
    (without("mut3", "feedback"), r"programs\['feedback'\]: expected a program"),
    (changed("gru", forward_state="new.0 = copy state.0"), r"programs\['forward_state'\]: expected none"),
    (changed("gru", feedback="vector.0 = copy state.0"), r"programs\['feedback'\]: expected none"),
    (changed("gru", sideways="new.0 = copy state.0"), "programs: expected names of phases, got 'sideways'"),
    # the table
    (having("rnn_relu", steps=["gamma"]), "programs: expected the backward to write d_step 0, which it never does"),
    (having("rnn_relu", steps=list("abcde")), "steps: expected at most 4, got 5"),
    (
        having("rnn_relu", gates=[("a", "sent", "hidden", 0, 0)]),
        "gates: a: input: expected one of none, projected, direct",
    ),
    (having("rnn_relu", gates=[("a", "projected", "all", 0, 0)]), "gates: a: operand: expected one of none, hidden"),
    (having("rnn_relu", gates=[("a", "none", "none", -1, -1)]), "gates: a: expected an input or an operand"),
    (having("rnn_relu", gates=[("a", "projected", "hidden", 1, 0)]), "gates: a: dx_slot: expected 0 to 0, got 1"),
    (having("rnn_relu", gates=[("a", "projected", "hidden", 0, -1)]), "gates: a: du_slot: expected 0 to 0, got -1"),
    (having("rnn_relu", gates=[("a", "projected", "none", 0, 0)]), "gates: a: du_slot: expected -1 to -1, got 0"),
    (having("rnn_relu", gates=[]), "1 to 16 gates"),
    (having("rnn_relu", gates=[ONE_GATE] * 17), "gates: expected at most 16, got 17"),
    (having("rnn_relu", states=[]), "1 to 8 states"),
    (having("rnn_relu", states=list("abcdefghi")), "states: expected at most 8, got 9"),
    (having("rnn_relu", saved=65), "saved: expected 0 to 64, got 65"),
    (having("rnn_relu", slots=0), "slots: expected 1 to 64, got 0"),
    (having("rnn_relu", vectors=1), "vectors: expected 0 of a cell with 0 gates"),
    (having("mut3", vectors=0), "vectors: expected at least 1 of a cell with 1 gates"),
    (having("rnn_relu", weights=[("w", "small", 0)]), "weights: w: initial: expected one of drawn, zero, one"),
    (having("rnn_relu", weights=[("w", "zero", 3)]), "weights: w: slot: expected 0 to 0, got 3"),
    (having("rnn_relu", constants=[float("nan")]), "constants: expected numbers, got a NaN"),
    (having("rnn_relu", constants=[0.0] * 257), "constants: expected at most 256, got 257"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED)
def test_what_cannot_be_run_is_refused(arguments: Any, said: str) -> None:
    before = rk.cells()
    with pytest.raises(ValueError, match=said):
        _cpu.add_program("refused", **arguments)
    assert rk.cells() == before


def test_registers_and_instructions_are_bounded() -> None:
    arguments = having("rnn_relu")
    registers, instructions = arguments["programs"]["forward"]
    for wrong, said in (
        ((65, instructions), "registers: expected 0 to 64, got 65"),
        ((-1, instructions), "registers: expected 0 to 64, got -1"),
        ((registers, instructions * 600), "instructions: expected at most 1024, got 1200"),
    ):
        arguments["programs"]["forward"] = wrong
        with pytest.raises(ValueError, match=said):
            _cpu.add_program("refused", **arguments)


def test_a_name_is_taken_once() -> None:
    for name in ("gru", added("gru")):
        with pytest.raises(ValueError, match=f"expected a new name, got {name}, which is taken"):
            _cpu.add_program(name, **CELLS["gru"])
    with pytest.raises(ValueError, match="expected a name, got none"):
        _cpu.add_program("", **CELLS["gru"])
