"""Operators of ONNX's reference evaluator that are slow there, on whole arrays: Sigmoid and Conv.

An evaluator of `onnx` before 1.23 calls Python for each element of a Sigmoid, and Conv looks up each number of an image
once for each weight. They matter where ONNX Runtime is not installed. Not here: all others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from onnx.reference.op_run import OpRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rnnkernels.parameters import Array


class Sigmoid(OpRun):  # type: ignore[misc]  # onnx is not followed
    """Sigmoid."""

    op_domain = ""

    def _run(self, X: Array) -> tuple[Array]:
        half = X.dtype.type(0.5)
        wide = X.astype(np.float32) if X.dtype.itemsize < 4 else X
        return ((half * np.tanh(half * wide) + half).astype(X.dtype, copy=False),)


class Conv(OpRun):  # type: ignore[misc]  # onnx is not followed
    """Conv: a view of the windows, and one product for each group."""

    op_domain = ""

    def _run(
        self,
        X: Array,
        W: Array,
        B: Array | None = None,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        size = W.shape[2:]
        if kernel_shape is not None and tuple(kernel_shape) != size:
            raise ValueError(f"kernel_shape: expected {size}, W's, got {tuple(kernel_shape)}")
        n, groups = len(size), group or 1
        if X.ndim != n + 2 or X.shape[1] != W.shape[1] * groups or len(W) % groups:
            raise ValueError(f"X, W: expected shapes of {groups} groups that fit, got {X.shape} and {W.shape}")
        dilations, strides = list(dilations or [1] * n), list(strides or [1] * n)
        spans = [(k - 1) * d + 1 for k, d in zip(size, dilations, strict=True)]
        edges = _edges(auto_pad or "NOTSET", X.shape[2:], spans, strides, pads)
        x = np.pad(X, [(0, 0), (0, 0), *edges]) if any(map(any, edges)) else X
        if any(length < span for length, span in zip(x.shape[2:], spans, strict=True)):
            raise ValueError(f"X: expected at least {tuple(spans)} with its padding, got shape {X.shape}")
        seen = sliding_window_view(x, spans, axis=tuple(range(2, 2 + n)))
        steps = tuple(slice(None, None, step) for step in (*strides, *dilations))
        seen = seen[(slice(None), slice(None), *steps)]  # (N, C, outputs..., kernel...)
        found = [_product(x_part, w) for x_part, w in zip(np.split(seen, groups, 1), np.split(W, groups), strict=True)]
        Y = found[0] if groups == 1 else np.concatenate(found, 1)
        if B is not None:
            Y += B.reshape(-1, *[1] * n)
        return (Y.astype(X.dtype, copy=False),)


faster = [Sigmoid, Conv]


def _edges(
    auto_pad: str, shape: Sequence[int], spans: Sequence[int], strides: Sequence[int], pads: Sequence[int] | None
) -> list[tuple[int, int]]:
    """Return what is added before and after each dimension."""
    n = len(spans)
    if auto_pad == "NOTSET":
        pads = list(pads or [0] * (2 * n))
        return list(zip(pads[:n], pads[n:], strict=True))
    if auto_pad == "VALID":
        return [(0, 0)] * n
    found = []
    for length, span, stride in zip(shape, spans, strides, strict=True):
        total = max(0, (-(-length // stride) - 1) * stride + span - length)
        less, more = total // 2, total - total // 2
        found.append((less, more) if auto_pad == "SAME_UPPER" else (more, less))
    return found


def _product(seen: Array, W: Array) -> Array:
    """Return the sums over channels and kernel: (N, C, outputs..., kernel...) and (M, C, kernel...) to (N, M, ...)."""
    n = W.ndim - 2
    batch, outputs = len(seen), seen.shape[2 : 2 + n]
    order = (0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n))
    columns = seen.transpose(order).reshape(batch, W[0].size, -1)
    return (W.reshape(len(W), -1) @ columns).reshape(batch, len(W), *outputs)
