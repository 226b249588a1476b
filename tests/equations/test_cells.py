"""The other files of this folder whose tests register cells, each in a process of its own.

A cell that was registered stays for as long as its process lives, and other tests ask for the list of cells.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@pytest.mark.parametrize(
    "tests",
    [
        "benchmark_cells.py",
        "builtin_cells.py",
        "heads.py",
        "page.py",
        "readers_cells.py",
        "step_inputs.py",
        "zoo_cells.py",
    ],
)
def test_cells_from_equations(tests: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / tests)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
