"""A state that fades between steps: GRU-D."""

from __future__ import annotations

from typing import Any

import rnnkernels as rk


@rk.cell
def gru_d(x: Any, h: Any, decay: rk.PerStep) -> Any:
    """Che et al., Recurrent neural networks for multivariate time series with missing values, arXiv 1606.01865.

    decay (T, B, H) is W_decay δ + b_decay, a layer of its own over δ, the times since each input was last seen. x is
    what the paper puts in, its imputed inputs and their mask side by side, (T, B, 2D): its V m is a part of W x.
    z keeps the NEW state; rows of the weights in the order r, z, n.

    gamma = exp(-max(0, decay));  k = gamma ∘ h
    r, z = σ(W x + U k);  n = tanh(W_n x + U_n (r ∘ k))
    h' = (1 - z) ∘ k + z ∘ n
    """
    k = rk.exp(-rk.relu(decay)) * h
    u = rk.product(k)
    r = rk.sigmoid(x.r + u.r)
    z = rk.sigmoid(x.z + u.z)
    n = rk.tanh(x.n + rk.product(r * k).n)
    return k + z * (n - k)
