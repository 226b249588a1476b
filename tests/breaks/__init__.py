"""Would the tests notice? Deliberate mistakes in the code, each run against the tests that should fail.

`python -m tests.breaks` (runner.py). The mistakes are tables, a module for each subject. pytest collects none of this;
tests/house/test_breaks.py holds the tables to the sources.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .record import Break

_OTHERS = {"__init__", "__main__", "record", "runner"}  # modules without a table
_TABLES = sorted({file.stem for file in Path(__file__).parent.glob("*.py")} - _OTHERS)

BREAKS: list[Break] = [b for table in _TABLES for b in import_module(f"{__name__}.{table}").BREAKS]
