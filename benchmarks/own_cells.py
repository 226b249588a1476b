"""The cells of `python -m benchmarks equations`, as functions for `rk.cell`; none is registered by importing this.

`SAME`: built-in cells once more. `UNFUSED`: published cells that no library has a kernel of.
"""
# mypy: allow-untyped-defs, allow-untyped-calls
# The equations are written as a user writes them.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rnnkernels as rk

# ---- built-in ones once more ---------------------------------------------------------------------


def lstm(x, h, c):
    u = rk.product(h)
    i, f, g = rk.sigmoid(x.i + u.i), rk.sigmoid(x.f + u.f), rk.tanh(x.g + u.g)
    d = f * c + i * g
    return rk.sigmoid(x.o + u.o) * rk.tanh(d), d


def gru(x, h):
    u = rk.product(h)
    r, z = rk.sigmoid(x.r + u.r), rk.sigmoid(x.z + u.z)
    n = rk.tanh(x.n + r * u.n)
    return n + z * (h - n)


def lstm_peephole(x, h, c, w):
    u = rk.product(h)
    i = rk.sigmoid(x.i + u.i + w.i * c)
    f = rk.sigmoid(x.f + u.f + w.f * c)
    d = f * c + i * rk.tanh(x.g + u.g)
    o = rk.sigmoid(x.o + u.o + w.o * d)
    return o * rk.tanh(d), d


def mut2(x, h):
    u = rk.product(h)
    z = rk.sigmoid(x.z + u.z)
    r = rk.sigmoid(rk.direct(x) + u.r)
    n = rk.tanh(x.n + rk.product(r * h).n)
    return h + z * (n - h)


SAME: dict[str, Callable[..., Any]] = {f.__name__: f for f in (lstm, gru, lstm_peephole, mut2)}

# ---- nobody's ------------------------------------------------------------------------------------


def dreamer_gru(x, h):
    """DreamerV3's GRU (Hafner et al. 2023), one block, not normalised."""
    u = rk.product(h)
    n = rk.tanh(rk.sigmoid(x.r + u.r) * (x.n + u.n))
    z = rk.sigmoid(x.z + u.z - 1)
    return h + z * (n - h)


def para_lstm(x, h, c, w):
    """ParaRNN's LSTM (arXiv 2510.21450): diagonal recurrences."""
    f = rk.sigmoid(x.f + w.f * h + w.f_of_c * c)
    d = f * c + (1 - f) * rk.tanh(x.g + w.g * h)
    return rk.sigmoid(x.o + w.o * h + w.o_of_c * d) * rk.tanh(d), d


def min_lstm(x, h):
    """Were RNNs all we needed? (arXiv 2410.01201): no recurrent weights."""
    f, i = rk.sigmoid(x.f), rk.sigmoid(x.i)
    return (f * h + i * x.n) / (f + i)


def ugrnn(x, h):
    """The update gate RNN (Collins, Sohl-Dickstein, Sussillo 2017)."""
    u = rk.product(h)
    g, c = rk.sigmoid(x.g + u.g), rk.tanh(x.c + u.c)
    return c + g * (h - c)


def cfn(x, h):
    """The chaos-free network (Laurent, von Brecht 2017)."""
    u = rk.product(h)
    t, e = rk.sigmoid(x.t + u.t), rk.sigmoid(x.e + u.e)
    return t * rk.tanh(h) + e * rk.tanh(x.n)


def nbrc(x, h):
    """The recurrently neuromodulated bistable cell (Vecoven, Ernst, Drion 2021)."""
    u = rk.product(h)
    a, c = 1 + rk.tanh(x.a + u.a), rk.sigmoid(x.c + u.c)
    n = rk.tanh(x.n + a * h)
    return n + c * (h - n)


def star(x, h):
    """The stackable recurrent cell (Turkoglu et al. 2021)."""
    k = rk.sigmoid(x.k + rk.product(h).k)
    z = rk.tanh(x.z)
    return rk.tanh(h + k * (z - h))


def lem(x, h, z):
    """Long expressive memory (Rusch et al. 2022) with Δt = 1: the second of its states sees the first, just made."""
    u = rk.product(h)
    slow, fast = rk.sigmoid(x.slow + u.slow), rk.sigmoid(x.fast + u.fast)
    z = z + slow * (rk.tanh(x.z + u.z) - z)
    return h + fast * (rk.tanh(x.y + rk.product(z).y) - h), z


UNFUSED: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (dreamer_gru, para_lstm, min_lstm, ugrnn, cfn, nbrc, star, lem)
}
