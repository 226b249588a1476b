"""ONNX's ``clip``: what every activation function is applied to, held inside [-clip, clip].

The kernels do not clip there. Where no such value goes beyond, a run without clipping is the run with it, exactly:
this module finds how far they go at most, from a finished run. (A cell's ``cell_clip`` is another thing: it holds c.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rnnkernels.parameters import Array, Params, cell_info

if TYPE_CHECKING:
    from collections.abc import Sequence


def reach(cell: str, params: Params, x: Array, state: Sequence[Array], states: Sequence[Array]) -> float:
    """Return a bound on the magnitude of all that the activation functions were applied to.

    That of a product is at most the product of the magnitudes. For a Relu only what is above 0 counts: below, clipping
    changes nothing.

    Parameters
    ----------
    cell, params
    x : ndarray, (N, I)
        All inputs that were read, without padding.
    state : sequence of ndarray, each (B, H)
        The initial states.
    states : sequence of ndarray, each (T, B, H)
        Those after every step.
    """
    if cell == "rnn_relu":
        return float(states[0].max(initial=0.0))
    hidden = states[0].shape[-1]
    of_x = _largest(x)  # (I,)
    h, *c = (
        np.maximum(_largest(first), _largest(rest.reshape(-1, hidden)))  # (H,)
        for first, rest in zip(state, states, strict=True)
    )
    total = np.abs(params["weight_ih"]).astype(np.float64) @ of_x
    total += np.abs(params["weight_hh"]).astype(np.float64) @ h
    for name in ("bias_ih", "bias_hh"):
        total += np.abs(params.get(name, np.zeros(1)))
    info = cell_info(cell)
    gates = [name for name, of_input, _ in info["gates"] if of_input == "projected"]
    peepholes = np.abs(params.get("weight_diagonal", np.zeros(0))).reshape(-1, hidden)
    for name, weight in zip(info["diagonals"], peepholes, strict=True):
        at = gates.index(name) * hidden
        total[at : at + hidden] += weight * c[0]
    largest = max(float(part.max(initial=0.0)) for part in (total, *c))  # an LSTM's c goes through a function too
    # The kernel's own rounding, in a sum of so many terms.
    rounding = (len(of_x) + hidden + 4) * float(np.finfo(x.dtype).eps)
    return float(largest * (1 + rounding))


def _largest(rows: Array) -> Array:
    found: Array = np.abs(rows).max(axis=0, initial=0.0).astype(np.float64)
    return found
