"""Where a cell from equations cannot be taken it is refused in words that name it: run by test_everywhere.py."""

from __future__ import annotations

from typing import Any

import pytest
from own_layers import headed, keeper, numbers

from rnnkernels import convert
from tests.equations.builtin import CELLS


def params_of(cell: str) -> Any:
    return numbers(cell, "float32")[1]


@pytest.mark.parametrize("cell", [keeper, "keeper", headed, CELLS["lstm"]])
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

    for cell in (keeper, "keeper", headed, CELLS["lstm"]):
        layer = onnx.Layer((onnx.Direction(cell, params_of(cell)),))
        with pytest.raises(onnx.UnsupportedError, match=rf"^cell: ONNX has no operator for (<cell )?'?{cell:s}"):
            onnx.to_node(layer)
