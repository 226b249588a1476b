"""The same numbers in memory in other ways: orders, strides, alignments, lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .cases import Array, Draw

KINDS = ("plain", "plain", "plain", "fortran", "strided", "negative", "misaligned", "read-only", "inner", "list")


def arrange(d: Draw, array: Array, *, lists: bool = True) -> Any:
    """Return an array of the same numbers, or a list of them."""
    kind = d.one(KINDS)
    if kind == "fortran":
        return np.asfortranarray(array)
    if kind == "strided" and array.ndim:
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), 77, array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if kind == "negative" and array.ndim:
        return np.ascontiguousarray(array[::-1])[::-1]
    if kind == "misaligned":
        return np.frombuffer(b"x" + array.tobytes(), array.dtype, array.size, 1).reshape(array.shape)
    if kind == "read-only":
        array = array.copy()
        array.flags.writeable = False
        return array
    if kind == "inner" and array.ndim:  # a part of a larger array
        whole = np.full([size + 2 for size in array.shape], 77, array.dtype)
        part = whole[tuple(slice(1, size + 1) for size in array.shape)]
        part[...] = array
        return part
    return array.tolist() if kind == "list" and lists and array.size else array
