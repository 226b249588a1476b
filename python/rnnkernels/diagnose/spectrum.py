"""Singular values of a layer's recurrent weights, gate by gate.

The largest one bounds how much a step back can enlarge the gradient by way of that gate: above 1 gradients may explode,
below 1 they vanish (Pascanu, Mikolov & Bengio, arXiv 1211.5063).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnkernels._arguments import as_parameters
from rnnkernels.equations.cell import equations_of
from rnnkernels.parameters import cell_info

__all__ = ["singular_values"]

Array = npt.NDArray[Any]


def singular_values(cell: str, params: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """Return the singular values of the recurrent weights of each gate, the largest first.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells`.
    params : mapping of str to array_like
        A layer's parameters, as for `rnnkernels.forward`; finite.

    Returns
    -------
    dict of str to ndarray of float64
        For each gate with rows in ``weight_hh`` the values of its (H, H), of a projected cell (H, P), of a cell with
        heads (H, H), block-diagonal; for those with rows in ``weight_gg``, under the names ``"i of gates"`` and so on,
        of its (H, 3·H). Of ``indrnn``, whose recurrent weights are element-wise, under ``"a"`` their magnitudes.

    Raises
    ------
    TypeError, ValueError
        If there is no such cell, or the parameters are not what is said here.
    """
    info = cell_info(cell)
    arrays = {name: np.asarray(array, np.float64) for name, array in as_parameters(cell, params).items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"params[{name!r}]: expected finite numbers, got some that are not")
    hidden = len(arrays["weight_ih"]) // info["rows"][0]
    fed = "weight_gg" in arrays
    seeing = [(name, operand) for name, _, operand in info["gates"] if operand != "none"]
    of_h = [name for name, operand in seeing if not (fed and operand == "feedback")]
    blocks = dict(zip(of_h, _blocks(arrays.get("weight_hh"), hidden), strict=True))
    of_gates = [f"{name} of gates" for name, operand in seeing if fed and operand == "feedback"]
    blocks |= dict(zip(of_gates, _blocks(arrays.get("weight_gg"), hidden), strict=True))
    if not blocks and equations_of(cell) is not None:  # each weight has a name; there may be none
        rows = arrays.get("weight_diagonal", np.empty(0)).reshape(-1, hidden)
        return {name: np.sort(np.abs(row))[::-1] for name, row in zip(info["diagonals"], rows, strict=True)}
    if not blocks:
        return {info["gates"][0][0]: np.sort(np.abs(arrays["weight_diagonal"]))[::-1]}
    return {name: _values(block, info["heads"] if name in of_h else 1) for name, block in blocks.items()}


def _values(block: Array, heads: int) -> Array:
    """Return the singular values of a gate's weights, those of a block-diagonal matrix from its blocks' own."""
    by_head = block.reshape(heads, -1, block.shape[1])
    return np.sort(np.linalg.svd(by_head, compute_uv=False), axis=None)[::-1]


def _blocks(weight: Array | None, hidden: int) -> list[Array]:
    return [] if weight is None else [weight[at : at + hidden] for at in range(0, len(weight), hidden)]
