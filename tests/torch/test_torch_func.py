"""`torch.func` as a table: transforms × layers and cells × options, each right or refused in words.

Expected values are those of eager calls: one sample after another, and Jacobians from reverse mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves, tree_map

import rnnkernels.torch as rnn

func = torch.func
T, B, H = 4, 3, 4
I = 3  # noqa: E741
LENGTHS = torch.tensor([4, 0, 2])
RESETS = torch.arange(T * B).reshape(T, B) % 4 == 1

pytestmark = [  # torch.nn's, and of what it imports for forward mode
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node"),  # linearize's own
]


class Case(NamedTuple):
    layer: Any  # makes it
    call: Any = lambda layer, x: layer(x)
    masks: str = ""  # "drawn" or "expected"


def states(layer: Any, rows: tuple[int, ...], widths: tuple[int, ...] = (H, H)) -> Any:
    """States that are no zeros, and take part in the gradient of nothing."""
    del layer
    drawn = tuple(torch.linspace(-1, 1, width, dtype=torch.float64).expand(*rows, width) for width in widths)
    return drawn if len(drawn) > 1 else drawn[0]


def packed(x: Any) -> Any:
    return PackedSequence(x.flatten(0, 1)[:7], torch.tensor([3, 2, 1, 1]))


def floats(results: Any) -> list[Any]:
    return [leaf for leaf in tree_leaves(results) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]


CASES: dict[str, Case] = {
    **{name: Case(lambda name=name: getattr(rnn, name)(I, H)) for name in ("RNN", "LSTM", "GRU")},
    **{
        name: Case(lambda name=name: getattr(rnn, name)(I, H), lambda layer, x: layer(x[0]))
        for name in ("RNNCell", "LSTMCell", "GRUCell")
    },
    "deep": Case(
        lambda: rnn.LSTM(I, H, 2, bidirectional=True, proj_size=2, batch_first=True),
        lambda layer, x: layer(x.transpose(0, 1)),
    ),
    "unbatched": Case(lambda: rnn.GRU(I, H), lambda layer, x: layer(x[:, 0])),
    "state": Case(lambda: rnn.LSTM(I, H), lambda layer, x: layer(x, states(layer, (1, B)))),
    "packed": Case(lambda: rnn.LSTM(I, H), lambda layer, x: layer(packed(x))),
    "changed-in-place": Case(lambda: rnn.GRU(I, H), lambda layer, x: layer(x)[0].mul_(2)),
    "RecurrentCell": Case(
        lambda: rnn.RecurrentCell("lstm_projected", I, H, proj_size=2, cell_clip=0.3),
        lambda layer, x: layer(x[0], states(layer, (B,), (2, H))),
    ),
    **{
        cell: Case(lambda cell=cell: rnn.Recurrent(cell, I, H))
        for cell in ("mut2_projected", "mgu", "slstm", "lstm_layer_norm", "gru_layer_norm")
    },
    "lengths": Case(lambda: rnn.Recurrent("lstm", I, H), lambda layer, x: layer(x, lengths=LENGTHS)),
    "lengths-list": Case(
        lambda: rnn.Recurrent("gru", I, H, bidirectional=True), lambda layer, x: layer(x, lengths=LENGTHS.tolist())
    ),
    "resets": Case(lambda: rnn.Recurrent("gru", I, H), lambda layer, x: layer(x, resets=RESETS)),
    "resets-states": Case(
        lambda: rnn.Recurrent("lstm", I, H, batch_first=True),
        lambda layer, x: layer(
            x.transpose(0, 1),
            states(layer, (1, B)),
            lengths=LENGTHS,
            resets=RESETS.T,
            reset_state=states(layer, (1, B)),
            all_states=True,
        ),
    ),
    "all-states": Case(lambda: rnn.Recurrent("lstm", I, H, 2), lambda layer, x: layer(x, all_states=True)),
    "projected": Case(
        lambda: rnn.Recurrent("lstm_projected", I, H, proj_size=2, cell_clip=0.3),
        lambda layer, x: layer(x, states(layer, (1, B), (2, H))),
    ),
    "packed-states": Case(
        lambda: rnn.Recurrent("lstm", I, H, memory="states"), lambda layer, x: layer(packed(x), all_states=True)
    ),
    "memory-states": Case(lambda: rnn.Recurrent("gru", I, H, memory="states")),
    "memory-replay": Case(
        lambda: rnn.Recurrent("lstm", I, H, memory="replay"), lambda layer, x: layer(x, lengths=LENGTHS)
    ),
    "masks": Case(lambda: rnn.Recurrent("lstm", I, H, zoneout=0.3, recurrent_dropout=0.2), masks="drawn"),
    "masks-lengths": Case(
        lambda: rnn.Recurrent("gru", I, H, weight_dropout=0.3),
        lambda layer, x: layer(x, lengths=LENGTHS),
        masks="drawn",
    ),
    "masks-expected": Case(lambda: rnn.Recurrent("lstm", I, H, recurrent_dropout=0.2).eval(), masks="expected"),
}


@dataclass(frozen=True, eq=False)
class Made:
    """A case's function and what it is called with; all transforms of a case have the same."""

    function: Any  # (parameters, x) → results
    params: dict[str, Any]
    x: Any  # (T, B, I)
    several: Any  # (2, T, B, I)

    def loss(self, params: Any, x: Any) -> Any:
        """A number that all results have a part in."""
        return sum((r * (k + 1)).square().sum() for k, r in enumerate(self.function(params, x)))

    @cached_property
    def jacobian(self) -> Any:
        """Of each result by x, of eager calls: many backwards, and four transforms ask for it."""
        return torch.autograd.functional.jacobian(lambda x: tuple(self.function(self.params, x)), self.x)


