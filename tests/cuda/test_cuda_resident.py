"""The kernel "resident", emulated warp by warp: every cell that it serves, against "products"; and what it refuses.

How its warps, their exchange and their buffers hold together is tests/native/check_resident.cpp's.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
import one_kernel
import pytest
from one_kernel import OPTIONS, SHAPES, check_rows, compare, given, problem
from problems import make, on_device, zoneout_of

import rnnkernels as rk
from rnnkernels import cuda

if TYPE_CHECKING:
    from collections.abc import Iterator

TWO_PRODUCTS = ["gru_reset_before", "mut1", "mut1_projected", "mut2", "mut2_projected", "mgu"]
FED_BACK = ["mut3", "lstm_fgr"]  # vectors
SERVED = [
    cell
    for cell in rk.cells()
    if cell in TWO_PRODUCTS or not any(word in cell for word in ("projected", "layer_norm", "indrnn"))
]


def backwards(emulated: Any) -> int:
    """How many resident backwards have run."""
    count: int = ctypes.CDLL(emulated.__file__).emulated_resident_backwards()
    return count


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


def differentiate(torch: Any, p: Any, kind: Any, kernel: str = "resident", **options: Any) -> Any:
    """Gradients by this kernel, or by one to compare with."""
    return one_kernel.differentiate(torch, p, kind, kernel, **options)


@pytest.mark.parametrize("cell", SERVED)
def test_which_backwards_are_one_kernel(tensors: Any, emulated: Any, cell: str) -> None:
    """Without gradients of states after h and readings; others are `products`'."""
    torch, one, masked = tensors, 1, int(cell not in FED_BACK)
    p = make(cell, (3, 4, 9, 9))
    states = len(p.state)

    def served(kind: Any = torch.bfloat16, **options: Any) -> int:
        before = backwards(emulated)
        differentiate(torch, p, kind, **options)
        return backwards(emulated) - before

    assert [served(), served(torch.float16), served(torch.float32)] == [one, one, one]
    assert served(norms=True) == 0
    assert served(noise=rk.Noise(1, weight_dropout=0.3)) == one
    assert served(noise=rk.Noise(1, zoneout=zoneout_of(cell, 0.3))) == masked
    assert served(noise=rk.Noise(1, recurrent_dropout=0.3)) == masked
    assert served(kernel="products") == served(kernel="auto") == 0
    if states > 1:
        assert served(all_states=True) == one
        assert served(all_states=True, d_states=True) == 0


def rounded(torch: Any, p: Any, kind: Any) -> None:
    """Make a problem's numbers those of a dtype."""
    for array in (p.x, p.d_output, *p.params.values(), *p.state, *p.d_state):
        array[...] = torch.from_numpy(array).to(kind).double().numpy()


def check_gradients(found: Any, wanted: Any, bound: float) -> None:
    """Hold gradients to those of the CPU in float64."""
    pairs: list[Any] = [(found.params[name], value) for name, value in wanted.params.items()]
    pairs += [(found.x, wanted.x), *zip(found.state, wanted.state, strict=True)]
    for a, b in pairs:
        error = np.abs(a.double().numpy() - b).max() / np.abs(b).max()
        assert error < bound, float(error)


UNITS = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "tf32": 2.0**-11, "float32": 2.0**-23}


@pytest.fixture
def _tf32_off() -> Iterator[None]:
    """The switch is off again behind each test."""
    yield
    cuda.allow_tf32(False)


@pytest.mark.usefixtures("_tf32_off")
@pytest.mark.parametrize("dtype", UNITS)
@pytest.mark.parametrize("hidden", [33, 130])
@pytest.mark.parametrize(
    "cell", ["rnn_tanh", "janet", "gru", "lstm", "lstm_peephole", "slstm", *TWO_PRODUCTS, *FED_BACK]
)
def test_gradients_against_float64(tensors: Any, emulated: Any, cell: str, hidden: int, dtype: str) -> None:
    """The CPU's, of the same rounded values: what is left is the rounding of what is multiplied."""
    torch, kind = tensors, getattr(tensors, "float32" if dtype == "tf32" else dtype)
    rows = 8 if dtype == "float32" else 10  # in full the emulated card has room for eight
    cuda.allow_tf32(dtype == "tf32")
    p = make(cell, (4, rows, 5, min(hidden, 72) if cell == "lstm_fgr" else hidden))
    rounded(torch, p, kind)
    lengths = [4, 0, 2, 4, 1, 3, 4, 4, 4, 1][:rows]
    wanted_run = p.forward(lengths=lengths)
    wanted = rk.backward(wanted_run, p.d_output)
    before = backwards(emulated)
    found = differentiate(torch, p, kind, lengths=lengths)
    assert backwards(emulated) == before + 1
    check_gradients(found, wanted, 30 * UNITS[dtype])


