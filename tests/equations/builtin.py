"""The built-in cells once more, as equations: what `rk.cell` makes of them is compared with the compiled ones.

Each function has the name of its cell, and its operations stand in the order of csrc/cells, so that both round alike:
``a * b + c`` is one fused operation, of two products the left one is. Registered under ``<name>_by_equations``.

Not here: `lstm_layer_norm` and `gru_layer_norm`, which normalise over units, and `lstm_projected` and
`lstm_peephole_projected`, whose h is a product: neither is element-wise. No tests (builtin_cells.py).
"""
# mypy: allow-untyped-defs, allow-untyped-calls
# The equations are written as a user writes them.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rnnkernels as rk

CELLS: dict[str, str] = {}
"""The registered name of every built-in cell's equations, by the cell's name."""


def again(function: Callable[..., Any]) -> Any:
    """Register a cell's equations."""
    made = rk.cell(function, name=f"{function.__name__}_by_equations")
    CELLS[function.__name__] = made
    return made


@again
def rnn_tanh(x, h):
    u = rk.product(h)
    return rk.tanh(x.a + u.a)


@again
def rnn_relu(x, h):
    u = rk.product(h)
    return rk.relu(x.a + u.a)


# ---- LSTM and its variants -----------------------------------------------------------------------


@again
def lstm(x, h, c, *, cell_clip=float("inf")):
    u = rk.product(h)
    i = rk.sigmoid(x.i + u.i)
    f = rk.sigmoid(x.f + u.f)
    g = rk.tanh(x.g + u.g)
    d = f * c + i * g
    if cell_clip < float("inf"):  # a setting is a number, so this is decided when the cell is traced
        d = rk.minimum(rk.maximum(d, -cell_clip), cell_clip)
    o = rk.sigmoid(x.o + u.o)
    return o * rk.tanh(d), d


@again
def lstm_peephole(x, h, c, w):
    u = rk.product(h)
    i = rk.sigmoid(x.i + u.i + w.i * c)
    f = rk.sigmoid(x.f + u.f + w.f * c)
    g = rk.tanh(x.g + u.g)
    d = f * c + i * g
    o = rk.sigmoid(x.o + u.o + w.o * d)
    return o * rk.tanh(d), d


@again
def lstm_nig(x, h, c, w):
    u = rk.product(h)
    f = rk.sigmoid(x.f + u.f + w.f * c)
    d = f * c + rk.tanh(x.g + u.g)
    o = rk.sigmoid(x.o + u.o + w.o * d)
    return o * rk.tanh(d), d


@again
def lstm_nfg(x, h, c, w):
    u = rk.product(h)
    i = rk.sigmoid(x.i + u.i + w.i * c)
    d = c + i * rk.tanh(x.g + u.g)  # fused here, two operations in csrc/cells
    o = rk.sigmoid(x.o + u.o + w.o * d)
    return o * rk.tanh(d), d


@again
def lstm_nog(x, h, c, w):
    u = rk.product(h)
    i = rk.sigmoid(x.i + u.i + w.i * c)
    f = rk.sigmoid(x.f + u.f + w.f * c)
    d = f * c + i * rk.tanh(x.g + u.g)
    return rk.tanh(d), d


@again
def lstm_niaf(x, h, c, w):
    u = rk.product(h)
    i = rk.sigmoid(x.i + u.i + w.i * c)
    f = rk.sigmoid(x.f + u.f + w.f * c)
    d = f * c + i * (x.g + u.g)
    o = rk.sigmoid(x.o + u.o + w.o * d)
    return o * rk.tanh(d), d


@again
def lstm_noaf(x, h, c, w):
    u = rk.product(h)
    i = rk.sigmoid(x.i + u.i + w.i * c)
    f = rk.sigmoid(x.f + u.f + w.f * c)
    d = f * c + i * rk.tanh(x.g + u.g)
    o = rk.sigmoid(x.o + u.o + w.o * d)
    return o * d, d


@again
def lstm_cifg(x, h, c, w):
    u = rk.product(h)
    i = rk.sigmoid(x.i + u.i + w.i * c)
    d = (1 - i) * c + i * rk.tanh(x.g + u.g)
    o = rk.sigmoid(x.o + u.o + w.o * d)
    return o * rk.tanh(d), d


