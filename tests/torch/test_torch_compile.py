"""Layers under torch.compile and torch.export: whole graphs, values and gradients of eager calls, sizes that change.

Dynamo takes no subclass of torch.nn.RNN, LSTM or GRU unless `torch._dynamo.config.allow_rnn` is set, whatever it runs;
so the tests set it, and one shows what happens without.
"""

from __future__ import annotations

import io
import itertools
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch._dynamo.testing
import torch._inductor.config
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import rnnkernels.torch as rnn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

I = 5  # noqa: E741
H = 6
SIZES = ((7, 4), (9, 3), (5, 6), (12, 2))  # (T, B) of calls one after another; none is 0 or 1, which are constants
Call = tuple[tuple[Any, ...], dict[str, Any]]


@pytest.fixture(autouse=True)
def _dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        yield
    torch._dynamo.reset()


def x(T: int, B: int) -> Any:
    return torch.randn(T, B, I)


def states(layers: int, B: int, count: int = 2) -> Any:
    drawn = tuple(torch.randn(layers, B, H) for _ in range(count))
    return drawn if count > 1 else drawn[0]


def packed(T: int, B: int, in_order: bool = False) -> Any:
    lengths = torch.randint(1, T + 1, (B,))
    lengths[0] = T
    return pack_padded_sequence(
        x(T, B), lengths.sort(descending=True)[0] if in_order else lengths, enforce_sorted=in_order
    )


Layer = tuple["Callable[[], Any]", "Callable[[int, int], Call]"]
CASES: dict[str, Layer] = {
    "RNN": (lambda: rnn.RNN(I, H, nonlinearity="relu"), lambda T, B: ((x(T, B),), {})),
    "LSTM": (lambda: rnn.LSTM(I, H), lambda T, B: ((x(T, B),), {})),
    "LSTM-state": (lambda: rnn.LSTM(I, H), lambda T, B: ((x(T, B), states(1, B)), {})),
    "LSTM-deep": (
        lambda: rnn.LSTM(I, H, 2, bidirectional=True, batch_first=True, proj_size=3, dropout=0.2),
        lambda T, B: ((x(T, B),), {}),
    ),
    "LSTM-bfloat16": (lambda: rnn.LSTM(I, H, dtype=torch.bfloat16), lambda T, B: ((x(T, B).bfloat16(),), {})),
    "LSTM-unbatched": (lambda: rnn.LSTM(I, H), lambda T, B: ((x(T, 1)[:, 0],), {})),  # noqa: ARG005
    "LSTM-packed": (lambda: rnn.LSTM(I, H), lambda T, B: ((packed(T, B),), {})),
    "LSTM-packed-state": (lambda: rnn.LSTM(I, H, 2), lambda T, B: ((packed(T, B), states(2, B)), {})),
    "GRU-packed-in-order": (
        lambda: rnn.GRU(I, H, bidirectional=True),
        lambda T, B: ((packed(T, B, in_order=True),), {}),
    ),
    "GRU": (lambda: rnn.GRU(I, H, bias=False), lambda T, B: ((x(T, B), states(1, B, 1)), {})),
    "RNNCell": (lambda: rnn.RNNCell(I, H), lambda T, B: ((x(T, B)[0],), {})),
    "LSTMCell": (
        lambda: rnn.LSTMCell(I, H),
        lambda T, B: ((x(T, B)[0], (torch.randn(B, H), torch.randn(B, H))), {}),
    ),
    "GRUCell": (lambda: rnn.GRUCell(I, H), lambda T, B: ((x(T, B)[0], torch.randn(B, H)), {})),
    "RecurrentCell": (lambda: rnn.RecurrentCell("mut2_projected", I, H), lambda T, B: ((x(T, B)[0],), {})),
    "tokens": (lambda: rnn.Recurrent("mut1", H, H, 2), lambda T, B: ((torch.randint(0, H, (T, B)),), {})),
    "lengths": (
        lambda: rnn.Recurrent("lstm_fgr", I, H, bidirectional=True),
        lambda T, B: ((x(T, B),), {"lengths": torch.randint(0, T + 1, (B,))}),
    ),
    "resets": (
        lambda: rnn.Recurrent("lstm", I, H),
        lambda T, B: (
            (x(T, B),),
            {"resets": torch.rand(T, B) > 0.5, "reset_state": states(1, B), "all_states": True},
        ),
    ),
    "masks": (
        lambda: rnn.Recurrent("lstm", I, H, zoneout=0.2, recurrent_dropout=0.1, weight_dropout=0.3),
        lambda T, B: ((x(T, B),), {}),
    ),
    "projected": (
        lambda: rnn.Recurrent("lstm_projected", I, H, proj_size=3, cell_clip=0.1, memory="replay"),
        lambda T, B: ((x(T, B), (torch.randn(1, B, 3), torch.randn(1, B, H))), {}),
    ),
    "packed": (lambda: rnn.Recurrent("lstm", I, H), lambda T, B: ((packed(T, B), states(1, B)), {})),
}