@pytest.mark.usefixtures("_tf32_off")
@pytest.mark.parametrize("dtype", ["float16", "tf32", "float32"])
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", *FED_BACK])
def test_a_backward_in_chunks(tensors: Any, emulated: Any, cell: str, dtype: str) -> None:
    """A chunk is a launch: gradients of states and what products give go through memory between two of them."""
    torch, before = tensors, backwards(emulated)
    kind = torch.float16 if dtype == "float16" else torch.float32
    cuda.allow_tf32(dtype == "tf32")
    p = make(cell, (300, 5, 2, 24))
    found = differentiate(torch, p, kind)
    assert backwards(emulated) > before + 1
    wanted = differentiate(torch, p, kind, "products")
    for name, value in wanted.params.items():
        error = (found.params[name] - value).abs().max() / value.abs().max()
        assert error < 8 * UNITS[dtype], (name, float(error))


def test_tf32_takes_more_rows_than_full_float32(tensors: Any, emulated: Any, tf32: bool) -> None:
    """What a backward is divided for is what it is allowed."""
    p, before = make("gru", (3, 9 if tf32 else 8, 4, 40)), backwards(emulated)
    differentiate(tensors, p, tensors.float32)
    assert backwards(emulated) == before + 1


@pytest.mark.usefixtures("_tf32_off")
@pytest.mark.parametrize("dtype", ["bfloat16", "tf32", "float32"])
@pytest.mark.parametrize(("cell", "hidden"), [("lstm", 34), ("lstm", 300), ("mgu", 34), ("mut3", 34)])
def test_a_rows_gradients_depend_on_itself_alone(tensors: Any, cell: str, hidden: int, dtype: str) -> None:
    """Bit for bit, whatever its neighbours are, and a NaN among them; and the same again."""
    torch = tensors
    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    cuda.allow_tf32(dtype == "tf32")
    rows = 8 if dtype == "float32" or hidden > 34 else 19
    p = make(cell, (6, rows, 5, hidden))
    x, params, state = on_device(torch, p, kind)
    d = torch.from_numpy(p.d_output).to(kind)
    cuda.set_kernel("resident")
    whole: Any = rk.backward(rk.forward(cell, x, params, state), d)
    assert torch.equal(whole.x, rk.backward(rk.forward(cell, x, params, state), d).x)
    one = [a[:, 3:4].contiguous() for a in (x, d)]
    alone: Any = rk.backward(rk.forward(cell, one[0], params, tuple(s[3:4].contiguous() for s in state)), one[1])
    assert torch.equal(whole.x[:, 3:4], alone.x)
    assert torch.equal(whole.state[-1][3:4], alone.state[-1])
    d[:, 4] = float("nan")
    beside: Any = rk.backward(rk.forward(cell, x, params, state), d)
    assert torch.isnan(beside.x[:, 4]).all()
    keep = [row for row in range(rows) if row != 4]
    assert torch.equal(whole.x[:, keep], beside.x[:, keep])


