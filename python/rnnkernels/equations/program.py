"""A cell as the kernels take it: plain data, made of equations by `rnnkernels.equations.lowering`.

An instruction is ``(operation, out, inputs)``, an operand ``(kind, index)``; their names and what they are stand in the
kernels' own list, ``_cpu.program_operations()`` and ``_cpu.program_operands()``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from .adjoint import Backward
    from .graph import Equations
    from .keeping import Kept

Operand: TypeAlias = "tuple[str, int]"


class Instruction(NamedTuple):
    """One operation over all vectors."""

    operation: str
    out: Operand
    inputs: tuple[Operand, ...]

    def __str__(self) -> str:
        out, *inputs = (f"{kind} {index}" for kind, index in (self.out, *self.inputs))
        return f"{out} = {self.operation}({', '.join(inputs)})"


class Program(NamedTuple):
    """The instructions of a phase, and how many registers they need."""

    registers: int
    instructions: tuple[Instruction, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.instructions))

    def encode(self, operations: Sequence[str], operands: Sequence[str]) -> tuple[int, list[tuple[int, ...]]]:
        """Return the program in numbers, those of names in the kernels' lists."""
        operation = {name: number for number, name in enumerate(operations)}
        kind = {name: number for number, name in enumerate(operands)}
        rows = []
        for name, out, inputs in self.instructions:
            numbers = (number for of_kind, index in (out, *inputs) for number in (kind[of_kind], index))
            rows.append((operation[name], *numbers))
        return self.registers, rows


class GateRow(NamedTuple):
    """A gate: what feeds it, what its recurrent weight multiplies, the gradient slots of both (-1: none)."""

    name: str
    input: str  # "none", "projected" or "direct"
    operand: str  # "none", "hidden", "feedback" or "gated"
    dx: int
    du: int


class WeightRow(NamedTuple):
    """An element-wise weight: its value before training ("drawn", "zero" or "one") and its gradient slot."""

    name: str
    initial: str
    slot: int


@dataclass(frozen=True)
class Lowered:
    """A cell as ``_cpu.add_program`` takes it, and what it was made of.

    Attributes
    ----------
    gates
        In the order of their rows.
    sigmoids
        The gates that sigmoids alone read.
    saved, slots, vectors, heads
        Counts: what the forward keeps, gradient slots, vectors that are fed back, heads of the recurrent weights.
    programs
        By phase: ``forward``, ``backward``; where there are two products ``forward_state`` and ``backward_gates``;
        where something is fed back ``feedback`` and ``feedback_backward``.
    equations, backward, kept
        The simplified equations, their gradients in the same graph, and the nodes that are kept.
    """

    name: str
    states: tuple[str, ...]
    gates: tuple[GateRow, ...]
    weights: tuple[WeightRow, ...]
    steps: tuple[str, ...]
    saved: int
    slots: int
    vectors: int
    heads: int
    sigmoids: tuple[str, ...]
    constants: tuple[float, ...]
    programs: Mapping[str, Program]
    equations: Equations
    backward: Backward
    kept: Kept

    def record(self, operations: Sequence[str], operands: Sequence[str]) -> dict[str, Any]:
        """Return the arguments of ``_cpu.add_program``.

        Parameters
        ----------
        operations, operands
            The kernels' lists, ``_cpu.program_operations()`` and ``_cpu.program_operands()``.

        Returns
        -------
        dict
            By name.

        Raises
        ------
        KeyError
            If the kernels lack an operation.
        """
        return {
            "name": self.name,
            "states": list(self.states),
            "gates": [tuple(gate) for gate in self.gates],
            "weights": [tuple(weight) for weight in self.weights],
            "steps": list(self.steps),
            "saved": self.saved,
            "slots": self.slots,
            "vectors": self.vectors,
            "heads": self.heads,
            "sigmoids": list(self.sigmoids),
            "constants": list(self.constants),
            "programs": {phase: program.encode(operations, operands) for phase, program in self.programs.items()},
        }
