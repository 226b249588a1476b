"""A cell's programs run in NumPy, as the kernels run them: what a phase may read, and which places are one memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from rnnkernels.equations.operations import OPERATIONS

if TYPE_CHECKING:
    from rnnkernels.equations.evaluating import Leaves
    from rnnkernels.equations.operations import Array
    from rnnkernels.equations.program import Lowered, Operand

_sigmoid, _tanh = OPERATIONS["sigmoid"].compute, OPERATIONS["tanh"].compute

COMPUTE: dict[str, Callable[..., Array]] = {
    **{name: operation.compute for name, operation in OPERATIONS.items()},
    "copy": lambda a: a,
    "fnma": lambda a, b, c: -a * b + c,
    "fms": lambda a, b, c: a * b + -c,
    "add3": lambda a, b, c: (a + b) + c,
    "mul3": lambda a, b, c: (a * b) * c,
    "one_minus": lambda a: 1 - a,
    "one_minus_mul": lambda a, b: (1 - a) * b,
    "sub_mul": lambda a, b, c: (a - b) * c,
    "lerp": lambda a, b, c: a * (b - c) + c,
    "sigmoid_add": lambda a, b: _sigmoid(a + b),
    "tanh_add": lambda a, b: _tanh(a + b),
    "sigmoid_fma": lambda a, b, c: _sigmoid(a * b + c),
    "tanh_fma": lambda a, b, c: _tanh(a * b + c),
    "sigmoid_add_fma": lambda a, b, c, d: _sigmoid(c * d + (a + b)),
    "times_sigmoid_slope": lambda a, s: a * (s * (1 - s)),
    "times_tanh_slope": lambda a, t: a * (-t * t + 1),
    "mul_sigmoid_slope": lambda a, b, s: (a * b) * (s * (1 - s)),
    "mul_tanh_slope": lambda a, b, t: (a * b) * (-t * t + 1),
    "mul_tanh": lambda a, b: a * _tanh(b),
    "fma_mul": lambda a, b, c, d: a * b + c * d,
    "fma_tanh_slope": lambda a, b, t, c: (a * b) * (-t * t + 1) + c,
    "sub_mul_sigmoid_slope": lambda a, b, c, s: ((a - b) * c) * (s * (1 - s)),
    "fnma_sigmoid_slope": lambda a, b, c, s: (-a * b + c) * (s * (1 - s)),
    "fnma_tanh_slope": lambda a, b, c, t: (-a * b + c) * (-t * t + 1),
}

_FOR_ALL = "register constant weight step"
READS = {
    "forward": "input direct hidden fed state",
    "forward_state": "input direct gated state saved",
    "backward": "saved state new d_new",
    "backward_gates": "saved state slot d_state d_made",
    "feedback": "new",
    "feedback_backward": "new d_new d_vector",
}
WRITES = {
    "forward": "new saved made",
    "forward_state": "new saved",
    "backward": "slot d_state d_step",
    "backward_gates": "slot d_state d_step made",
    "feedback": "vector",
    "feedback_backward": "d_new d_step",
}
_SAME_MEMORY = {"forward": ("new", "state"), "backward": ("d_state", "d_new")}


def run_phase(lowered: Lowered, phase: str, memory: Mapping[Operand, Array]) -> dict[Operand, Array]:
    """Return the memory after a phase. What a phase writes it may read again."""
    program = lowered.programs[phase]
    places = dict(memory)
    reads, writes = {*_FOR_ALL.split(), *READS[phase].split()}, {"register", *WRITES[phase].split()}
    same = _SAME_MEMORY["forward" if phase.startswith("forward") else "backward"]
    written: set[Operand] = set()

    def place(operand: Operand) -> Operand:
        return (same[1], operand[1]) if operand[0] == same[0] else operand

    for key in list(places):
        if key[0] == same[0]:
            places[place(key)] = places.pop(key)
    for operation, out, inputs in program.instructions:
        values = []
        for operand in inputs:
            if operand not in written and operand[0] not in reads:
                raise AssertionError(f"{phase} reads {operand}")
            if operand[0] == same[1] and (same[0], operand[1]) in written:
                raise AssertionError(f"{phase} reads {operand} when it is overwritten")
            constant = operand[0] == "constant"
            values.append(np.asarray(lowered.constants[operand[1]]) if constant else places[place(operand)])
        if out[0] not in writes:
            raise AssertionError(f"{phase} writes {out}")
        if out[0] == "register" and out[1] >= program.registers:
            raise AssertionError(f"{phase} has {program.registers} registers and writes {out}")
        if out[0] != "register" and out in written:
            raise AssertionError(f"{phase} writes {out} twice")
        with np.errstate(all="ignore"):
            places[place(out)] = np.broadcast_to(COMPUTE[operation](*values), np.shape(memory["state", 0]))
        written.add(out)
    left = {key: value for key, value in places.items() if key[0] not in ("register", same[1])}
    return left | {(same[0], key[1]): value for key, value in places.items() if key[0] == same[1]}


def run_step(lowered: Lowered, leaves: Leaves) -> dict[Operand, Array]:
    """Return what a forward and a backward of one step leave.

    `leaves` has every leaf's array: of products too, and of the gradients of what they multiply, as if the matrices
    were such. What is fed back is made of the states before the step, with these in the place of the new ones.
    """
    equations = lowered.equations
    memory: dict[Operand, Array] = {("direct", 0): leaves["direct", None]}
    inputs = [gate for gate in equations.gates if gate in equations.inputs]
    named = (("input", inputs), ("weight", equations.weights), ("step", equations.steps))
    for kind, names in named:
        memory.update({(kind, place): leaves[kind, name] for place, name in enumerate(names)})
    states = range(len(equations.states))
    old = {("state", state): leaves["state", state] for state in states}
    memory.update(old)
    come = {("d_new", state): leaves["d_new", state] for state in states}
    d_made: dict[Operand, Array] = {}
    d_vectors: dict[Operand, Array] = {}
    product: dict[str, dict[Operand, Array]] = {"hidden": {}, "feedback": {}, "gated": {}}
    for number, of in enumerate(equations.products):
        kind = {"hidden": "hidden", "feedback": "fed", "gated": "gated"}[of.kind]
        own = [gate for gate in equations.gates if gate in of.gates]
        product[of.kind] = {(kind, place): leaves["product", (number, gate)] for place, gate in enumerate(own)}
        if of.kind == "gated":
            d_made = {("d_made", 0): leaves["d_operand", (number, 0)]}
        if of.kind == "feedback":
            d_vectors = {("d_vector", v): leaves["d_operand", (number, v)] for v in range(len(of.operands))}

    def kinds(memory: Mapping[Operand, Array], *wanted: str) -> dict[Operand, Array]:
        return {key: value for key, value in memory.items() if key[0] in wanted}

    after = run_phase(lowered, "forward", memory | product["hidden"] | product["feedback"])
    made = kinds(after, "made")
    if "forward_state" in lowered.programs:
        after = run_phase(lowered, "forward_state", memory | product["gated"] | kinds(after, "saved"))
    common = kinds(memory, "weight", "step") | kinds(after, "saved") | old
    new = kinds(after, "new")
    result = new | kinds(after, "saved") | {(f"forward {kind}", place): value for (kind, place), value in made.items()}
    after = run_phase(lowered, "backward", common | new | come)
    if "backward_gates" in lowered.programs:
        after = run_phase(lowered, "backward_gates", common | kinds(after, "slot", "d_state", "d_step") | d_made)
    result |= kinds(after, "slot", "d_state", "d_step", "made")
    if "feedback" in lowered.programs:
        as_new = {("new", state): leaves["state", state] for state in states}
        shape = {("state", 0): leaves["state", 0]}
        found = as_new | kinds(memory, "step", "weight")
        result |= kinds(run_phase(lowered, "feedback", found | shape), "vector")
        after = run_phase(lowered, "feedback_backward", found | come | d_vectors | shape)
        result |= {("fed back", place): value for (_, place), value in kinds(after, "d_state").items()}
        result |= {("fed back step", place): value for (_, place), value in kinds(after, "d_step").items()}
    return result
