"""Thousands of random layers and calls, right and wrong, beside torch.nn's: nothing that can be seen may differ.

A case is drawn from a number, for the one library and then for the other: constructor, parameters, call, values,
strides, gradients, the state of the random generator after it, warnings, and what is raised, type and text.
"""

from __future__ import annotations

import random
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch_compare import CELLS, NAMES, assert_near, attempt, leaves, structure

import rnnkernels.torch as rnn

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCKS, CASES = 12, 200

ORDER = {
    "RNN": "input_size hidden_size num_layers nonlinearity bias batch_first dropout bidirectional device dtype",
    "LSTM": "input_size hidden_size num_layers bias batch_first dropout bidirectional proj_size device dtype",
    "GRU": "input_size hidden_size num_layers bias batch_first dropout bidirectional",
    "RNNCell": "input_size hidden_size bias nonlinearity device dtype",
    "LSTMCell": "input_size hidden_size bias device dtype",
    "GRUCell": "input_size hidden_size bias device dtype",
}
STRANGE = [None, -1, 0, 1, 2, 1.5, True, False, "tanh", "wrong", [], (), [2], {}, 0.5, float("nan"), torch.int64]
HALF = (torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True)
def _every_warning() -> Iterator[None]:
    """PyTorch gives some warnings once for a process: let it give them to both."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


class Draw(random.Random):
    """Random numbers, and whether something was drawn wrong."""

    wrong = False

    def wrongly(self, rate: float) -> bool:
        """Whether to draw something wrong here."""
        chosen = self.random() < rate
        self.wrong |= chosen
        return chosen


def constructor(draw: Draw, name: str) -> tuple[list[Any], dict[str, Any]]:
    """Draw arguments, one in eight wrong."""
    values = {
        "input_size": draw.randint(1, 4),
        "hidden_size": draw.randint(2, 5),
        "num_layers": draw.choice((1, 1, 2, 3)),
        "nonlinearity": draw.choice(("tanh", "relu")),
        "bias": draw.random() < 0.8,
        "batch_first": draw.random() < 0.4,
        "dropout": draw.choice((0, 0.0, 0.0, 0.3, 0.5, 1.0, 1)),
        "bidirectional": draw.random() < 0.4,
        "proj_size": draw.choice((0, 0, 1)),
        "device": draw.choice((None, "cpu", torch.device("cpu"))),
        "dtype": draw.choice((None, torch.float32, torch.float64, torch.float64, *HALF)),
    }
    order = ORDER[name].split()
    if draw.wrongly(0.12):
        values[draw.choice(order)] = draw.choice(STRANGE)
    by_place = draw.randint(0, len(order)) if draw.random() < 0.3 else draw.randint(0, 2)
    named = {key: values[key] for key in order[by_place:] if key.endswith("_size") or draw.random() < 0.7}
    if draw.wrongly(0.03):
        named[draw.choice(["proj_size", "nonlinearity", "mode", "flavour", "num_chunks"])] = draw.choice(STRANGE)
    if draw.wrongly(0.02):
        named.pop("hidden_size", None)
    extra = [draw.choice(STRANGE)] if draw.wrongly(0.02) else []
    return [values[key] for key in order[:by_place]] + extra, named


def tensor(draw: Draw, shape: tuple[int, ...], dtype: Any) -> Any:
    """Draw a tensor: contiguous, transposed, every other number of a larger one, or expanded."""
    layout = draw.choice(("plain", "plain", "transposed", "strided", "expanded"))
    if layout == "transposed":
        made = torch.randn(shape[::-1]).to(dtype).permute(*range(len(shape))[::-1])
    elif layout == "strided":
        made = torch.randn(*shape[:-1], 2 * shape[-1]).to(dtype)[..., ::2]
    elif layout == "expanded":
        made = torch.randn(1, *shape[1:]).to(dtype).expand(shape)
    else:
        made = torch.randn(shape).to(dtype)
    return made.detach().requires_grad_(draw.random() < 0.6)


def other(draw: Draw, dtype: Any) -> Any:
    """Another dtype, seldom."""
    return draw.choice((torch.float32, torch.float64, torch.bfloat16, torch.int64)) if draw.wrongly(0.04) else dtype


def call(draw: Draw, name: str, layer: Any) -> tuple[list[Any], dict[str, Any], tuple[int, int]]:
    """Draw a call's arguments, one in five wrong, and its steps and rows."""
    dtype, cell = layer.weight_ih.dtype if name in CELLS else layer.weight_ih_l0.dtype, name in CELLS
    steps, batch = draw.choice((0, 1, 2, 3, 4, 4, 4, 4)), draw.choice((0, 1, 1, 2, 3, 3, 3, 3))
    form = draw.choice(("batched", "batched", "unbatched") if cell else ("batched", "batched", "unbatched", "packed"))
    width = layer.input_size + (draw.choice((-1, 1)) if draw.wrongly(0.03) else 0)
    rows = (batch,) if form != "unbatched" else ()
    if cell:
        shape: tuple[int, ...] = (*rows, width)
    else:
        shape = (batch, steps, width) if form != "unbatched" and layer.batch_first else (steps, *rows, width)
    if draw.wrongly(0.03):
        shape = draw.choice((shape[1:], (2, *shape), (1, 1, *shape)))
    x: Any = tensor(draw, shape, other(draw, dtype))
    if form == "packed":
        lengths = [draw.randint(0 if draw.wrongly(0.01) else 1, max(steps, 1)) for _ in range(batch)]
        sort = draw.random() < 0.6
        lengths = sorted(lengths, reverse=True) if sort and not draw.wrongly(0.03) else lengths
        x = pack_padded_sequence(
            x, torch.tensor(lengths, dtype=torch.int64), layer.batch_first, sort and draw.random() < 0.5
        )
    if draw.wrongly(0.02):
        x = draw.choice((None, 1.0, "x", [1.0, 2.0], (x,), torch.zeros(3), torch.ones(2, 3, dtype=torch.bool)))

    arguments, named = [x], {}
    if draw.random() < 0.7:
        hx = states(draw, name, layer, rows, dtype)
        if draw.random() < 0.2:
            named["hx"] = hx
        else:
            arguments.append(hx)
    if draw.random() < 0.1:
        named["input"] = arguments.pop(0)
    if draw.wrongly(0.02):
        named[draw.choice(("hidden", "h0", "input", "lengths"))] = None
    if draw.wrongly(0.02):
        arguments.append(None)
    return arguments, named, (max(1, steps), batch)


