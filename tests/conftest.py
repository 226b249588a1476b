"""What every test file may use: the kernels' settings, put back after each test, and the CUDA backend, emulated.

Folders: kernels (what the kernels of every backend give), cpu (what the CPU's promise beside it), reference, python
(what is built on the kernels), convert, charlm, examples, torch, onnx, jax, cuda (emulated; gpu: on a real one), house
(the rules of this repository), wheels (what is shipped), native (programs in C++), fuzz (random calls, as many as one
likes). No tests: support (what test files import), breaks (would they notice?).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from problems import sets

import rnnkernels as rk
from rnnkernels import _cpu
from rnnkernels.cuda import arrays, extension

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """Every test runs with poisoned memory: outputs, reserves and workspaces start as NaN.

    And with as many threads as it sets: their number divides calls in other ways, on few processors as well.
    """
    instructions, threads = rk.instruction_set(), rk.num_threads()
    _cpu.set_poison(True)
    _cpu.set_oversubscribed(True)
    yield
    _cpu.set_poison(False)
    rk.set_instruction_set(instructions)
    rk.set_num_threads(threads)


@pytest.fixture(params=sets())
def isa(request: pytest.FixtureRequest) -> str:
    """Every instruction set of this machine and build, in turn (problems.py's `sets`). Where vectors matter."""
    rk.set_instruction_set(request.param)
    return str(request.param)


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The backend on the host's memory; tensors of the CPU are taken for a GPU's."""
    import cuda_emulated

    monkeypatch.setitem(sys.modules, "rnnkernels._cuda", cuda_emulated.load(cuda_emulated.file()))
    extension._import.cache_clear()
    module = extension.load()
    module.set_poison(True)
    yield module
    module.set_poison(False)
    module.set_kernel("auto")
    extension._import.cache_clear()


@pytest.fixture
def clusters(emulated: Any) -> Iterator[Any]:
    """Gives the emulated card clusters: those of so many processors, of at most so many blocks."""
    import ctypes

    given = ctypes.CDLL(emulated.__file__).emulated_clusters
    yield given
    given(2, 16)


@pytest.fixture
def tensors(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    torch = pytest.importorskip("torch")
    from rnnkernels.torch import kernels

    monkeypatch.setattr(arrays, "_gpu_of", lambda tensor: 1 if getattr(tensor, "second", False) else 0)
    monkeypatch.setattr(arrays.TorchFrame, "where", property(lambda _: torch.device("cpu")))
    monkeypatch.setattr(arrays.TorchFrame, "stream", lambda _: 0)
    monkeypatch.setattr(kernels, "_on_gpu", lambda _: True)
    return torch
