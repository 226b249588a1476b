"""A matrix for a state, row by row: M²RNN.

The state S (K, V) of a head is K rows of a batch, each a state of V units: the recurrent weights act along V, and all
rows share them. The states of N heads stand side by side in a row, N·V units, and each head has weights of its own.
"""

from __future__ import annotations

from typing import Any

import rnnkernels as rk


@rk.cell
def m2rnn(x: Any, h: Any, f: rk.PerStep, *, heads: float = 1) -> Any:
    """One row of M²RNN (arXiv 2603.14360), a head of which steps as S' = f S + (1 - f) tanh(S W + k vᵀ).

    A batch of B sequences is one of B·K rows here. Row k of sequence b has the input k_t[b, k] · x_t[b], so that with
    ``bias=False`` ``weight_ih`` times it is row k of the outer product k vᵀ, v = W_v x; f is a head's forget gate, a
    number of each step and sequence, repeated over its K rows and V units. What is read, y = Sᵀ q, is the caller's.

    With several heads H is N·V, ``weight_hh`` (N·V, V). The product with x is one for all heads, which then share the
    key k and have values of their own. Where the keys differ, too, the caller makes row k of all k_n v_nᵀ, (N·V,), and
    gives it as x, beside a ``weight_ih`` that is the identity and stays it.

    n = tanh(W_n x + U_n h)
    h' = f ∘ h + (1 - f) ∘ n
    """
    u = rk.product(h, heads=heads)
    n = rk.tanh(x.n + u.n)
    return n + f * (h - n)