@again
def lstm_fgr(x, h, c, i, f, o, w):
    u = rk.product(h)
    v = rk.product(i, f, o)
    i_new = rk.sigmoid(x.i + u.i + v.to_i + w.i * c)
    f_new = rk.sigmoid(x.f + u.f + v.to_f + w.f * c)
    g = rk.tanh(x.g + u.g)
    d = f_new * c + i_new * g
    o_new = rk.sigmoid(x.o + u.o + v.to_o + w.o * d)
    return o_new * rk.tanh(d), d, i_new, f_new, o_new


# ---- GRUs ----------------------------------------------------------------------------------------


@again
def gru(x, h):
    u = rk.product(h)
    r = rk.sigmoid(x.r + u.r)
    z = rk.sigmoid(x.z + u.z)
    n = rk.tanh(x.n + r * u.n)
    return n + z * (h - n)


@again
def gru_reset_before(x, h):
    u = rk.product(h)
    r = rk.sigmoid(x.r + u.r)
    z = rk.sigmoid(x.z + u.z)
    n = rk.tanh(x.n + rk.product(r * h).n)
    return n + z * (h - n)


@again
def mut1(x, h):
    z = rk.sigmoid(x.z)
    r = rk.sigmoid(x.r + rk.product(h).r)
    n = rk.tanh(rk.tanh(rk.direct(x)) + rk.product(r * h).n)
    return h + z * (n - h)


@again
def mut1_projected(x, h):
    z = rk.sigmoid(x.z)
    r = rk.sigmoid(x.r + rk.product(h).r)
    n = rk.tanh(rk.tanh(x.n) + rk.product(r * h).n)
    return h + z * (n - h)


@again
def mut2(x, h):
    u = rk.product(h)
    z = rk.sigmoid(x.z + u.z)
    r = rk.sigmoid(rk.direct(x) + u.r)
    n = rk.tanh(x.n + rk.product(r * h).n)
    return h + z * (n - h)


@again
def mut2_projected(x, h):
    u = rk.product(h)
    z = rk.sigmoid(x.z + u.z)
    r = rk.sigmoid(x.r + u.r)
    n = rk.tanh(x.n + rk.product(r * h).n)
    return h + z * (n - h)


@again
def mut3(x, h):
    z = rk.sigmoid(x.z + rk.product(rk.tanh(h)).z)
    r = rk.sigmoid(x.r + rk.product(h).r)
    n = rk.tanh(x.n + rk.product(r * h).n)
    return h + z * (n - h)


# ---- cells with less in them ---------------------------------------------------------------------


@again
def mgu(x, h):
    f = rk.sigmoid(x.f + rk.product(h).f)
    n = rk.tanh(x.n + rk.product(f * h).n)
    return h + f * (n - h)


@again
def ligru(x, h):
    u = rk.product(h)
    z = rk.sigmoid(x.z + u.z)
    a = rk.relu(x.a + u.a)
    return a + z * (h - a)


@again
def janet(x, h):
    u = rk.product(h)
    s = x.f + u.f
    n = rk.tanh(x.n + u.n)
    return rk.sigmoid(s) * h + rk.sigmoid(1 - s) * n  # 1 - sigmoid(s - 1), without the subtraction


@again
def indrnn(x, h, w):
    return rk.relu(x.a + w.h * h)


# ---- sLSTM ---------------------------------------------------------------------------------------


def _slstm(x, u, c, n, m, log_forget):
    """Take a step of either sLSTM; of i and f one is 1, the other e."""
    a_i, a_f = x.i + u.i, x.f + u.f
    z = rk.tanh(x.z + u.z)
    o = rk.sigmoid(x.o + u.o)
    l = log_forget(a_f) + m  # noqa: E741 - as in csrc/cells
    lead = a_i - l
    e = rk.exp(-abs(lead))
    i = rk.where(lead > 0, 1.0, e)
    f = rk.where(lead > 0, e, 1.0)
    c_new = f * c + i * z
    n_new = f * n + i
    return o * (c_new / n_new), c_new, n_new, rk.maximum(l, a_i)


@again
def slstm(x, h, c, n, m):
    return _slstm(x, rk.product(h), c, n, m, rk.log_sigmoid)


@again
def slstm_exp(x, h, c, n, m):
    return _slstm(x, rk.product(h), c, n, m, lambda f: f)
