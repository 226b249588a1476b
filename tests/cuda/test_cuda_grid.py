"""The kernel "grid", emulated block by block: every cell that it serves, against "products" and float64; and what it
refuses.

How its blocks, their flags and their buffers hold together is tests/native/check_grid.cpp's. `compare` holds gradients
to those of "products", too, which is the kernel "grid" in both directions.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import one_kernel
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
ONE_PRODUCT = [cell for cell in SERVED if cell not in TWO_PRODUCTS]


def test_it_serves_the_cells_of_the_resident_kernel(tensors: Any) -> None:
    cuda.set_kernel("grid")
    served = []
    for cell in rk.cells():
        p = make(cell, (2, 2, 4, 4))
        x, params, state = on_device(tensors, p, tensors.bfloat16)
        try:
            rk.forward(cell, x, params, state)
        except ValueError as error:
            assert "kernel: grid: expected a cell whose products are of all of h" in str(error)  # noqa: PT017
        else:
            served.append(cell)
    assert served == SERVED


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", SERVED)
def test_every_cell(tensors: Any, cell: str, shape: tuple[int, int, int, int], dtype: str) -> None:
    compare(tensors, problem(cell, shape), "grid", dtype)


@pytest.mark.parametrize("memory", ["all", "states", "replay"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm", *TWO_PRODUCTS])
def test_options(tensors: Any, cell: str, options: str, memory: str) -> None:
    p = problem(cell, (5, 6, 4, 17))
    compare(tensors, p, "grid", "bfloat16", memory=memory, **given(p, options))


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 0, 3, 4), (300, 5, 2, 24)])
def test_nothing_and_several_chunks(tensors: Any, shape: tuple[int, int, int, int]) -> None:
    """A chunk is a launch: the states go through memory between two of them, and flags begin again."""
    for cell in ("lstm", "gru_reset_before"):
        compare(tensors, make(cell, shape), "grid", "float16")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("hidden", [33, 120])
@pytest.mark.parametrize("cell", TWO_PRODUCTS)
def test_two_products_against_float64(tensors: Any, cell: str, hidden: int, dtype: str) -> None:
    """The CPU's, of the same rounded values: what is left is the rounding of h and of the gated state."""
    torch, kind = tensors, getattr(tensors, dtype)
    p = problem(cell, (6, 10, 5, hidden))
    for array in (p.x, *p.params.values(), *p.state):
        array[...] = torch.from_numpy(array).to(kind).double().numpy()
    lengths = [6, 0, 2, 6, 1, 3, 6, 6, 5, 1]
    wanted = p.forward(lengths=lengths)
    x, params, state = on_device(torch, p, kind)
    cuda.set_kernel("grid")
    found: Any = rk.forward(cell, x, params, state, lengths=lengths)
    unit = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    for a, b in [(found.output, wanted.output), *zip(found.state, wanted.state, strict=True)]:
        error = np.abs(a.double().numpy() - b).max()
        assert error < 4 * unit * max(1.0, np.abs(b).max()), float(error)


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_a_row_depends_on_itself_alone(tensors: Any, cell: str) -> None:
    check_rows(tensors, "grid", cell)


def backwards(emulated: Any) -> int:
    """How many grid backwards have run."""
    count: int = ctypes.CDLL(emulated.__file__).emulated_grid_backwards()
    return count


def differentiate(torch: Any, p: Any, kind: Any, kernel: str = "grid", **options: Any) -> Any:
    """Gradients by this kernel, or by one to compare with."""
    return one_kernel.differentiate(torch, p, kind, kernel, **options)


@pytest.mark.parametrize("cell", SERVED)
def test_which_backwards_are_one_kernel(tensors: Any, emulated: Any, cell: str) -> None:
    """Those without gradients of states after h and readings; others are `products`'."""
    torch = tensors
    p = make(cell, (3, 4, 9, 9))

    def served(kind: Any = torch.bfloat16, **options: Any) -> int:
        before = backwards(emulated)
        differentiate(torch, p, kind, **options)
        return backwards(emulated) - before

    assert [served(), served(torch.float16)] == [1, 1]
    assert served(norms=True) == 0
    assert served(noise=rk.Noise(1, weight_dropout=0.3)) == 1
    assert served(kernel="products") == served(kernel="auto") == 0
    if len(p.state) > 1:
        assert served(all_states=True) == 1
        assert served(all_states=True, d_states=True) == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("hidden", [33, 61])
