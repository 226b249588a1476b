"""Tensors whose memory the kernels cannot read as it is: every entry gives what torch.nn gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import array_forms
import pytest
import torch

import rnnkernels.torch as rnn
from rnnkernels.torch.kernels import array

if TYPE_CHECKING:
    from collections.abc import Callable

T, B, I, H = 5, 2, 3, 4  # noqa: E741


def misaligned(tensor: Any, by: int = 1) -> Any:
    return torch.from_numpy(array_forms.misaligned(tensor.numpy(), by))


FORMS: dict[str, Callable[[Any], Any]] = {
    "misaligned": misaligned,
    "misaligned by half": lambda t: misaligned(t, t.element_size() // 2),
    "misaligned and strided": lambda t: misaligned(torch.stack([t, t], -1))[..., 0],
    "negated and not yet computed": lambda t: torch.complex(torch.zeros_like(t), -t).conj().imag,
}


def given(dtype: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    return torch.randn(T, B, I, dtype=dtype), torch.randn(1, B, H, dtype=dtype)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_a_layer_reads_every_tensor_right(name: str, dtype: Any, form: str) -> None:
    of, (x, h) = FORMS[form], given(dtype)
    results = []
    for library, change in ((torch.nn, torch.clone), (rnn, of)):
        torch.manual_seed(1)
        layer = getattr(library, name)(I, H, dtype=dtype)
        weights = {key: change(value.detach()) for key, value in layer.state_dict().items()}
        layer.load_state_dict(weights, assign=True)
        start, state = change(x).requires_grad_(), change(h).requires_grad_()
        output, _ = layer(start, (state, state) if name == "LSTM" else state)
        output.backward(change(torch.ones_like(output.detach())))
        results.append([output, start.grad, state.grad, *(p.grad for p in layer.parameters())])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_a_cell_and_a_packed_batch_read_misaligned_tensors_right(name: str) -> None:
    x, _ = given(torch.float32)
    torch.manual_seed(1)
    cell = getattr(rnn, name)(I, H)
    found, plain = cell(misaligned(x[0])), cell(x[0])
    torch.testing.assert_close(found, plain, rtol=0, atol=0)
    layer = getattr(rnn, name.removesuffix("Cell"))(I, H)
    sizes = torch.tensor([B] * T)
    packed = [torch.nn.utils.rnn.PackedSequence(change(x.flatten(0, 1)), sizes) for change in (misaligned, torch.clone)]
    torch.testing.assert_close(*(layer(p)[0].data for p in packed), rtol=0, atol=0)


def test_tokens_lengths_and_resets_may_be_misaligned() -> None:
    torch.manual_seed(1)
    layer = rnn.Recurrent("gru", I, H)
    tokens, lengths = torch.arange(T * B).reshape(T, B) % I, torch.tensor([T, 2])
    resets = torch.arange(T * B).reshape(T, B) % 3 == 1
    plain = layer(tokens, lengths=lengths, resets=resets)[0]
    found = layer(misaligned(tokens), lengths=misaligned(lengths), resets=misaligned(resets))[0]
    torch.testing.assert_close(found, plain, rtol=0, atol=0)


def test_what_can_be_read_is_not_copied() -> None:
    x, _ = given(torch.float32)
    assert array(x).__array_interface__["data"][0] == x.data_ptr()
    moved = misaligned(x)
    assert array(moved).__array_interface__["data"][0] != moved.data_ptr()
    assert array(moved).flags.aligned


def test_elements_that_share_memory_are_read_right() -> None:
    """A stride of 0, as the gradient of a sum has: expanded, no matter what."""
    x, _ = given(torch.float32)
    torch.manual_seed(1)
    layer = rnn.LSTM(I, H)
    shared = x[:1, :1].expand(T, B, I)
    torch.testing.assert_close(layer(shared)[0], layer(shared.contiguous())[0], rtol=0, atol=0)
    layer(x)[0].sum().backward()
    found = layer.weight_hh_l0.grad.clone()
    layer.zero_grad()
    output = layer(x)[0]
    output.backward(torch.ones_like(output))
    torch.testing.assert_close(layer.weight_hh_l0.grad, found, rtol=0, atol=0)
