"""Recurrent and RecurrentCell: every cell, every kind of sequence, against rnnkernels' functions and by identities."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from problems import FORMS, zoneout_of

import rnnkernels as rk
import rnnkernels.torch as rnn

T, B, SIZE = 6, 4, 5
LENGTHS = [6, 0, 3, 5]


def proj_of(cell: str) -> int:
    return 3 if rk.cell_info(cell)["projected"] else 0


def layer_of(cell: str, num_layers: int = 1, **options: Any) -> Any:
    torch.manual_seed(0)
    return rnn.Recurrent(cell, SIZE, SIZE, num_layers, proj_size=proj_of(cell), dtype=torch.float64, **options)


def states_of(layer: Any, *rows: int, seed: int = 5) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(seed)
    widths = [layer.proj_size or SIZE, *[SIZE] * (len(layer.state_names) - 1)]
    drawn = [torch.randn(*rows, width, dtype=torch.float64, generator=generator) for width in widths]
    return tuple(s.abs() + 0.5 if name == "n" else s for name, s in zip(layer.state_names, drawn, strict=True))


def many(states: Any) -> tuple[Any, ...]:
    return states if isinstance(states, tuple) else (states,)


def one(states: tuple[Any, ...]) -> Any:
    """As the layers take them."""
    return states if len(states) > 1 else states[0]


@pytest.fixture
def x() -> Any:
    return torch.randn(T, B, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)


RESETS = torch.zeros(T, B, dtype=torch.bool)
RESETS[0, 0] = RESETS[2, 0] = RESETS[4, 3] = True


@pytest.mark.parametrize("options", [{}, {"lengths": LENGTHS}, {"resets": RESETS}, {"memory": "states"}], ids=str)
@pytest.mark.parametrize("cell", FORMS)
def test_a_layer_is_rnnkernels_forward_and_backward(cell: str, options: dict[str, Any], x: Any) -> None:
    given = dict(options)
    layer = layer_of(cell, memory=given.pop("memory", "all"))
    begin = tuple(s.requires_grad_() for s in states_of(layer, 1, B))
    reset = tuple(s.requires_grad_() for s in states_of(layer, 1, B, seed=6)) if "resets" in given else None
    output, final = layer(x, one(begin), reset_state=None if reset is None else one(reset), **given)
    d_output, d_final = torch.randn_like(output), tuple(torch.randn_like(s) for s in many(final))
    wanted = [x, *layer.parameters(), *begin, *(reset or ())]
    grads = torch.autograd.grad([output, *many(final)], wanted, [d_output, *d_final])

    def arrays(tensors: Any) -> tuple[Any, ...]:
        return tuple(t.detach()[0].numpy() for t in tensors)

    params = {name.removesuffix("_l0"): p.detach().numpy() for name, p in layer.named_parameters()}
    numbers: dict[str, Any] = {name: np.asarray(value) for name, value in given.items()}
    run = rk.forward(
        cell,
        x.detach().numpy(),
        params,
        arrays(begin),
        reset_state=None if reset is None else arrays(reset),
        memory=options.get("memory", "all"),
        **numbers,
    )
    expected = rk.backward(run, d_output.numpy(), arrays(d_final))
    np.testing.assert_array_equal(output.detach().numpy(), run.output)
    for found, state in zip(many(final), run.state, strict=True):
        np.testing.assert_array_equal(found.detach()[0].numpy(), state)
    assert expected.x is not None
    known = [expected.x, *expected.params.values(), *expected.state, *(expected.reset_state or () if reset else ())]
    for found, array in zip(grads, known, strict=True):
        np.testing.assert_array_equal(found.numpy().reshape(array.shape), array)


# PyTorch compiles decompositions of its own when forward mode is first used.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("cell", FORMS)
def test_gradients_and_their_gradients(cell: str, x: Any) -> None:
    direct = rk.cell_info(cell)["direct"]
    layer = layer_of(cell, 1 if direct else 2, bidirectional=not direct)
    begin = tuple(s.requires_grad_() for s in states_of(layer, 1 if direct else 4, B))
    short = x[:3].detach().requires_grad_()

    def run(given: Any, *state: Any) -> Any:
        output, final = layer(given, one(state), lengths=[3, 0, 1, 2])
        return (output, *many(final))

    assert torch.autograd.gradcheck(run, (short, *begin), fast_mode=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(run, (short, *begin), fast_mode=True)


@pytest.mark.parametrize("options", [{"lengths": LENGTHS}, {"resets": RESETS}], ids=str)
def test_vmap_of_a_ragged_batch_is_call_after_call(options: Any, x: Any) -> None:
    layer = layer_of("gru")
    several = torch.stack([x.detach(), 2 * x.detach(), -x.detach()])

    def run(given: Any) -> Any:
        output, final = layer(given, **options)
        return output, many(final)[0]

    for found, wanted in zip(torch.func.vmap(run)(several), zip(*map(run, several), strict=True), strict=True):
        assert torch.equal(found, torch.stack(wanted))


@pytest.mark.parametrize("cell", FORMS)
def test_steps_of_a_cell_are_the_sequence(cell: str, x: Any) -> None:
    layer = layer_of(cell)
    step = rnn.RecurrentCell(cell, SIZE, SIZE, proj_size=proj_of(cell), dtype=torch.float64)
    step.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    output, final = layer(x)
    state = None
    for t in range(T):
        state = step(x[t], state)
        assert torch.equal(many(state)[0], output[t])
    assert all(torch.equal(a, b[0]) for a, b in zip(many(state), many(final), strict=True))
    alone = step(x[0, 1])
    assert all(torch.equal(a, b[1]) for a, b in zip(many(alone), many(step(x[0])), strict=True))


MASKS = {"recurrent_dropout": 0.3, "weight_dropout": 0.2}


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "lstm_fgr", "mut1", "lstm_layer_norm", "lstm_projected"])
@pytest.mark.parametrize("memory", ["all", "states"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_is_padded_with_lengths(cell: str, memory: str, bidirectional: bool, x: Any) -> None:
    lengths = [3, 6, 1, 5]
    noise = dict(MASKS, zoneout=zoneout_of(cell, 0.2))
    layer = layer_of(cell, 2 - rk.cell_info(cell)["direct"], bidirectional=bidirectional, memory=memory, **noise)
    begin = states_of(layer, len(layer._all_weights), B)
    found = []
    for packed in (False, True):
        torch.manual_seed(1)
        if packed:
            rows = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            output, final = layer(rows, one(begin))
            output, _ = torch.nn.utils.rnn.pad_packed_sequence(output)
        else:
            # In the order of the packed rows: that is where masks belong.
            order = [1, 3, 0, 2]
            sorted_state = tuple(s[:, order] for s in begin)
            output, final = layer(x[:, order], one(sorted_state), lengths=[lengths[k] for k in order])
            back = [order.index(k) for k in range(B)]
            output, final = output[:, back], one(tuple(s[:, back] for s in many(final)))
        grads = torch.autograd.grad(output.square().sum() + many(final)[-1].sum(), [x, *layer.parameters()])
        found.append((output, *many(final), *grads))
    for padded, rows in zip(*found, strict=True):
        torch.testing.assert_close(rows, padded, rtol=1e-12, atol=1e-13)


def test_masks_follow_pytorch_generator_and_stop_in_evaluation(x: Any) -> None:
    layer = layer_of("lstm", zoneout=(0.1, 0.2), recurrent_dropout=0.25, weight_dropout=0.5)
    torch.manual_seed(1)
    first = layer(x)[0]
    other = layer(x)[0]
    torch.manual_seed(1)
    assert torch.equal(layer(x)[0], first)
    assert not torch.equal(other, first)
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])
    params = {name.removesuffix("_l0"): p.detach().numpy() for name, p in layer.named_parameters()}
    noise = rk.Noise(0, zoneout=(0.1, 0.2))
    expected = rk.forward("lstm", x.detach().numpy(), params, noise=noise, training=False).output
    np.testing.assert_array_equal(layer(x)[0].detach().numpy(), expected)
    torch.autograd.gradcheck(lambda given: layer(given)[0], (x,), fast_mode=True)  # of what is evaluated
    with pytest.raises(NotImplementedError, match="first derivatives alone"):
        torch.autograd.gradgradcheck(lambda given: layer.train()(given)[0], (x,), fast_mode=True)


@pytest.mark.parametrize("memory", ["states", "replay"])
@pytest.mark.parametrize("options", [{}, {"lengths": LENGTHS}, {"resets": RESETS}], ids=str)
def test_less_memory_gives_the_same_gradients(memory: str, options: dict[str, Any], x: Any) -> None:
    found = []
    for choice in ("all", memory):
        layer = layer_of("gru", 2, bidirectional=True, memory=choice)
        output, final = layer(x, **options)
        grads = torch.autograd.grad(output.square().sum() + final.sum(), [x, *layer.parameters()])
        found.append((output, final, *grads))
    for everything, less in zip(*found, strict=True):
        torch.testing.assert_close(less, everything, rtol=1e-12, atol=1e-14)


def test_all_states_have_gradients(x: Any) -> None:
    layer = layer_of("lstm", 2)
    output, _, states = layer(x, all_states=True)
    assert [tuple(s.shape for s in of_layer) for of_layer in states] == [((T, B, SIZE),) * 2] * 2
    assert torch.equal(states[1][0], output)
    torch.autograd.gradcheck(lambda given: layer(given, all_states=True)[2][0][1], (x,), fast_mode=True)
    with_packed = torch.nn.utils.rnn.pack_padded_sequence(x, [6, 5, 3, 1])
    assert layer(with_packed, all_states=True)[2][0][1].shape == (15, 1, SIZE)


def test_tokens_are_columns_of_the_weights(x: Any) -> None:
    layer = layer_of("gru")
    tokens = torch.arange(T * B).reshape(T, B) % SIZE
    vectors = torch.nn.functional.one_hot(tokens, SIZE).double()
    torch.testing.assert_close(layer(tokens)[0], layer(vectors)[0])
    of_tokens, of_vectors = (
        torch.autograd.grad(layer(g)[0].sum(), list(layer.parameters())) for g in (tokens, vectors)
    )
    for a, b in zip(of_tokens, of_vectors, strict=True):
        torch.testing.assert_close(a, b)
    assert layer(tokens[:, 0])[0].shape == (T, SIZE)


def test_batch_first_and_unbatched(x: Any) -> None:
    layer = layer_of("mut3", 2, bidirectional=True)
    first = copy.deepcopy(layer)
    first.batch_first = True
    output, final = layer(x, lengths=LENGTHS)
    turned, same = first(x.transpose(0, 1), lengths=torch.tensor(LENGTHS))
    assert torch.equal(turned.transpose(0, 1), output)
    assert torch.equal(same, final)
    again, _ = first(x.transpose(0, 1), resets=RESETS.T)
    assert torch.equal(again.transpose(0, 1), layer(x, resets=RESETS)[0])
    alone, state = layer(x[:, 2], states_of(layer, 4)[0])
    assert alone.shape == (T, 2 * SIZE)
    assert state.shape == (4, SIZE)
    torch.testing.assert_close(alone, layer(x[:, 2:3], states_of(layer, 4)[0][:, None])[0][:, 0])


def test_manners() -> None:
    layer = layer_of("lstm_layer_norm", 2, bidirectional=True, dropout=0.1, zoneout=0.1)
    assert repr(layer) == (
        "Recurrent('lstm_layer_norm', 5, 5, zoneout=(0.1, 0.1), num_layers=2, dropout=0.1, bidirectional=True)"
    )
    assert torch.equal(layer.weight_diagonal_l0[: 4 * SIZE], torch.ones(4 * SIZE, dtype=torch.float64))
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), twin.parameters(), strict=True))
    assert layer.float()(torch.randn(2, 1, SIZE))[0].dtype == torch.float32
    half = layer.bfloat16()(torch.randn(2, 1, SIZE, dtype=torch.bfloat16))
    assert half[0].dtype == half[1][1].dtype == torch.bfloat16
    torch.manual_seed(4)
    ours, theirs = rnn.Recurrent("lstm", 3, 4, 2, bidirectional=True), None
    torch.manual_seed(4)
    theirs = torch.nn.LSTM(3, 4, 2, bidirectional=True)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


X = torch.zeros(T, B, SIZE)


def gru(**options: Any) -> Any:
    return rnn.Recurrent("gru", SIZE, 4, **options)


def lstm() -> Any:
    return rnn.Recurrent("lstm", SIZE, 4)


SHAPES_OF_STATES = r"state h: expected shape \(L\*D, B, H\) = \(1, 4, 4\), got \(1, 4, 5\)"


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (ValueError, "cell: expected one of", lambda: rnn.Recurrent("lstn", 3, 4)),
        (ValueError, "proj_size", lambda: rnn.Recurrent("lstm", 3, 4, proj_size=2)),
        (ValueError, "input_size: mut1 adds x itself", lambda: rnn.Recurrent("mut1", 3, 4)),
        (ValueError, "num_layers: expected at least 1, got 0", lambda: rnn.Recurrent("lstm", 3, 4, 0)),
        (ValueError, "zoneout: expected 2 rates", lambda: rnn.Recurrent("lstm", 3, 4, zoneout=(0.1,))),
        (ValueError, r"dropout: expected a number in \[0, 1\)", lambda: rnn.Recurrent("lstm", 3, 4, dropout=1.0)),
        (ValueError, "cell_clip: expected a number above 0", lambda: gru(cell_clip=1.0)),
        (ValueError, "memory: expected one of", lambda: gru(memory="none")),
        (TypeError, "input: expected a tensor", lambda: gru()(X.numpy())),
        (TypeError, "input: expected dtype torch.float32", lambda: gru()(X.double())),
        (ValueError, "input: expected 2 or 3 dimensions, the last of 5", lambda: gru()(X[..., 1:])),
        (ValueError, "input: expected 2 or 3 dim", lambda: gru()(X[None])),
        (ValueError, SHAPES_OF_STATES, lambda: gru()(X, torch.zeros(1, B, 5))),
        (ValueError, r"state: expected 2 tensors \(h, c\)", lambda: lstm()(X, torch.zeros(1, B, 4))),
        (TypeError, "lengths: expected integers", lambda: gru()(X, lengths=torch.ones(B))),
        (ValueError, "lengths: expected 0 to T = 6, got 7", lambda: gru()(X, lengths=[7, 1, 1, 1])),
        (TypeError, "resets: expected a tensor of booleans", lambda: gru()(X, resets=torch.ones(T, B))),
        (ValueError, "reset_state: expected resets with it", lambda: gru()(X, reset_state=torch.zeros(1, B, 4))),
        (ValueError, "x: expected tokens in", lambda: gru()(torch.full((2, 2), SIZE))),
        (
            ValueError,
            "memory: expected 'all' or 'states' for a packed sequence",
            lambda: gru(memory="replay")(torch.nn.utils.rnn.pack_sequence([X[:, 0]])),
        ),
        (ValueError, "input: expected 1 or 2 dimensions", lambda: rnn.RecurrentCell("gru", SIZE, 4)(X)),
        (
            ValueError,
            r"state h: expected shape \(B, H\)",
            lambda: rnn.RecurrentCell("gru", SIZE, 4)(X[0], torch.zeros(1, 4)),
        ),
    ],
)
def test_bad_input_is_named(error: type[Exception], words: str, call: Any) -> None:
    with pytest.raises(error, match=words):
        call()


def test_another_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnkernels.torch.recurrent.serves", lambda _: False)
    with pytest.raises(NotImplementedError, match="input: expected a tensor on the CPU, got cpu"):
        gru()(X)


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("cell", ["lstm", "gru", "mut3"])
def test_autocast_takes_both_and_returns_the_half(cell: str, low: Any) -> None:
    """Parameters stay float32; products are of bfloat16 in its region, full in float16's; float64 is left alone."""
    layer = layer_of(cell, 2, bidirectional=True).float()
    x = torch.randn(T, B, SIZE, generator=torch.Generator().manual_seed(1)).to(low)
    begun = one(tuple(s.to(low) for s in states_of(layer, 4, B)))
    options: dict[str, Any] = {"lengths": LENGTHS, "resets": torch.rand(T, B) < 0.2, "all_states": True}
    with torch.autocast("cpu", low):
        output, final, every = layer(x, begun, **options)
        step = rnn.RecurrentCell(cell, SIZE, SIZE)(x[0])
    layer.products = "bfloat16" if low == torch.bfloat16 else "full"
    wanted = layer(x.float(), one(tuple(s.float() for s in many(begun))), **options)
    layer.products = "full"
    found = [output, *many(final), *(s for states in every for s in states)]
    exact = [wanted[0], *many(wanted[1]), *(s for states in wanted[2] for s in states)]
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == low
        assert torch.equal(a, b.to(low))
    assert {s.dtype for s in many(step)} == {low}
    output.float().square().sum().backward()
    assert {p.grad.dtype for p in layer.parameters()} == {torch.float32}
    with torch.autocast("cpu", low):
        wide = layer.double()(x.double())[0]
        tokens = layer.float()(torch.zeros(T, B, dtype=torch.int64))[0]
    assert (wide.dtype, tokens.dtype) == (torch.float64, low)


