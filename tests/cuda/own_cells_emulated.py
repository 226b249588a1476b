"""Cells made at run time on the emulated CUDA backend: the bits of the built-in cells', and of compiled source.

What was added stays for as long as its process lives: test_cuda_own_cells.py runs these tests in one of their own.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import one_kernel
import pytest
from hand_programs import CELLS
from one_kernel import compare as compare_kernels
from one_kernel import problem
from problems import make, on_device, zoneout_of
from random_equations import random_equations

import rnnkernels as rk
from rnnkernels import _added, cuda
from rnnkernels.cuda import extension
from rnnkernels.equations.registering import register

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (5, 6, 4, 17)
LENGTHS = [5, 0, 2, 5, 1, 3]
OPTIONS: dict[str, dict[str, Any]] = {
    "dense": {},
    "ragged": {"lengths": LENGTHS},
    "reversed": {"lengths": LENGTHS, "reverse": True},
    "dropped": {"noise": rk.Noise(7, recurrent_dropout=0.2, weight_dropout=0.3)},
}


def added(name: str) -> str:
    """The built-in cell `name` as a program."""
    as_program = f"{name}_program"
    if as_program not in rk.cells():
        _added.add({"name": as_program, **CELLS[name]})
    return as_program


def compare(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], name)


@pytest.fixture
def on_cuda(emulated: Any) -> Any:
    rk.set_backend("cuda")
    yield emulated
    rk.set_backend("cpu")


def test_a_cell_is_known_by_its_name(emulated: Any) -> None:
    """One that came before the extension, and one that came after it."""
    rk.cell(lambda x, h: rk.tanh(x.n + rk.product(h).n), name="came_late")
    for name in ("came_early", "came_late"):
        known = {table["name"]: table for table in emulated.cells()}[name]
        assert {key: known[key] for key in ("states", "gates", "rows")} == {
            key: rk.cell_info(name)[key] for key in ("states", "gates", "rows")
        }
    with pytest.raises(ValueError, match="cell: expected a new name, got came_late, which is taken"):
        emulated.add_program(**{"name": "came_late", **CELLS["gru"]})
    with pytest.raises(ValueError, match=r"programs\['forward'\]: expected a program of a cell with such gates"):
        emulated.add_program(**{"name": "refused", **CELLS["gru"], "programs": {"forward": (0, [])}})


rk.cell(lambda x, h: rk.tanh(x.n + rk.product(h).n), name="came_early")


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CELLS)
def test_the_bits_of_the_built_in_cell(on_cuda: Any, name: str, dtype: str, options: str) -> None:
    p = make(name, SHAPE, dtype)
    built_in = p.results(**OPTIONS[options])
    p.cell = added(name)
    compare(built_in, p.results(**OPTIONS[options]))


@pytest.mark.parametrize("name", CELLS)
def test_zoneout(on_cuda: Any, name: str) -> None:
    """Of two products what goes past the cell is added in another order than to a built-in one."""
    p = make(name, SHAPE)
    noise = rk.Noise(7, zoneout=zoneout_of(name, 0.3), recurrent_dropout=0.2)
    built_in = p.results(noise=noise)
    p.cell = added(name)
    for key, value in p.results(noise=noise).items():
        np.testing.assert_allclose(value, built_in[key], rtol=1e-12, atol=1e-13, err_msg=key)


@pytest.mark.parametrize("name", CELLS)
def test_tokens(on_cuda: Any, name: str) -> None:
    p = make(name, SHAPE, tokens=True)
    built_in = p.results()
    p.cell = added(name)
    compare(built_in, p.results())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", CELLS)
def test_halves(tensors: Any, name: str, dtype: str) -> None:
    import torch

    p = make(name, SHAPE, "float32")
    x, params, state = on_device(torch, p, getattr(torch, dtype))
    d_output = torch.from_numpy(p.d_output).to(x.dtype)
    found = []
    for of in (name, added(name)):
        run = rk.forward(of, x, params, state)
        gradients = rk.backward(run, d_output)
        found.append([run.output, gradients.x, *gradients.state, *(gradients.params[key] for key in params)])
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


RESIDENT = ["lstm", "lstm_peephole", "gru", "rnn_relu", "gru_reset_before", "mgu", "mut1", "mut3", "lstm_fgr"]


@pytest.mark.parametrize("name", RESIDENT)
@pytest.mark.parametrize("kernel", ["resident", "grid"])
def test_all_steps_in_one_kernel(tensors: Any, kernel: str, name: str) -> None:
    """Both ways: the bits of the built-in cell's, kept values included."""
    if kernel == "grid" and name in {"mut3", "lstm_fgr"}:
        pytest.skip("vectors that are fed back")
    import torch

    p = make(name, (4, 9, 35, 35), "float32")
    x, params, state = on_device(torch, p, torch.bfloat16)
    found = []
    cuda.set_kernel(kernel)
    for of in (name, added(name)):
        run = rk.forward(of, x, params, state, lengths=[4, 0, 2, 4, 1, 3, 4, 4, 4])
        gradients = rk.backward(run, torch.from_numpy(p.d_output).to(x.dtype))
        found.append([run.output, *run.state, gradients.x, *(gradients.params[key] for key in params)])
    for one, two in zip(*found, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("name", RESIDENT)
def test_masks_in_one_kernel(tensors: Any, name: str) -> None:
    """The built-in cell's; of two products what goes past the cell is added in another order."""
    import torch

    count = ctypes.CDLL(extension.load().__file__).emulated_resident_backwards
    before = count()
    p = make(name, (4, 8, 35, 35), "float32")
    x, params, state = on_device(torch, p, torch.float32)
    noise = rk.Noise(7, zoneout=zoneout_of(name, 0.3), recurrent_dropout=0.2)
    found = []
    cuda.set_kernel("resident")
    for of in (name, added(name)):
        run = rk.forward(of, x, params, state, lengths=[4, 0, 2, 4, 1, 3, 4, 4], noise=noise)
        gradients = rk.backward(run, torch.from_numpy(p.d_output).to(x.dtype))
        found.append([run.output, *run.state, gradients.x, *(gradients.params[key] for key in params)])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
    assert count() - before == (0 if name in ("mut3", "lstm_fgr") else 2), "with vectors a masked backward is no kernel"


def more_gated(x: Any, h: Any, c: Any) -> Any:
    """Its second product has more gates than its first."""
    v = rk.product(rk.sigmoid(x.r + rk.product(h).r) * h)
    z = rk.sigmoid(x.z + v.z)
    d = z * c + (1 - z) * rk.tanh(x.n + v.n)
    return rk.sigmoid(x.o + v.o) * rk.tanh(d), d


@pytest.mark.parametrize("shape", one_kernel.SHAPES)
@pytest.mark.parametrize("kernel", ["resident", "grid"])
def test_more_gates_of_the_gated_state(tensors: Any, kernel: str, shape: tuple[int, int, int, int]) -> None:
    import torch

    if "more_gated" not in rk.cells():
        rk.cell(more_gated, name="more_gated")
    one_kernel.compare(torch, make("more_gated", shape), kernel, "bfloat16")


def test_a_layer_of_pytorch(tensors: Any) -> None:
    import torch

    from rnnkernels.torch import Recurrent

    torch.manual_seed(0)
    x = torch.randn(5, 6, 4)
    layer, same = Recurrent("gru", 4, 17), Recurrent(added("gru"), 4, 17)
    same.load_state_dict(layer.state_dict())
    for one in (layer, same):
        one(x)[0].square().sum().backward()
    assert torch.equal(layer(x)[0], same(x)[0])
    for parameter, other in zip(layer.parameters(), same.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad)


def interleaved(x: Any, h: Any, s: Any) -> Any:
    u, v = rk.product(h), rk.product(s)
    r, n, z = rk.sigmoid(x.r + u.r), rk.tanh(x.n + v.n), rk.sigmoid(x.z + u.z)
    g, f = rk.tanh(x.g + v.g), rk.sigmoid(u.f + x.f)
    return z * h + (1 - z) * n * r, f * s + (1 - f) * g


def test_rows_of_a_product_that_do_not_follow_each_other(emulated: Any) -> None:
    check_against_the_cpu(rk.cell(interleaved, name="interleaved"))


def check_against_the_cpu(name: str, **options: Any) -> None:
    """float64, where rounding says little."""
    p = make(name, SHAPE)
    expected = p.results(**options)
    rk.set_backend("cuda")
    try:
        found = p.results(**options)
    finally:
        rk.set_backend("cpu")
    assert found.keys() == expected.keys()
    for key, value in found.items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-9, atol=1e-10, err_msg=f"{name}: {key}")


