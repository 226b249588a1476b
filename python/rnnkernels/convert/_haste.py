"""Haste: `LSTM`, `GRU`, `LayerNormLSTM` and `LayerNormGRU`, by the names of their variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels._scalars import as_flag

from ._layers import as_arrays, expect_shape, join, split
from ._layouts import Arrays, fitting, gates_of, layout_of, reorder, to_layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnkernels.parameters import Array, Params


def from_haste(cell: str, arrays: Mapping[str, Any], *, stacked: bool = False) -> Params:
    """Return parameters from those of a Haste layer.

    Parameters
    ----------
    cell : {"lstm", "gru", "lstm_layer_norm", "gru_layer_norm"}
        Its ``GRU`` is `gru`, with the reset behind the product. Its ``IndRNN`` has tanh where `indrnn` has max(0, x):
        another cell.
    arrays : mapping of str to tensor or array_like
        The layer's ``state_dict()``: ``kernel`` (I, G·H), ``recurrent_kernel`` (H, G·H), ``bias`` (G·H,), of a GRU also
        ``recurrent_bias`` (3·H,); of a normalised layer ``gamma`` (2, G·H), of its LSTM also ``gamma_h`` and ``beta_h``
        (H,).
    stacked : bool, default False
        Give the names of a `rnnkernels.Stack` of one layer.

    Returns
    -------
    dict of str to ndarray
        Copies. An LSTM's one bias is ``bias_ih``, and ``bias_hh`` is zero.

    Raises
    ------
    TypeError
        If something is no mapping, or no array of float32 or float64.
    ValueError
        If Haste has no such cell, or names or shapes do not fit it.
    """
    layout = layout_of("Haste", cell)
    stacked = as_flag("stacked", stacked)
    needed = ["kernel", "recurrent_kernel", *_others(cell)]
    found = as_arrays("arrays", arrays, needed)
    names = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
    arrays_of = Arrays(found["kernel"], found["recurrent_kernel"], found["bias"], found.get("recurrent_bias"))
    params = fitting(cell, layout, arrays_of, [f"arrays[{name!r}]" for name in names])
    hidden = params["weight_hh"].shape[1]
    shapes = {"gamma": (2, len(layout.gates) * hidden), "gamma_h": (hidden,), "beta_h": (hidden,)}
    for name in needed[2:]:
        if name in shapes:
            expect_shape(f"arrays[{name!r}]", found[name], shapes[name], "that of the layer")
    if "gamma" in found:
        gains = [reorder(gamma, layout.gates, gates_of(cell)) for gamma in found["gamma"]]
        inner = [found[name] for name in ("gamma_h", "beta_h") if name in found]
        params["weight_diagonal"] = np.concatenate([*gains, *inner])
    return join([[params]], stacked=stacked)


def to_haste(cell: str, params: Mapping[str, Any]) -> dict[str, Array]:
    """Return the arrays of a Haste layer from parameters.

    An LSTM's ``bias_ih`` and ``bias_hh`` are added: the same function, but for the rounding of the sum, and exact where
    one of them is zero. A layer without biases gets zeros, as Haste has no such layer.

    Parameters
    ----------
    cell
        As in `from_haste`.
    params : mapping of str to array_like
        Of one layer of one direction.

    Returns
    -------
    dict of str to ndarray
        See `from_haste`.

    Raises
    ------
    TypeError, ValueError
        If the parameters do not fit the cell, are of several layers, or Haste has no such cell.
    """
    layout = layout_of("Haste", cell)
    layers, _ = split(cell, params)
    if len(layers) > 1 or len(layers[0]) > 1:
        raise ValueError(f"params: expected one layer, got {len(layers)} layers of {len(layers[0])} directions")
    ours = layers[0][0]
    kernel, recurrent, bias_ih, bias_hh = to_layout(cell, layout, ours)
    count = kernel.shape[1]
    zeros = np.zeros(count, kernel.dtype)
    found = {"kernel": kernel, "recurrent_kernel": recurrent, "bias": zeros if bias_ih is None else bias_ih}
    if layout.bias_hh:
        found["recurrent_bias"] = zeros.copy() if bias_hh is None else bias_hh
    if "weight_diagonal" in ours:
        diagonal = ours["weight_diagonal"]
        gains = diagonal[: 2 * count].reshape(2, count)
        found["gamma"] = np.stack([reorder(gain, gates_of(cell), layout.gates) for gain in gains])
        inner = diagonal[2 * count :]
        if len(inner):
            found["gamma_h"], found["beta_h"] = (half.copy() for half in np.split(inner, 2))
    return found


def _others(cell: str) -> tuple[str, ...]:
    biases = ("bias",) if cell.startswith("lstm") else ("bias", "recurrent_bias")
    gains = {"lstm_layer_norm": ("gamma", "gamma_h", "beta_h"), "gru_layer_norm": ("gamma",)}
    return *biases, *gains.get(cell, ())
