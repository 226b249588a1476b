"""Stacked layers and directions side by side, emulated: in random orders that the events allow, to the same bits.

What nobody waits for is found: memory begins as NaN, and streams run ahead of each other as far as they may
(tests/native/emulated_sides.h).
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import random_states, zoneout_of
from same_memory import SameMemory

import rnnkernels as rk
from rnnkernels import cuda
from rnnkernels.cuda import arrays, calls, extension

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rnnkernels.stack import Stack

I, H, P = 5, 9, 7  # noqa: E741 - the sizes' names everywhere in this package
CELLS = ("lstm", "gru", "lstm_projected", "mut3", "lstm_layer_norm", "indrnn", "rnn_tanh")
# T, B, steps of a piece
SHAPES = [(7, 5, 2), (7, 5, 1), (6, 3, 3), (5, 1, 100), (1, 4, 1), (0, 3, 2), (4, 0, 2), (130, 1, 1)]


@pytest.fixture
def _overlap(tensors: Any) -> Iterator[None]:
    """The switch is off again behind each test."""
    extension.load().set_kernel("reference")
    yield
    cuda.overlap_layers(False)
    cuda.use_graphs(False)
    cuda.allow_tf32(False)


def make(torch: Any, cell: str, layers: int, dtype: str = "float32", inputs: int = I, **options: Any) -> Stack:
    proj_size = P if rk.cell_info(cell)["projected"] else None
    stack = rk.Stack(cell, inputs, H, layers, proj_size=proj_size, dtype="float32", rng=0, **options)
    stack.params = {name: torch.from_numpy(w).to(getattr(torch, dtype)) for name, w in stack.params.items()}
    return stack


def flat(value: Any) -> list[Any]:
    """The tensors of nested tuples and dicts."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return [t for part in value for t in flat(part)]
    return [] if value is None else [value]


class Problem:
    """A stack with what it is given, and all that it gives."""

    def __init__(self, torch: Any, stack: Stack, steps: int, batch: int, tokens: bool = False) -> None:
        self.torch, self.stack = torch, stack
        rng = np.random.default_rng(steps + 10 * batch)
        kind = stack.params["weight_ih_l0"].dtype
        many = stack.num_layers * stack.num_directions

        def states() -> Any:
            found = [random_states(stack.cell, rng, batch, H, "float32", stack.proj_size) for _ in range(many)]
            return tuple(tuple(torch.from_numpy(s).to(kind) for s in of) for of in found)

        x = rng.integers(0, I, (steps, batch)) if tokens else rng.standard_normal((steps, batch, stack.input_size))
        self.x = torch.from_numpy(x) if tokens else torch.from_numpy(x).to(kind)
        width = stack.output_size * stack.num_directions
        self.d_output = torch.from_numpy(rng.standard_normal((steps, batch, width))).to(kind)
        self.state, self.d_state, self.reset_state = states(), states(), states()

    def results(self, training: bool = True, below: bool = False, **options: Any) -> list[Any]:
        if options.get("resets") is not None:
            options["reset_state"] = self.reset_state
        of = self.stack.forward(self.x, self.state, training=training, rng=np.random.default_rng(3), **options)
        found = [of.output, of.state, of.outputs]
        if training:
            d_outputs = [self.d_output * (k + 1) for k in range(self.stack.num_layers)] if below else None
            d = self.stack.backward(of, self.d_output, self.d_state, d_outputs=d_outputs)
            found += [d.x, d.params, d.state, d.reset_state]
        return [t.clone() for t in flat(found)]

    def compare(self, piece: int, times: int = 3, **options: Any) -> None:
        cuda.overlap_layers(False)
        wanted = self.results(**options)
        cuda.overlap_layers(True, steps=piece)
        for _ in range(times):
            found = self.results(**options)
            assert len(found) == len(wanted)
            for a, b in zip(found, wanted, strict=True):
                assert a.dtype == b.dtype
                assert self.torch.equal(a, b)
                assert not self.torch.isnan(a).any()


