"""Built-in cells written once more as programs, by hand: what `_cpu.add_program` takes, from lines of text.

A line is an instruction: ``slot.0 = mul_sigmoid_slope d_new.0 register.1 saved.3``.
"""

from __future__ import annotations

from typing import Any

from rnnkernels import _cpu

ZERO, ONE = "constant.0", "constant.1"
CONSTANTS = (0.0, 1.0)


def program(text: str) -> tuple[int, list[tuple[int, ...]]]:
    """Return the registers and instructions of these lines."""
    operations, kinds = _cpu.program_operations(), _cpu.program_operands()
    registers, instructions = 0, []
    for line in filter(None, map(str.strip, text.splitlines())):
        out, value = line.split(" = ")
        operation, *operands = value.split()
        numbers = [operations.index(operation)]
        for operand in (out, *operands):
            kind, index = operand.split(".")
            numbers += [kinds.index(kind), int(index)]
            if kind == "register":
                registers = max(registers, int(index) + 1)
        instructions.append(tuple(numbers))
    return registers, instructions


def cell(gates: list[tuple[str, str, str, int, int]], states: str = "h", **given: Any) -> dict[str, Any]:
    """Return the arguments of add_program but the name: texts of the phases and what is no default."""
    phases = ("forward", "forward_state", "backward", "backward_gates", "feedback", "feedback_backward")
    programs = {phase: program(given.pop(phase)) for phase in phases if phase in given}
    sigmoids = [name for name, *_ in gates if name in "ifozr"]
    default = {"weights": [], "steps": [], "saved": 0, "vectors": 0, "constants": CONSTANTS, "sigmoids": sigmoids}
    return {"states": tuple(states.split()), "gates": gates, "programs": programs, **default, **given}


def projected(names: str, operand: str = "hidden") -> list[tuple[str, str, str, int, int]]:
    """Return gates that only add what x and h give, each with a slot."""
    return [(name, "projected", operand, slot, slot) for slot, name in enumerate(names)]


