"""The CUDA backend on a GPU: against the CPU's in float64, twenty times over, in two streams, captured and replayed.

Skipped where there is none. The tests of every cell and option run there through cuda_emulated.py, without its emulated
module; benchmarks/gpu_check.py does both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from problems import make
from tolerances import amplification, assert_close, forward_length, gradient_length

import rnnkernels as rk
from rnnkernels import _cpu, charlm, cuda
from rnnkernels.cuda import calls, extension

pytestmark = pytest.mark.skipif(not cuda.available(), reason=f"no GPU: {cuda.reason()}")

DTYPES = ("float32", "float64")
SHAPES = [(1, 1, 3, 5), (2, 7, 4, 33), (3, 5, 64, 64), (37, 3, 9, 40)]


@pytest.fixture(autouse=True, params=["reference", "products"])
def kernel(request: pytest.FixtureRequest) -> Any:
    cuda.set_kernel(request.param)
    extension.load().set_poison(True)
    yield request.param
    extension.load().set_poison(False)
    cuda.set_kernel("auto")
    cuda.allow_tf32(False)


def leaves(of: Any) -> list[Any]:
    """Return the tensors of one, some or some by name."""
    return [of] if isinstance(of, torch.Tensor) else list(of.values() if isinstance(of, dict) else of)


def tensors(p: Any, dtype: Any = None) -> tuple[Any, Any, Any]:
    def tensor(array: Any) -> Any:
        return torch.from_numpy(array).cuda().to(dtype) if dtype else torch.from_numpy(array).cuda()

    return tensor(p.x), {name: tensor(w) for name, w in p.params.items()}, tuple(map(tensor, p.state))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", rk.cells())
def test_every_cell(cell: str, dtype: str, shape: tuple[int, int, int, int]) -> None:
    steps, batch, inputs, hidden = shape
    if rk.cell_info(cell)["direct"]:
        inputs = hidden
    p = make(cell, (steps, batch, inputs, hidden), dtype)
    lengths = np.random.default_rng(0).integers(0, steps + 1, batch)

    def exact(array: Any) -> Any:
        return array.astype(np.float64)

    wanted = rk.forward(
        cell, exact(p.x), {n: exact(w) for n, w in p.params.items()}, tuple(map(exact, p.state)), lengths=lengths
    )
    d_wanted = rk.backward(wanted, exact(p.d_output))
    x, params, state = tensors(p)
    run: Any = rk.forward(cell, x, params, state, lengths=lengths)
    found: Any = rk.backward(run, torch.from_numpy(p.d_output).cuda())
    amplified = amplification(cell, steps, batch, inputs, hidden)
    gates = len(rk.cell_info(cell)["gates"])
    length = gradient_length(steps, batch, inputs, hidden, gates)
    assert_close(
        run.output.cpu().numpy(), wanted.output, "output", forward_length(steps, inputs, hidden), "output", amplified
    )
    for name, value in d_wanted.params.items():
        assert_close(found.params[name].cpu().numpy(), value, "gradient", length, name, amplified)
    assert d_wanted.x is not None
    assert_close(found.x.cpu().numpy(), d_wanted.x, "gradient", length, "dx", amplified)


@pytest.mark.parametrize("cell", ["lstm", "gru", "mut3", "lstm_layer_norm"])
def test_the_same_bits_twenty_times_and_in_two_streams(cell: str) -> None:
    p = make(cell, (37, 16, 48, 48), "float32")
    x, params, state = tensors(p)
    d = torch.from_numpy(p.d_output).cuda()

    def results() -> list[Any]:
        run: Any = rk.forward(cell, x, params, state)
        found: Any = rk.backward(run, d)
        return [run.output, *run.state, found.x, *found.params.values(), *found.state]

    first = results()
    for _ in range(20):
        for a, b in zip(first, results(), strict=True):
            assert torch.equal(a, b)
    streams = [torch.cuda.Stream() for _ in range(2)]
    torch.cuda.synchronize()
    several = []
    for _ in range(5):
        for stream in streams:
            with torch.cuda.stream(stream):
                several.append(results())
    torch.cuda.synchronize()
    for found in several:
        for a, b in zip(first, found, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_a_call_is_captured_and_replayed(cell: str) -> None:
    p = make(cell, (12, 8, 32, 32), "float32")
    x, params, state = tensors(p)
    d = torch.from_numpy(p.d_output).cuda()
    held = x.clone()

    def call() -> list[Any]:
        run: Any = rk.forward(cell, held, params, state)
        found: Any = rk.backward(run, d)
        return [run.output, found.x, *found.params.values()]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()  # what is made once, cuBLAS's handle among it, is made outside of the capture
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = call()
    held.copy_(2 * x)
    wanted = [t.clone() for t in call()]
    for t in captured:
        t.fill_(float("nan"))
    graph.replay()
    torch.cuda.synchronize()
    for a, b in zip(captured, wanted, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "lstm_layer_norm"])
def test_calls_that_come_again_are_graphs(cell: str) -> None:
    p = make(cell, (12, 8, 32, 32), "float32")
    x, params, state = tensors(p)
    d = torch.from_numpy(p.d_output).cuda()
    held = x.clone()

    def results(scale: float) -> list[Any]:
        held.copy_(scale * x)
        run: Any = rk.forward(cell, held, params, state)
        found: Any = rk.backward(run, d)
        return [t.cpu() for t in (run.output, found.x, *found.params.values())]

    wanted = [results(1 + k) for k in range(6)]
    cuda.use_graphs(True)
    try:
        for k in range(6):  # PyTorch's allocator gives the same memory again
            for a, b in zip(results(1 + k), wanted[k], strict=True):
                assert torch.equal(a, b)
        assert cuda.graph_counts().runs >= 6
    finally:
        cuda.use_graphs(False)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("cell", rk.cells())
def test_halves(cell: str, dtype: str) -> None:
    kind = getattr(torch, dtype)
    p = make(cell, (9, 5, 24, 24), "float32")
    x, params, state = tensors(p, kind)
    run: Any = rk.forward(cell, x, params, state)
    exact: Any = rk.forward(cell, x.float(), {n: w.float() for n, w in params.items()}, tuple(s.float() for s in state))
    d = torch.from_numpy(p.d_output).cuda().to(kind)
    found: Any = rk.backward(run, d)
    wanted: Any = rk.backward(exact, d.float())
    unit = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    for a, b in [(run.output, exact.output), *((found.params[n], wanted.params[n]) for n in found.params)]:
        assert a.dtype == kind
        assert (a.float() - b).abs().max() < 30 * unit * b.abs().max().clamp(min=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(70, 33, 257), (4099,), (3, 0), (100003, 5)], ids=str)
def test_dropped_elements_are_the_cpus(shape: tuple[int, ...], dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    found = calls.drop(torch.from_numpy(x).cuda(), 0.3, 2**40 + 1, 5)
    assert found.cpu().numpy().tobytes() == _cpu.drop(x, 0.3, 2**40 + 1, 5).tobytes()


@pytest.mark.parametrize("cell", ["lstm", "gru", "mut3"])
def test_a_stack_with_every_mask(cell: str) -> None:
    rates: dict[str, Any] = {"dropout": 0.3, "zoneout": 0.2, "recurrent_dropout": 0.1, "weight_dropout": 0.25}
    stack = rk.Stack(cell, 12, 33, 3, bidirectional=True, dtype="float64", rng=0, **rates)
    x = np.random.default_rng(1).standard_normal((9, 5, 12))
    d = np.random.default_rng(2).standard_normal((9, 5, 66))
    lengths = [9, 0, 4, 1, 8]
    wanted = stack.forward(x, rng=np.random.default_rng(3), lengths=lengths)
    d_wanted: Any = stack.backward(wanted, d)
    stack.to("cuda")
    run: Any = stack.forward(torch.from_numpy(x).cuda(), rng=np.random.default_rng(3), lengths=lengths)
    found: Any = stack.backward(run, torch.from_numpy(d).cuda())
    np.testing.assert_allclose(run.output.cpu().numpy(), wanted.output, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found.x.cpu().numpy(), d_wanted.x, rtol=1e-9, atol=1e-11)
    for name, value in d_wanted.params.items():
        np.testing.assert_allclose(found.params[name].cpu().numpy(), value, rtol=1e-9, atol=1e-11, err_msg=name)


def test_cupy_arrays() -> None:
    cupy = pytest.importorskip("cupy")
    p = make("gru", (5, 4, 3, 6))
    run: Any = rk.forward(
        "gru", cupy.asarray(p.x), {n: cupy.asarray(w) for n, w in p.params.items()}, lengths=[5, 0, 2, 3]
    )
    wanted = rk.forward("gru", p.x, p.params, lengths=[5, 0, 2, 3])
    assert isinstance(run.output, cupy.ndarray)
    np.testing.assert_allclose(cupy.asnumpy(run.output), wanted.output, rtol=1e-10, atol=1e-12)
    found: Any = rk.backward(run, cupy.asarray(p.d_output))
    expected = rk.backward(wanted, p.d_output)
    for name, value in expected.params.items():
        np.testing.assert_allclose(cupy.asnumpy(found.params[name]), value, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_single_steps_are_graphs(dtype: str) -> None:
    """With the bits of a call for each step; in a graph of the caller's, too; from two streams."""
    p = make("lstm", (12, 8, 32, 32), "float32")
    x, params, state = tensors(p)
    kind = getattr(torch, dtype)
    x, params, state = x.to(kind), {n: w.to(kind) for n, w in params.items()}, tuple(s.to(kind) for s in state)
    layer = rk.Prepared("lstm", params)
    stepper: Any = layer.stepper(8, state)
    begun: Any = state
    fixed = x[0].clone()
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    for t, x_t in enumerate(x):
        begun = rk.step("lstm", x_t, params, begun)
        fixed.copy_(x_t)
        if t < 5:
            h = stepper(fixed)
        elif t < 8:
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                h = stepper(fixed)
            torch.cuda.current_stream().wait_stream(side)
        else:
            if t == 8:
                with torch.cuda.graph(graph):
                    h = stepper(fixed)
            graph.replay()
        assert torch.equal(h, begun[0])
        if t == 7:
            assert stepper._stepper.graphs == 2
    for a, b in zip(stepper.state, begun, strict=True):
        assert torch.equal(a, b)
    wanted: Any = rk.forward("lstm", x, params, state, training=False)
    for _ in range(3):
        assert torch.equal(layer.forward(x, state)[0], wanted.output)


