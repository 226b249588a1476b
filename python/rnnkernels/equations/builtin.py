"""The built-in cells that are element-wise, as equations: what is differentiated again, and what loops evaluate.

Each function has the name of its cell, and its operations stand in the order of csrc/cells, so that both round alike:
``a * b + c`` is one fused operation, of two products the left one is. Nothing is registered here: a cell's name stays
that of the compiled one. A cell is traced when it is asked for.

Not here: `lstm_layer_norm` and `gru_layer_norm`, which normalise over units, and `lstm_projected` and
`lstm_peephole_projected`, whose h is a product: neither is element-wise (`rnnkernels.steps` has these).
"""
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: D103
# The equations are written as a user writes them.

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from .functions import direct, exp, log_sigmoid, maximum, minimum, product, relu, sigmoid, tanh, where
from .tracing import trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from .graph import Equations

FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""By the cells' names."""

_traced: dict[tuple[str, float | None], Equations] = {}  # torch.compile reads a dictionary, and traces through a cache


def entered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Enter a cell's function under its name."""
    FUNCTIONS[function.__name__] = function
    return function


def equations_of(cell: str, cell_clip: float | None = None) -> Equations | None:
    """Return a built-in cell's equations, None where it is not here; `cell_clip` of those that hold their state."""
    found = _traced.get((cell, cell_clip))
    if found is None and cell in FUNCTIONS:
        found = trace(FUNCTIONS[cell], cell, settings=None if cell_clip is None else {"cell_clip": cell_clip})
        _traced[cell, cell_clip] = found
    return found


def held(d, cell_clip):
    """Return c', no further from 0 than `cell_clip`: a setting is a number, so what is traced depends on it."""
    return minimum(maximum(d, -cell_clip), cell_clip) if cell_clip < inf else d


@entered
def rnn_tanh(x, h):
    u = product(h)
    return tanh(x.a + u.a)


@entered
def rnn_relu(x, h):
    u = product(h)
    return relu(x.a + u.a)


# ---- LSTM and its variants -----------------------------------------------------------------------


@entered
def lstm(x, h, c, *, cell_clip=inf):
    u = product(h)
    i = sigmoid(x.i + u.i)
    f = sigmoid(x.f + u.f)
    g = tanh(x.g + u.g)
    d = held(f * c + i * g, cell_clip)
    o = sigmoid(x.o + u.o)
    return o * tanh(d), d


@entered
def lstm_peephole(x, h, c, w, *, cell_clip=inf):
    u = product(h)
    i = sigmoid(x.i + u.i + w.i * c)
    f = sigmoid(x.f + u.f + w.f * c)
    g = tanh(x.g + u.g)
    d = held(f * c + i * g, cell_clip)
    o = sigmoid(x.o + u.o + w.o * d)
    return o * tanh(d), d


@entered
def lstm_nig(x, h, c, w, *, cell_clip=inf):
    u = product(h)
    f = sigmoid(x.f + u.f + w.f * c)
    d = held(f * c + tanh(x.g + u.g), cell_clip)
    o = sigmoid(x.o + u.o + w.o * d)
    return o * tanh(d), d


@entered
def lstm_nfg(x, h, c, w, *, cell_clip=inf):
    u = product(h)
    i = sigmoid(x.i + u.i + w.i * c)
    d = held(c + i * tanh(x.g + u.g), cell_clip)  # fused here, two operations in csrc/cells
    o = sigmoid(x.o + u.o + w.o * d)
    return o * tanh(d), d


@entered
def lstm_nog(x, h, c, w, *, cell_clip=inf):
    u = product(h)
    i = sigmoid(x.i + u.i + w.i * c)
    f = sigmoid(x.f + u.f + w.f * c)
    d = held(f * c + i * tanh(x.g + u.g), cell_clip)
    return tanh(d), d


@entered
def lstm_niaf(x, h, c, w, *, cell_clip=inf):
    u = product(h)
    i = sigmoid(x.i + u.i + w.i * c)
    f = sigmoid(x.f + u.f + w.f * c)
    d = held(f * c + i * (x.g + u.g), cell_clip)
    o = sigmoid(x.o + u.o + w.o * d)
    return o * tanh(d), d


@entered
def lstm_noaf(x, h, c, w, *, cell_clip=inf):
    u = product(h)
    i = sigmoid(x.i + u.i + w.i * c)
    f = sigmoid(x.f + u.f + w.f * c)
    d = held(f * c + i * tanh(x.g + u.g), cell_clip)
    o = sigmoid(x.o + u.o + w.o * d)
    return o * d, d


