"""Any library's gates: `gates`, for arrays of which one knows how they lie."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from rnnkernels._scalars import as_choice, as_flag, as_number, as_text, shown
from rnnkernels.parameters import cell_info

from ._layers import as_array, of_one_dtype
from ._layouts import Arrays, Layout, fitting, gates_of, sizes

if TYPE_CHECKING:
    from rnnkernels.parameters import Params


def gates(
    cell: str,
    weight_ih: Any,
    weight_hh: Any,
    bias_ih: Any = None,
    bias_hh: Any = None,
    *,
    order: str,
    transposed: bool | Literal["blocks"] = False,
    z_keeps: bool = True,
    forget_bias: float = 0.0,
) -> Params:
    """Return parameters from arrays whose gates lie in another order, or another way.

    Parameters
    ----------
    cell : str
        One whose gates all have rows in both matrices, and a letter each: ``"lstm"``, ``"gru"``, ``"mgu"``, ...
        Element-wise weights (``weight_diagonal``: peepholes) are the caller's to add.
    weight_ih, weight_hh : array_like
        (G·H, I) and (G·H, H), gates in the order `order`; transposed, (I, G·H) and (H, G·H).
    bias_ih, bias_hh : array_like, (G·H,), optional
        In the same order. Of a library with one bias it is `bias_ih`.
    order : str
        Our letters for the gates in the order in which theirs lie: ``"iofg"``. `rnnkernels.cell_info` has ours.
    transposed : bool or "blocks", default False
        Whether matrices are transposed as a whole, or (``"blocks"``) shaped so, while each gate's block of H columns,
        read row by row, is H rows of I (or H) numbers, as cuDNN has them.
    z_keeps : bool, default True
        Whether h' = (1-z)∘n + z∘h, as here. False: h' = z∘n + (1-z)∘h; the rows of z are negated, which is exact.
    forget_bias : float, default 0.0
        What the library adds to the forget gate f when it runs; it becomes part of ``bias_ih``.

    Returns
    -------
    dict of str to ndarray
        Copies, under the names of `rnnkernels.forward`; without biases where none were given and none is made.

    Raises
    ------
    TypeError
        If something is no array of float32 or float64, or they differ in dtype.
    ValueError
        If the cell has other weights or gates than these, `order` is no order of its gates, or a shape does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnkernels import convert
    >>> params = convert.gates("lstm", np.ones((8, 3)), np.ones((8, 2)), order="iofg", forget_bias=1.0)
    >>> params["bias_ih"]  # gates i f g o
    array([0., 0., 1., 1., 0., 0., 0., 0.])
    """
    order = as_text("order", order)
    ours = _plain_gates(cell)
    if sorted(order) != sorted(ours):
        raise ValueError(f"order: expected the gates {' '.join(ours)} of {cell:s} in some order, got {order!r}")
    if isinstance(transposed, str):
        as_choice("transposed", transposed, ("blocks",))
    else:
        transposed = as_flag("transposed", transposed)
    z_keeps = as_flag("z_keeps", z_keeps)
    if not z_keeps and "z" not in ours:
        raise ValueError(f"z_keeps: expected True, for {cell:s} has no gate z")
    forget_bias = as_number("forget_bias", forget_bias)
    if not math.isfinite(forget_bias):
        raise ValueError(f"forget_bias: expected a finite number, got {forget_bias}")
    if forget_bias and "f" not in ours:
        raise ValueError(f"forget_bias: expected 0, for {cell:s} has no gate f; got {forget_bias}")
    named = {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias_ih": bias_ih, "bias_hh": bias_hh}
    arrays = {name: as_array(name, value) for name, value in named.items() if value is not None or name.startswith("w")}
    kinds = [array.dtype for array in arrays.values()]
    other = min(arrays, key=lambda name: kinds.count(arrays[name].dtype))
    of_one_dtype(arrays, f"{other} beside the others")
    given = Arrays(arrays["weight_ih"], arrays["weight_hh"], arrays.get("bias_ih"), arrays.get("bias_hh"))
    layout = Layout(order, transposed, order, order, z_keeps, forget_bias)
    shapes = given.weight_ih.shape, given.weight_hh.shape
    if sizes(layout, *shapes) is None and sizes(replace(layout, transposed=not transposed), *shapes) is not None:
        raise ValueError(f"transposed: expected {not transposed} for matrices of shapes {shapes}, got {transposed!r}")
    return fitting(cell, layout, given, ", ".join(arrays))


def _plain_gates(cell: str) -> str:
    """Return the gates of a cell that has these weights and no others, or raise ValueError."""
    info = cell_info(cell)
    names = [name for name, _, _ in info["gates"]]
    plain = tuple(info["rows"][:2]) == (len(names), len(names)) and not info["projected"] and not any(info["rows"][2:])
    if not plain or any(len(name) != 1 for name in names):
        raise ValueError(
            f"cell: expected one whose gates have a letter each, rows in weight_ih and weight_hh, and no other matrix; "
            f"got {shown(cell)}"
        )
    return gates_of(cell)
