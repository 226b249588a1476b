"""Gates of the input alone, which leave the state linear: minGRU and minLSTM.

Feng et al., Were RNNs all we needed?, arXiv 2410.01201. The paper runs them in parallel over time; here they run step
by step. No unit sees a state but its own: there is no ``weight_hh``.
"""
# mypy: allow-untyped-defs, allow-untyped-calls
# The equations are written as a user writes them.

from __future__ import annotations

import rnnkernels as rk


@rk.cell
def min_gru(x, h):
    """Return h' of minGRU (arXiv 2410.01201). z keeps the NEW state; rows in the order z, n.

    z = σ(W_z x);  n = W_n x
    h' = (1 - z) ∘ h + z ∘ n
    """
    z = rk.sigmoid(x.z)
    return h + z * (x.n - h)


@rk.cell
def min_lstm(x, h):
    """Return h' of minLSTM (arXiv 2410.01201), with its two gates normalised to a sum of 1; rows f, i, n.

    f, i = σ(W x);  n = W_n x
    h' = f / (f + i) ∘ h + i / (f + i) ∘ n
    """
    f = rk.sigmoid(x.f)
    i = rk.sigmoid(x.i)
    return (f * h + i * x.n) / (f + i)
