"""NumPy's matrix products on one thread, while the kernels use all of them.

NumPy's BLAS has a thread pool of its own, whose threads spin while they wait: beside the kernels' pool they take its
cores away, and the readout takes longer on more threads. On one thread its results, too, are independent of the
number of cores. Setting that needs threadpoolctl, which the extra `cli` brings; without it nothing happens here, and
the environment variable OPENBLAS_NUM_THREADS=1 does the same for NumPy's usual BLAS.
"""

from __future__ import annotations

import contextlib
import importlib
from contextlib import AbstractContextManager
from typing import Any

__all__ = ["one_blas_thread"]


def one_blas_thread() -> AbstractContextManager[Any]:
    """Return a context in which BLAS runs on one thread, if threadpoolctl is installed."""
    try:
        limits: AbstractContextManager[Any] = importlib.import_module("threadpoolctl").threadpool_limits(1, "blas")
    except ModuleNotFoundError:
        return contextlib.nullcontext()
    return limits