@cache
def make(case: Case) -> Made:
    torch.manual_seed(1)
    layer = case.layer().double()
    params = {name: p.detach().clone() for name, p in layer.named_parameters()}

    class Held(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Any) -> Any:
            return floats(case.call(self.layer, x))

    held = Held()

    def function(params: Any, x: Any) -> Any:
        torch.manual_seed(2)  # of the masks
        return func.functional_call(held, {f"layer.{name}": p for name, p in params.items()}, (x,))

    x, *several = torch.randn(3, T, B, I, dtype=torch.float64)
    return Made(function, params, x, torch.stack(several))


# ---- what is expected, of eager calls ----------------------------------------------------------------


def gradients(made: Made, params: Any, x: Any) -> Any:
    given = [p.clone().requires_grad_() for p in params.values()]
    x = x.clone().requires_grad_()
    found = torch.autograd.grad(made.loss(dict(zip(params, given, strict=True)), x), [*given, x])
    return dict(zip(params, found, strict=False)), found[-1]


def stacked(results: list[Any]) -> Any:
    return tree_map(lambda *parts: torch.stack(parts), *results)


def pushed(made: Made, tangent: Any) -> list[Any]:
    return [torch.tensordot(j, tangent, 3) for j in made.jacobian]


# ---- transforms: what is found and what is expected --------------------------------------------------


def of_grad(made: Made) -> Any:
    return func.grad(made.loss, (0, 1))(made.params, made.x), gradients(made, made.params, made.x)


def of_vjp(made: Made) -> Any:
    value, pull = func.vjp(made.loss, made.params, made.x)
    found = pull(torch.ones_like(value))  # after the transform
    with torch.no_grad():
        again = pull(torch.ones_like(value))
    expected = gradients(made, made.params, made.x)
    return (found, again), (expected, expected)


def of_jvp(made: Made) -> Any:
    tangent = made.several[0]
    found = func.jvp(lambda x: made.function(made.params, x), (made.x,), (tangent,))
    return found, (made.function(made.params, made.x), pushed(made, tangent))


def of_linearize(made: Made) -> Any:
    tangent = made.several[0]
    _, push = func.linearize(lambda x: made.function(made.params, x), made.x)
    return push(tangent), pushed(made, tangent)


def of_jacrev(made: Made) -> Any:
    return func.jacrev(lambda x: tuple(made.function(made.params, x)))(made.x), made.jacobian


def of_jacfwd(made: Made) -> Any:
    found = func.jacfwd(lambda x: tuple(made.function(made.params, x)), randomness="same")(made.x)
    return found, made.jacobian


def of_vmap(made: Made) -> Any:
    found = func.vmap(made.function, (None, 0), randomness="same")(made.params, made.several)
    return found, stacked([made.function(made.params, x) for x in made.several])


def of_vmap_of_parameters(made: Made) -> Any:
    several = [made.params, {name: 0.5 * p for name, p in made.params.items()}]
    found = func.vmap(made.function, (0, None), randomness="same")(stacked(several), made.x)
    return found, stacked([made.function(params, made.x) for params in several])


def of_vmap_of_grad(made: Made) -> Any:
    found = func.vmap(func.grad(made.loss, (0, 1)), (None, 0), randomness="same")(made.params, made.several)
    return found, stacked([gradients(made, made.params, x) for x in made.several])


def of_grad_of_vmap(made: Made) -> Any:
    def total(params: Any) -> Any:
        return func.vmap(made.loss, (None, 0), randomness="same")(params, made.several).sum()

    parts = [gradients(made, made.params, x)[0] for x in made.several]
    return func.grad(total)(made.params), tree_map(torch.add, *parts)


def of_functional_call(made: Made) -> Any:
    halved = {name: 0.5 * p for name, p in made.params.items()}
    eager = made.function(made.params, made.x)
    assert not torch.equal(made.function(halved, made.x)[0], eager[0])
    return made.function(made.params, made.x), eager


