"""A cell that comes from outside the module is a cell as the built-in ones are.

A cell that was added stays for as long as its process lives: test_added_cell.py runs these tests in one of their own.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import rnnkernels as rk
from rnnkernels import _cpu

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
NAME = "lstm_from_elsewhere"
FLAGS = {"avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx2", "-mfma", *(f"-mavx512{f}" for f in ("f", "vl", "dq", "bw"))]}


def capsule(pointer: int, name: bytes = b"rnnkernels.cell") -> object:
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    result: object = make(pointer, name, None)
    return result


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], int]:
    """The library's entries, by number: their addresses. It is compiled for the fastest set alone."""
    compiler = shutil.which(os.environ.get("CXX") or "c++")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C++ compiler, on Linux")
    fastest = _cpu.instruction_sets()[-1]
    library = tmp_path_factory.mktemp("cell") / "cell.so"
    command = [compiler, "-std=c++20", "-O2", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno"]
    command += ["-fno-trapping-math", f"-DRNNKERNELS_TARGET={fastest}", f'-DSET_NAME="{fastest}"']
    command += [f'-DCELL_NAME="{NAME}"', *FLAGS.get(fastest, []), f"-I{ROOT / 'csrc'}"]
    command += [str(ROOT / "tests" / "native" / "added_cell.cpp"), "-o", str(library)]
    subprocess.run(command, check=True, timeout=300)
    function = ctypes.CDLL(str(library)).entry
    function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_int]
    return function


@pytest.fixture(scope="module")
def added(entry: Callable[[int], int]) -> str:
    if NAME not in rk.cells():
        _cpu.add_cell(capsule(entry(0)))
    return NAME


@pytest.mark.parametrize(
    ("pointer", "name", "said"),
    [
        (0, b"another", "expected a capsule named rnnkernels.cell, got one named another"),
        (1, b"rnnkernels.cell", "cell: expected version 3 of the strip, got 4"),
        (2, b"rnnkernels.cell", "cell: expected 0 to 3 as the slot of a gate, got 4"),
        (3, b"rnnkernels.cell", "it has passes for no instruction set of this machine"),
    ],
)
def test_a_wrong_entry_is_refused_and_changes_nothing(
    entry: Callable[[int], int], pointer: int, name: bytes, said: str
) -> None:
    before = rk.cells()
    with pytest.raises(ValueError, match=said):
        _cpu.add_cell(capsule(entry(pointer), name))
    assert rk.cells() == before


def test_a_name_is_taken_once(added: str, entry: Callable[[int], int]) -> None:
    assert rk.cells()[-1] == added
    assert rk.cell_info(added)["states"] == ("h", "c")
    with pytest.raises(ValueError, match=f"expected a new name, got {added}, which is taken"):
        _cpu.add_cell(capsule(entry(0)))


def test_a_set_without_passes_is_named(added: str) -> None:
    if len(_cpu.instruction_sets()) == 1:
        pytest.skip("there is one set only")
    params = rk.init_params("lstm", 3, 5, rng=0)
    rk.set_instruction_set("scalar")
    with pytest.raises(ValueError, match=f"{added} has no passes for the instruction set scalar"):
        rk.forward(added, np.zeros((2, 1, 3), np.float32), params)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4, 3, 5, 7), (3, 29, 17, 33)])
@pytest.mark.parametrize(
    "asked", [{}, {"noise": rk.Noise(7, zoneout=0.2, recurrent_dropout=0.1)}, {"all_states": True}]
)
def test_it_gives_the_built_in_ones_bits(
    added: str, dtype: type, shape: tuple[int, int, int, int], asked: dict[str, Any]
) -> None:
    rk.set_instruction_set(_cpu.instruction_sets()[-1])
    steps, batch, inputs, hidden = shape
    rng = np.random.default_rng(0)
    params = rk.init_params(added, inputs, hidden, rng=1, dtype=dtype)
    x: Any = rng.standard_normal((steps, batch, inputs)).astype(dtype)
    runs = [rk.forward(cell, x, params, **asked) for cell in ("lstm", added)]
    np.testing.assert_array_equal(runs[0].output, runs[1].output)
    of_built_in, of_added = (rk.backward(run, np.ones_like(run.output)) for run in runs)
    np.testing.assert_array_equal(of_built_in.x, of_added.x)
    for name, gradient in of_built_in.params.items():
        np.testing.assert_array_equal(gradient, of_added.params[name])
    stepper = rk.Prepared(added, params).stepper(batch_size=batch)
    for t in range(steps):
        last = stepper(x[t]).copy()
    if not asked.get("noise"):
        np.testing.assert_array_equal(last, runs[0].output[-1])