def test_a_backward_frees_what_was_kept(x: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = pytest.importorskip("rnnkernels.torch.kernels")
    alive = []

    class Watched(kernels.Kept):  # type: ignore[misc, name-defined]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            alive.append(weakref.ref(self))

    monkeypatch.setattr(kernels, "Kept", Watched)
    loss = layer_of("lstm", 2)(x)[0].sum()
    loss.backward(retain_graph=True)
    gc.collect()
    assert [kept() is None for kept in alive] == [False, False]
    loss.backward()
    gc.collect()
    assert [kept() is None for kept in alive] == [True, True]
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        loss.backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_initial_values_are_those_of_init_params(dtype: torch.dtype) -> None:
    """The schemes: draws are each library's own."""
    options: dict[str, Any] = {"recurrent": "orthogonal", "forget_bias": 1.0, "dtype": dtype}
    layer = rnn.Recurrent("lstm", 3, SIZE, 2, bidirectional=True, **options)
    layers = [{name: getattr(layer, of) for name, of in named.items()} for named in layer._all_weights]
    for params in (*layers, dict(rnn.RecurrentCell("lstm", 3, SIZE, **options).named_parameters())):
        for block in params["weight_hh"].detach().double().split(SIZE):
            assert (block.T @ block - torch.eye(SIZE)).abs().max() < 20 * torch.finfo(dtype).eps
        assert (params["bias_ih"][SIZE : 2 * SIZE] == 1).all()
        assert not params["bias_hh"][SIZE : 2 * SIZE].any()
        assert params["bias_hh"][:SIZE].any()
    for cell in ("rnn_relu", "gru", "indrnn"):
        ours = rk.init_params(cell, SIZE, SIZE, recurrent="identity")
        theirs = rnn.RecurrentCell(cell, SIZE, SIZE, recurrent="identity")
        for name in ours.keys() - {"weight_ih"}:
            np.testing.assert_array_equal(getattr(theirs, name).detach(), ours[name])
    with pytest.raises(ValueError, match=r"^forget_bias: gru has no forget gate, got 1"):
        rnn.Recurrent("gru", 3, SIZE, forget_bias=1)