def floats(results: Any) -> list[Any]:
    leaves = torch.utils._pytree.tree_leaves(results)
    return [t for t in leaves if isinstance(t, torch.Tensor) and t.is_floating_point()]


def same(a: list[Any], b: list[Any]) -> bool:
    assert len(a) == len(b) > 0
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def train(module: Any, function: Any, call: Call) -> list[Any]:
    """Outputs and gradients, of the input too, of a call whose random numbers begin anew."""
    module.zero_grad()
    args, kwargs = call
    data = args[0].data if isinstance(args[0], PackedSequence) else args[0]
    if data.is_floating_point():
        data = data.clone().requires_grad_()
        first = PackedSequence(data, *args[0][1:]) if isinstance(args[0], PackedSequence) else data
        args = (first, *args[1:])
    torch.manual_seed(1)
    results = floats(function(*args, **kwargs))
    sum((r.float() * (k + 1)).square().sum() for k, r in enumerate(results)).backward()
    grads = [p.grad.clone() for p in module.parameters()] + ([data.grad] if data.requires_grad else [])
    return [r.detach() for r in results] + grads


def agree(case: Layer, backend: str) -> None:
    torch.manual_seed(0)
    module, call = case[0](), case[1](*SIZES[0])
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    module.eval()
    with torch.no_grad():
        assert same(floats(compiled(*call[0], **call[1])), floats(module(*call[0], **call[1])))
    module.train()
    assert same(train(module, compiled, call), train(module, module, call))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_graph_with_the_values_of_eager_calls(case: Layer) -> None:
    agree(case, "aot_eager")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["LSTM", "LSTM-packed", "resets", "masks"])
def test_inductor(name: str) -> None:
    # Its own random numbers are others than PyTorch's, unless it is told to take those.
    with torch._inductor.config.patch(fallback_random=True):
        agree(CASES[name], "inductor")


@pytest.mark.parametrize(
    ("name", "dynamic"),
    [
        *((name, True) for name in ("RNN", "LSTM-state", "LSTM-packed-state", "GRU-packed-in-order", "GRUCell")),
        *((name, True) for name in ("RecurrentCell", "tokens", "lengths", "resets", "masks")),
        *((name, None) for name in ("LSTM", "LSTM-packed", "lengths")),
    ],
)
def test_sizes_change_and_nothing_is_compiled_again(name: str, dynamic: bool | None) -> None:
    count = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    module, make = CASES[name][0](), CASES[name][1]
    compiled = torch.compile(module, fullgraph=True, backend=count, dynamic=dynamic)
    counts = []
    for T, B in SIZES:
        call = make(T, B)
        assert same(train(module, compiled, call), train(module, module, call))
        counts.append(count.frame_count)
    settled = 0 if dynamic else 1  # without `dynamic` the second call teaches Dynamo which sizes change
    assert counts[settled:] == counts[settled : settled + 1] * (len(SIZES) - settled)


def test_marked_sizes() -> None:
    count = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(rnn.LSTM(I, H), fullgraph=True, backend=count)
    for T, B in SIZES:
        given = x(T, B)
        torch._dynamo.mark_dynamic(given, (0, 1))  # raises where the graph makes a constant of one
        compiled(given)
    assert count.frame_count == 1


