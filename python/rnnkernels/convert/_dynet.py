"""DyNet: `VanillaLSTMBuilder`, as lists of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnkernels._scalars import as_flag, as_items

from ._layers import as_array, join, of_one_dtype
from ._layouts import Arrays, fitting, layout_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rnnkernels.parameters import Params


def from_dynet(layers: Sequence[Sequence[Any]], *, stacked: bool = False) -> Params:
    """Return parameters from those of a DyNet ``VanillaLSTMBuilder`` (not of its layer-normalised form).

    Parameters
    ----------
    layers : sequence of sequence of array_like
        Of each layer W_x (4·H, I), W_h (4·H, H) and b (4·H,), rows i f o g:
        ``[[p.as_array() for p in layer] for layer in builder.get_parameters()]``.
    stacked : bool, default False
        Give a single layer the names of a `rnnkernels.Stack` of one layer, too.

    Returns
    -------
    dict of str to ndarray
        Copies, for the cell ``"lstm"``. One layer has the names of `rnnkernels.forward`, several those of
        `rnnkernels.Stack`. DyNet adds 1 to the forget gate when it runs: here it is a part of ``bias_ih``.

    Raises
    ------
    TypeError
        If something is no array of float32 or float64.
    ValueError
        If the number of arrays or a shape does not fit.
    """
    layout = layout_of("DyNet", "lstm")
    stacked = as_flag("stacked", stacked)
    found = []
    for number, layer in enumerate(as_items("layers", layers, "a list of layers' arrays")):
        what = f"layers[{number}]"
        given = list(as_items(what, layer, "a list of arrays"))
        if len(given) != 3:
            raise ValueError(f"{what}: expected W_x, W_h and b, got {len(given)} arrays")
        arrays = {f"{what}[{k}]": as_array(f"{what}[{k}]", value) for k, value in enumerate(given)}
        kernel, recurrent, bias = of_one_dtype(arrays, what).values()
        found.append([fitting("lstm", layout, Arrays(kernel, recurrent, bias, None), what)])
    if not found:
        raise ValueError("layers: expected one layer or more, got none")
    return join(found, stacked=stacked)
