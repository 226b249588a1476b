"""The sLSTM of xLSTM with heads: units are cut into heads, and each sees the units of its own head alone."""
# mypy: allow-untyped-defs, allow-untyped-calls
# The equations are written as a user writes them.

from __future__ import annotations

import rnnkernels as rk


@rk.cell
def slstm_heads(x, h, c, n, m, *, heads=4):
    """Beck et al., xLSTM: Extended long short-term memory, arXiv 2405.04517: the sLSTM with f = σ, by heads.

    The recurrent weights R are block-diagonal, a block for each head: ``weight_hh`` is (4·H, H / heads). With the
    stabiliser m. Rows of the weights in the order i, f, z, o. What the paper does behind it, a normalisation
    by head, is the caller's. ``slstm_heads(heads=1)`` is the built-in `slstm`.

    z = tanh(W_z x + R_z h);  o = σ(W_o x + R_o h)
    ĩ = W_i x + R_i h;  l = log σ(W_f x + R_f h) + m;  m' = max(l, ĩ)
    i = exp(ĩ - m');  f = exp(l - m')
    c' = f ∘ c + i ∘ z;  n' = f ∘ n + i;  h' = o ∘ c' / n'
    """
    u = rk.product(h, heads=heads)
    a_i, a_f = x.i + u.i, x.f + u.f
    z = rk.tanh(x.z + u.z)
    o = rk.sigmoid(x.o + u.o)
    l = rk.log_sigmoid(a_f) + m  # noqa: E741 - as in the paper
    lead = a_i - l
    e = rk.exp(-abs(lead))  # of i and f one is 1, the other e
    i = rk.where(lead > 0, 1.0, e)
    f = rk.where(lead > 0, e, 1.0)
    c_new = f * c + i * z
    n_new = f * n + i
    return o * (c_new / n_new), c_new, n_new, rk.maximum(l, a_i)