def test_a_model_trains_as_in_eager_mode() -> None:
    class Tagger(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(11, I)
            self.lstm = torch.nn.LSTM(I, H, 2, bidirectional=True, dropout=0.3)
            self.top = rnn.Recurrent("mgu", 2 * H, H)
            self.out = torch.nn.Linear(H, 3)

        def forward(self, words: Any, lengths: Any) -> Any:
            hidden, _ = self.lstm(self.embed(words))
            hidden, _ = self.top(hidden, lengths=lengths)
            return self.out(hidden).log_softmax(-1)

    losses: list[list[float]] = []
    for compiles in (True, False):
        torch.manual_seed(0)
        model = Tagger()
        assert set(rnn.swap(model).replaced) == {"lstm"}
        optimizer = torch.optim.Adam(model.parameters(), 0.05)
        call = torch.compile(model, fullgraph=True, backend="aot_eager") if compiles else model
        losses.append([])
        for T, B in SIZES:
            words, tags = torch.randint(0, 11, (T, B)), torch.randint(0, 3, (T, B))
            loss = torch.nn.functional.nll_loss(
                call(words, torch.randint(1, T + 1, (B,))).flatten(0, 1), tags.flatten()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0] == losses[1]


def test_masks_are_drawn_anew_in_every_call() -> None:
    layer = rnn.Recurrent("gru", I, H, zoneout=0.5)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    given = x(7, 4)
    torch.manual_seed(0)
    first, second = compiled(given)[0], compiled(given)[0]
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(compiled(given)[0], first)
    layer.eval()
    assert torch.equal(compiled(given)[0], compiled(given)[0])


def test_what_is_wrong_raises() -> None:
    layer = rnn.Recurrent("lstm", I, H)
    compiled = torch.compile(layer, backend="aot_eager", dynamic=True)
    with pytest.raises((ValueError, torch._dynamo.exc.Unsupported), match=r"input: expected 2 or 3 dimensions"):
        compiled(torch.randn(7, 4, I + 1))
    given = packed(7, 4)
    compiled(given, states(1, 4))
    with pytest.raises(ValueError, match="expected shape"):  # found where the kernel runs
        compiled(given, states(1, 3))
    with pytest.raises(ValueError, match="lengths"):
        compiled(x(7, 4), lengths=torch.tensor([1, 2, 3, 8]))


def test_without_the_setting_dynamo_takes_no_subclass_of_its_layers() -> None:
    given = x(7, 4)
    with torch._dynamo.config.patch(allow_rnn=False):
        layer = torch.nn.Sequential(rnn.LSTM(I, H))
        with pytest.raises(torch._dynamo.exc.Unsupported, match="allow_rnn"):
            torch.compile(layer, fullgraph=True, backend="aot_eager")(given)
        # Without fullgraph it runs between two graphs, as PyTorch's own does.
        assert same(floats(torch.compile(layer, backend="aot_eager")(given)), floats(layer(given)))
        for own in (rnn.LSTMCell(I, H), rnn.Recurrent("lstm", I, H)):
            torch.compile(own, fullgraph=True, backend="aot_eager")(
                given[0] if isinstance(own, rnn.LSTMCell) else given
            )


# ---- export ------------------------------------------------------------------------------------------


class OfPacked(torch.nn.Module):  # type: ignore[misc]
    """Exported programs have tensors for inputs: a packed sequence is made inside."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = rnn.LSTM(I, H)

    def forward(self, data: Any, batch_sizes: Any, sorted_indices: Any, unsorted_indices: Any) -> Any:
        output, final = self.layer(PackedSequence(data, batch_sizes, sorted_indices, unsorted_indices))
        return output.data, final


EXPORTED: dict[str, tuple[Any, Any, Any]] = {
    "LSTM": (*CASES["LSTM-state"], lambda T, B: {"input": {0: T, 1: B}, "hx": ({1: B}, {1: B})}),
    "LSTM-deep": (*CASES["LSTM-deep"], lambda T, B: {"input": {0: T, 1: B}}),
    "GRUCell": (*CASES["GRUCell"], lambda T, B: {"input": {0: B}, "hx": {0: B}}),  # noqa: ARG005
    "lengths": (*CASES["lengths"], lambda T, B: {"input": {0: T, 1: B}, "lengths": {0: B}}),
    "masks": (*CASES["masks"], lambda T, B: {"input": {0: T, 1: B}}),
    "resets": (
        CASES["resets"][0],
        lambda T, B: ((x(T, B),), {"resets": torch.rand(T, B) > 0.5}),
        lambda T, B: {"input": {0: T, 1: B}, "resets": {0: T, 1: B}},
    ),
    "packed": (
        OfPacked,
        lambda T, B: (tuple(packed(T, B)), {}),
        lambda T, B: {
            "data": {0: torch.export.Dim("N")},
            "batch_sizes": {0: T},
            "sorted_indices": {0: B},
            "unsorted_indices": {0: B},
        },
    ),
}


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
@pytest.mark.parametrize("case", EXPORTED.values(), ids=EXPORTED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_exported_program_is_saved_loaded_and_run(case: tuple[Any, Any, Any], strict: bool) -> None:
    make, call, sizes = case
    module = make().eval()
    dims = sizes(torch.export.Dim("T"), torch.export.Dim("B"))
    args, kwargs = call(*SIZES[0])
    program = torch.export.export(module, args, kwargs, dynamic_shapes=dims, strict=strict)
    assert any(node.target is torch.ops.rnnkernels.forward.default for node in program.graph.nodes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for size in SIZES:
        args, kwargs = call(*size)
        assert same(floats(loaded(*args, **kwargs)), floats(module(*args, **kwargs)))


def test_an_exported_program_trains() -> None:
    layer = rnn.LSTM(I, H, 2)
    given = x(7, 4)
    program = torch.export.export(layer, (given,), strict=False).module()
    calls = [n for n in program.graph.nodes if n.target is torch.ops.rnnkernels.forward.default]
    # What a forward keeps is another number of bytes on another machine: so it keeps nothing.
    assert [n.args[-1] for n in calls] == [False, False]
    found, expected = train(program, program, ((given,), {})), train(layer, layer, ((given,), {}))
    assert same(found, expected)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["RNN", "LSTM-state", "resets"])
def test_a_package_of_aot_inductor_runs(name: str, tmp_path: Path) -> None:
    """Lists of the operator that would be empty are none: AOTInductor has no empty ones."""
    module, call, _ = EXPORTED.get(name, (*CASES[name], None))
    module = module().eval()
    args, kwargs = call(*SIZES[0])
    with torch.no_grad():
        program = torch.export.export(module, args, kwargs)
        path = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "layer.pt2"))
        loaded = torch._inductor.aoti_load_package(path)
        for again in range(2):
            if again:
                args, kwargs = call(*SIZES[0])
            assert same(floats(loaded(*args, **kwargs)), floats(module(*args, **kwargs)))


@pytest.mark.parametrize("name", ["LSTM", "Recurrent"])
def test_a_sequence_packed_inside_warns_of_nothing(name: str) -> None:
    """PyTorch packs between two graphs; there the operator runs as it is, and Dynamo traces nothing in it."""
    layer = rnn.LSTM(I, H) if name == "LSTM" else rnn.Recurrent("lstm", I, H)

    def packs(given: Any, lengths: Any) -> Any:
        return layer(pack_padded_sequence(given, lengths, enforce_sorted=False))[0].data

    given, lengths = x(5, 3), torch.tensor([5, 1, 3])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = torch.compile(packs, backend="aot_eager")(given, lengths)
    assert [str(warning.message) for warning in said] == []
    assert torch.equal(found, packs(given, lengths))


def test_a_compiled_output_may_be_changed_in_place() -> None:
    layer, given = rnn.GRU(I, H), x(7, 4)

    def inside(given: Any) -> Any:
        return layer(given)[0].mul_(2).sum()

    def outside(call: Any) -> Any:
        output = call(given)[0]
        output.mul_(2)
        return output.sum()

    expected = torch.autograd.grad(outside(layer), list(layer.parameters()))
    for loss in (
        torch.compile(inside, fullgraph=True, backend="aot_eager")(given),
        outside(torch.compile(layer, fullgraph=True, backend="aot_eager")),
    ):
        assert same(list(torch.autograd.grad(loss, list(layer.parameters()))), list(expected))


def test_sizes_of_lists_are_constants() -> None:
    """Lengths as a list are compiled into the graph; as a tensor they are not (above)."""
    count = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(rnn.Recurrent("gru", I, H), fullgraph=True, backend=count)
    for lengths in itertools.permutations([1, 2, 3]):
        compiled(x(4, 3), lengths=list(lengths))
    assert count.frame_count > 1
