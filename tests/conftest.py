"""What every test file may use: the kernels' settings, put back after each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import rnnkernels as rk
from rnnkernels import _cpu

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """Every test runs with poisoned memory: outputs, reserves and workspaces start as NaN."""
    instructions, threads = rk.instruction_set(), rk.num_threads()
    _cpu.set_poison(True)
    yield
    _cpu.set_poison(False)
    rk.set_instruction_set(instructions)
    rk.set_num_threads(threads)


@pytest.fixture(params=rk.instruction_sets())
def isa(request: pytest.FixtureRequest) -> str:
    """Every instruction set of this machine and build, in turn."""
    rk.set_instruction_set(request.param)
    return str(request.param)
