"""Sums in chains (chains.py), in a process of their own: no other test shall see the cell registered there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).with_name("chains.py")


def test_sums_are_chains() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    found = subprocess.run(command, cwd=TESTS.parents[2], capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
