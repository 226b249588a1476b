"""The block GRU of DreamerV3's recurrent state-space model, without its layer normalisation."""
# mypy: allow-untyped-defs, allow-untyped-calls
# The equations are written as a user writes them.

from __future__ import annotations

import rnnkernels as rk


@rk.cell
def dreamer_gru(x, h, *, blocks=8, update_bias=-1.0):
    """Hafner et al., Mastering diverse domains through world models, arXiv 2301.04104, as its authors' code has it.

    The recurrent weights U are block-diagonal, of 8 blocks as in the paper: ``weight_hh`` is (3·H, H / blocks). Those
    of x are dense; the block-linear layers that the authors put between the state and its gates are no part of it.

    The reset gate multiplies the whole sum of the candidate, input and state. The bias makes the state keep what it
    has at first. z keeps the NEW state; rows of the weights in the order r, n, z.

    r = σ(W_r x + U_r h);  n = tanh(r ∘ (W_n x + U_n h));  z = σ(W_z x + U_z h - 1)
    h' = (1 - z) ∘ h + z ∘ n
    """
    u = rk.product(h, heads=blocks)
    r = rk.sigmoid(x.r + u.r)
    n = rk.tanh(r * (x.n + u.n))
    z = rk.sigmoid(x.z + u.z + update_bias)
    return h + z * (n - h)
