"""Haiku: `VanillaRNN`, `LSTM` and `GRU`, by the parameters of their modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnkernels._scalars import as_flag, check_mapping

from ._layers import as_arrays, join
from ._layouts import Arrays, fitting, layout_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnkernels.parameters import Params


def from_haiku(cell: str, params: Mapping[str, Any], *, stacked: bool = False) -> Params:
    """Return parameters from those of a Haiku core.

    Parameters
    ----------
    cell : {"rnn_relu", "lstm", "gru_reset_before"}
        ``hk.VanillaRNN``, ``hk.LSTM`` and ``hk.GRU``, whose reset comes before the product.
    params : mapping of str to mapping of str to array_like
        What ``transform(...).init`` gave for the module alone: of an LSTM ``{"lstm/linear": {"w": (I+H, 4·H), "b":
        (4·H,)}}``, of a GRU ``{"gru": {"w_i": (I, 3·H), "w_h": (H, 3·H), "b": (3·H,)}}``, of a vanilla RNN
        ``{"vanilla_rnn/linear": {"w": (I, H), "b": (H,)}, "vanilla_rnn/linear_1": {"w": (H, H), "b": (H,)}}``, the
        second without its bias where ``double_bias=False``.
    stacked : bool, default False
        Give the names of a `rnnkernels.Stack` of one layer.

    Returns
    -------
    dict of str to ndarray
        Copies, under the names of `rnnkernels.forward`. Haiku adds 1 to the forget gate of an LSTM when it runs: here
        it is a part of ``bias_ih``. Its GRU's update gate lets the new state in: the rows of z are negated.

    Raises
    ------
    TypeError
        If something is no mapping, or no array of float32 or float64.
    ValueError
        If Haiku has no such cell, or names or shapes do not fit it.
    """
    layout = layout_of("Haiku", cell)
    stacked = as_flag("stacked", stacked)
    check_mapping("params", params)
    modules = sorted(params)
    if len(modules) != (2 if cell == "rnn_relu" else 1):
        raise ValueError(f"params: expected {'two modules' if cell == 'rnn_relu' else 'one module'}, got {modules}")
    names = [f"params[{module!r}]" for module in modules]
    if cell == "rnn_relu":
        one = as_arrays(names[0], params[modules[0]], ("w", "b"))
        two = as_arrays(names[1], params[modules[1]], ("w",), ("b",))
        arrays = Arrays(one["w"], two["w"], one["b"], two.get("b"))
    elif cell == "lstm":
        both = as_arrays(names[0], params[modules[0]], ("w", "b"))
        inputs = max(0, len(both["w"]) - len(both["b"]) // 4)
        arrays = Arrays(both["w"][:inputs], both["w"][inputs:], both["b"], None)
    else:
        of_gru = as_arrays(names[0], params[modules[0]], ("w_i", "w_h", "b"))
        arrays = Arrays(of_gru["w_i"], of_gru["w_h"], of_gru["b"], None)
    return join([[fitting(cell, layout, arrays, ", ".join(names))]], stacked=stacked)