@pytest.mark.parametrize("cell", ["rnn_tanh", "janet", "gru", "lstm", "lstm_peephole", "slstm", *TWO_PRODUCTS])
def test_gradients_against_float64(tensors: Any, emulated: Any, cell: str, hidden: int, dtype: str) -> None:
    """The CPU's, of the same rounded values: what is left is the rounding of h and of gate gradients."""
    torch, kind = tensors, getattr(tensors, dtype)
    p = problem(cell, (4, 10, 5, hidden))
    for array in (p.x, p.d_output, *p.params.values(), *p.state, *p.d_state):
        array[...] = torch.from_numpy(array).to(kind).double().numpy()
    lengths = [4, 0, 2, 4, 1, 3, 4, 4, 4, 1]
    wanted = rk.backward(p.forward(lengths=lengths), p.d_output)
    before = backwards(emulated)
    found = differentiate(torch, p, kind, lengths=lengths)
    assert backwards(emulated) == before + 1
    unit = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    pairs: list[Any] = [(found.params[name], value) for name, value in wanted.params.items()]
    pairs += [(found.x, wanted.x), *zip(found.state, wanted.state, strict=True)]
    for a, b in pairs:
        error = np.abs(a.double().numpy() - b).max() / np.abs(b).max()
        assert error < 30 * unit, float(error)


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_a_backward_in_several_chunks(tensors: Any, emulated: Any, cell: str) -> None:
    """A chunk is a launch: gradients of states and what products give go through memory between two of them."""
    torch, before = tensors, backwards(emulated)
    p = make(cell, (300, 5, 2, 24))
    found = differentiate(torch, p, torch.float16)
    assert backwards(emulated) > before + 1
    wanted = differentiate(torch, p, torch.float16, "products")
    for name, value in wanted.params.items():
        error = (found.params[name] - value).abs().max() / value.abs().max()
        assert error < 8 * 2.0**-11, (name, float(error))


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_a_rows_gradients_depend_on_itself_alone(tensors: Any, cell: str) -> None:
    """Bit for bit, whatever its neighbours are, and a NaN among them; and the same again."""
    torch = tensors
    x, params, state = on_device(torch, make(cell, (6, 19, 5, 34)), torch.bfloat16)
    d = torch.randn(6, 19, 34, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    cuda.set_kernel("grid")
    whole: Any = rk.backward(rk.forward(cell, x, params, state), d)
    assert torch.equal(whole.x, rk.backward(rk.forward(cell, x, params, state), d).x)
    one = [a[:, 3:4].contiguous() for a in (x, d)]
    alone: Any = rk.backward(rk.forward(cell, one[0], params, tuple(s[3:4].contiguous() for s in state)), one[1])
    assert torch.equal(whole.x[:, 3:4], alone.x)
    assert torch.equal(whole.state[-1][3:4], alone.state[-1])
    d[:, 4] = float("nan")
    beside: Any = rk.backward(rk.forward(cell, x, params, state), d)
    assert torch.isnan(beside.x[:, 4]).all()
    keep = [row for row in range(19) if row != 4]
    assert torch.equal(whole.x[:, keep], beside.x[:, keep])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lstm", "float16", 64, 8, 40, 70), "expected a GPU of capability 7.5 or more, got 7.0"),
        (("lstm", "bfloat16", 64, 8, 40, 75), "expected float16 on a GPU of capability 7.5, got bfloat16"),
        (("lstm", "float16", 1024, 8, 40, 75), "expected sizes whose weights stay on the card .* of capability 7.5"),
        (("gru_reset_before", "float16", 832, 8, 40, 75), "expected sizes whose weights .*, got 3 gates of H = 832"),
        (("lstm", "bfloat16", 2144, 8, 132, 90), "expected sizes whose weights stay on the card .* on 132 processors"),
    ],
)
def test_what_a_card_does_not_hold_is_said(emulated: Any, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"kernel: grid: {message}"):
        emulated.grid_source(*arguments)
    assert "run_grid" in emulated.grid_source("lstm", "bfloat16", 2048, 16, 132, 90)[1]
    assert "run_grid" in emulated.grid_source("lstm", "float16", 576, 16, 40, 75)[1]
    assert "run_grid_backward" in emulated.grid_source("lstm", "bfloat16", 2048, 16, 132, 90, backward=True)[1]
    assert "run_grid" in emulated.grid_source("gru_reset_before", "float16", 640, 16, 40, 75)[1]
    assert "run_grid_backward" in emulated.grid_source("mut1", "bfloat16", 2176, 16, 132, 90, backward=True)[1]
    with pytest.raises(ValueError, match="kernel: grid: expected sizes whose weights stay on the card"):
        emulated.grid_source("mut1", "bfloat16", 2208, 16, 132, 90, backward=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float32"}, "expected bfloat16 or float16, got float32"),
        ({"cell": "gru_reset_before", "dtype": "float32"}, "expected bfloat16 or float16, got float32"),
        ({"cell": "mut3"}, "expected a cell whose products are of all of h and, it may be, of a gated h, got mut3"),
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
