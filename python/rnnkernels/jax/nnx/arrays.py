"""What a call is given, as arrays of JAX's, checked; and rows turned around in time."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from rnnkernels.jax._forward import _as_array


def as_numbers(name: str, value: Any) -> Any:
    """Return an array of JAX's, as flax makes one: float64 is rounded to float32 unless jax_enable_x64 is on."""
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        value = jnp.asarray(value)
    array = _as_array(name, value)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise TypeError(f"{name}: expected an array of real numbers, got {array.dtype}")
    return jnp.asarray(array)


def as_lengths(lengths: Any, batch: tuple[int, ...]) -> Any:
    """Return the steps of each row, in a row: one for each of a batch of whatever shape."""
    array = _as_array("seq_lengths", lengths)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"seq_lengths: expected integers, got {array.dtype}")
    if array.shape != batch:
        raise ValueError(f"seq_lengths: expected shape (*batch) = {batch}, got {array.shape}")
    return array.reshape(-1)


def as_resets(resets: Any, shape: tuple[int, ...]) -> Any:
    """Return booleans of a shape."""
    array = _as_array("resets", resets)
    if array.dtype != np.bool_:
        raise TypeError(f"resets: expected booleans, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"resets: expected the shape of inputs without its last axis, {shape}, got {array.shape}")
    return jnp.asarray(array)


def flipped(output: Any, lengths: Any) -> Any:
    """Turn each row's steps around: output (T, B, H)."""
    if lengths is None:
        return jnp.flip(output, 0)
    steps = jnp.arange(output.shape[0], dtype=jnp.int32)[:, None]
    ends = jnp.asarray(lengths).astype(jnp.int32)
    places = jnp.where(steps < ends, ends - 1 - steps, steps)
    return jnp.take_along_axis(output, places[:, :, None], axis=0)
