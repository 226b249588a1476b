"""The kernel "grid", emulated block by block: every cell that it serves, against "products"; and what it refuses.

How its blocks, their flags and their buffers hold together is tests/native/check_grid.cpp's.
"""

from __future__ import annotations

from typing import Any

import pytest
from one_kernel import OPTIONS, SHAPES, check_rows, compare, given, problem
from problems import make, on_device

import rnnkernels as rk
from rnnkernels import cuda

ONE_PRODUCT = [
    cell
    for cell in rk.cells()
    if cell not in {"gru_reset_before", "mut1", "mut1_projected", "mut2", "mut2_projected", "mut3", "mgu"}
    and not any(word in cell for word in ("projected", "layer_norm", "fgr", "indrnn"))
]


def test_it_serves_the_cells_of_the_resident_kernel(tensors: Any) -> None:
    cuda.set_kernel("grid")
    served = []
    for cell in rk.cells():
        p = make(cell, (2, 2, 4, 4))
        x, params, state = on_device(tensors, p, tensors.bfloat16)
        try:
            rk.forward(cell, x, params, state)
        except ValueError as error:
            assert "kernel: grid: expected a cell whose one product is of h" in str(error)  # noqa: PT017
        else:
            served.append(cell)
    assert served == ONE_PRODUCT


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", ONE_PRODUCT)
def test_every_cell(tensors: Any, cell: str, shape: tuple[int, int, int, int], dtype: str) -> None:
    compare(tensors, problem(cell, shape), "grid", dtype)


@pytest.mark.parametrize("memory", ["all", "states", "replay"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm"])
def test_options(tensors: Any, cell: str, options: str, memory: str) -> None:
    p = make(cell, (5, 6, 4, 17))
    compare(tensors, p, "grid", "bfloat16", memory=memory, **given(p, options))


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 0, 3, 4), (300, 5, 2, 24)])
def test_nothing_and_several_chunks(tensors: Any, shape: tuple[int, int, int, int]) -> None:
    """A chunk is a launch: the states go through memory between two of them, and flags begin again."""
    compare(tensors, make("lstm", shape), "grid", "float16")


def test_a_row_depends_on_itself_alone(tensors: Any) -> None:
    check_rows(tensors, "grid")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lstm", "float16", 64, 8, 40, 70), "expected a GPU of capability 7.5 or more, got 7.0"),
        (("lstm", "bfloat16", 64, 8, 40, 75), "expected float16 on a GPU of capability 7.5, got bfloat16"),
        (("lstm", "float16", 1024, 8, 40, 75), "expected sizes whose weights stay on the card .* of capability 7.5"),
        (("lstm", "bfloat16", 2144, 8, 132, 90), "expected sizes whose weights stay on the card .* on 132 processors"),
    ],
)
def test_what_a_card_does_not_hold_is_said(emulated: Any, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"kernel: grid: {message}"):
        emulated.grid_source(*arguments)
    assert "run_grid" in emulated.grid_source("lstm", "bfloat16", 2048, 16, 132, 90)[1]
    assert "run_grid" in emulated.grid_source("lstm", "float16", 576, 16, 40, 75)[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float32"}, "expected bfloat16 or float16, got float32"),
        ({"cell": "gru_reset_before"}, "expected a cell whose one product is of h and of all of it, got gru_reset"),
        ({"noise": rk.Noise(1, zoneout=0.1)}, "expected no zoneout, got a rate"),
        ({"noise": rk.Noise(1, recurrent_dropout=0.1)}, "expected no recurrent dropout, got a rate"),
    ],
)
def test_what_it_does_not_serve_is_said(tensors: Any, change: dict[str, Any], message: str) -> None:
    cell = change.get("cell", "lstm")
    params = rk.init_params(cell, 4, 6, rng=0)
    kind = getattr(tensors, change.get("dtype", "bfloat16"))
    cuda.set_kernel("grid")
    with pytest.raises(ValueError, match=f"kernel: grid: {message}"):
        rk.forward(
            cell,
            tensors.zeros((2, 3, 4), dtype=kind),
            {n: tensors.from_numpy(w).to(kind) for n, w in params.items()},
            noise=change.get("noise"),
        )
