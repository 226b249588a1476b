"""Cells from equations that no built-in cell is: for tests that take a cell everywhere. Importing registers them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import rnnkernels as rk


@rk.cell
def keeper(x: Any, h: Any, c: Any, w: Any, *, cell_clip: float = math.inf, slope: float = 0.3) -> Any:
    """Rows of three products between one another, weights, choices, and a setting."""
    u = rk.product(h)
    v = rk.product(rk.silu(c) + 0.5 * h)
    r = rk.sigmoid(x.r + u.r)
    m = rk.softplus(v.m + w.m * c)
    q = rk.product(r * h)
    n = rk.tanh(x.n + q.n)
    z = rk.sigmoid(u.z - v.y + w.z)
    d = z * c + (1 - z) * n / (1 + m)
    if cell_clip < math.inf:
        d = rk.clip(d, -cell_clip, cell_clip)
    return rk.where(d > 0, d, slope * d) + rk.gelu(x.n), d


@rk.cell
def mixed(x: Any, h: Any, a: Any, b: Any) -> Any:
    """Several vectors are multiplied by weights of their own; one state is what a gate was."""
    u, v = rk.product(h), rk.product(a, b * 2.0)
    f = rk.hard_sigmoid(x.f + u.f)
    n = rk.tanh(x.n + v.m)
    return f * h + (1 - f) * n, rk.exp(-rk.abs(n)), rk.maximum(u.f, -0.5)


@rk.cell
def decayed(x: Any, h: Any, gamma: rk.PerStep, p: rk.PerStep) -> Any:
    """Two inputs of every step act unit by unit."""
    kept = rk.sigmoid(gamma) * h
    u = rk.product(kept)
    z = rk.sigmoid(x.z + u.z)
    return z * kept + (1 - z) * rk.tanh(x.n + u.n) + 0.5 * p


@rk.cell
def headed(x: Any, h: Any, c: Any, w: Any, *, heads: float = 3) -> Any:
    """One product, block-diagonal."""
    u = rk.product(h, heads=heads)
    i, f = rk.sigmoid(x.i + u.i), rk.sigmoid(x.f + u.f + w.f * c)
    d = f * c + i * rk.tanh(x.g + u.g)
    return rk.tanh(d) * rk.softsign(x.o), d


@rk.cell
def headed_thrice(x: Any, h: Any, *, heads: float = 2) -> Any:
    """Three products, rows of one block-diagonal weight between one another: of h, of what is fed back, of a gate."""
    u, v = rk.product(h, heads=heads), rk.product(rk.tanh(h) - 0.3 * h, heads=heads)
    z = rk.sigmoid(x.z + v.z)
    r = rk.sigmoid(x.r + u.r)
    n = rk.tanh(x.n + rk.product(r * h, heads=heads).n + u.m)
    return n + z * (h - n)


CELLS = (keeper, mixed, decayed, headed, headed_thrice)
T, B, I, H = 5, 3, 4, 6  # noqa: E741 - H is a multiple of all heads here


def numbers(cell: str, dtype: str = "float64", inputs: int = I, seed: int = 0) -> tuple[Any, Any, Any]:
    """Return x, params and state of a layer of the cell."""
    rng = np.random.default_rng(seed)
    params = rk.init_params(cell, inputs, H, rng=seed, dtype=dtype)
    width = inputs + len(rk.cell_info(cell)["elements"]) * H
    x = rng.standard_normal((T, B, width)).astype(dtype)
    state = tuple(rng.uniform(0.1, 0.9, (B, H)).astype(dtype) for _ in rk.cell_info(cell)["states"])
    return x, params, state


def numbered(arrays: Any) -> dict[str, Any]:
    """Return a mapping, or a sequence of arrays as one, for messages that name what differs."""
    return dict(arrays) if isinstance(arrays, dict) else {str(k): array for k, array in enumerate(arrays)}


def check_slopes(loss: Any, arrays: dict[str, Any], gradients: dict[str, Any], count: int = 3) -> None:
    """Compare gradients with differences of the loss at some places of each array, which is changed in place."""
    rng = np.random.default_rng(1)
    for name, array in arrays.items():
        for _ in range(count):
            at = tuple(rng.integers(0, n) for n in array.shape)
            before, step = array[at], 1e-6
            array[at] = before + step
            above = loss()
            array[at] = before - step
            slope = (above - loss()) / (2 * step)
            array[at] = before
            np.testing.assert_allclose(gradients[name][at], slope, rtol=1e-5, atol=1e-7, err_msg=name)