def states(draw: Draw, name: str, layer: Any, rows: tuple[int, ...], dtype: Any) -> Any:
    """Draw initial states, one in five wrong."""
    count = () if name in CELLS else (layer.num_layers * (1 + layer.bidirectional),)
    widths = [getattr(layer, "proj_size", 0) or layer.hidden_size, layer.hidden_size][: 1 + name.startswith("LSTM")]
    made: list[Any] = []
    for width in widths:
        shape = [*count, *rows, width]
        if draw.wrongly(0.05):
            shape[draw.randrange(len(shape))] += 1
        if draw.wrongly(0.02):
            shape = draw.choice((shape[1:], [1, *shape], [*shape, 1]))
        made.append(tensor(draw, tuple(shape), other(draw, dtype)))
    if draw.wrongly(0.02):
        made[0] = draw.choice((None, 0, "h", [0.0], torch.tensor(0.0)))
    if draw.wrongly(0.03):
        made = draw.choice((made[:1], made + made[:1], [], made * 2))
    if len(made) == 1 and not draw.wrongly(0.05):
        return made[0]
    return draw.choice((tuple, tuple, list))(made)


def crashes(layer: Any, given: list[Any]) -> bool:
    """Whether PyTorch writes where it must not: its LSTM does not check a packed batch, nor its LSTMCell one row."""
    if isinstance(layer, torch.nn.LSTM):
        return any(isinstance(v, PackedSequence) for v in given)
    return isinstance(layer, torch.nn.LSTMCell) and len({t.dim() for t in leaves_of(given)}) > 1


