"""The operators that compilers see: PyTorch's own checks of them, and their values against eager calls.

`torch.library.opcheck` runs each operator eagerly, on fake tensors and through AOTAutograd with dynamic shapes, and
compares. Memory starts poisoned (conftest.py): the bytes of a reserve that nothing writes are then the same in each
run, and comparable.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

import rnnkernels as rk
import rnnkernels.torch as rnn
from rnnkernels._asked import Asked
from rnnkernels.noise import Drawn
from rnnkernels.torch import autograd, operators
from rnnkernels.torch.spec import make_spec

T, B, H, P = 4, 3, 6, 3
I = 5  # noqa: E741
BATCH_SIZES = torch.tensor([3, 2, 2, 1])
LENGTHS = torch.tensor([4, 0, 2])
RESETS = torch.tensor([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]], dtype=torch.bool)
SEED = torch.tensor(3)
MASKS = Drawn(SEED, layer=1, per_step=True, recurrent_dropout=0.2, weight_dropout=0.1)


class Case(NamedTuple):
    asked: Asked
    tokens: bool = False
    state: bool = True
    term: bool = False
    keep: bool = True
    steps: int = T
    batch: int = B
    dtype: Any = torch.float64


CASES = {
    "lstm": Case(Asked("lstm")),
    "float32": Case(Asked("lstm"), dtype=torch.float32),
    "no-state": Case(Asked("gru"), state=False),
    "nothing-kept": Case(Asked("lstm"), keep=False),
    "tokens": Case(Asked("gru"), tokens=True),
    "term": Case(Asked("lstm"), term=True),
    "packed": Case(Asked("lstm", batch_sizes=BATCH_SIZES)),
    "packed-no-state": Case(Asked("lstm", batch_sizes=BATCH_SIZES), state=False),
    "packed-reverse": Case(Asked("gru", reverse=True, batch_sizes=BATCH_SIZES, all_states=True)),
    "packed-masks": Case(Asked("gru", batch_sizes=BATCH_SIZES, noise=Drawn(SEED, zoneout=(0.3,)))),
    "packed-memory": Case(Asked("lstm", batch_sizes=BATCH_SIZES, memory="states")),
    "lengths": Case(Asked("lstm", lengths=LENGTHS)),
    "lengths-zero": Case(Asked("lstm", lengths=torch.zeros(B, dtype=torch.int64))),
    "resets": Case(Asked("gru", resets=RESETS)),
    "resets-lengths-reverse": Case(Asked("lstm", reverse=True, lengths=LENGTHS, resets=RESETS, all_states=True)),
    "reverse": Case(Asked("mut1", reverse=True)),
    "all-states": Case(Asked("lstm_fgr", all_states=True)),
    "zoneout": Case(Asked("lstm", noise=Drawn(SEED, zoneout=(0.2, 0.3)))),
    "masks": Case(Asked("gru", noise=MASKS)),
    "expected": Case(Asked("lstm", noise=Drawn(SEED, expected=True, zoneout=(0.2, 0.3)))),
    "clip": Case(Asked("lstm_projected", cell_clip=0.1, all_states=True)),
    "states": Case(Asked("lstm", memory="states")),
    "replay": Case(Asked("lstm", memory="replay")),
    "replay-masks": Case(Asked("mut1", memory="replay", noise=Drawn(SEED, zoneout=(0.5,)))),
    "mut1": Case(Asked("mut1")),
    "lstm_projected": Case(Asked("lstm_projected")),
    "lstm_fgr": Case(Asked("lstm_fgr")),
    "no-steps": Case(Asked("lstm"), steps=0),
    "no-rows": Case(Asked("lstm"), batch=0),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


class Made(NamedTuple):
    x: Any
    weights: dict[str, Any]
    state: list[Any]
    reset_state: list[Any]
    term: Any

    @property
    def leaves(self) -> list[Any]:
        given = [self.x, *self.weights.values(), *self.state, *self.reset_state, self.term]
        return [t for t in given if t is not None and t.requires_grad]


def make(case: Case, requires_grad: bool = True) -> Made:
    generator = torch.Generator().manual_seed(0)
    cell = case.asked.cell
    info = rk.cell_info(cell)
    size = H if info["direct"] else I
    shapes = rk.parameter_shapes(cell, size, H, proj_size=P if info["projected"] else None)

    def draw(*shape: int) -> Any:
        return (torch.rand(shape, generator=generator, dtype=case.dtype) - 0.5).requires_grad_(requires_grad)

    widths = [P if info["projected"] else H] + [H] * (len(info["states"]) - 1)
    sizes = case.asked.batch_sizes
    steps, batch = (case.steps, case.batch) if sizes is None else (int(sizes.sum()), 1)
    x = torch.randint(size, (steps, batch), generator=generator) if case.tokens else draw(steps, batch, size)
    weights = {name: draw(*shape) for name, shape in shapes.items()}
    state = [draw(case.batch, width) for width in widths] if case.state else []
    reset_state = [draw(case.batch, width) for width in widths] if case.asked.resets is not None else []
    return Made(x, weights, state, reset_state, draw(case.batch, info["rows"][0] * H) if case.term else None)


def arguments(case: Case, made: Made) -> tuple[Any, ...]:
    given = (list(made.weights), made.x, list(made.weights.values()), made.state, made.reset_state, made.term)
    return (*operators.pack(case.asked), *given)


@cases
def test_opcheck_of_the_forward(case: Case) -> None:
    found = torch.library.opcheck(torch.ops.rnnkernels.forward.default, (*arguments(case, make(case)), case.keep))
    assert set(found.values()) == {"SUCCESS"}
    assert len(found) == 4


@pytest.mark.parametrize(
    ("case", "need_x"),
    [(case, not case.tokens) for case in CASES.values()] + [(CASES[k], False) for k in ("lstm", "lengths", "packed")],
    ids=[*CASES, "lstm-without-x", "lengths-without-x", "packed-without-x"],
)
def test_opcheck_of_the_backward(case: Case, need_x: bool) -> None:
    given = arguments(case, make(case, requires_grad=False))
    output, final, sequences, reserve = torch.ops.rnnkernels.forward(*given, case.keep)
    grads = (torch.ones_like(output), list(map(torch.ones_like, final)), list(map(torch.ones_like, sequences)))
    found = torch.library.opcheck(torch.ops.rnnkernels.backward.default, (*given, output, reserve, *grads, need_x))
    assert set(found.values()) == {"SUCCESS"}


@cases
def test_values_and_gradients_are_those_of_eager_calls(case: Case) -> None:
    through, eager = make(case), make(case)
    output, final, sequences, _ = torch.ops.rnnkernels.forward(*arguments(case, through), case.keep)
    results = (output, *final, *sequences)
    present = (bool(eager.state), bool(eager.reset_state), eager.term is not None)
    spec = make_spec(case.asked, tuple(eager.weights), present)
    tensors = (*eager.weights.values(), *eager.state, *eager.reset_state, *([] if eager.term is None else [eager.term]))
    expected = autograd.recurrence(spec, eager.x, tensors)
    assert len(results) == len(expected)
    for ours, theirs in zip(results, expected, strict=True):
        assert torch.equal(ours, theirs)
    found, wanted = (
        torch.autograd.grad(sum((r * (k + 1)).square().sum() for k, r in enumerate(rs)), made.leaves)
        for rs, made in ((results, through), (expected, eager))
    )
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)


def test_what_is_kept_may_move() -> None:
    """Hooks on saved tensors may hand back other memory, of another alignment."""

    def elsewhere(tensor: Any) -> Any:
        moved = torch.empty(tensor.numel() * tensor.element_size() + 8, dtype=torch.uint8)
        return (moved[8:] if tensor.element_size() == 1 else tensor.clone()), tensor

    def put(pair: tuple[Any, Any]) -> Any:
        moved, tensor = pair
        return moved.copy_(tensor) if tensor.element_size() == 1 else moved

    case = CASES["lstm"]
    made = make(case)
    plain = torch.ops.rnnkernels.forward(*arguments(case, made), True)[0].sum()
    expected = torch.autograd.grad(plain, made.leaves)
    with torch.autograd.graph.saved_tensors_hooks(elsewhere, put):
        moved = torch.ops.rnnkernels.forward(*arguments(case, made), True)[0].sum()
    found = torch.autograd.grad(moved, made.leaves)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_second_derivative_is_refused() -> None:
    case = CASES["lstm"]
    made = make(case)
    output = torch.ops.rnnkernels.forward(*arguments(case, made), True)[0]
    (d_x,) = torch.autograd.grad(output.sum(), made.x, create_graph=True)
    with pytest.raises(NotImplementedError, match="derive twice in eager"):
        d_x.sum().backward()


def test_tensors_without_memory() -> None:
    """On the meta device, and as fake tensors outside a compiler, layers say shapes."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    layer = rnn.LSTM(I, H, 2, proj_size=P, device="meta")
    output, (h, c) = layer(torch.empty(T, B, I, device="meta"))
    assert output.is_meta
    assert (output.shape, h.shape, c.shape) == ((T, B, P), (2, B, P), (2, B, H))
    with FakeTensorMode():
        output, h = rnn.Recurrent("mgu", I, H, bidirectional=True)(torch.empty(T, B, I))
    assert (output.shape, h.shape) == ((T, B, 2 * H), (2, B, H))


def test_a_call_keeps_nothing_without_gradients() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    case = CASES["lstm"]
    given = make(case)
    recorded: list[int] = []
    wanted = torch.ops.rnnkernels.forward.default

    class Watch(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if func is wanted:
                recorded.append(result[3].numel())
            return result

    with Watch():
        operators.call(case.asked, given.x, given.weights, given.state, None, None)
        with torch.no_grad():
            operators.call(case.asked, given.x, given.weights, given.state, None, None)
    assert recorded[0] > 0
    assert recorded[1] == 0
