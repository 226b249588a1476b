"""Cells that were added at run time, as records of their programs: which extensions have been told of them.

The CPU's extension learns of a cell at once, a GPU's when it is loaded, or at once where it is: from then on both know
it by its name. Not here: how a record is made (`rnnkernels.equations.lowering`).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from . import _cpu

if TYPE_CHECKING:
    from types import ModuleType

_lock = threading.RLock()
_records: dict[str, dict[str, Any]] = {}
_modules: list[ModuleType] = []


def add(record: dict[str, Any]) -> None:
    """Add a cell to every extension that is loaded, and to those that will be.

    Parameters
    ----------
    record : dict
        The arguments of ``_cpu.add_program``, by name.

    Raises
    ------
    ValueError
        If the kernels refuse it; then no extension has it.
    """
    with _lock:
        _cpu.add_program(**record)
        _records[record["name"]] = record
        for module in _modules:
            module.add_program(**record)


def tell(module: ModuleType) -> None:
    """Have a GPU's extension know every cell, from now on too."""
    with _lock:
        known = {cell["name"] for cell in module.cells()}
        for name, record in _records.items():
            if name not in known:
                module.add_program(**record)
        if module not in _modules:
            _modules.append(module)