def test_an_error_leaves_nothing_behind() -> None:
    with pytest.raises(cuda.CudaError):
        extension.load().Memory(99, 8)
    with pytest.raises(cuda.CudaMemoryError):
        extension.load().Memory(0, 1 << 60)
    p = make("lstm", (3, 2, 4, 5))
    x, params, state = tensors(p)
    run: Any = rk.forward("lstm", x, params, state)
    assert torch.isfinite(run.output).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")
def test_the_language_model_trains_from_end_to_end() -> None:
    text = "".join(f"{i % 7} times {i % 5} is {(i % 7) * (i % 5)}\n" for i in range(200))
    config = charlm.Config(
        hidden=16, layers=2, dropout=0.2, batch=4, seq_length=12, epochs=1, min_count=1, dtype="float64", lr=0.01
    )
    kinds: set[str] = set()

    class Where(charlm.Observer):
        def stepped(self, trainer: charlm.Trainer, loss: float) -> None:
            del loss
            kinds.update(str(w.device) for w in (*trainer.model.params.values(), *trainer.state[-1]))

    wanted = charlm.train(text, config).checkpoint().tensors
    rk.set_backend("cuda")
    try:
        found = charlm.train(text, config, observer=Where()).checkpoint().tensors
    finally:
        rk.set_backend("cpu")
    assert kinds == {"cuda:0"}
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-8, err_msg=name)