@entered
def lstm_cifg(x, h, c, w, *, cell_clip=inf):
    u = product(h)
    i = sigmoid(x.i + u.i + w.i * c)
    d = held((1 - i) * c + i * tanh(x.g + u.g), cell_clip)
    o = sigmoid(x.o + u.o + w.o * d)
    return o * tanh(d), d


@entered
def lstm_fgr(x, h, c, i, f, o, w, *, cell_clip=inf):
    u = product(h)
    v = product(i, f, o)
    i_new = sigmoid(x.i + u.i + v.to_i + w.i * c)
    f_new = sigmoid(x.f + u.f + v.to_f + w.f * c)
    g = tanh(x.g + u.g)
    d = held(f_new * c + i_new * g, cell_clip)
    o_new = sigmoid(x.o + u.o + v.to_o + w.o * d)
    return o_new * tanh(d), d, i_new, f_new, o_new


# ---- GRUs ----------------------------------------------------------------------------------------


@entered
def gru(x, h):
    u = product(h)
    r = sigmoid(x.r + u.r)
    z = sigmoid(x.z + u.z)
    n = tanh(x.n + r * u.n)
    return n + z * (h - n)


@entered
def gru_reset_before(x, h):
    u = product(h)
    r = sigmoid(x.r + u.r)
    z = sigmoid(x.z + u.z)
    n = tanh(x.n + product(r * h).n)
    return n + z * (h - n)


@entered
def mut1(x, h):
    z = sigmoid(x.z)
    r = sigmoid(x.r + product(h).r)
    n = tanh(tanh(direct(x)) + product(r * h).n)
    return h + z * (n - h)


@entered
def mut1_projected(x, h):
    z = sigmoid(x.z)
    r = sigmoid(x.r + product(h).r)
    n = tanh(tanh(x.n) + product(r * h).n)
    return h + z * (n - h)


@entered
def mut2(x, h):
    u = product(h)
    z = sigmoid(x.z + u.z)
    r = sigmoid(direct(x) + u.r)
    n = tanh(x.n + product(r * h).n)
    return h + z * (n - h)


@entered
def mut2_projected(x, h):
    u = product(h)
    z = sigmoid(x.z + u.z)
    r = sigmoid(x.r + u.r)
    n = tanh(x.n + product(r * h).n)
    return h + z * (n - h)


@entered
def mut3(x, h):
    z = sigmoid(x.z + product(tanh(h)).z)
    r = sigmoid(x.r + product(h).r)
    n = tanh(x.n + product(r * h).n)
    return h + z * (n - h)


# ---- cells with less in them ---------------------------------------------------------------------


@entered
def mgu(x, h):
    f = sigmoid(x.f + product(h).f)
    n = tanh(x.n + product(f * h).n)
    return h + f * (n - h)


@entered
def ligru(x, h):
    u = product(h)
    z = sigmoid(x.z + u.z)
    a = relu(x.a + u.a)
    return a + z * (h - a)


@entered
def janet(x, h):
    u = product(h)
    s = x.f + u.f
    n = tanh(x.n + u.n)
    return sigmoid(s) * h + sigmoid(1 - s) * n  # 1 - sigmoid(s - 1), without the subtraction


@entered
def indrnn(x, h, w):
    return relu(x.a + w.h * h)


# ---- sLSTM ---------------------------------------------------------------------------------------


def _slstm(x, u, c, n, m, log_forget):
    """Take a step of either sLSTM; of i and f one is 1, the other e."""
    a_i, a_f = x.i + u.i, x.f + u.f
    z = tanh(x.z + u.z)
    o = sigmoid(x.o + u.o)
    l = log_forget(a_f) + m  # noqa: E741 - as in csrc/cells
    lead = a_i - l
    e = exp(-abs(lead))
    i = where(lead > 0, 1.0, e)
    f = where(lead > 0, e, 1.0)
    c_new = f * c + i * z
    n_new = f * n + i
    return o * (c_new / n_new), c_new, n_new, maximum(l, a_i)


@entered
def slstm(x, h, c, n, m):
    return _slstm(x, product(h), c, n, m, log_sigmoid)


@entered
def slstm_exp(x, h, c, n, m):
    return _slstm(x, product(h), c, n, m, lambda f: f)
