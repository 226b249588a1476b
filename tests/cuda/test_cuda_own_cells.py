"""Cells made at run time on the emulated CUDA backend, tested in a process of their own, which other tests do not see.

Besides own_cells_emulated.py these are tests of the CPU's kernels, with the other backend in their place.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_emulated import file

TESTS = Path(__file__).parents[1]
IN_THE_CPUS_PLACE = {  # which of a file's tests: those of prepared layers are the CPU's, others would take minutes
    "equations/random_layers.py": "random or near",
    "equations/step_inputs.py": "outputs or ragged or no_gradient",
    "equations/added_heads.py": "reference or options or dropped or nan",
}


def run(*arguments: str, **variables: str) -> None:
    environment = {**os.environ, "RNNKERNELS_CUDA_EMULATED": file(), "RNNKERNELS_ISA": "scalar", **variables}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    found = subprocess.run(
        command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert found.returncode == 0, found.stdout[-20000:] + found.stderr


def test_own_cells() -> None:
    run(str(TESTS / "cuda/own_cells_emulated.py"))


@pytest.mark.parametrize("tests", IN_THE_CPUS_PLACE)
def test_in_the_cpus_place(tests: str) -> None:
    path = os.pathsep.join([str(TESTS / "support"), *filter(None, [os.environ.get("PYTHONPATH")])])
    run("-p", "cuda_emulated", str(TESTS / tests), "-k", IN_THE_CPUS_PLACE[tests], PYTHONPATH=path)
