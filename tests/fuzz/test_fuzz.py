"""The fuzz command itself (fuzzed_cases.py), in a process of its own: the cells that it draws stay in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).with_name("fuzzed_cases.py")


def test_cases_are_right_and_wrong_ones_seen() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    found = subprocess.run(command, cwd=TESTS.parents[2], capture_output=True, text=True, timeout=900, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