def decaying(x: Any, h: Any, decay: rk.PerStep) -> Any:
    k = decay * h
    u = rk.product(k)
    n = rk.tanh(x.n + rk.sigmoid(x.r + u.r) * u.n)
    return n + rk.sigmoid(x.z + u.z) * (k - n)


def gaining(x: Any, h: Any, c: Any, decay: rk.PerStep, gain: rk.PerStep) -> Any:
    u = rk.product(h)
    r = rk.sigmoid(x.r + u.r)
    d = rk.tanh(x.n + rk.product(r * h * gain).n) + decay * c
    return rk.tanh(d) + rk.direct(x), d


def crossing(x: Any, h: Any, c: Any) -> Any:
    """Rows of two products that do not follow each other, and two states."""
    u = rk.product(h)
    r = rk.sigmoid(x.r + u.r)
    v = rk.product(r * h + c)
    n, z, f = rk.tanh(x.n + v.n), rk.sigmoid(x.z + u.z * r), rk.sigmoid(x.f + v.f)
    return z * h + (1 - z) * n, f * c + (1 - f) * n * rk.sigmoid(u.o)


def fading(x: Any, h: Any, c: Any, decay: rk.PerStep) -> Any:
    """A vector made of an input of the step that reads it, and gates of three products."""
    u, w = rk.product(h), rk.product(decay * c)
    v = rk.product(rk.sigmoid(x.r + u.r) * h)
    d = rk.sigmoid(x.f + w.f) * c + decay * rk.tanh(x.n + v.n)
    return rk.tanh(d) * rk.sigmoid(x.o + w.o), d


