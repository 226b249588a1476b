"""A plugin of pytest: the tests with the CUDA backend in the CPU's place, on a GPU or emulated on the host.

`python -m pytest -p cuda_emulated tests/kernels ...`, with tests/support on the path. RNNKERNELS_CUDA_EMULATED names
the module of the preset cuda-emulated (tests/native/emulated_device.cpp says what it runs); unset: the real one, which
wants a GPU. Calls with NumPy's arrays then go through the CUDA extension, copied there and back, by its kernel
RNNKERNELS_CUDA_KERNEL: bitwise equalities between calls of different sizes hold for ``reference`` only.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

NAME = "_cuda_emulated"


def file() -> str:
    """Return where the module is; the test that asks skips where it is not."""
    built = sorted(Path(__file__).parents[2].glob("build/cuda-emulated/_cuda_emulated*.so"), key=os.path.getmtime)
    named = os.environ.get("RNNKERNELS_CUDA_EMULATED") or (str(built[-1]) if built else None)
    if named is None:
        pytest.skip("no emulated CUDA backend: cmake --preset cuda-emulated and --build")
    return named


@cache
def load(path: str) -> Any:
    """Return the module; a process can load it once."""
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_configure() -> None:
    """Put the module where `rnnkernels` looks for its CUDA backend; not where a test imports this file."""
    if os.environ.get("RNNKERNELS_CUDA_EMULATED"):
        sys.modules["rnnkernels._cuda"] = load(os.environ["RNNKERNELS_CUDA_EMULATED"])


@pytest.fixture(autouse=True)
def _on_cuda() -> Any:
    import rnnkernels as rk
    from rnnkernels.cuda import extension

    rk.set_backend("cuda")
    extension.load().set_poison(True)
    extension.load().set_kernel(os.environ.get("RNNKERNELS_CUDA_KERNEL", "auto"))
    yield
    extension.load().set_poison(False)
    rk.set_backend("cpu")