@pytest.mark.usefixtures("_overlap")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_layers_overlap_to_the_same_bits(tensors: Any, cell: str, shape: tuple[int, int, int]) -> None:
    steps, batch, piece = shape
    for layers in (2, 4):
        p = Problem(tensors, make(tensors, cell, layers), steps, batch)
        p.compare(piece)
        p.compare(piece, 1, training=False)
    Problem(tensors, make(tensors, cell, 2), steps, batch, tokens=True).compare(piece)


@pytest.mark.usefixtures("_overlap")
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_every_dtype(tensors: Any, dtype: str) -> None:
    Problem(tensors, make(tensors, "lstm", 3, dtype), 7, 5).compare(2)


@pytest.mark.usefixtures("_overlap")
@pytest.mark.parametrize("options", ["dropout", "masks", "losses", "lengths", "states", "replay"])
def test_layers_with_something_between(tensors: Any, options: str) -> None:
    """Those follow each other, where what stands between is no call of a layer's."""
    made: dict[str, Any] = {"dropout": {"dropout": 0.4}, "masks": {"zoneout": 0.3, "recurrent_dropout": 0.2}}
    given: dict[str, Any] = {"losses": {"below": True}, "lengths": {"lengths": [7, 0, 3, 5, 7]}}
    p = Problem(tensors, make(tensors, "gru", 3, **made.get(options, {})), 7, 5)
    memory = {"memory": options} if options in ("states", "replay") else {}
    p.compare(2, **given.get(options, memory))


