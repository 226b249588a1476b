"""What tests of the modules for flax share: sizes and inputs, modules of flax's, comparisons, resets by hand.

No tests, and no flax where there is none: whoever imports it needs flax.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

I, H = 5, 9  # noqa: E741
CELLS = [nnx.OptimizedLSTMCell, nnx.LSTMCell, nnx.GRUCell, nnx.SimpleCell]
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(3, 7, I)), np.float32)  # (B, T, I)
LENGTHS = jnp.array([4, 7, 1])
RESETS = jnp.asarray(RNG.random((3, 7)) < 0.4)


def theirs(cell: Any, seed: int = 1, of_cell: Any = None, **options: Any) -> Any:
    """A module of flax's whose biases are not zero."""
    of_cell = {"bias_init": nnx.initializers.normal(0.3)} | (of_cell or {})
    return nnx.RNN(cell(I, H, rngs=nnx.Rngs(seed), **of_cell), **options)


def carry_of(cell: Any, batch: tuple[int, ...] = (3,)) -> Any:
    made = [jnp.asarray(RNG.normal(size=(*batch, H)), np.float32) for _ in range(2)]
    return tuple(made) if "LSTM" in cell.__name__ else made[0]


def assert_close(one: Any, two: Any, tolerance: float = 1e-5) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=0, atol=tolerance)


def without_padding(results: Any, lengths: Any) -> Any:
    """Results (carry, outputs (B, T, H)) with zeros behind each row's length, as ours are."""
    carry, output = results
    inside = np.arange(output.shape[1]) < np.asarray(lengths)[:, None]
    return carry, output * inside[:, :, None].astype(output.dtype)


def by_hand(module: Any, carry: Any, resets: Any, reset_state: Any, reverse: bool) -> Any:
    """The carry and outputs (B, T, H), in the order of the inputs, that flax's cell gives step by step."""
    outputs = [None] * X.shape[1]
    for t in reversed(range(X.shape[1])) if reverse else range(X.shape[1]):
        carry = jax.tree.map(lambda old, new, t=t: jnp.where(resets[:, t, None], new, old), carry, reset_state)
        carry, outputs[t] = module.cell(carry, X[:, t])
    return carry, jnp.stack(outputs, axis=1)
