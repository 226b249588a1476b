"""`CuDNNLSTM` and `CuDNNGRU` of Keras 2, as lists of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels._scalars import as_flag, as_items

from ._layers import as_array, join, of_one_dtype
from ._layouts import Arrays, fitting, layout_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rnnkernels.parameters import Params


def from_keras_cudnn(cell: str, weights: Sequence[Any], *, stacked: bool = False) -> Params:
    """Return parameters from the weights of a ``CuDNNLSTM`` or ``CuDNNGRU`` of Keras 2.

    They have the shapes of an LSTM's and a GRU's, and other contents: each gate's block of columns holds its matrix
    transposed, and a gate has two biases.

    Parameters
    ----------
    cell : {"lstm", "gru"}
    weights : sequence of array_like
        What ``layer.get_weights()`` gives, or the layer's group of an HDF5 file holds: kernel (I, G·H),
        recurrent_kernel (H, G·H), bias (2·G·H,).
    stacked : bool, default False
        Give the names of a `rnnkernels.Stack` of one layer.

    Returns
    -------
    dict of str to ndarray
        Copies, under the names of `rnnkernels.forward`.

    Raises
    ------
    TypeError
        If something is no array of float32 or float64.
    ValueError
        If there is no such layer, or the number of arrays or a shape does not fit.
    """
    layout = layout_of("cuDNN's layers in Keras 2", cell)
    stacked = as_flag("stacked", stacked)
    given = list(as_items("weights", weights, "a list of arrays"))
    if len(given) != 3:
        raise ValueError(f"weights: expected kernel, recurrent_kernel and bias, got {len(given)} arrays")
    arrays = {f"weights[{k}]": as_array(f"weights[{k}]", value) for k, value in enumerate(given)}
    kernel, recurrent, bias = of_one_dtype(arrays, "weights").values()
    if bias.ndim != 1 or len(bias) % 2:
        raise ValueError(f"weights[2]: expected shape (2*{len(layout.gates)}*H,), got {bias.shape}")
    return join([[fitting(cell, layout, Arrays(kernel, recurrent, *np.split(bias, 2)), "weights")]], stacked=stacked)
