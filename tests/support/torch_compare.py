"""What the tests of `rnnkernels.torch` share: all that can be seen of a call, and two of those compared.

Not a test file. Import it after `pytest.importorskip("torch")`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from tolerances import error, forward_length, gradient_length, tolerance
from torch.nn.utils.rnn import PackedSequence

if TYPE_CHECKING:
    from collections.abc import Callable

LAYERS = ("RNN", "LSTM", "GRU")
CELLS = ("RNNCell", "LSTMCell", "GRUCell")
NAMES = LAYERS + CELLS


def leaves(value: Any) -> list[torch.Tensor]:
    """Every tensor of nested tuples and lists, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [leaf for part in value if part is not None for leaf in leaves(part)]


def structure(value: Any, strides: bool = True) -> Any:
    """What a result is made of, all but the numbers."""
    if isinstance(value, torch.Tensor):
        flags = value.requires_grad, value.is_leaf, value.is_inference()
        return (
            tuple(value.shape),
            value.stride() if strides and value.numel() else None,
            value.dtype,
            value.device,
            flags,
        )
    if value is None:
        return None
    return type(value).__name__, *(structure(part, strides) for part in value)


def attempt(function: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[Any, Any, list[Any]]:
    """Return what a call returned, (type, text) of what it raised, (category, text) of each warning."""
    result = failure = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function(*arguments, **named)
        except Exception as raised:  # noqa: BLE001  # whatever it is, the other has to raise it too
            failure = (
                type(raised),
                str(raised).partition("; rnnkernels.torch.Recurrent(")[0],
            )  # which ours add to theirs
    said = [(w.category, str(w.message)) for w in caught if "not supported with oneDNN" not in str(w.message)]
    return result, failure, said  # without the word on what PyTorch's engine lacks


def twins(name: str, *arguments: Any, **named: Any) -> tuple[Any, Any]:
    """Return torch.nn's layer and ours, of the same arguments and parameters."""
    import rnnkernels.torch as rnn

    theirs = getattr(torch.nn, name)(*arguments, **named)
    ours = getattr(rnn, name)(*arguments, **named)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def assert_near(
    actual: torch.Tensor, expected: torch.Tensor, quantity: str, sizes: Any, what: str = "", amplified: float = 1.0
) -> None:
    """Compare values of one dtype; `sizes`: steps, batch, input size, hidden size, layers."""
    if not expected.is_floating_point():
        assert torch.equal(actual, expected), f"{what}: {actual}, expected {expected}"
        return
    steps, batch, input_size, hidden_size, layers = sizes
    length = (
        gradient_length(steps, batch, input_size, hidden_size)
        if quantity == "gradient"
        else forward_length(steps, input_size, hidden_size)
    )
    assert actual.dtype == expected.dtype, f"{what}: {actual.dtype}, expected {expected.dtype}"
    dtype = str(actual.dtype).removeprefix("torch.")
    allowed = tolerance(dtype, quantity, layers * length, amplified)
    found = error(actual.detach().double().numpy(), expected.detach().double().numpy())
    assert found <= allowed, f"{what or quantity} ({dtype}, {tuple(actual.shape)}): error {found:.3g} > {allowed:.3g}"


def one_tensor(value: Any) -> torch.Tensor:
    """A number that every output has a part in."""
    if isinstance(value, PackedSequence):
        value = value.data
    floats = [leaf for leaf in leaves(value) if leaf.is_floating_point()]
    return torch.stack([(leaf.double() ** 2 + leaf).sum() for leaf in floats]).sum()
