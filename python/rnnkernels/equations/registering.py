"""From equations to a cell of the kernels: differentiated, checked, lowered, and handed to the extensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnkernels import _added, _cpu

from .checking import check
from .lowering import lower

if TYPE_CHECKING:
    from .graph import Equations
    from .program import Lowered


def register(equations: Equations) -> Lowered:
    """Add a cell to the extensions' lists, under the name of the equations.

    Raises
    ------
    ValueError
        If the derived gradient is not that of the equations, or the kernels cannot run them.
    """
    lowered = lower(equations)
    check(equations, lowered.backward)
    _added.add(lowered.record(_cpu.program_operations(), _cpu.program_operands()))
    return lowered
