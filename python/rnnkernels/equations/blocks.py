"""Recurrent products of several heads in calls that array libraries share: their weights are block-diagonal.

The blocks alone are stored and multiplied, so that nothing of one head reaches another, neither a number nor a NaN.
"""

from __future__ import annotations

from typing import Any


def blocks_of(weight: Any, heads: int) -> Any:
    """Return the rows of weight_hh that a product has, given as (S, G·H), as a matrix per head, (heads, S, G·S)."""
    size = weight.shape[0]  # S: units of a head
    by_gate = weight.reshape(size, -1, heads, size)  # (S, G, heads, S)
    return by_gate.swapaxes(0, 2).swapaxes(1, 2).reshape(heads, size, -1)


def multiply(vector: Any, blocks: Any) -> Any:
    """Return what each head's units of a vector (..., B, H) give, (..., B, G·H), gate by gate."""
    heads, size, columns = blocks.shape
    *rows, _ = vector.shape
    by_head = vector.reshape(*rows, heads, size).swapaxes(-2, -3) @ blocks  # (..., heads, B, G·S)
    by_row = by_head.swapaxes(-2, -3).reshape(*rows, heads, columns // size, size)  # (..., B, heads, G, S)
    return by_row.swapaxes(-2, -3).reshape(*rows, heads * columns)
