"""From equations to a cell of the kernels: differentiated, checked, lowered, and handed to the extension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnkernels import _cpu

from .checking import check
from .lowering import lower

if TYPE_CHECKING:
    from .graph import Equations
    from .program import Lowered


def register(equations: Equations) -> Lowered:
    """Add a cell to the extension's list, under the name of the equations.

    Raises
    ------
    ValueError
        If the derived gradient is not that of the equations, or the kernels cannot run them.
    """
    lowered = lower(equations)
    check(equations, lowered.backward)
    operations, operands = _cpu.program_operations(), _cpu.program_operands()
    _cpu.add_program(
        lowered.name,
        lowered.states,
        lowered.gates,
        lowered.weights,
        lowered.steps,
        lowered.saved,
        lowered.slots,
        lowered.vectors,
        lowered.constants,
        {phase: program.encode(operations, operands) for phase, program in lowered.programs.items()},
    )
    return lowered