@pytest.mark.parametrize("memory", ["all", "states", "replay"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm", *TWO_PRODUCTS, *FED_BACK])
def test_options(tensors: Any, cell: str, options: str, memory: str) -> None:
    p = problem(cell, (5, 6, 4, 17))
    compare(tensors, p, "resident", "bfloat16", memory=memory, **given(p, options))


NOISES: dict[str, dict[str, Any]] = {
    "zoneout": {"zoneout": 0.3},
    "dropout": {"recurrent_dropout": 0.3},
    "both": {"zoneout": 0.2, "recurrent_dropout": 0.3, "per_step": True, "layer": 2, "first_step": 3},
    "expected": {"zoneout": 0.2, "recurrent_dropout": 0.3, "expected": True},
}


def noise_of(cell: str, kind: str) -> rk.Noise:
    given = NOISES[kind]
    return rk.Noise(5, **{**given, "zoneout": zoneout_of(cell, given.get("zoneout", 0.0))})


@pytest.mark.parametrize("options", ["dense", *OPTIONS])
@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm", "gru_reset_before", "mut2", *FED_BACK])
def test_masks(tensors: Any, cell: str, kind: str, options: str) -> None:
    """They come from the seed: those of `products`; what is kept of them too, which a backward reads."""
    p = problem(cell, (5, 6, 4, 17))
    more = {} if options == "dense" else given(p, options)
    for memory in ("all", "states", "replay") if options == "dense" else ("all",):
        compare(tensors, p, "resident", "bfloat16", memory=memory, noise=noise_of(cell, kind), **more)


@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru_reset_before", "mut3"])
def test_masks_of_float32(tensors: Any, tf32: bool, cell: str) -> None:
    compare(tensors, problem(cell, (4, 3, 5, 18)), "resident", "float32", noise=noise_of(cell, "both"))


@pytest.mark.parametrize("kind", ["zoneout", "both"])
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_masks_in_chunks(tensors: Any, emulated: Any, cell: str, kind: str) -> None:
    """A backward's first step of a chunk needs what the step behind it multiplied."""
    p, before = make(cell, (300, 5, 2, 24)), backwards(emulated)
    compare(tensors, p, "resident", "float16", noise=noise_of(cell, kind))
    assert backwards(emulated) > before + 1


@pytest.mark.usefixtures("_tf32_off")
@pytest.mark.parametrize("dtype", UNITS)
@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru", "slstm", "gru_reset_before", "mut1", "mut2", *FED_BACK])
def test_gradients_of_masks_against_float64(tensors: Any, emulated: Any, cell: str, kind: str, dtype: str) -> None:
    torch, of = tensors, getattr(tensors, "float32" if dtype == "tf32" else dtype)
    rows = 8 if dtype == "float32" else 10  # in full the emulated card has room for eight
    cuda.allow_tf32(dtype == "tf32")
    p = make(cell, (4, rows, 5, 33))
    rounded(torch, p, of)
    options: dict[str, Any] = {"lengths": [4, 0, 2, 4, 1, 3, 4, 4, 4, 1][:rows], "noise": noise_of(cell, kind)}
    wanted = rk.backward(p.forward(**options), p.d_output)
    before = backwards(emulated)
    found = differentiate(torch, p, of, **options)
    assert backwards(emulated) == before + (cell not in FED_BACK)
    check_gradients(found, wanted, 30 * UNITS[dtype])


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before", *FED_BACK])
def test_masks_against_float64(tensors: Any, cell: str, kind: str) -> None:
    """The CPU's masks, bit for bit: a unit that has another is another by far more than rounding."""
    torch = tensors
    p = make(cell, (4, 10, 5, 33))
    for array in (p.x, *p.params.values(), *p.state):
        array[...] = torch.from_numpy(array).bfloat16().double().numpy()
    options: dict[str, Any] = {"lengths": [4, 0, 2, 4, 1, 3, 4, 4, 4, 1], "noise": noise_of(cell, kind)}
    wanted: Any = p.forward(**options)
    x, params, state = on_device(torch, p, torch.bfloat16)
    cuda.set_kernel("resident")
    run: Any = rk.forward(cell, x, params, state, **options)
    for a, b in ((run.output, wanted.output), *zip(run.state, wanted.state, strict=True)):
        assert np.abs(a.double().numpy() - b).max() < 0.05 * max(1.0, np.abs(b).max())


@pytest.fixture(params=[False, True], ids=["full", "tf32"])
def tf32(request: pytest.FixtureRequest, _tf32_off: None) -> Any:
    cuda.allow_tf32(request.param)
    return request.param


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", SERVED)
def test_float32(tensors: Any, tf32: bool, cell: str, shape: tuple[int, int, int, int]) -> None:
    rows = shape[1] if tf32 else min(shape[1], 8)  # the emulated card has room for one cluster
    compare(tensors, problem(cell, (shape[0], rows, *shape[2:])), "resident", "float32")


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "mut3"])
def test_float32_of_rows(tensors: Any, tf32: bool, cell: str) -> None:
    """Bit for bit, alone as among others, whose NaN is theirs; and TF32 only where it is allowed."""
    torch = tensors
    p = make(cell, (6, 7, 5, 300))
    x, params, state = on_device(torch, p, torch.float32)
    cuda.set_kernel("resident")
    lengths = [6, 0, 3, 6, 5, 5, 6]
    whole = rk.forward(cell, x, params, state, lengths=lengths).output
    alone = rk.forward(cell, x[:, 3:4].contiguous(), params, tuple(s[3:4].contiguous() for s in state)).output
    assert torch.equal(whole[:, 3:4], alone)
    x[:, 4] = float("nan")
    beside = rk.forward(cell, x, params, state, lengths=lengths).output
    keep = [row for row in range(7) if row != 4]
    assert torch.equal(whole[:, keep], beside[:, keep])
    assert torch.isnan(beside[:5, 4]).all()
    cuda.allow_tf32(not tf32)
    assert not torch.equal(alone, rk.forward(cell, x[:, 3:4].contiguous(), params, tuple(s[3:4] for s in state)).output)


