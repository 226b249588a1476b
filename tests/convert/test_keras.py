"""Keras' layers and files (keras_layers.py), in a process of their own: cells of their equations stay in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).with_name("keras_layers.py")


def test_keras_layers_and_files() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    found = subprocess.run(command, cwd=TESTS.parents[2], capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
