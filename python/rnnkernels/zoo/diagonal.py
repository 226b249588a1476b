"""Diagonal recurrences: each unit sees itself alone, through element-wise weights, and other units by way of x only.

Danieli et al., ParaRNN: unlocking parallel training of nonlinear RNNs for large language models, arXiv 2510.21450. The
paper solves them in parallel over time, by Newton's method; here they run step by step, which is exact.
"""
# mypy: allow-untyped-defs, allow-untyped-calls
# The equations are written as a user writes them.

from __future__ import annotations

import rnnkernels as rk


@rk.cell
def para_gru(x, h, w):
    """ParaGRU of ParaRNN (arXiv 2510.21450), a GRU with diagonal recurrent weights a.

    z keeps the NEW state; rows of ``weight_ih`` and parts of ``weight_diagonal`` in the order z, r, n.

    z, r = σ(W x + a ∘ h);  n = tanh(W_n x + a_n ∘ (r ∘ h))
    h' = (1 - z) ∘ h + z ∘ n
    """
    z = rk.sigmoid(x.z + w.z * h)
    r = rk.sigmoid(x.r + w.r * h)
    n = rk.tanh(x.n + w.n * (r * h))
    return h + z * (n - h)


@rk.cell
def para_lstm(x, h, c, w):
    """ParaLSTM of ParaRNN (arXiv 2510.21450): diagonal recurrent weights a, peepholes p, input gate 1 - f.

    Rows of ``weight_ih`` in the order f, g, o; parts of ``weight_diagonal`` a_f, p_f, a_g, a_o, p_o.

    f = σ(W_f x + a_f ∘ h + p_f ∘ c);  g = tanh(W_g x + a_g ∘ h)
    c' = f ∘ c + (1 - f) ∘ g
    o = σ(W_o x + a_o ∘ h + p_o ∘ c');  h' = o ∘ tanh(c')
    """
    f = rk.sigmoid(x.f + w.f * h + w.f_of_c * c)
    g = rk.tanh(x.g + w.g * h)
    d = f * c + (1 - f) * g
    o = rk.sigmoid(x.o + w.o * h + w.o_of_c * d)
    return o * rk.tanh(d), d