@pytest.mark.usefixtures("_overlap")
@pytest.mark.parametrize("options", ["dense", "lengths", "resets", "states", "replay", "masks"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm_projected", "mut3"])
def test_directions_overlap_to_the_same_bits(tensors: Any, cell: str, options: str) -> None:
    given: dict[str, Any] = {}
    made: dict[str, Any] = {}
    if options in ("states", "replay"):
        given["memory"] = options
    if options == "lengths":
        given["lengths"] = [7, 0, 3, 5]
    if options == "resets":
        given["resets"] = np.random.default_rng(0).random((7, 4)) < 0.3
    if options == "masks":
        made = {"dropout": 0.4, "zoneout": zoneout_of(cell, 0.3), "recurrent_dropout": 0.2}
    p = Problem(tensors, make(tensors, cell, 2, bidirectional=True, **made), 7, 4)
    p.compare(2, **given)


@pytest.mark.usefixtures("_overlap")
@pytest.mark.parametrize("dtype", ["bfloat16", "tf32", "float32"])
@pytest.mark.parametrize("way", ["layers", "directions"])
@pytest.mark.parametrize("lengths", [None, [7, 0, 3, 5, 7]])
@pytest.mark.parametrize("cell", ["lstm", "gru", "janet", "mut3"])
def test_resident_kernels_overlap_to_the_same_bits(tensors: Any, cell: str, lengths: Any, way: str, dtype: str) -> None:
    """Both directions' steps in one launch."""
    cuda.set_kernel("resident")
    cuda.allow_tf32(dtype == "tf32")
    kind = "bfloat16" if dtype == "bfloat16" else "float32"
    stack = make(tensors, cell, 2, kind, inputs=8, bidirectional=way == "directions")
    Problem(tensors, stack, 7, 5).compare(3, lengths=lengths)


class Launches:
    """How many resident kernels there were: forwards, backwards."""

    def __init__(self, emulated: Any) -> None:
        library = ctypes.CDLL(emulated.__file__)
        self.counts = (library.emulated_resident_forwards, library.emulated_resident_backwards)
        self.before = [0, 0]
        self.since()

    def since(self) -> list[int]:
        """Since the last time."""
        now = [count() for count in self.counts]
        since = [a - b for a, b in zip(now, self.before, strict=True)]
        self.before = now
        return since


@pytest.mark.usefixtures("_overlap")
@pytest.mark.parametrize("way", ["layers", "directions"])
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_masks_in_resident_kernels_overlap_to_the_same_bits(
    tensors: Any, emulated: Any, clusters: Any, cell: str, way: str
) -> None:
    """Both directions of a layer in one launch."""
    clusters(40, 16)
    cuda.set_kernel("resident")
    masks = {"zoneout": zoneout_of(cell, 0.3), "recurrent_dropout": 0.2}
    stack = make(tensors, cell, 2, "bfloat16", inputs=8, bidirectional=way == "directions", **masks)
    p, launches = Problem(tensors, stack, 7, 5), Launches(emulated)
    cuda.overlap_layers(False)
    wanted = p.results()
    apart = launches.since()
    cuda.overlap_layers(True, steps=3)
    found = p.results()
    assert way == "layers" or apart == [2 * count for count in launches.since()]
    for a, b in zip(found, wanted, strict=True):
        assert tensors.equal(a, b)


@pytest.mark.usefixtures("_overlap")
def test_calls_of_other_masks_are_two_launches(tensors: Any, emulated: Any, clusters: Any) -> None:
    """A kernel has the code of what its call asks for alone."""
    clusters(40, 16)
    cuda.set_kernel("resident")
    stack = make(tensors, "lstm", 1, "bfloat16", inputs=8, bidirectional=True)
    rng = np.random.default_rng(0)
    x, d = (tensors.from_numpy(rng.standard_normal((7, 5, width))).to(tensors.bfloat16) for width in (8, H))
    params = [{n.removesuffix(f"_l0{end}"): w for n, w in stack.params.items() if n.endswith(f"_l0{end}")}
              for end in ("", "_reverse")]  # fmt: skip
    noises = [rk.Noise(1, zoneout=(0.3, 0.3)), None]
    launches = Launches(emulated)

    def results() -> list[Any]:
        with calls.together(x):
            runs = [rk.forward("lstm", x, of, noise=noise) for of, noise in zip(params, noises, strict=True)]
        with calls.together(x):
            back = [rk.backward(run, d) for run in runs]
        return flat([(run.output, run.state, b.x, b.params, b.state) for run, b in zip(runs, back, strict=True)])

    cuda.overlap_layers(False)
    wanted = results()
    assert launches.since() == [2, 2]
    cuda.overlap_layers(True, steps=7)
    found = results()
    assert launches.since() == [2, 2]
    for a, b in zip(found, wanted, strict=True):
        assert tensors.equal(a, b)


@pytest.mark.usefixtures("_overlap")
@pytest.mark.parametrize("dtype", ["bfloat16", "tf32", "float32"])
@pytest.mark.parametrize("options", ["dense", "chunks", "lengths", "resets"])
@pytest.mark.parametrize("cell", ["gru", "mgu", "mut3"])
def test_both_directions_are_one_launch(
    tensors: Any, emulated: Any, clusters: Any, cell: str, options: str, dtype: str
) -> None:
    """For each chunk; of a backward's several the last one first. With resets directions have other rows in a step."""
    clusters(40, 16)
    cuda.set_kernel("resident")
    cuda.allow_tf32(dtype == "tf32")
    launches = Launches(emulated)
    stack = make(tensors, cell, 1, "bfloat16" if dtype == "bfloat16" else "float32", inputs=8, bidirectional=True)
    steps = 500 if options == "chunks" else 7
    p = Problem(tensors, stack, steps, 5)
    given: dict[str, Any] = {"lengths": [7, 0, 3, 5, 7]} if options == "lengths" else {}
    if options == "resets":  # so many in the reversed direction's first step
        given["resets"] = np.arange(steps)[:, None] < np.array([1, 0, 3, 1, 1])
    cuda.overlap_layers(False)
    wanted = p.results(**given)
    apart = launches.since()
    cuda.overlap_layers(True, steps=3)
    found = p.results(**given)
    assert apart == [2 * count for count in launches.since()]
    assert (max(apart) > 2) == (options == "chunks")
    for a, b in zip(found, wanted, strict=True):
        assert tensors.equal(a, b)


@pytest.mark.usefixtures("_overlap")
@pytest.mark.parametrize("first", [7, 300])
@pytest.mark.parametrize(
    ("dtype", "processors", "saved"), [("bfloat16", 2, 1), ("float32", 40, 1), ("float32", 4, 1), ("float32", 2, 0)]
)
def test_calls_of_other_sizes_are_one_launch(
    tensors: Any, emulated: Any, clusters: Any, first: int, dtype: str, processors: int, saved: int
) -> None:
    """A kernel for the rows of either; the rest of the longer one is launched by itself."""
    clusters(processors, 16)
    cuda.set_kernel("resident")
    stack = make(tensors, "lstm", 1, dtype, inputs=8, bidirectional=True)
    rng = np.random.default_rng(0)
    xs: list[Any] = []
    ds: list[Any] = []
    for steps, batch in ((first, 5), (307 - first, 9)):
        for to, width in ((xs, 8), (ds, H)):
            values = rng.standard_normal((steps, batch, width))
            to.append(tensors.from_numpy(values).to(stack.params["weight_ih_l0"].dtype))
    params = [{n.removesuffix(f"_l0{end}"): w for n, w in stack.params.items() if n.endswith(f"_l0{end}")}
              for end in ("", "_reverse")]  # fmt: skip
    launches = Launches(emulated)

    def results() -> list[Any]:
        with calls.together(xs[0]):
            runs = [rk.forward("lstm", x, of) for x, of in zip(xs, params, strict=True)]
        with calls.together(xs[0]):
            back = [rk.backward(run, d) for run, d in zip(runs, ds, strict=True)]
        return flat([(run.output, run.state, d.x, d.params, d.state) for run, d in zip(runs, back, strict=True)])

    cuda.overlap_layers(False)
    wanted = results()
    apart = launches.since()
    cuda.overlap_layers(True, steps=1000)
    found = results()
    assert [a - b for a, b in zip(apart, launches.since(), strict=True)] == [saved, saved]
    assert min(apart) > 2
    for a, b in zip(found, wanted, strict=True):
        assert tensors.equal(a, b)


@pytest.mark.usefixtures("_overlap")
@pytest.mark.parametrize(
    ("processors", "dtype", "launched"), [(1, "bfloat16", 2), (2, "float32", 2), (4, "float32", 1)]
)
def test_directions_that_half_of_the_card_has_no_room_for(
    tensors: Any, emulated: Any, clusters: Any, processors: int, dtype: str, launched: int
) -> None:
    """Those run side by side: of float32 in full each cluster has up to eight rows."""
    clusters(processors, 16)
    cuda.set_kernel("resident")
    p = Problem(
        tensors, make(tensors, "gru", 1, dtype, inputs=8, bidirectional=True), 7, 16 if dtype == "float32" else 5
    )
    launches = Launches(emulated)
    cuda.overlap_layers(False)
    wanted = p.results()
    assert launches.since() == [2, 2]
    cuda.overlap_layers(True, steps=7)
    found = p.results()
    assert launches.since() == [launched, launched]
    for a, b in zip(found, wanted, strict=True):
        assert tensors.equal(a, b)


@pytest.mark.usefixtures("_overlap")
@pytest.mark.parametrize("ways", [1, 2])
def test_calls_that_come_again_are_one_graph(tensors: Any, monkeypatch: pytest.MonkeyPatch, ways: int) -> None:
    """All layers of a stack, or both directions of a layer, are one call."""
    graphs = SameMemory(tensors, monkeypatch)
    p = Problem(tensors, make(tensors, "lstm", 3, bidirectional=ways == 2), 7, 5)
    graphs.given = 0
    wanted = p.results()
    cuda.overlap_layers(True, steps=2)
    cuda.use_graphs(True)
    for again in range(4):
        graphs.given = 0
        if again == 0:
            graphs.memory = []
        for a, b in zip(p.results(), wanted, strict=True):
            assert tensors.equal(a, b)
        calls = 2 if ways == 1 else 6
        if ways == 1:  # what joins directions is memory that is another every time
            assert cuda.graph_counts() == ((calls, calls * again) if again else (0, 0))


@pytest.mark.usefixtures("_overlap")
def test_a_recorded_stream_has_all_of_it(tensors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams beside one that is recorded are part of the graph, which may run again, in another order."""
    p = Problem(tensors, make(tensors, "lstm", 3), 7, 5)
    wanted = p.stack.forward(p.x, p.state, training=False)
    memory = SameMemory(tensors, monkeypatch)  # what a call used is not another's before it has run
    library = ctypes.CDLL(extension.load().__file__)
    library.emulated_recording.restype = ctypes.c_void_p
    stream = library.emulated_recording()
    cuda.overlap_layers(True, steps=2)
    monkeypatch.setattr(arrays.TorchFrame, "stream", lambda _: stream)
    run = p.stack.forward(p.x, p.state, training=False)
    assert memory.given > 0
    assert tensors.isnan(run.output).all()  # nothing has run yet
    for _ in range(4):
        for t in flat([run.outputs, run.state]):
            t.fill_(float("nan"))
        library.emulated_replay(ctypes.c_void_p(stream))
        for a, b in zip(flat([run.outputs, run.state]), flat([wanted.outputs, wanted.state]), strict=True):
            assert tensors.equal(a, b)


@pytest.mark.usefixtures("_overlap")
@pytest.mark.parametrize("ways", [1, 2])
def test_what_is_put_together(tensors: Any, monkeypatch: pytest.MonkeyPatch, ways: int) -> None:
    """All layers' forwards, all layers' backwards; of two directions those of each layer."""
    put: list[int] = []

    class Counting(extension.load().Gathered):  # type: ignore[misc]
        def put(self, steps: int) -> None:
            put.append(len(self))
            super().put(steps)

    monkeypatch.setattr(extension.load(), "Gathered", Counting)
    p = Problem(tensors, make(tensors, "gru", 3, bidirectional=ways == 2), 7, 5)
    p.results()
    assert put == []
    cuda.overlap_layers(True)
    p.results()
    assert put == ([3, 3] if ways == 1 else [2] * 6)


@pytest.mark.usefixtures("_overlap")
def test_what_fails_leaves_nothing_behind(tensors: Any) -> None:
    """Calls that were gathered before one was refused are not put, and the next stack runs as ever."""
    p = Problem(tensors, make(tensors, "gru", 3), 7, 5)
    cuda.overlap_layers(True, steps=2)
    whole = p.stack.params["weight_hh_l2"]
    p.stack.params["weight_hh_l2"] = whole[:-1]
    with pytest.raises(ValueError, match="weight_hh"):
        p.stack.forward(p.x)
    p.stack.params["weight_hh_l2"] = whole
    p.compare(2)


def test_the_switch(emulated: Any) -> None:
    with pytest.raises(TypeError, match="used: expected"):
        cuda.overlap_layers("yes")  # type: ignore[arg-type]
    for steps in (0, -1, 2**40):
        with pytest.raises(ValueError, match="steps: expected"):
            cuda.overlap_layers(True, steps=steps)
    with pytest.raises(TypeError, match="steps: expected"):
        cuda.overlap_layers(True, steps=1.5)  # type: ignore[arg-type]
    assert extension.overlapped_steps() is None
    gathered = extension.load().Gathered()
    with pytest.raises(ValueError, match="steps: expected 1 or more, got 0"):
        gathered.put(0)
    gathered.put(1)  # of none
    assert len(gathered) == 0
