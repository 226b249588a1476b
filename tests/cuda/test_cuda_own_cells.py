"""Cells made at run time on the emulated CUDA backend, tested in a process of their own, which other tests do not see.

Besides own_cells_emulated.py these are tests of the CPU's kernels, with the other backend in their place.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import emulated_module

TESTS = Path(__file__).parents[1]
IN_THE_CPUS_PLACE = ("equations/added_programs.py", "equations/random_layers.py", "equations/test_step_inputs.py")


def run(*arguments: str, **variables: str) -> None:
    path = emulated_module()
    if path is None:
        pytest.skip("no emulated CUDA backend: cmake --preset cuda-emulated and --build")
    environment = {**os.environ, "RNNKERNELS_CUDA_EMULATED": path, "RNNKERNELS_ISA": "scalar", **variables}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    found = subprocess.run(
        command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert found.returncode == 0, found.stdout[-20000:] + found.stderr


def test_own_cells() -> None:
    run(str(TESTS / "cuda/own_cells_emulated.py"))


@pytest.mark.parametrize("file", IN_THE_CPUS_PLACE)
def test_in_the_cpus_place(file: str) -> None:
    path = os.pathsep.join([str(TESTS / "support"), *filter(None, [os.environ.get("PYTHONPATH")])])
    run("-p", "cuda_emulated", str(TESTS / file), "-k", "not one_step and not side_by_side", PYTHONPATH=path)
