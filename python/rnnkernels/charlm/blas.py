"""NumPy's matrix products on one thread, while the kernels use all of them.

On one thread their results are independent of the number of cores; on several, OpenBLAS rounds some shapes otherwise,
whosever threads they are (`rnnkernels.share_blas` changes nothing about it). And no thread of NumPy's BLAS then waits,
spinning, on a core that the kernels want.

threadpoolctl, which the extra `cli` brings, can hold every BLAS to one thread. Without it OpenBLAS, NumPy's usual one,
is held through its own functions, on Linux; for what neither reaches there is OPENBLAS_NUM_THREADS=1.
"""

from __future__ import annotations

import contextlib
import importlib
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from rnnkernels import _cpu

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["one_blas_thread"]


def one_blas_thread() -> AbstractContextManager[Any]:
    """Return a context in which BLAS runs on one thread."""
    try:
        limits: AbstractContextManager[Any] = importlib.import_module("threadpoolctl").threadpool_limits(1, "blas")
    except ModuleNotFoundError:
        return _one_thread_of_openblas()
    return limits


@contextlib.contextmanager
def _one_thread_of_openblas() -> Iterator[None]:
    before = [threads for _, threads, _ in _cpu.blas()]
    for number in range(len(before)):
        _cpu.set_blas_threads(number, 1)
    try:
        yield
    finally:
        for number, threads in enumerate(before):
            _cpu.set_blas_threads(number, threads)
