"""Cells that are registered (own_cells.py), tested in a process of their own: other tests do not see them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).with_name("own_cells.py")


def test_own_cells() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    found = subprocess.run(command, cwd=TESTS.parents[2], capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