@pytest.mark.usefixtures("_tf32_off")
@pytest.mark.parametrize("dtype", ["bfloat16", "tf32", "float32"])
def test_clusters_that_a_card_does_not_have(tensors: Any, clusters: Any, dtype: str) -> None:
    """A block has 32 units of an LSTM; of two gates twice as many."""
    clusters(16, 8)
    cuda.set_kernel("resident")
    cuda.allow_tf32(dtype == "tf32")
    kind = tensors.bfloat16 if dtype == "bfloat16" else tensors.float32
    message = (
        "resident: expected a GPU with clusters of 9 blocks, for 4 gates of H = 257, got one without .its largest has 8"
    )
    for cell, hidden in (("lstm", 257), ("lstm", 256), ("janet", 257)):
        params = {n: tensors.from_numpy(w).to(kind) for n, w in rk.init_params(cell, 4, hidden, rng=0).items()}
        if (cell, hidden) == ("lstm", 257):
            with pytest.raises(ValueError, match=message):
                rk.forward(cell, tensors.zeros((1, 2, 4), dtype=kind), params)
            clusters(16, 9)
        rk.forward(cell, tensors.zeros((1, 2, 4), dtype=kind), params)
        clusters(16, 8)


@pytest.mark.parametrize(("hidden", "most", "half"), [(32, 1056, 528), (256, 120, 56), (384, 64, 32)])
def test_rows_of_float32_on_a_card_that_is_not_here(emulated: Any, hidden: int, most: int, half: int) -> None:
    """Eight for each cluster, of as many blocks as hold H, that its groups of processors have room for."""
    for backward in (False, True):
        asked = ("lstm", "float32", hidden)
        emulated.resident_source(*asked, most, 132, backward=backward)
        with pytest.raises(ValueError, match=f"expected at most {most} rows of float32 .*, got {most + 1}"):
            emulated.resident_source(*asked, most + 1, 132, backward=backward)
        emulated.resident_source(*asked, half, 132, pair=True, backward=backward)
        with pytest.raises(ValueError, match="expected a layer that half of the card has room for"):
            emulated.resident_source(*asked, half + 1, 132, pair=True, backward=backward)


@pytest.mark.usefixtures("_tf32_off")
@pytest.mark.parametrize("dtype", ["bfloat16", "tf32", "float32"])
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_bits_do_not_depend_on_the_cards_room(tensors: Any, clusters: Any, cell: str, dtype: str) -> None:
    """Which rows share a cluster does; of float32 in full how many."""
    cuda.allow_tf32(dtype == "tf32")
    kind = "bfloat16" if dtype == "bfloat16" else "float32"
    p = make(cell, (4, 70 if dtype != "float32" else 15, 5, 40))
    found = []
    for processors in (4, 7, 40):  # a cluster has two blocks
        clusters(processors, 16)
        found.append(one_kernel.results(tensors, p, "resident", getattr(tensors, kind)))
    for other in found[1:]:
        for name, value in found[0].items():
            assert tensors.equal(value, other[name]), name


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


@pytest.mark.parametrize("cell", FED_BACK)
def test_what_is_fed_back_in_chunks(tensors: Any, cell: str) -> None:
    """Of the states that go through memory between two launches, and kept for a backward once."""
    compare(tensors, make(cell, (300, 5, 2, 24)), "resident", "float16")


def test_the_largest_layers_of_what_is_fed_back(tensors: Any) -> None:
    cuda.set_kernel("resident")
    for cell, most, kind in (
        ("mut3", 512, tensors.bfloat16),
        ("lstm_fgr", 128, tensors.bfloat16),
        ("lstm_fgr", 144, tensors.float32),
    ):
        for hidden, fits in ((most, True), (most + 32, False)):
            params = {n: tensors.from_numpy(w).to(kind) for n, w in rk.init_params(cell, 2, hidden, rng=0).items()}
            x = tensors.zeros((1, 1, 2), dtype=kind)
            if fits:
                rk.forward(cell, x, params)
                continue
            with pytest.raises(ValueError, match=r"expected sizes whose weights stay|expected at most"):
                rk.forward(cell, x, params)


def test_a_backward_of_vectors_that_does_not_fit(tensors: Any, emulated: Any, tf32: bool) -> None:
    """Weights of three vectors are more in a backward, which is then `products`'."""
    for hidden, fits in ((128, True), (144, False)):
        before = backwards(emulated)
        p = make("lstm_fgr", (2, 3, 2, hidden))
        found, wanted = (differentiate(tensors, p, tensors.float32, kernel) for kernel in ("resident", "products"))
        assert backwards(emulated) == before + fits
        unit = UNITS["tf32" if tf32 else "float32"]
        for name, value in wanted.params.items():
            assert (found.params[name] - value).abs().max() < 30 * unit * value.abs().max(), name


def test_a_row_depends_on_itself_alone(tensors: Any) -> None:
    check_rows(tensors, "resident")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float64"}, "expected bfloat16, float16 or float32, got float64"),
        (
            {"cell": "indrnn"},
            "expected a cell whose products are of all of h and, it may be, of a gated h, got indrnn",
        ),
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
        )
