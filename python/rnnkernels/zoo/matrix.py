"""A matrix for a state, row by row: one head of M²RNN.

The state S (K, V) of a head is K rows of a batch, each a state of V units: the recurrent weights act along V, and all
rows share them.
"""

from __future__ import annotations

from typing import Any

import rnnkernels as rk


@rk.cell
def m2rnn(x: Any, h: Any, f: rk.PerStep) -> Any:
    """One row of one head of M²RNN (arXiv 2603.14360), whose step is S' = f S + (1 - f) tanh(S W + k vᵀ).

    A batch of B sequences is one of B·K rows here. Row k of sequence b has the input k_t[b, k] · x_t[b], so that with
    ``bias=False`` ``weight_ih`` times it is row k of the outer product k vᵀ, v = W_v x; f is the head's forget gate, a
    number of each step and sequence, repeated over its K rows and V units. What is read, y = Sᵀ q, is the caller's.

    n = tanh(W_n x + U_n h)
    h' = f ∘ h + (1 - f) ∘ n
    """
    u = rk.product(h)
    n = rk.tanh(x.n + u.n)
    return n + f * (h - n)
