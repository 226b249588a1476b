"""The built-in cells once more, as cells from equations, registered under ``<name>_by_equations``.

What `rk.cell` makes of `rnnkernels.equations.builtin` is compared with the compiled cells (builtin_cells.py). No tests.
"""

from __future__ import annotations

import rnnkernels as rk
from rnnkernels.equations.builtin import FUNCTIONS

CELLS: dict[str, str] = {cell: rk.cell(made, name=f"{cell}_by_equations") for cell, made in FUNCTIONS.items()}
"""The registered name of every built-in cell's equations, by the cell's name."""
