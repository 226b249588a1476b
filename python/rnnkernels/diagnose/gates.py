"""The values of a layer's sigmoid gates at every step, in NumPy, by the cell's table.

The kernels keep them in a form of their own; here they are made again from x, the states and the weights: what a gate
adds up before its sigmoid is W_ih x, W_hh h of the step before, biases, and what else the cell's table names.

Not here: the candidates (tanh and ReLU, gates a, g and n) and the exponential gates of the sLSTM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnkernels.equations.cell import equations_of
from rnnkernels.functional import forward
from rnnkernels.parameters import cell_info

from . import of_equations

__all__ = ["gate_values", "sigmoid_gates"]

Array = npt.NDArray[Any]

SIGMOID = ("i", "f", "o", "r", "z")
EXCEPT = {"slstm": ("i", "z"), "slstm_exp": ("i", "f", "z")}  # exponential, tanh

EPSILON = 1e-5  # added to the variance of a normalised row, as in the kernels


def sigmoid_gates(cell: str) -> tuple[str, ...]:
    """Return the names of a cell's sigmoid gates, in the order of its table; of one from equations, of its equations.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells`.

    Raises
    ------
    TypeError, ValueError
        If there is no such cell.
    """
    names = [name for name, _, _ in cell_info(cell)["gates"]]
    equations = equations_of(cell)
    if equations is not None:
        return tuple(of_equations.sigmoids(equations))
    return tuple(dict.fromkeys(name for name in names if name in SIGMOID and name not in EXCEPT.get(cell, ())))


def gate_values(
    cell: str,
    x: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None = None,
) -> dict[str, Array]:
    """Run a layer over a sequence and return the values of its sigmoid gates after every step.

    Parameters
    ----------
    cell, x, params, state
        As for `rnnkernels.forward`; arrays of the host.

    Returns
    -------
    dict of str to ndarray, (T, B, H)
        A value in [0, 1] for each gate of `sigmoid_gates`, step, row and unit. The ``"f"`` of ``slstm`` is the
        sigmoid of its paper, before the stabiliser; that of ``janet`` the gate of its h.

    Raises
    ------
    TypeError, ValueError
        As `rnnkernels.forward`.
    """
    run = forward(cell, x, params, state, training=False, all_states=True)
    after = dict(zip(cell_info(cell)["states"], run.states or (), strict=True))
    before = {}
    for k, (name, array) in enumerate(after.items()):
        first = np.zeros_like(array[:1]) if state is None else np.asarray(state[k], array.dtype)[None]
        before[name] = np.concatenate([first, array])[:-1]  # (T, B, H)
    arrays = {name: np.asarray(array, run.output.dtype) for name, array in params.items()}
    equations = equations_of(cell)
    if equations is not None:
        return of_equations.gate_values(equations, np.asarray(x), arrays, tuple(before.values()))
    sums = _sums(cell, np.asarray(x), arrays, before, after)
    return {name: _sigmoid(sums[name]) for name in sigmoid_gates(cell)}


def _sums(
    cell: str, x: Array, params: Mapping[str, Array], before: Mapping[str, Array], after: Mapping[str, Array]
) -> dict[str, Array]:
    """Return what each gate adds up before its sigmoid, (T, B, H), by the gate's name."""
    info = cell_info(cell)
    hidden = len(params["weight_ih"]) // info["rows"][0]
    product = params["weight_ih"].T[x] if x.dtype.kind in "iu" else x @ params["weight_ih"].T
    gains = params.get("weight_diagonal", np.empty(0)) if info["normalisation"] != "none" else None
    product = _shifted(product, gains, params.get("bias_ih"))
    sums: dict[str, Array] = {}
    at = 0
    for name, of_x, _ in info["gates"]:
        if of_x == "projected":
            sums[name] = product[..., at : at + hidden]
            at += hidden
        elif of_x == "direct":
            sums[name] = x
    more = None if gains is None else gains[at:]
    for name, recurrent in _recurrent(cell, params, before, more, hidden).items():
        sums[name] = sums[name] + recurrent
    if "weight_gg" in params:
        fed = [name for name, _, operand in info["gates"] if operand == "feedback"]
        gates = np.concatenate([before[name] for name in fed], axis=-1) @ params["weight_gg"].T
        for name, part in zip(fed, np.split(gates, len(fed), axis=-1), strict=True):
            sums[name] = sums[name] + part
    if gains is None and "c" in before:  # peepholes
        for k, name in enumerate(info["diagonals"]):
            seen = after["c"] if name == "o" else before["c"]
            sums[name] = sums[name] + params["weight_diagonal"][k * hidden : (k + 1) * hidden] * seen
    return sums


def _recurrent(
    cell: str, params: Mapping[str, Array], before: Mapping[str, Array], gains: Array | None, hidden: int
) -> dict[str, Array]:
    """Return W_hh h + b_hh of each gate that sees h of the step before; MUT3's z sees tanh(h)."""
    found = {}
    at = 0
    weight, bias, h = params.get("weight_hh", np.empty(0)), params.get("bias_hh"), before["h"]
    if gains is not None:  # over the whole row: every gate of a normalised cell sees h
        whole = _shifted(h @ weight.T, gains, bias)
    for name, _, operand in cell_info(cell)["gates"]:
        if operand == "none" or (operand == "feedback" and "weight_gg" in params):
            continue
        rows = slice(at, at + hidden)
        at += hidden
        if gains is not None:
            found[name] = whole[..., rows]
        elif operand != "gated":  # a gated product is a candidate's
            seen = np.tanh(h) if operand == "feedback" else h
            found[name] = seen @ weight[rows].T + (0 if bias is None else bias[rows])
    return found


def _shifted(product: Array, gains: Array | None, shift: Array | None) -> Array:
    """Return a product with its bias, normalised over its row where there are gains."""
    if gains is not None:
        distance = product - product.mean(-1, keepdims=True)
        product = gains[: product.shape[-1]] * distance / np.sqrt((distance**2).mean(-1, keepdims=True) + EPSILON)
    return product if shift is None else product + shift


def _sigmoid(a: Array) -> Array:
    e = np.exp(-np.abs(a))
    return np.asarray(np.where(a >= 0, 1, e) / (1 + e))
