"""Where a cell from equations cannot be taken it is refused in words that name it: run by test_everywhere.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from own_layers import B, H, T, keeper, numbers

import rnnkernels as rk
from rnnkernels import _runtime, attention, convert
from rnnkernels.cuda import extension
from tests.equations.builtin import CELLS

GPU = r"^cell: expected a built-in cell on a GPU, got keeper, which is made of equations: these run on a CPU"


def params_of(cell: str) -> Any:
    return numbers(cell, "float32")[1]


@pytest.mark.parametrize("cell", [keeper, "keeper", CELLS["lstm"]])
@pytest.mark.parametrize("library", ["torch", "keras", "flax", "haste", "onnx"])
def test_other_libraries_have_no_such_cell(cell: str, library: str) -> None:
    """Not even one of a built-in cell's equations: what it computes, only its graph says."""
    to = getattr(convert, f"to_{library}", None)
    if to is None:
        pytest.skip("nothing is converted to it")
    with pytest.raises(ValueError, match=rf"^cell: .*got (<cell )?'?{cell:s}") as caught:
        to(cell, params_of(cell))
    assert "\n" not in str(caught.value)


def test_onnx_has_no_node() -> None:
    pytest.importorskip("onnx")
    from rnnkernels import onnx

    for cell in (keeper, "keeper", CELLS["lstm"]):
        layer = onnx.Layer((onnx.Direction(cell, params_of(cell)),))
        with pytest.raises(onnx.UnsupportedError, match=rf"^cell: ONNX has no operator for (<cell )?'?{cell:s}"):
            onnx.to_node(layer)


def test_a_gpu_has_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal comes before the GPU is looked for."""
    monkeypatch.setattr(_runtime, "on_cuda", True)
    x, params, state = numbers(keeper, "float32")
    with pytest.raises(NotImplementedError, match=GPU):
        rk.forward(keeper, x, params, state)
    with pytest.raises(NotImplementedError, match=GPU):
        rk.step(keeper, x[0], params, state)
    with pytest.raises(NotImplementedError, match=GPU):
        rk.Stack(keeper, 4, H, rng=0).forward(x)
    with pytest.raises(NotImplementedError, match=r"^Prepared: there are no prepared layers on a GPU"):
        rk.Prepared(keeper, params)
    features = np.ones((B, 4, 3), np.float32)
    of_attention = attention.init_params(keeper, 4, 3, H, rng=0)
    monkeypatch.setattr(extension, "load", lambda: pytest.fail("looked for a GPU"))
    with pytest.raises(NotImplementedError, match=GPU):
        attention.forward(keeper, x, features, of_attention)
    monkeypatch.setattr(_runtime, "on_cuda", False)
    assert rk.forward(keeper, x, params, state).output.shape == (T, B, H)


def test_tensors_of_a_gpu_have_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from rnnkernels.torch import kernels

    monkeypatch.setattr(kernels, "_on_gpu", lambda _: True)
    with pytest.raises(NotImplementedError, match=GPU):
        kernels.reserve_size("keeper", H, torch.zeros(1), False)
