"""What the tests of `rnnkernels.torch.AttentionRecurrent` share: its forms, a layer of each, what a call is given.

Not a test file. Import it after `pytest.importorskip("torch")`.
"""

from __future__ import annotations

from typing import Any

import torch

import rnnkernels.torch as rnn

FORMS: dict[str, dict[str, Any]] = {
    "additive": {},
    "gated": {"gated": True, "attention_size": 7},
    "location": {"location": (1, 3), "attention_size": 2},
    "location-sums": {"location": (2, 5), "gated": True},
    "bilinear": {"scores": "bilinear"},
    "dot": {"scores": "dot", "attention_size": 6},
    "no-bias": {"bias": False, "gated": True},
}
CELLS = ("lstm", "gru", "rnn_tanh", "gru_reset_before", "mgu", "indrnn", "slstm", "lstm_layer_norm", "gru_layer_norm")
T, B, I, D, H, L = 5, 3, 2, 3, 5, 4  # noqa: E741


def make(cell: str = "lstm", size: tuple[int, int, int] = (I, D, H), **options: Any) -> rnn.AttentionRecurrent:
    torch.manual_seed(0)
    layer = rnn.AttentionRecurrent(cell, *size, dtype=torch.float64, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(2)  # so that weights are not all alike
    return layer


def arrays(layer: rnn.AttentionRecurrent, steps: int = T, batch: int = B, places: int = L) -> tuple[Any, ...]:
    """x, features, mask: the first place of each row may be looked at."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    mask = torch.rand(batch, places, generator=generator) < 0.7
    mask[:, 0] = True
    return normal(steps, batch, layer.input_size), normal(batch, places, layer.feature_size), mask


def seeded(layer: rnn.AttentionRecurrent) -> dict[str, Any]:
    return {"seed": 6} if layer.hard else {}


class Model(torch.nn.Module):  # type: ignore[misc]
    """A model around a layer."""

    def __init__(self, layer: rnn.AttentionRecurrent) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any, features: Any, state: Any, mask: Any) -> Any:
        return self.layer(x, features, state, mask=mask)


def function_of(
    layer: rnn.AttentionRecurrent, mask: Any = None, sizes: tuple[int, int, int] = (3, 2, 3), **options: Any
) -> tuple[Any, tuple[Any, ...]]:
    """The layer as a function of x, features, states and parameters, and what it is a function of."""
    x, features, _ = arrays(layer, *sizes)
    named = dict(layer.named_parameters())
    state = [torch.full((sizes[1], width), 0.1, dtype=x.dtype) for width in layer._widths]

    def run(x: Any, features: Any, *tensors: Any) -> Any:
        states, parameters = tensors[: len(state)], dict(zip(named, tensors[len(state) :], strict=True))
        given = states if len(state) > 1 else states[0]
        output, final, attention = torch.func.functional_call(
            layer, parameters, (x, features, given), {"mask": mask, **options}
        )
        log_probs = () if attention.log_probs is None else (attention.log_probs,)
        finals = final if isinstance(final, tuple) else (final,)
        return (output, *finals, attention.weights, attention.contexts, *log_probs)

    return run, tuple(t.detach().clone().requires_grad_() for t in (x, features, *state, *named.values()))
