"""The stack over two directions and over ragged batches: against PyTorch, and as the calls it is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import FORMS, assert_equal_states, random_states

import rnnkernels as rk
from rnnkernels.stack import Stack

T, B, I, H = 8, 5, 4, 6  # noqa: E741 - the sizes' names everywhere in this package
LENGTHS = np.array([3, 8, 1, 8, 5])
CELLS = [cell for cell in FORMS if not rk.cell_info(cell)["direct"]]  # those need I = H


def values(stack: Stack, *, tokens: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(1)

    def nested() -> tuple[tuple[np.ndarray, ...], ...]:
        count = stack.num_layers * stack.num_directions
        return tuple(random_states(stack.cell, rng, B, H, stack.dtype, stack.proj_size) for _ in range(count))

    return {
        "x": rng.integers(0, I, (T, B)) if tokens else rng.normal(size=(T, B, I)).astype(stack.dtype),
        "state": nested(),
        "d_output": rng.normal(size=(T, B, stack.output_size * stack.num_directions)).astype(stack.dtype),
        "d_state": nested(),
    }


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_pytorch_agrees(cell: str, bidirectional: bool, ragged: bool) -> None:
    torch = pytest.importorskip("torch")
    rnn = torch.nn.utils.rnn
    stack = Stack(cell, I, H, 2, bidirectional=bidirectional, dtype="float64", rng=0)
    v = values(stack)
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn_tanh": torch.nn.RNN}[cell]
    layer = kind(I, H, 2, bidirectional=bidirectional, dtype=torch.float64)
    layer.load_state_dict({name: torch.from_numpy(p.copy()) for name, p in stack.params.items()}, strict=True)
    assert [name for name, _ in layer.named_parameters()] == list(stack.params)
    lengths = LENGTHS if ragged else np.full(B, T)

    x = torch.from_numpy(v["x"]).requires_grad_()
    state = [torch.from_numpy(np.stack(s)).requires_grad_() for s in zip(*v["state"], strict=True)]
    packed = rnn.pack_padded_sequence(x, torch.from_numpy(lengths), enforce_sorted=False)
    output, final = layer(packed, tuple(state) if cell == "lstm" else state[0])
    output, _ = rnn.pad_packed_sequence(output, total_length=T)
    final = final if cell == "lstm" else (final,)
    value = (output * torch.from_numpy(v["d_output"])).sum()
    for d, s in zip(zip(*v["d_state"], strict=True), final, strict=True):
        value = value + (torch.from_numpy(np.stack(d)) * s).sum()
    value.backward()

    run = stack.forward(v["x"], v["state"], lengths=lengths if ragged else None)
    grads = stack.backward(run, v["d_output"], v["d_state"])
    np.testing.assert_allclose(run.output, output.detach(), rtol=1e-11, atol=1e-12)
    assert grads.x is not None
    np.testing.assert_allclose(grads.x, x.grad, rtol=1e-11, atol=1e-12)
    for k, s in enumerate(state):
        np.testing.assert_allclose([after[k] for after in run.state], final[k].detach(), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose([d[k] for d in grads.state], s.grad, rtol=1e-11, atol=1e-12)
    for name, p in layer.named_parameters():
        np.testing.assert_allclose(grads.params[name], p.grad, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_two_directions_are_a_run_and_a_run_over_the_flipped_sequence(cell: str, tokens: bool) -> None:
    proj_size = 5 if rk.cell_info(cell)["projected"] else None
    stack = Stack(cell, I, H, bidirectional=True, proj_size=proj_size, rng=0)
    v = values(stack, tokens=tokens)
    size = stack.output_size
    run = stack.forward(v["x"], v["state"])
    params = [{name.removesuffix(end): p for name, p in stack.params.items() if name.endswith(end)} for end in ENDS]
    there = rk.forward(cell, v["x"], params[0], v["state"][0])
    back = rk.forward(cell, np.ascontiguousarray(v["x"][::-1]), params[1], v["state"][1])
    np.testing.assert_array_equal(run.output, np.concatenate([there.output, back.output[::-1]], axis=2))
    for mine, theirs in zip(run.state, (there.state, back.state), strict=True):
        assert_equal_states(mine, theirs)
    grads = stack.backward(run, v["d_output"], v["d_state"])
    d_there = rk.backward(there, np.ascontiguousarray(v["d_output"][..., :size]), v["d_state"][0])
    d_back = rk.backward(back, np.ascontiguousarray(v["d_output"][::-1, :, size:]), v["d_state"][1])
    if tokens:
        assert grads.x is None
    else:
        assert d_there.x is not None
        assert d_back.x is not None
        np.testing.assert_array_equal(grads.x, d_there.x + d_back.x[::-1])
    assert_equal_states(grads.state[1], d_back.state)
    for name, value in d_there.params.items():
        np.testing.assert_array_equal(grads.params[f"{name}_l0"], value)


ENDS = ("_l0", "_l0_reverse")


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_resets_go_through_every_layer(dropout: float) -> None:
    stack = Stack("gru", I, H, 3, dropout=dropout, dtype="float64", rng=0)
    v = values(stack)
    resets = np.zeros((T, B), bool)
    resets[4] = True
    replaced = values(stack)["d_state"]
    run = stack.forward(v["x"], v["state"], resets=resets, reset_state=replaced, rng=np.random.default_rng(0))
    grads = stack.backward(run, v["d_output"], v["d_state"])
    assert grads.reset_state is not None
    if dropout:
        assert all(d[0].any() for d in grads.reset_state)
        return
    head = stack.forward(v["x"][:4], v["state"])
    tail = stack.forward(v["x"][4:], replaced)
    np.testing.assert_array_equal(run.output, np.concatenate([head.output, tail.output]))
    d_tail = stack.backward(tail, v["d_output"][4:], v["d_state"])
    d_head = stack.backward(head, v["d_output"][:4])
    for mine, theirs in zip(grads.reset_state, d_tail.state, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(grads.state, d_head.state, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_says_what_is_wrong() -> None:
    stack = Stack("gru", I, H, 2, bidirectional=True, rng=0)
    v = values(stack)
    run = stack.forward(v["x"])
    with pytest.raises(ValueError, match="state: expected 4 layers and directions, got 2"):
        stack.forward(v["x"], v["state"][:2])
    with pytest.raises(ValueError, match=r"d_output: expected shape \(T, B, 2·H\) = \(8, 5, 12\), got \(8, 5, 6\)"):
        stack.backward(run, v["d_output"][..., :H])
    with pytest.raises(ValueError, match="step: expected a stack of one direction"):
        stack.step(v["x"][0])
    with pytest.raises(ValueError, match="model: expected one direction"):
        rk.bptt.windows(stack, [v["x"]], lambda output, _: (0.0, output, {}), k1=2, k2=2)
    with pytest.raises(ValueError, match="reset_state: expected resets with it"):
        Stack("gru", I, H, rng=0).forward(v["x"], reset_state=v["state"][:1])
