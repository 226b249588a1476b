"""The files of this folder that take a cell from equations everywhere, each in a process of its own.

A cell that was registered stays for as long as its process lives, and other tests ask for the list of cells.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SUBJECTS = ("arrays", "command_line", "diagnose", "jax", "refusals", "torch")


@pytest.mark.parametrize("subject", SUBJECTS)
def test_everywhere(subject: str) -> None:
    tests = str(HERE / f"everywhere_{subject}.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    assert found.returncode in (0, 5), found.stdout + found.stderr  # 5: an optional package is missing
