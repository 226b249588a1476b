"""Sequences of different lengths side by side, as the kernels take them, and apart again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rnnkernels.parameters import Array


def together(rows: Sequence[Any]) -> tuple[Array, list[int]]:
    """Return arrays (length, ...) side by side, (T, B, ...), zeros behind the shorter ones; and their lengths."""
    lengths = [len(row) for row in rows]
    first = np.asarray(rows[0])
    whole = np.zeros((max(lengths), len(rows), *first.shape[1:]), first.dtype)
    for k, row in enumerate(rows):
        whole[: lengths[k], k] = row
    return whole, lengths


def one_after_another(whole: Array, lengths: list[int]) -> Array:
    """Return the steps of the first row of (T, B, ...), then those of the second, and so on: (sum of lengths, ...)."""
    return np.concatenate([whole[:length, k] for k, length in enumerate(lengths)])
