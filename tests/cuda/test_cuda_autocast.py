"""torch.nn's layers and cells in a GPU's autocast region, emulated. The CPU's region: test_torch_derivatives.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["bfloat16", "float16"])
def autocast(tensors: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A region of a GPU's autocast, with tensors of the CPU in a GPU's place: torch.autocast opens none here."""
    from rnnkernels.torch import autocast

    monkeypatch.setattr(autocast, "_device", lambda _: "cuda")
    before = tensors.get_autocast_dtype("cuda")
    tensors.set_autocast_enabled("cuda", True)
    tensors.set_autocast_dtype("cuda", getattr(tensors, request.param))
    yield getattr(tensors, request.param)
    tensors.set_autocast_enabled("cuda", False)
    tensors.set_autocast_dtype("cuda", before)


@pytest.mark.parametrize("x_dtype", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("form", ["plain", "packed", "cell"])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_autocast_casts_to_the_half(tensors: Any, autocast: Any, name: str, form: str, x_dtype: str) -> None:
    """Parameters, input and states of any of these dtypes; results and arithmetic in the region's; float64 alone."""
    torch = tensors
    import rnnkernels.torch as rnn

    kind = getattr(torch, x_dtype)
    wide = kind == torch.float64
    torch.manual_seed(0)
    layer = getattr(rnn, f"{name}Cell" if form == "cell" else name)(5, 7).to(kind if wide else torch.float32)
    states = [torch.randn(*(() if form == "cell" else (1,)), 3, 7) for _ in range(2)]
    states = [s.to(kind if wide else k) for s, k in zip(states, (torch.float32, autocast), strict=True)]
    hx = tuple(states) if name == "LSTM" else states[0]
    x = torch.randn(*((3, 5) if form == "cell" else (4, 3, 5))).to(kind)
    given = torch.nn.utils.rnn.pack_padded_sequence(x, [4, 2, 1]) if form == "packed" else x

    def leaves(found: Any) -> list[Any]:
        if isinstance(found, torch.nn.utils.rnn.PackedSequence):
            return [found.data]
        return [found] if isinstance(found, torch.Tensor) else [leaf for part in found for leaf in leaves(part)]

    results = leaves(layer(given, hx))
    expected = kind if wide else autocast
    assert [r.dtype for r in results] == [expected] * len(results)
    grads = torch.autograd.grad(sum(r.double().square().sum() for r in results), list(layer.parameters()))
    assert {g.dtype for g in grads} == {kind if wide else torch.float32}
    torch.set_autocast_enabled("cuda", False)
    half = type(layer)(5, 7).to(expected)
    half.load_state_dict(layer.state_dict())
    casted = [s.to(expected) for s in states]
    again = leaves(half(given.to(expected), tuple(casted) if name == "LSTM" else casted[0]))
    for a, b in zip(results, again, strict=True):
        assert torch.equal(a, b)


def test_any_cell(tensors: Any, autocast: Any) -> None:
    torch = tensors
    import rnnkernels.torch as rnn

    torch.manual_seed(0)
    layer = rnn.Recurrent("mut3", 6, 6, num_layers=2)
    x = torch.randn(4, 3, 6)
    output, state = layer(x.to(autocast))
    assert (output.dtype, state.dtype) == (autocast, autocast)
    torch.set_autocast_enabled("cuda", False)
    half = rnn.Recurrent("mut3", 6, 6, num_layers=2, dtype=autocast)
    half.load_state_dict(layer.state_dict())
    assert torch.equal(half(x.to(autocast))[0], output)