@pytest.mark.parametrize("shape", [SHAPE, (3, 9, 4, 40), (300, 2, 3, 60)], ids=str)
@pytest.mark.parametrize(
    "function", [crossing, gaining, interleaved, fading], ids=lambda function: str(function.__name__)
)
def test_resident_kernels_of_equations(tensors: Any, function: Any, shape: tuple[int, int, int, int]) -> None:
    """Two products in a step, or a vector that is fed back: a backward is one kernel."""
    count = ctypes.CDLL(extension.load().__file__).emulated_resident_backwards
    name = rk.cell(function, name=f"{function.__name__}_{shape[3]}_resident")
    before = count()
    compare_kernels(
        tensors, problem(name, shape), "resident", "bfloat16", lengths=[*shape[:1], 0, 2, *[3] * 9][: shape[1]]
    )
    assert count() > before
    assert (count() > before + 1) == (shape[0] == 300)  # a launch for each chunk


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("function", [decaying, gaining], ids=lambda function: str(function.__name__))
def test_inputs_of_every_step(emulated: Any, function: Any, options: str) -> None:
    check_against_the_cpu(rk.cell(function, name=f"{function.__name__}_steps"), **OPTIONS[options])


@pytest.mark.parametrize("seed", range(10))
def test_random_equations(emulated: Any, seed: int) -> None:
    name = f"random_{seed}"
    register(replace(random_equations(seed), name=name))
    check_against_the_cpu(name)


PHASES = ("forward", "forward_state", "backward", "backward_gates", "feedback", "feedback_backward")