def check_all_steps(way: str, cell: str, dtype: str, shape: tuple[int, int, int, int]) -> None:
    """A kernel against products on the same numbers; twenty times the same bits; a row alone as among others.

    Gradients too, by the kernel of the forward where that has a backward.
    """
    cuda.allow_tf32(dtype == "tf32")
    p = make(cell, shape, "float32")
    x, params, state = tensors(p, getattr(torch, "float32" if dtype == "tf32" else dtype))
    d_output = torch.from_numpy(p.d_output).to(x)
    lengths = np.random.default_rng(0).integers(0, shape[0] + 1, shape[1])
    wanted: Any = rk.forward(cell, x, params, state, lengths=lengths)
    cuda.set_kernel(way)
    runs: list[Any] = [rk.forward(cell, x, params, state, lengths=lengths) for _ in range(20)]
    unit = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "tf32": 2.0**-11, "float32": 2.0**-20}[dtype]
    least = 1.0 if dtype == "tf32" else 1e-3  # of TF32 a term is rounded, and not an h
    for a, b in ((runs[0].output, wanted.output), *zip(runs[0].state, wanted.state, strict=True)):
        error = (a.float() - b.float()).abs().max() / b.float().abs().max().clamp(min=least)
        assert error < 8 * unit, float(error)
    for run in runs[1:]:
        assert torch.equal(run.output, runs[0].output)
    by_products, *gradients = (rk.backward(run, d_output) for run in (wanted, *runs[:3]))
    for name in ("x", "state", "params"):
        of = [leaves(getattr(one, name)) for one in (by_products, *gradients)]
        for b, first, *again in zip(*of, strict=True):
            error = (first.float() - b.float()).abs().max() / b.float().abs().max().clamp(min=least)
            assert error < 16 * unit, (name, float(error))
            assert all(torch.equal(first, other) for other in again), name
    alone: Any = rk.forward(
        cell, x[:, :1].contiguous(), params, tuple(s[:1].contiguous() for s in state), lengths=lengths[:1]
    )
    assert torch.equal(alone.output, runs[0].output[:, :1])


