"""PyTorch: `torch.nn.RNN`, `LSTM`, `GRU` and their cells. Names, shapes and gate orders are ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnkernels._scalars import as_choice, as_flag, as_text, check_mapping

from ._layers import as_array, join, of_one_dtype, split
from ._layouts import layout_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnkernels.parameters import Params


def from_torch(cell: str, state_dict: Mapping[str, Any], *, prefix: str = "", stacked: bool = False) -> Params:
    """Return parameters from a state_dict.

    Parameters
    ----------
    cell : {"rnn_tanh", "rnn_relu", "lstm", "lstm_projected", "gru"}
        ``"lstm_projected"`` is an ``LSTM`` with ``proj_size``.
    state_dict : mapping of str to tensor or array_like
        Of ``torch.nn.RNN``, ``LSTM`` or ``GRU`` of any number of layers and directions (``weight_ih_l0``, ...), or of
        ``RNNCell``, ``LSTMCell`` or ``GRUCell`` (``weight_ih``, ...).
    prefix : str
        Only the names that begin with it, without it: ``"encoder.rnn."`` picks one layer out of a model.
    stacked : bool, default False
        Give a single layer the names of a `rnnkernels.Stack` of one layer, too.

    Returns
    -------
    dict of str to ndarray
        Copies. One layer of one direction has the names of `rnnkernels.forward`, several those of `rnnkernels.Stack`.

    Raises
    ------
    TypeError
        If something is no mapping, or no array of float32 or float64.
    ValueError
        If PyTorch has no such cell, or names or shapes do not fit it.
    """
    layout_of("torch", cell)
    check_mapping("state_dict", state_dict, "names to tensors")
    as_text("prefix", prefix)
    stacked = as_flag("stacked", stacked)
    mine = {str(name)[len(prefix) :]: value for name, value in state_dict.items() if str(name).startswith(prefix)}
    if not mine:
        names = ", ".join(map(str, state_dict))
        raise ValueError(
            f"prefix: expected one that the names in state_dict begin with, got {prefix!r} for {names}"
            if names
            else "state_dict: expected the arrays of a layer, got none"
        )
    arrays = {name: as_array(f"state_dict[{prefix + name!r}]", value) for name, value in mine.items()}
    layers, _ = split(cell, of_one_dtype(arrays, "state_dict"))
    return {name: array.copy() for name, array in join(layers, stacked=stacked).items()}


def to_torch(
    cell: str, params: Mapping[str, Any], *, prefix: str = "", module: str = "layer", tensors: bool = True
) -> dict[str, Any]:
    """Return a state_dict from parameters: `from_torch` the other way, in the same bits.

    Parameters
    ----------
    cell
        As in `from_torch`.
    params : mapping of str to array_like
        Of one layer, or of a `rnnkernels.Stack`.
    prefix : str
        Before every name.
    module : {"layer", "cell"}
        What the names are for: ``torch.nn.LSTM`` (``weight_ih_l0``) or ``torch.nn.LSTMCell`` (``weight_ih``, of one
        layer alone).
    tensors : bool, default True
        False: arrays of NumPy in the place of tensors; PyTorch is not needed then.

    Returns
    -------
    dict of str to Tensor or ndarray
        Copies.

    Raises
    ------
    ImportError
        If `tensors` and PyTorch is not there.
    TypeError, ValueError
        As `from_torch`.
    """
    layout_of("torch", cell)
    layers, _ = split(cell, params)
    as_text("prefix", prefix)
    as_choice("module", module, ("layer", "cell"))
    tensors = as_flag("tensors", tensors)
    if module == "cell" and (len(layers) > 1 or len(layers[0]) > 1 or cell == "lstm_projected"):
        what = cell if cell == "lstm_projected" else f"{len(layers)} layers of {len(layers[0])} directions"
        raise ValueError(f"module: expected one layer that torch.nn has a cell class for, got {what}")
    names = join(layers, stacked=module == "layer")
    arrays = {prefix + name: array.copy() for name, array in names.items()}
    if not tensors:
        return arrays
    try:
        import torch  # noqa: PLC0415 - only this function needs it
    except ImportError as error:
        raise ImportError("to_torch makes tensors with PyTorch: pip install 'rnnkernels[torch]'") from error
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
