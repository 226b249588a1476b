"""LSTM and GRU whose gates or candidates go through other functions than σ and tanh.

What Keras has as `recurrent_activation` and `activation`, ONNX as `activations`. The rest of each cell is that of the
built-in `lstm` and `gru`: rows i f g o and r z n; the GRU's reset acts after the product, its z keeps the OLD state.
"""
# mypy: allow-untyped-defs, allow-untyped-calls
# The equations are written as a user writes them.

from __future__ import annotations

import rnnkernels as rk


def _lstm(x, h, c, gate, activation):
    """Take a step of an LSTM with these two functions."""
    u = rk.product(h)
    i = gate(x.i + u.i)
    f = gate(x.f + u.f)
    g = activation(x.g + u.g)
    d = f * c + i * g
    o = gate(x.o + u.o)
    return o * activation(d), d


def _gru(x, h, gate, activation):
    """Take a step of a GRU with these two functions."""
    u = rk.product(h)
    r = gate(x.r + u.r)
    z = gate(x.z + u.z)
    n = activation(x.n + r * u.n)
    return n + z * (h - n)


@rk.cell
def lstm_hard_sigmoid(x, h, c, *, slope=1 / 6, offset=0.5):
    """`lstm` with max(0, min(1, slope a + offset)) in the place of σ(a).

    1/6 is the slope of PyTorch's Hardsigmoid and of Keras 3; 0.2 that of Keras before, and ONNX's default.
    """
    return _lstm(x, h, c, lambda a: rk.hard_sigmoid(a, slope, offset), rk.tanh)


@rk.cell
def lstm_softsign(x, h, c):
    """`lstm` with a / (1 + |a|) (Bergstra et al. 2009; Glorot, Bengio 2010) in the place of both tanh(a)."""
    return _lstm(x, h, c, rk.sigmoid, rk.softsign)


@rk.cell
def lstm_relu(x, h, c):
    """`lstm` with max(0, a) in the place of both tanh(a): Keras' LSTM(activation="relu"). Nothing bounds c."""
    return _lstm(x, h, c, rk.sigmoid, rk.relu)


@rk.cell
def gru_hard_sigmoid(x, h, *, slope=1 / 6, offset=0.5):
    """`gru` with max(0, min(1, slope a + offset)) in the place of σ(a); see `lstm_hard_sigmoid`."""
    return _gru(x, h, lambda a: rk.hard_sigmoid(a, slope, offset), rk.tanh)


@rk.cell
def gru_softsign(x, h):
    """`gru` with a / (1 + |a|) in the place of tanh(a)."""
    return _gru(x, h, rk.sigmoid, rk.softsign)


@rk.cell
def gru_relu(x, h):
    """`gru` with max(0, a) in the place of tanh(a): Keras' GRU(activation="relu")."""
    return _gru(x, h, rk.sigmoid, rk.relu)
