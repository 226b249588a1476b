"""Keras 2 and 3: `SimpleRNN`, `LSTM`, `GRU` in both forms, and `Bidirectional` around them.

As lists of weights, of which the cell is told; or as layers, configs and files, which say it themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from rnnkernels._scalars import as_flag, as_items, as_text, shown

from ._cudnn import from_keras_cudnn
from ._keras_cells import layout_of_keras
from ._keras_files import is_path, major, sources
from ._keras_layers import KerasLayer, read_layer
from ._layers import Layers, as_array, join, of_one_dtype, split
from ._layouts import Arrays, fitting, to_layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rnnkernels.parameters import Array, Params

    from ._layouts import Layout


class FromKeras(NamedTuple):
    """What `from_keras` returns of a layer, a config or a file.

    Attributes
    ----------
    cell : str
        A built-in one, or one made of the layer's equations where its functions are others.
    params : dict of str to ndarray
        One layer of one direction has the names of `rnnkernels.forward`, several those of `rnnkernels.Stack`.
    reverse : bool
        Of a layer with ``go_backwards=True``: it is run with ``reverse=True``. Keras gives the outputs in the order in
        which it ran, which is ``convert.in_keras_order(output)``.
    merge_mode : str or None
        Of a ``Bidirectional``; ``"concat"`` is what a `rnnkernels.Stack` does. None: there is none, or Keras gives both
        directions apart.
    notes : tuple of str
        In words, what the layer does beside its weights: the order of its outputs, what is merged, ``stateful``.
    """

    cell: str
    params: Params
    reverse: bool
    merge_mode: str | None
    notes: tuple[str, ...]


@overload
def from_keras(cell: str, weights: Sequence[Any], *, stacked: bool = False) -> Params: ...
@overload
def from_keras(
    cell: Any,
    weights: Any = None,
    *,
    layer: str | None = None,
    keras_version: str | None = None,
    stacked: bool = False,
) -> FromKeras: ...
def from_keras(
    cell: Any,
    weights: Any = None,
    *,
    layer: str | None = None,
    keras_version: str | None = None,
    stacked: bool = False,
) -> Params | FromKeras:
    """Return parameters from a Keras layer: from its weights, or from the layer, its config or its file.

    Parameters
    ----------
    cell : str, layer, config, group or path; or sequence of layers or configs
        The name of a cell, for `weights` of which nothing else is known: ``"rnn_tanh"``, ``"rnn_relu"``, ``"lstm"``,
        ``"gru"`` (``GRU(reset_after=True)``, Keras' default), ``"gru_reset_before"`` (the other). A layer's functions
        are the caller's affair then.

        Or a layer: SimpleRNN, LSTM, GRU, Bidirectional around one, RNN around Keras' cells or StackedRNNCells, and
        Keras 2's CuDNNLSTM and CuDNNGRU. Or its config, ``layer.get_config()`` or ``keras.layers.serialize(layer)``. Or
        its group in an ``.h5`` file that holds the model. Or the path of an ``.h5`` or ``.keras`` file. A sequence of
        layers, or of configs, is a stack.
    weights : sequence of array_like, or sequence over layers of such; or group of an HDF5 file
        What ``layer.get_weights()`` gives: kernel (I, G·H), recurrent_kernel (H, G·H) and, with ``use_bias``, bias
        (G·H,), of ``"gru"`` (2, 3·H). Of a ``Bidirectional`` those of both directions. Beside a config also the layer's
        group, of ``.weights.h5`` say. None beside a layer, a group or a file.
    layer : str, optional
        Which layer of a file: needed where there are several.
    keras_version : str, optional
        ``"2.15.0"`` or ``"2"``: needed for ``hard_sigmoid`` where it is written nowhere, for that is 0.2 x + 0.5 in
        Keras 2 and x / 6 + 0.5 in Keras 3.
    stacked : bool, default False
        Give a single layer the names of a `rnnkernels.Stack` of one layer, too.

    Returns
    -------
    dict of str to ndarray, or FromKeras
        For the name of a cell parameters alone, else also the cell and what there is to know. Copies. One layer of one
        direction has the names of `rnnkernels.forward`, several those of `rnnkernels.Stack`. Where Keras has one bias
        it is ``bias_ih``, and ``bias_hh`` is zero.

    Raises
    ------
    ImportError
        If a file is to be opened and h5py is not there.
    TypeError
        If something is no array of float32 or float64.
    ValueError
        If Keras has no such cell, a layer or a function is not served, or the number of arrays or a shape does not fit.

    Notes
    -----
    A layer with ``go_backwards=True`` has the weights of one without. It is run with ``reverse=True``; Keras then gives
    the outputs in the order in which it ran, the last step's first, ours stay at their steps: `in_keras_order` turns
    them round. Keras' ``Bidirectional`` does so itself, and agrees with a `rnnkernels.Stack` as it is.

    ``activation`` and ``recurrent_activation`` other than Keras' defaults give a cell made of the layer's equations.
    ``unit_forget_bias`` says how the bias began, ``implementation`` and ``unroll`` how products are arranged: weights
    and results are the same.
    """
    stacked = as_flag("stacked", stacked)
    if isinstance(cell, str) and not is_path(cell):
        layout_of_keras(cell)
        for name, value in (("layer", layer), ("keras_version", keras_version)):
            if value is not None:
                raise ValueError(f"{name}: expected None beside the name of a cell, got {shown(value)}")
        return _of_weights(cell, weights, stacked=stacked)
    for name, value in (("layer", layer), ("keras_version", keras_version)):
        if value is not None:
            as_text(name, value)
    asked = major(keras_version)
    found = []
    for source in sources(cell, weights, layer):
        written = major(source.version)
        if asked is not None and written is not None and asked != written:
            raise ValueError(f"keras_version: expected {source.version}, as is written there; got {keras_version!r}")
        read = read_layer(source.class_name, source.config, asked if asked is not None else written)
        found.append((read, _parameters(read, source.arrays)))
    return _together(found, stacked=stacked)


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
    layout = layout_of_keras(cell)
    layers, named = split(cell, params)
    made = [[array for way in layer for array in _to_one(cell, layout, way)] for layer in layers]
    return made if named else made[0]


def _of_weights(cell: str, weights: Any, *, stacked: bool) -> Params:
    """Return the parameters of weights of which the cell is known."""
    layout = layout_of_keras(cell)
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


def _parameters(layer: KerasLayer, arrays: list[Any]) -> Layers:
    """Return a layer's parameters, each of its cells' and directions'."""
    flat = [cell for directions in layer.cells for cell in directions]
    wanted = sum(2 + cell.use_bias for cell in flat)
    if len(arrays) != wanted:
        said = "kernel, recurrent_kernel and bias" if flat[0].use_bias else "kernel and recurrent_kernel"
        raise ValueError(
            f"weights: expected {wanted} arrays, {said} of {len(flat)} cells (use_bias={flat[0].use_bias}), "
            f"got {len(arrays)}"
        )
    found: Layers = []
    first = 0
    for directions in layer.cells:
        found.append([])
        for cell in directions:
            mine = arrays[first : first + 2 + cell.use_bias]
            if cell.cudnn:
                params = from_keras_cudnn(cell.cell, mine)
            else:
                params = _from_one(cell.cell, cell.layout, mine, "weights", first)
            if params["weight_hh"].shape[1] != cell.units:
                raise ValueError(
                    f"weights: expected those of units={cell.units}, as the config says, "
                    f"got {params['weight_hh'].shape[1]}"
                )
            found[-1].append(params)
            first += len(mine)
    return found


def _together(found: list[tuple[KerasLayer, Layers]], *, stacked: bool) -> FromKeras:
    """Return one layer, or several on each other, which have to be what a `Stack` is."""
    layers = [layer for layer, _ in found]
    cells = {cell.cell[:] for layer in layers for directions in layer.cells for cell in directions}
    widths = {params["weight_hh"].shape[1] for _, of in found for directions in of for params in directions}
    ways = {len(directions) for layer in layers for directions in layer.cells}
    for what, several in (("cell", cells), ("units", widths), ("number of directions", ways)):
        if len(several) > 1:
            raise ValueError(
                f"cell: expected one {what} in all layers, as in a Stack, got {', '.join(sorted(map(str, several)))}: "
                "give the layers one by one"
            )
    for layer in layers[:-1]:
        if not layer.sequences:
            raise ValueError("cell: expected return_sequences=True of a layer below another, got False")
        if layer.merge_mode not in (None, "concat"):
            raise ValueError(f"cell: expected merge_mode='concat' below another layer, got {layer.merge_mode!r}")
    if len(layers) > 1 and any(layer.reverse for layer in layers):
        raise ValueError(
            "cell: expected layers without go_backwards in a stack, for the layer above sees the outputs in their "
            "reversed order: give the layers one by one"
        )
    last = layers[-1]
    params = join([directions for _, of in found for directions in of], stacked=stacked)
    notes = dict.fromkeys(note for layer in layers for note in layer.notes)
    return FromKeras(last.cells[0][0].cell, params, last.reverse, last.merge_mode, tuple(notes))


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