def of_grad_of_grad(made: Made) -> Any:
    """Of the gradient's square by x, against differences."""

    def size(x: Any) -> Any:
        return func.grad(made.loss, 1)(made.params, x).square().sum()

    tangent = made.several[0]
    found = (func.grad(size)(made.x) * tangent).sum()
    step = 1e-5
    ends = [gradients(made, made.params, made.x + sign * step * tangent)[1].square().sum() for sign in (1, -1)]
    return found / found.abs().clamp(min=1), (ends[0] - ends[1]) / (2 * step) / found.abs().clamp(min=1)


TRANSFORMS: dict[str, Any] = {
    "grad": of_grad,
    "vjp": of_vjp,
    "jvp": of_jvp,
    "linearize": of_linearize,
    "jacrev": of_jacrev,
    "jacfwd": of_jacfwd,
    "vmap": of_vmap,
    "vmap-parameters": of_vmap_of_parameters,
    "vmap-grad": of_vmap_of_grad,
    "grad-vmap": of_grad_of_vmap,
    "functional_call": of_functional_call,
    "grad-grad": of_grad_of_grad,
}

# Of masks: which words refuse a transform.
LOOPED = dict.fromkeys(["jvp", "linearize", "jacfwd", "grad-grad"], "reverse mode and first derivatives alone")
REFUSED: dict[str, dict[str, str]] = {
    "": {},
    "drawn": LOOPED | dict.fromkeys(["vmap", "vmap-parameters", "vmap-grad", "grad-vmap"], "belong to rows"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_table(transform: str, case: Case) -> None:
    made = make(case)
    if transform in REFUSED.get(case.masks, {}):
        with pytest.raises(NotImplementedError, match=REFUSED[case.masks][transform]):
            TRANSFORMS[transform](made)
        return
    found, expected = TRANSFORMS[transform](made)
    found, expected = tree_leaves(found), tree_leaves(expected)
    rtol, atol = (1e-5, 1e-6) if transform == "grad-grad" else (1e-9, 1e-11)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


# ---- options that a transform maps -------------------------------------------------------------------

MAPPED: dict[str, dict[str, Any]] = {
    "lengths": {"lengths": torch.tensor([[4, 0, 2], [1, 3, 4]])},
    "resets": {"resets": torch.stack([RESETS, RESETS.roll(1)])},
    "both": {"lengths": torch.tensor([[4, 0, 2], [1, 3, 4]]), "resets": torch.stack([RESETS, RESETS.roll(1)])},
}


@pytest.mark.parametrize("memory", ["all", "states"])
@pytest.mark.parametrize("options", MAPPED.values(), ids=MAPPED)
@pytest.mark.parametrize("x_too", [True, False], ids=["x-mapped", "x-shared"])
def test_lengths_and_resets_of_each_sample(options: dict[str, Any], x_too: bool, memory: str) -> None:
    torch.manual_seed(1)
    layer = rnn.Recurrent("lstm", I, H, bidirectional=True, memory=memory).double()
    params = {name: p.detach() for name, p in layer.named_parameters()}
    x = torch.randn(2, T, B, I, dtype=torch.float64)

    def outputs(params: Any, x: Any, options: Any) -> Any:
        return func.functional_call(layer, params, (x,), options)[:2]

    def loss(params: Any, x: Any, options: Any) -> Any:
        output, (h, c) = outputs(params, x, options)
        return output.square().sum() + h.sum() + c.square().sum()

    dims = (None, 0 if x_too else None, 0)
    given = x if x_too else x[0]
    samples = [(given[n] if x_too else given, {name: o[n] for name, o in options.items()}) for n in range(2)]
    for function in (outputs, func.grad(loss, (0, 1))):
        found = func.vmap(function, dims)(params, given, options)
        expected = stacked([function(params, *sample) for sample in samples])
        torch.testing.assert_close(tree_leaves(found), tree_leaves(expected), rtol=1e-9, atol=1e-11)

    def total(params: Any) -> Any:
        return func.vmap(loss, dims)(params, given, options).sum()

    parts = [func.grad(loss)(params, *sample) for sample in samples]
    torch.testing.assert_close(func.grad(total)(params), tree_map(torch.add, *parts), rtol=1e-9, atol=1e-11)


def test_forward_mode_of_mapped_lengths_is_refused() -> None:
    layer = rnn.Recurrent("gru", I, H)
    x = torch.randn(T, B, I)

    def tangent(lengths: Any) -> Any:
        return func.jvp(lambda x: layer(x, lengths=lengths)[0], (x,), (x,))[1]

    with pytest.raises(NotImplementedError, match="lengths: expected the same for every sample"):
        func.vmap(tangent)(MAPPED["lengths"]["lengths"])


def test_wrong_lengths_are_named_inside_a_transform() -> None:
    layer = rnn.Recurrent("gru", I, H)
    with pytest.raises(ValueError, match=r"lengths: expected 0 to T = 4"):
        func.grad(lambda x: layer(x, lengths=[1, 2, 9])[0].sum())(torch.randn(T, B, I))
