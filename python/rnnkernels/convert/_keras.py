"""Keras 3: `SimpleRNN`, `LSTM`, `GRU` in both forms, and `Bidirectional` around them, as lists of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels._scalars import as_flag, as_items, shown

from ._layers import as_array, join, of_one_dtype, split
from ._layouts import Arrays, fitting, layout_of, to_layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rnnkernels.parameters import Array, Params

    from ._layouts import Layout


def from_keras(cell: str, weights: Sequence[Any], *, stacked: bool = False) -> Params:
    """Return parameters from the weights of a Keras layer.

    Parameters
    ----------
    cell : {"rnn_tanh", "rnn_relu", "lstm", "gru", "gru_reset_before"}
        ``"gru"`` is ``GRU(reset_after=True)``, which is Keras' default, ``"gru_reset_before"`` the other.
        A ``SimpleRNN`` is one of the first two, as its activation says.
    weights : sequence of array_like, or sequence over layers of such
        What ``layer.get_weights()`` gives: kernel (I, G·H), recurrent_kernel (H, G·H) and, with ``use_bias``, bias
        (G·H,), of ``"gru"`` (2, 3·H). Of a ``Bidirectional`` those of both directions.
    stacked : bool, default False
        Give a single layer the names of a `rnnkernels.Stack` of one layer, too.

    Returns
    -------
    dict of str to ndarray
        Copies. One layer of one direction has the names of `rnnkernels.forward`, several those of `rnnkernels.Stack`.
        Where Keras has one bias it is ``bias_ih``, and ``bias_hh`` is zero.

    Raises
    ------
    TypeError
        If something is no array of float32 or float64.
    ValueError
        If Keras has no such cell, or the number of arrays or a shape does not fit.

    Notes
    -----
    A layer with ``go_backwards=True`` has the weights of one without. It is run with ``reverse=True``; Keras then gives
    the outputs in the order in which it ran, the last step's first, ours stay at their steps: `in_keras_order` turns
    them round. Keras' ``Bidirectional`` does so itself, and agrees with a `rnnkernels.Stack` as it is.
    """
    layout = layout_of("Keras", cell)
    stacked = as_flag("stacked", stacked)
    given = _as_list("weights", weights)
    nested = bool(given) and all(isinstance(part, (list, tuple)) for part in given)
    layers = [_as_list(f"weights[{k}]", part) for k, part in enumerate(given)] if nested else [given]
    found = []
    for number, arrays in enumerate(layers):
        what = f"weights[{number}]" if nested else "weights"
        if len(arrays) not in (2, 3, 4, 6):
            raise ValueError(f"{what}: expected 2 or 3 arrays, of both directions 4 or 6, got {len(arrays)}")
        each = 2 if len(arrays) in (2, 4) else 3
        ways = [arrays[at : at + each] for at in range(0, len(arrays), each)]
        found.append([_from_one(cell, layout, way, what, at * each) for at, way in enumerate(ways)])
    return join(found, stacked=stacked)


def in_keras_order(output: Array) -> Array:
    """Return the output of a run with ``reverse=True`` in the order of a Keras layer with ``go_backwards=True``.

    Both run from the last step to the first. Ours leaves each step's output at its step; Keras' first output is that of
    the step it ran first, the last. It is ``output[::-1]``, and the same the other way.

    Parameters
    ----------
    output : ndarray, (T, B, H)

    Returns
    -------
    ndarray, (T, B, H)
        A view.

    Raises
    ------
    TypeError, ValueError
        If it is no array, or has not three dimensions.
    """
    shape = getattr(output, "shape", None)
    if not isinstance(shape, tuple):
        raise TypeError(f"output: expected an array (T, B, H), got {shown(output)}")
    if len(shape) != 3:
        raise ValueError(f"output: expected shape (T, B, H), got {shape}")
    return output[::-1]


def to_keras(cell: str, params: Mapping[str, Any]) -> list[Any]:
    """Return the weights of a Keras layer from parameters.

    ``bias_ih`` and ``bias_hh`` are added where Keras has one bias: the same function, but for the rounding of the sum,
    and exact where one of them is zero.

    Parameters
    ----------
    cell
        As in `from_keras`.
    params : mapping of str to array_like
        Of one layer, or of a `rnnkernels.Stack`.

    Returns
    -------
    list of ndarray
        What ``layer.set_weights`` takes; a list over layers of such for the parameters of a stack. Without biases it is
        that of a layer with ``use_bias=False``.

    Raises
    ------
    TypeError, ValueError
        If the parameters do not fit the cell, or Keras has no such cell.
    """
    layout = layout_of("Keras", cell)
    layers, named = split(cell, params)
    made = [[array for way in layer for array in _to_one(cell, layout, way)] for layer in layers]
    return made if named else made[0]


def _from_one(cell: str, layout: Layout, weights: list[Any], what: str, first: int) -> Params:
    names = [f"{what}[{first + k}]" for k in range(len(weights))]
    arrays = [as_array(name, value) for name, value in zip(names, weights, strict=True)]
    of_one_dtype(dict(zip(names, arrays, strict=True)), what)
    bias_ih, bias_hh = arrays[2] if len(arrays) == 3 else None, None
    if bias_ih is not None and layout.bias_hh:
        if bias_ih.ndim != 2 or len(bias_ih) != 2:
            raise ValueError(f"{names[2]}: expected shape (2, {len(layout.gates)}*H), got {bias_ih.shape}")
        bias_ih, bias_hh = bias_ih
        names.append(names[2])
    return fitting(cell, layout, Arrays(arrays[0], arrays[1], bias_ih, bias_hh), names)


def _to_one(cell: str, layout: Layout, params: Params) -> list[Array]:
    kernel, recurrent, bias_ih, bias_hh = to_layout(cell, layout, params)
    if bias_ih is None:
        return [kernel, recurrent]
    return [kernel, recurrent, bias_ih if bias_hh is None else np.stack([bias_ih, bias_hh])]


def _as_list(name: str, value: Any) -> list[Any]:
    return list(as_items(name, value, "a list of arrays"))
