"""Calls that come again as CUDA graphs, emulated: the same bits, no graph of another call, few kept."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import FORMS, make, on_device, zoneout_of
from same_memory import SameMemory

import rnnkernels as rk
from rnnkernels import cuda
from rnnkernels.cuda import arrays, extension

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPE = (5, 6, 4, 17)


@pytest.fixture
def graphs(tensors: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[SameMemory]:
    yield SameMemory(tensors, monkeypatch)
    cuda.use_graphs(False)


@pytest.mark.parametrize("kernel", ["reference", "products"])
@pytest.mark.parametrize("options", ["dense", "lengths", "noise"])
@pytest.mark.parametrize("cell", FORMS)
def test_calls_that_come_again_are_graphs(
    tensors: Any, graphs: SameMemory, cell: str, options: str, kernel: str
) -> None:
    """Of other numbers every time: in pieces, then as a graph each, with the bits of the pieces."""
    torch = tensors
    p = make(cell, SHAPE, "float32")
    x, params, state = on_device(torch, p, torch.float32)
    given: dict[str, Any] = {}
    if options == "lengths":
        given["lengths"] = [5, 0, 3, 1, 5, 2]
    if options == "noise":
        given["noise"] = rk.Noise(1, zoneout_of(cell, 0.3), recurrent_dropout=0.2, per_step=True)

    def results(seed: int) -> list[Any]:
        x.copy_(torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)))
        graphs.given = 0
        run = rk.forward(cell, x, params, state, **given)
        found: Any = rk.backward(run, torch.from_numpy(p.d_output))
        return [t.clone() for t in (run.output, *run.state, found.x, *found.params.values(), *found.state)]

    cuda.set_kernel(kernel)
    wanted = [results(seed) for seed in range(4)]
    assert cuda.graph_counts() == (0, 0)
    cuda.use_graphs(True)
    for seed in range(4):
        for a, b in zip(results(seed), wanted[seed], strict=True):
            assert torch.equal(a, b)
        assert cuda.graph_counts() == ((2, 2 * seed) if seed else (0, 0))


def test_another_call_is_another_graph(tensors: Any, graphs: SameMemory) -> None:
    torch = tensors
    p = make("lstm", SHAPE, "float32")
    x, params, state = on_device(torch, p, torch.float32)
    elsewhere = {name: w.clone() * 2 for name, w in params.items()}
    calls: list[tuple[Any, dict[str, Any]]] = [
        (params, {}),
        (elsewhere, {}),
        (params, {"reverse": True}),
        (params, {"lengths": [5, 4, 3, 2, 1, 0]}),
        (params, {"lengths": [5, 5, 3, 1, 1, 0]}),  # as long, and as many rows
        (params, {"noise": rk.Noise(1, zoneout=0.3)}),
        (params, {"noise": rk.Noise(2, zoneout=0.3)}),
        (params, {"cell_clip": 0.1}),
        (params, {"training": False}),
    ]

    def results() -> list[Any]:
        found = []
        for weights, options in calls:
            graphs.given, graphs.memory = 0, memory.setdefault(str(options.keys()), [])
            run: Any = rk.forward("lstm", x, weights, state, **{"training": True} | options)
            found.append(run.output.clone())
        return found

    memory: dict[str, list[Any]] = {}
    wanted = results()
    cuda.use_graphs(True)
    for again in range(3):
        for a, b in zip(results(), wanted, strict=True):
            assert torch.equal(a, b)
        assert cuda.graph_counts() == (len(calls) if again else 0, again * len(calls))
    cuda.use_graphs(True)  # begins anew
    assert cuda.graph_counts() == (0, 0)


def test_few_graphs_are_kept(tensors: Any, graphs: SameMemory) -> None:
    """The oldest goes where a 65th call comes: a loop over 65 has no graphs, one over 64 has."""
    torch = tensors
    params = {n: torch.from_numpy(w) for n, w in rk.init_params("gru", 3, 4, rng=0).items()}
    xs = [torch.randn(2, 1, 3) for _ in range(65)]
    for count, runs in ((65, 0), (64, 64)):
        cuda.use_graphs(True)
        for _ in range(2):
            for x in xs[:count]:
                graphs.given = 0
                rk.forward("gru", x, params, training=False)
        assert cuda.graph_counts() == (runs, runs)


def test_a_recorded_stream_is_left_alone(tensors: Any, graphs: SameMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the caller records, the pieces belong to the caller's graph."""
    torch = tensors
    p = make("gru", SHAPE, "float32")
    x, params, state = on_device(torch, p, torch.float32)
    library = ctypes.CDLL(extension.load().__file__)
    library.emulated_recording.restype = ctypes.c_void_p
    stream = library.emulated_recording()
    monkeypatch.setattr(arrays.TorchFrame, "stream", lambda _: stream)
    cuda.use_graphs(True)
    outputs: list[Any] = []
    for _ in range(3):
        graphs.given = 0
        outputs.append(rk.forward("gru", x, params, state, training=False).output)
    assert cuda.graph_counts() == (0, 0)
    assert torch.isnan(outputs[0]).all()  # nothing has run yet
    library.emulated_replay(ctypes.c_void_p(stream))
    wanted = rk.forward("gru", p.x, p.params, p.state).output
    np.testing.assert_allclose(outputs[0].numpy(), wanted, rtol=1e-4, atol=1e-6)