def play(library: Any, number: int, allow_torch: bool = False) -> tuple[dict[str, Any], tuple[int, int, int, int, int]]:
    """Draw a case, run it, return what was seen and its sizes: steps, batch, input and hidden size, layers."""
    draw = Draw(number)
    torch.manual_seed(number)
    name = draw.choice(NAMES)
    arguments, named = constructor(draw, name)
    made = layer, *seen = attempt(getattr(library, name), *arguments, **named)
    record: dict[str, Any] = {"case": f"{name}({arguments}, {named})", "constructor": seen}
    if layer is None:
        return record, (0, 0, 0, 0, 0)
    record["layer"] = repr(made[0]), [(n, structure(p), p.detach()) for n, p in layer.named_parameters()]
    if not layer.weight_ih.is_floating_point() if name in CELLS else not layer.weight_ih_l0.is_floating_point():
        return record, (0, 0, 0, 0, 0)
    layer.allow_torch = allow_torch
    layer.train(draw.random() < 0.7)
    for parameter in layer.parameters():
        parameter.requires_grad_(draw.random() < 0.8)
    try:
        given, given_named, (steps, batch) = call(draw, name, layer)
    except (RuntimeError, TypeError, ValueError, IndexError):  # of pack_padded_sequence, or no such tensor
        return record, (0, 0, 0, 0, 0)
    if draw.wrong and crashes(layer, [*given, *given_named.values()]):
        return record, (0, 0, 0, 0, 0)
    guard = draw.choice((nullcontext, nullcontext, nullcontext, torch.no_grad, torch.inference_mode))
    with guard():
        result, *seen = attempt(layer, *given, **given_named)
    record |= {"call": f"{structure_of(given)}, {structure_of(list(given_named.values()))}, {guard}", "called": seen}
    record["wrong"] = draw.wrong
    record["random"] = torch.get_rng_state().sum().item()
    if result is not None:
        plain = all(t.is_contiguous() for t in leaves_of([*given, *given_named.values()]))
        record["result"] = structure(result, plain)
        record["values"] = [leaf.detach() for leaf in leaves(result)]
        chosen = [t for t in leaves(result) if t.requires_grad and draw.random() < 0.8]
        if chosen:
            _, *record["differentiated"] = attempt(
                torch.autograd.backward, chosen, [torch.cos(t.detach()) for t in chosen]
            )
        inputs = [t for t in [*leaves_of([*given, *given_named.values()]), *layer.parameters()] if t.is_leaf]
        record["gradients"] = [t.grad for t in inputs]
        assert all(t.grad is None for t in inputs if not t.requires_grad)
    layers = getattr(layer, "num_layers", 1)
    return record, (steps, batch, layer.input_size, layer.hidden_size, int(layers))


def leaves_of(values: Any) -> list[Any]:
    """The tensors among arguments, whatever they are."""
    if isinstance(values, torch.Tensor):
        return [values]
    return [t for v in values for t in leaves_of(v)] if isinstance(values, (tuple, list)) else []


def structure_of(values: Any) -> str:
    """For a message: what arguments were."""
    kinds = [[(*t.shape, t.dtype) for t in leaves_of([v])] or v for v in values]
    return str([("packed", k) if isinstance(v, PackedSequence) else k for k, v in zip(kinds, values, strict=True)])


def assert_alike(number: int) -> bool:
    """Play a case with both; return whether it ran to its end."""
    theirs, sizes = play(torch.nn, number)
    ours, _ = play(rnn, number)
    refused = bool(ours.get("called", [None])[0]) and ours["called"][0][0] is NotImplementedError
    if refused and "result" in theirs:  # what PyTorch takes by accident, states of two dtypes, say
        assert theirs["wrong"], f"case {number}: {theirs['case']}({theirs['call']}): {ours['called']}"
        ours, _ = play(rnn, number, True)
    numbers = "values", "gradients"
    about = f"case {number}: {theirs['case']}({theirs.get('call')})"
    for key in theirs:
        if key == "layer":
            assert ours[key][0] == theirs[key][0], about
            for mine, other_one in zip(ours[key][1], theirs[key][1], strict=True):
                assert mine[:2] == other_one[:2], about
                assert torch.equal(mine[2], other_one[2]), about
        elif key not in numbers:
            assert ours.get(key) == theirs[key], f"{about}: {key}: {ours.get(key)}, expected {theirs[key]}"
    assert ours.keys() == theirs.keys(), about
    for key in numbers:
        for k, (mine, other_one) in enumerate(zip(ours.get(key, ()), theirs.get(key, ()), strict=True)):
            if other_one is None:  # nothing that was differentiated depends on it
                assert mine is None or not mine.any(), f"{about}: {key} {k}: {mine}, expected None"
                continue
            assert mine is not None, f"{about}: {key} {k}: None"
            assert_near(mine, other_one, "output" if key == "values" else "gradient", sizes, f"{about}: {key} {k}")
    return "values" in theirs


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_layer_cannot_be_told_from_pytorchs(block: int) -> None:
    ran = sum(assert_alike(CASES * block + k) for k in range(CASES))
    assert CASES * 0.4 < ran < CASES * 0.9  # else the draw is of little use
