"""The kernel "resident", emulated warp by warp: every cell that it serves, against "products"; and what it refuses.

How its warps, their exchange and their buffers hold together is tests/native/check_resident.cpp's.
"""

from __future__ import annotations

from typing import Any

import pytest
from one_kernel import OPTIONS, SHAPES, check_rows, compare, given, problem
from problems import make, on_device

import rnnkernels as rk
from rnnkernels import cuda

TWO_PRODUCTS = ["gru_reset_before", "mut1", "mut1_projected", "mut2", "mut2_projected", "mgu"]
SERVED = [
    cell
    for cell in rk.cells()
    if cell in TWO_PRODUCTS or not any(word in cell for word in ("projected", "layer_norm", "fgr", "indrnn", "mut3"))
]


def test_the_list_of_cells_is_what_it_serves(tensors: Any) -> None:
    cuda.set_kernel("resident")
    served = []
    for cell in rk.cells():
        p = make(cell, (2, 2, 4, 4))
        x, params, state = on_device(tensors, p, tensors.bfloat16)
        try:
            rk.forward(cell, x, params, state)
        except ValueError as error:
            assert "kernel: resident: expected a cell whose products are of all of h" in str(error)  # noqa: PT017
        else:
            served.append(cell)
    assert served == SERVED


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", SERVED)
def test_every_cell(tensors: Any, cell: str, shape: tuple[int, int, int, int], dtype: str) -> None:
    compare(tensors, problem(cell, shape), "resident", dtype)


@pytest.mark.parametrize("memory", ["all", "states", "replay"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm", *TWO_PRODUCTS])
def test_options(tensors: Any, cell: str, options: str, memory: str) -> None:
    p = problem(cell, (5, 6, 4, 17))
    compare(tensors, p, "resident", "bfloat16", memory=memory, **given(p, options))


@pytest.fixture(params=[False, True], ids=["full", "tf32"])
def tf32(request: pytest.FixtureRequest) -> Any:
    cuda.allow_tf32(request.param)
    yield request.param
    cuda.allow_tf32(False)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", [cell for cell in SERVED if cell not in TWO_PRODUCTS])
def test_float32(tensors: Any, tf32: bool, cell: str, shape: tuple[int, int, int, int]) -> None:
    rows = shape[1] if tf32 else min(shape[1], 8)  # the emulated card has room for one cluster
    compare(tensors, problem(cell, (shape[0], rows, *shape[2:])), "resident", "float32")


def test_float32_of_rows(tensors: Any, tf32: bool) -> None:
    """Bit for bit, alone as among others, whose NaN is theirs; and TF32 only where it is allowed."""
    torch = tensors
    p = make("lstm", (6, 7, 5, 300))
    x, params, state = on_device(torch, p, torch.float32)
    cuda.set_kernel("resident")
    lengths = [6, 0, 3, 6, 5, 5, 6]
    whole = rk.forward("lstm", x, params, state, lengths=lengths).output
    alone = rk.forward("lstm", x[:, 3:4].contiguous(), params, tuple(s[3:4].contiguous() for s in state)).output
    assert torch.equal(whole[:, 3:4], alone)
    x[:, 4] = float("nan")
    beside = rk.forward("lstm", x, params, state, lengths=lengths).output
    keep = [row for row in range(7) if row != 4]
    assert torch.equal(whole[:, keep], beside[:, keep])
    assert torch.isnan(beside[:5, 4]).all()
    cuda.allow_tf32(not tf32)
    assert not torch.equal(
        alone, rk.forward("lstm", x[:, 3:4].contiguous(), params, tuple(s[3:4] for s in state)).output
    )


def test_rows_that_are_too_many_for_float32(tensors: Any) -> None:
    params = {n: tensors.from_numpy(w) for n, w in rk.init_params("lstm", 4, 256, rng=0).items()}
    cuda.set_kernel("resident")
    message = "kernel: resident: expected at most 8 rows of float32 .more with allow_tf32., got 9"
    with pytest.raises(ValueError, match=message):
        rk.forward("lstm", tensors.zeros((1, 9, 4)), params)


def test_chunks_and_tokens(tensors: Any) -> None:
    """A chunk is a launch: the states go through memory between two of them."""
    torch = tensors
    compare(torch, make("lstm", (300, 5, 2, 24)), "resident", "float16")
    params = {n: torch.from_numpy(w).to(torch.bfloat16) for n, w in rk.init_params("gru", 7, 20, rng=0).items()}
    tokens = torch.tensor([[1, 6], [0, 3], [5, 5]])
    outputs = []
    for kernel in ("products", "resident"):
        cuda.set_kernel(kernel)
        output: Any = rk.forward("gru", tokens, params).output
        outputs.append(output.float())
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=2.0**-7)


def test_a_row_depends_on_itself_alone(tensors: Any) -> None:
    check_rows(tensors, "resident")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float64"}, "expected bfloat16, float16 or float32, got float64"),
        ({"cell": "mut3"}, "expected a cell whose products are of all of h and, it may be, of a gated h, got mut3"),
        (
            {"cell": "gru_reset_before", "dtype": "float32"},
            "expected bfloat16 or float16, or a cell of one product, got float32 of gru_reset_before",
        ),
        ({"noise": rk.Noise(1, zoneout=0.1)}, "expected no zoneout, got a rate"),
        ({"noise": rk.Noise(1, recurrent_dropout=0.1)}, "expected no recurrent dropout, got a rate"),
        ({"cell": "mgu", "hidden": 520}, "expected sizes whose weights .*, got 2 gates of H = 520"),
        ({"hidden": 700}, "expected sizes whose weights stay in registers .*, got 4 gates of H = 700"),
    ],
)
def test_what_it_does_not_serve_is_said(tensors: Any, change: dict[str, Any], message: str) -> None:
    cell, hidden = change.get("cell", "lstm"), change.get("hidden", 6)
    params = rk.init_params(cell, 4, hidden, rng=0)
    kind = getattr(tensors, change.get("dtype", "bfloat16"))
    cuda.set_kernel("resident")
    with pytest.raises(ValueError, match=f"kernel: resident: {message}"):
        rk.forward(
            cell,
            tensors.zeros((2, 3, 4), dtype=kind),
            {n: tensors.from_numpy(w).to(kind) for n, w in params.items()},
            noise=change.get("noise"),
        )