@pytest.mark.parametrize("shape", [(1, 1, 3, 5), (37, 9, 40, 40), (20, 70, 16, 256), (5, 16, 8, 512)], ids=str)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "cell", ["rnn_tanh", "janet", "gru", "lstm", "lstm_peephole", "slstm", "mgu", "gru_reset_before", "mut1_projected"]
)
def test_resident_kernels(kernel: str, cell: str, dtype: str, shape: tuple[int, int, int, int]) -> None:
    if kernel == "reference":
        pytest.skip("products are what these are compared with")
    check_all_steps("resident", cell, dtype, shape)


@pytest.mark.parametrize("shape", [(37, 9, 40, 40), (20, 16, 16, 256), (5, 8, 8, 384)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "tf32"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_resident_kernels_of_float32(kernel: str, cell: str, dtype: str, shape: tuple[int, int, int, int]) -> None:
    if kernel == "reference":
        pytest.skip("products are what these are compared with")
    check_all_steps("resident", cell, dtype, shape)


@pytest.mark.parametrize("shape", [(1, 1, 3, 5), (37, 9, 40, 40), (20, 70, 16, 256), (5, 16, 8, 1024)], ids=str)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "cell", ["rnn_tanh", "janet", "gru", "lstm", "slstm", "mgu", "gru_reset_before", "mut1_projected"]
)
def test_grid_kernels(kernel: str, cell: str, dtype: str, shape: tuple[int, int, int, int]) -> None:
    if kernel == "reference":
        pytest.skip("products are what these are compared with")
    check_all_steps("grid", cell, dtype, shape)


@pytest.mark.parametrize(("layers", "both"), [(3, False), (1, True), (2, True)])
@pytest.mark.parametrize("way", ["products", "resident", "grid"])
def test_overlapped_layers(kernel: str, way: str, layers: int, both: bool) -> None:
    """The bits of layers one after the other, twenty times."""
    if kernel == "reference":
        pytest.skip("products are what these stand on")
    cuda.set_kernel(way)
    stack = rk.Stack("lstm", 40, 64, layers, bidirectional=both, dtype="float32", rng=0)
    stack.params = {name: torch.from_numpy(w).cuda().to(torch.bfloat16) for name, w in stack.params.items()}
    x = torch.randn(37, 9, 40, device="cuda").to(torch.bfloat16)

    def results() -> list[Any]:
        run: Any = stack.forward(x)
        found: Any = stack.backward(run, torch.ones_like(run.output))
        return [run.output, found.x, *found.params.values()]

    wanted = results()
    cuda.overlap_layers(True, steps=8)
    try:
        for _ in range(20):
            for a, b in zip(results(), wanted, strict=True):
                assert torch.equal(a, b)
    finally:
        cuda.overlap_layers(False)
