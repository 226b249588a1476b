"""Files checked against their sources (checked_files.py), in a process of their own: the cells of nodes stay in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).with_name("checked_files.py")


def test_files_are_checked_against_their_sources() -> None:
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    found = subprocess.run(command, cwd=TESTS.parents[2], capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