def compile_for_the_host(module: Any, names: list[str], folder: Path) -> ctypes.CDLL:
    """Compile the source of some cells, all in one file."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("no C++ compiler")
    text = [module.program_source(names[0], "float32")[0]]
    for number, name in enumerate(names):
        text += [module.program_source(name, dtype, f"{dtype}_{number}_")[1] for dtype in ("float32", "float64")]
    (folder / "cells.cpp").write_text("\n".join(text), encoding="utf-8")
    flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]
    command = [compiler, *flags, "-Wno-unused-function", "-o", "cells.so", "cells.cpp"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[:5000]
    return ctypes.CDLL(str(folder / "cells.so"))


@pytest.fixture(scope="module")
def sources() -> list[str]:
    """Names of cells: the built-in ones once more, and random ones."""
    for seed in range(12):
        register(replace(random_equations(seed), name=f"source_{seed}"))
    return [*map(added, CELLS), *(f"source_{seed}" for seed in range(12))]


def test_the_source_of_a_program_computes_its_bits(emulated: Any, sources: list[str], tmp_path: Path) -> None:
    compiled = compile_for_the_host(emulated, sources, tmp_path)
    put = ctypes.CDLL(emulated.__file__).emulated_compiled
    put.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
    rk.set_backend("cuda")
    try:
        for number, name in enumerate(sources):
            for wide, dtype in enumerate(("float32", "float64")):
                p = make(name, SHAPE, dtype)
                functions = [getattr(compiled, f"{dtype}_{number}_{phase}", None) for phase in PHASES]
                assert sum(function is not None for function in functions) >= 2
                for options in OPTIONS.values():
                    interpreted = p.results(**options)
                    for phase, function in enumerate(functions):
                        assert put(name.encode(), wide, phase, function and ctypes.cast(function, ctypes.c_void_p))
                    compare(interpreted, p.results(**options))
                    for phase in range(len(PHASES)):
                        put(name.encode(), wide, phase, None)
    finally:
        rk.set_backend("cpu")


def test_equal_programs_have_equal_sources(emulated: Any) -> None:
    """A name is no part of it: what was compiled is found again."""
    _added.add({"name": "lstm\n#error", **CELLS["lstm"]})
    assert emulated.program_source("lstm\n#error", "float32") == emulated.program_source(added("lstm"), "float32")
    with pytest.raises(ValueError, match="cell: expected one that is a program, got lstm, which is built in"):
        emulated.program_source("lstm", "float32")


def test_the_preludes_use_what_a_compiler_without_headers_has(emulated: Any) -> None:
    """Of std only what standard.h makes itself for NVRTC, which has no standard library."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no compiler")
    preludes = {
        "programs": emulated.program_source(added("lstm"), "float32")[0],
        "resident": emulated.resident_source("lstm", "bfloat16", 64, 8, 132)[0],
        "resident backward": emulated.resident_source("lstm", "bfloat16", 64, 8, 132, backward=True)[0],
        "grid": emulated.grid_source("lstm", "bfloat16", 64, 8, 132, 90)[0],
        "grid backward": emulated.grid_source("lstm", "bfloat16", 64, 8, 132, 90, backward=True)[0],
    }
    for name, text in preludes.items():
        command = [compiler, "-E", "-P", "-D__CUDACC__", "-D__CUDACC_RTC__", "-x", "c++", "-"]
        seen = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
        known = set(
            re.findall(r"\busing (?:::)?(\w+)(?: =|;)|\bstruct (\w+)", seen[: seen.index("namespace rnnkernels")])
        )
        missing = set(re.findall(r"\bstd::(\w+)", seen)) - {word for pair in known for word in pair}
        assert not missing, (name, missing)


def test_nvrtc(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs no GPU; a file that is none is looked for again."""
    name = added("lstm")
    with monkeypatch.context() as patch:
        patch.setenv("RNNKERNELS_NVRTC", "/nowhere/libnvrtc.so.13")
        with pytest.raises(
            cuda.CudaUnavailableError, match=r"was not found \(/nowhere.*pip install 'rnnkernels\[cuda13\]'"
        ):
            emulated.compile_program(name, "float32", backward=False, capability=90)
    try:
        emulated.nvrtc()
    except cuda.CudaUnavailableError as error:
        pytest.skip(str(error))
    for one in CELLS:
        for dtype in ("float32", "float64"):
            for backward in (False, True):
                code = emulated.compile_program(added(one), dtype, backward, 90)
                assert code.startswith(b"\x7fELF"), "machine code"
                assert (b".text.backward" in code, b".text.forward" in code) == (backward, not backward)
    for cell in ("gru", name, "mut2", added("gru_reset_before"), "mut3", added("lstm_fgr")):
        code = emulated.compile_resident(cell, "bfloat16", 64, 9, 132, 90)
        assert b".text.resident_forward" in code
        code = emulated.compile_resident(cell, "bfloat16", 64, 9, 132, 90, backward=True)
        assert b".text.resident_backward" in code
        if cell not in ("mut3", added("lstm_fgr")):  # vectors that are fed back
            code = emulated.compile_resident(cell, "bfloat16", 64, 9, 132, 90, backward=True, masks=3)
            assert b".text.resident_backward" in code
    with pytest.raises(
        ValueError, match="kernel: resident: expected sizes that fit a block's registers and shared memory, got"
    ):
        emulated.resident_source("lstm_fgr", "float32", 144, 8, 132, tf32=True, backward=True)
    assert b".target sm_" in emulated.compile_program(name, "float32", backward=False, capability=9990), "PTX"
    with pytest.raises(cuda.CudaUnavailableError, match=r"compiles for no GPU of capability 1\.1"):
        emulated.compile_program(name, "float32", backward=False, capability=11)


def test_a_lost_cell_is_named(on_cuda: Any) -> None:
    with pytest.raises(ValueError, match="passes of its own runs on a CPU only"):
        extension.load().reserve_size("nobody", 3, "float32")
