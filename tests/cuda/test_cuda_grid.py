"""The kernel "grid", emulated block by block: every cell that it serves, against "products"; and what it refuses.

How its blocks, their flags and their buffers hold together is tests/native/check_grid.cpp's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import make, on_device

import rnnkernels as rk
from rnnkernels import cuda

ONE_PRODUCT = [
    cell
    for cell in rk.cells()
    if cell not in {"gru_reset_before", "mut1", "mut1_projected", "mut2", "mut2_projected", "mut3", "mgu"}
    and not any(word in cell for word in ("projected", "layer_norm", "fgr", "indrnn"))
]
SHAPES = [(4, 3, 5, 18), (3, 9, 4, 40), (1, 1, 1, 1), (2, 40, 3, 33)]


def results(torch: Any, p: Any, kernel: str, dtype: Any, **options: Any) -> dict[str, Any]:
    """Every result of a forward by a kernel, and of the backward behind it."""
    cuda.set_kernel(kernel)
    x, params, state = on_device(torch, p, dtype)
    if "reset_state" in options:
        options["reset_state"] = tuple(torch.from_numpy(s).to(dtype) for s in options["reset_state"])
    run = rk.forward(p.cell, x, params, state, **options)
    found = rk.backward(
        run, torch.from_numpy(p.d_output).to(dtype), tuple(torch.from_numpy(s).to(dtype) for s in p.d_state)
    )
    named = {"output": run.output, "dx": found.x} | {f"d {name}": g for name, g in found.params.items()}
    named |= {f"state {k}": s for k, s in enumerate(run.state)} | {f"d state {k}": s for k, s in enumerate(found.state)}
    return named


def compare(torch: Any, p: Any, dtype: str, **options: Any) -> None:
    kind = getattr(torch, dtype)
    wanted = results(torch, p, "products", kind, **options)
    found = results(torch, p, "grid", kind, **options)
    unit = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    for name, value in wanted.items():
        if value.numel() == 0:
            continue
        a, b = found[name].float(), value.float()
        assert torch.isfinite(a).all(), name
        # An h that is rounded the other way is all the difference that sums in another order make.
        error = (a - b).abs().max() / b.abs().max().clamp(min=1e-3)
        assert error < 8 * unit, (name, float(error))


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
    if rk.cell_info(cell)["direct"]:
        shape = (*shape[:2], shape[3], shape[3])
    compare(tensors, make(cell, shape), dtype)


@pytest.mark.parametrize("memory", ["all", "states", "replay"])
@pytest.mark.parametrize("options", ["lengths", "resets", "reverse"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm"])
def test_options(tensors: Any, cell: str, options: str, memory: str) -> None:
    p = make(cell, (5, 6, 4, 17))
    rng = np.random.default_rng(0)
    given: dict[str, Any] = {"memory": memory}
    if options == "lengths":
        given["lengths"] = [5, 0, 3, 1, 5, 2]
    elif options == "resets":
        given["resets"] = rng.random((5, 6)) < 0.3
        given["reset_state"] = tuple(rng.standard_normal(s.shape) for s in p.state)
    else:
        given["reverse"] = True
    compare(tensors, p, "bfloat16", **given)


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 0, 3, 4), (300, 5, 2, 24)])
def test_nothing_and_several_chunks(tensors: Any, shape: tuple[int, int, int, int]) -> None:
    """A chunk is a launch: the states go through memory between two of them, and flags begin again."""
    compare(tensors, make("lstm", shape), "float16")


def test_a_row_depends_on_itself_alone(tensors: Any) -> None:
    """Bit for bit, whatever its neighbours are, how many there are, and with a NaN among them."""
    torch = tensors
    p = make("lstm", (6, 19, 5, 34))
    x, params, state = on_device(torch, p, torch.bfloat16)
    cuda.set_kernel("grid")
    whole = rk.forward("lstm", x, params, state).output
    assert torch.equal(whole, rk.forward("lstm", x, params, state).output)
    alone = rk.forward("lstm", x[:, 3:4].contiguous(), params, tuple(s[3:4].contiguous() for s in state)).output
    assert torch.equal(whole[:, 3:4], alone)
    x[:, 4] = float("nan")
    beside = rk.forward("lstm", x, params, state).output
    assert torch.isnan(beside[:, 4]).all()
    keep = [row for row in range(19) if row != 4]
    assert torch.equal(whole[:, keep], beside[:, keep])


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