LSTM_BACKWARD = """
    register.0 = tanh new.1
    slot.3 = mul_sigmoid_slope d_new.0 register.0 saved.3
    register.1 = mul d_new.0 saved.3
    register.0 = fnma register.0 register.0 constant.1
    register.1 = fma register.1 register.0 d_new.1
"""
CELLS: dict[str, dict[str, Any]] = {
    "lstm": cell(
        projected("ifgo"),
        "h c",
        saved=4,
        slots=4,
        forward="""
            register.0 = sigmoid_add input.0 hidden.0
            register.1 = sigmoid_add input.1 hidden.1
            register.2 = tanh_add input.2 hidden.2
            register.3 = sigmoid_add input.3 hidden.3
            register.4 = mul register.0 register.2
            register.4 = fma register.1 state.1 register.4
            new.1 = copy register.4
            register.4 = tanh register.4
            new.0 = mul register.3 register.4
            saved.0 = copy register.0
            saved.1 = copy register.1
            saved.2 = copy register.2
            saved.3 = copy register.3
        """,
        backward=LSTM_BACKWARD
        + """
            slot.1 = mul_sigmoid_slope register.1 state.1 saved.1
            slot.0 = mul_sigmoid_slope register.1 saved.2 saved.0
            slot.2 = mul_tanh_slope register.1 saved.0 saved.2
            d_state.1 = mul register.1 saved.1
            d_state.0 = copy constant.0
        """,
    ),
    "lstm_peephole": cell(  # what was written is read where it stands
        projected("ifgo"),
        "h c",
        saved=4,
        slots=7,
        weights=[("i", "drawn", 4), ("f", "drawn", 5), ("o", "drawn", 6)],
        forward="""
            saved.0 = sigmoid_add_fma input.0 hidden.0 weight.0 state.1
            saved.1 = sigmoid_add_fma input.1 hidden.1 weight.1 state.1
            saved.2 = tanh_add input.2 hidden.2
            register.0 = mul saved.0 saved.2
            new.1 = fma saved.1 state.1 register.0
            saved.3 = sigmoid_add_fma input.3 hidden.3 weight.2 new.1
            register.0 = tanh new.1
            new.0 = mul saved.3 register.0
        """,
        backward=LSTM_BACKWARD
        + """
            slot.6 = mul slot.3 new.1
            register.1 = fma slot.3 weight.2 register.1
            slot.1 = mul_sigmoid_slope register.1 state.1 saved.1
            register.2 = mul register.1 saved.1
            slot.5 = mul slot.1 state.1
            register.2 = fma slot.1 weight.1 register.2
            slot.0 = mul_sigmoid_slope register.1 saved.2 saved.0
            slot.4 = mul slot.0 state.1
            slot.2 = mul_tanh_slope register.1 saved.0 saved.2
            d_state.1 = fma slot.0 weight.0 register.2
            d_state.0 = copy constant.0
        """,
    ),
    "gru": cell(
        [("r", "projected", "hidden", 0, 0), ("z", "projected", "hidden", 1, 1), ("n", "projected", "hidden", 2, 3)],
        saved=4,
        slots=4,
        forward="""
            register.0 = sigmoid_add input.0 hidden.0
            saved.0 = copy register.0
            register.1 = sigmoid_add input.1 hidden.1
            saved.1 = copy register.1
            register.0 = tanh_fma register.0 hidden.2 input.2
            saved.2 = copy register.0
            saved.3 = copy hidden.2
            new.0 = lerp register.1 state.0 register.0
        """,
        backward="""
            register.0 = one_minus_mul saved.1 d_new.0
            register.0 = times_tanh_slope register.0 saved.2
            slot.2 = copy register.0
            register.1 = mul3 register.0 saved.3 saved.0
            slot.0 = one_minus_mul saved.0 register.1
            slot.3 = mul register.0 saved.0
            register.1 = sub state.0 saved.2
            register.1 = mul3 d_new.0 register.1 saved.1
            slot.1 = one_minus_mul saved.1 register.1
            d_state.0 = mul d_new.0 saved.1
        """,
    ),
    "gru_reset_before": cell(
        [("r", "projected", "hidden", 0, 0), ("z", "projected", "hidden", 1, 1), ("n", "projected", "gated", 2, 2)],
        saved=3,
        slots=3,
        forward="""
            saved.0 = sigmoid_add input.0 hidden.0
            saved.1 = sigmoid_add input.1 hidden.1
            made.0 = mul saved.0 state.0
        """,
        forward_state="""
            register.0 = tanh_add input.2 gated.0
            saved.2 = copy register.0
            new.0 = lerp saved.1 state.0 register.0
        """,
        backward="""
            register.0 = sub state.0 saved.2
            register.0 = mul3 d_new.0 register.0 saved.1
            slot.1 = one_minus_mul saved.1 register.0
            register.0 = one_minus_mul saved.1 d_new.0
            slot.2 = times_tanh_slope register.0 saved.2
            d_state.0 = mul d_new.0 saved.1
        """,
        backward_gates="""
            register.0 = mul3 d_made.0 state.0 saved.0
            slot.0 = one_minus_mul saved.0 register.0
            d_state.0 = fma d_made.0 saved.0 d_state.0
            made.0 = mul saved.0 state.0
        """,
    ),
    "mgu": cell(  # a slot carries what the second half completes
        [("f", "projected", "hidden", 0, 0), ("n", "projected", "gated", 1, 1)],
        saved=2,
        slots=2,
        forward="""
            saved.0 = sigmoid_add input.0 hidden.0
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
            register.0 = one_minus saved.0
            d_state.0 = mul d_new.0 register.0
        """,
        backward_gates="""
            register.0 = fma d_made.0 state.0 slot.0
            register.0 = mul register.0 saved.0
            slot.0 = one_minus_mul saved.0 register.0
            d_state.0 = fma d_made.0 saved.0 d_state.0
            made.0 = mul saved.0 state.0
        """,
    ),
    "mut1": cell(  # x itself, a gate without an operand, a gate with two slots
        [("z", "projected", "none", 0, -1), ("r", "projected", "hidden", 1, 1), ("n", "direct", "gated", 3, 2)],
        saved=4,
        slots=4,
        forward="""
            register.0 = add input.0 constant.0
            saved.0 = sigmoid register.0
            saved.1 = sigmoid_add input.1 hidden.0
            made.0 = mul saved.1 state.0
        """,
        forward_state="""
            saved.3 = tanh direct.0
            saved.2 = tanh_add saved.3 gated.0
            new.0 = lerp saved.0 saved.2 state.0
        """,
        backward="""
            register.0 = mul d_new.0 saved.0
            slot.2 = times_tanh_slope register.0 saved.2
            register.0 = sub saved.2 state.0
            register.0 = mul3 d_new.0 register.0 saved.0
            slot.0 = one_minus_mul saved.0 register.0
            slot.3 = times_tanh_slope slot.2 saved.3
            d_state.0 = one_minus_mul saved.0 d_new.0
        """,
        backward_gates="""
            register.0 = mul3 d_made.0 state.0 saved.1
            slot.1 = one_minus_mul saved.1 register.0
            d_state.0 = fma d_made.0 saved.1 d_state.0
            made.0 = mul saved.1 state.0
        """,
    ),
    "mut3": cell(  # one vector is fed back, in a row of weight_hh
        [("z", "projected", "feedback", 0, 0), ("r", "projected", "hidden", 1, 1), ("n", "projected", "gated", 2, 2)],
        saved=3,
        slots=3,
        vectors=1,
        forward="""
            saved.0 = sigmoid_add input.0 fed.0
            saved.1 = sigmoid_add input.1 hidden.0
            made.0 = mul saved.1 state.0
        """,
        forward_state="""
            saved.2 = tanh_add input.2 gated.0
            new.0 = lerp saved.0 saved.2 state.0
        """,
        backward="""
            register.0 = mul d_new.0 saved.0
            slot.2 = times_tanh_slope register.0 saved.2
            register.0 = sub saved.2 state.0
            register.0 = mul3 d_new.0 register.0 saved.0
            slot.0 = one_minus_mul saved.0 register.0
            d_state.0 = one_minus_mul saved.0 d_new.0
        """,
        backward_gates="""
            register.0 = mul3 d_made.0 state.0 saved.1
            slot.1 = one_minus_mul saved.1 register.0
            d_state.0 = fma d_made.0 saved.1 d_state.0
            made.0 = mul saved.1 state.0
        """,
        feedback="vector.0 = tanh state.0",
        feedback_backward="""
            register.0 = tanh new.0
            register.0 = fnma register.0 register.0 constant.1
            d_new.0 = fma d_vector.0 register.0 d_new.0
        """,
    ),
    "lstm_fgr": cell(  # several vectors, which have a weight of their own
        [*projected("ifgo"), *((name, "none", "feedback", -1, slot) for name, slot in (("i", 0), ("f", 1), ("o", 3)))],
        "h c i f o",
        saved=4,
        slots=7,
        vectors=3,
        weights=[("i", "drawn", 4), ("f", "drawn", 5), ("o", "drawn", 6)],
        forward="""
            saved.2 = tanh_add input.2 hidden.2
            register.0 = add3 input.0 hidden.0 fed.0
            saved.0 = sigmoid_fma weight.0 state.1 register.0
            register.0 = add3 input.1 hidden.1 fed.1
            saved.1 = sigmoid_fma weight.1 state.1 register.0
            register.0 = mul saved.0 saved.2
            new.1 = fma saved.1 state.1 register.0
            register.0 = add3 input.3 hidden.3 fed.2
            saved.3 = sigmoid_fma weight.2 new.1 register.0
            register.0 = tanh new.1
            new.0 = mul saved.3 register.0
            new.2 = copy saved.0
            new.3 = copy saved.1
            new.4 = copy saved.3
        """,
        backward="""
            register.0 = tanh new.1
            register.1 = mul d_new.0 register.0
            register.1 = add register.1 d_new.4
            slot.3 = times_sigmoid_slope register.1 saved.3
            register.1 = mul d_new.0 saved.3
            register.0 = fnma register.0 register.0 constant.1
            register.1 = fma register.1 register.0 d_new.1
            slot.6 = mul slot.3 new.1
            register.1 = fma slot.3 weight.2 register.1
            register.0 = mul register.1 state.1
            register.0 = add register.0 d_new.3
            slot.1 = times_sigmoid_slope register.0 saved.1
            register.2 = mul register.1 saved.1
            slot.5 = mul slot.1 state.1
            register.2 = fma slot.1 weight.1 register.2
            register.0 = mul register.1 saved.2
            register.0 = add register.0 d_new.2
            slot.0 = times_sigmoid_slope register.0 saved.0
            slot.4 = mul slot.0 state.1
            slot.2 = mul_tanh_slope register.1 saved.0 saved.2
            d_state.1 = fma slot.0 weight.0 register.2
            d_state.0 = copy constant.0
            d_state.2 = copy constant.0
            d_state.3 = copy constant.0
            d_state.4 = copy constant.0
        """,
        feedback="""
            vector.0 = copy state.2
            vector.1 = copy state.3
            vector.2 = copy state.4
        """,
        feedback_backward="""
            d_new.2 = add d_new.2 d_vector.0
            d_new.3 = add d_new.3 d_vector.1
            d_new.4 = add d_new.4 d_vector.2
        """,
    ),
    "rnn_relu": cell(
        projected("a"),
        slots=1,
        forward="""
            register.0 = add input.0 hidden.0
            new.0 = relu register.0
        """,
        backward="""
            slot.0 = where_gt new.0 constant.0 d_new.0 constant.0
            d_state.0 = copy constant.0
        """,
    ),
}
