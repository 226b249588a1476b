"""Copies and pickles of what a run keeps in a GPU's memory: `rnnkernels._pickled`, on a GPU.

A reserve travels as the array it lies in, by the array's own library: a tensor goes to the GPU that it came from. What
lies in memory of our own (of calls with NumPy's arrays) travels as one of NumPy's, and is copied to the GPU again.
"""

from __future__ import annotations

import copyreg
from functools import cache
from typing import Any

from rnnkernels._arrays import COPIES, device_frame
from rnnkernels._pickled import check_version, version

from . import extension

__all__ = ["can_be_copied"]


@cache
def can_be_copied(kind: type) -> None:
    """Make the extension's class of reserves known to `copy` and `pickle`; there is none before it is loaded."""
    copyreg.pickle(kind, _reduce)


def _reduce(reserve: Any) -> tuple[Any, ...]:
    view = reserve.view
    own = isinstance(view.owner, extension.load().Memory)
    return _reserve, (version(), COPIES.take(view) if own else view.owner)


def _reserve(written: str, memory: Any) -> Any:
    check_version("reserve", written)
    frame = device_frame(memory) or COPIES
    return extension.load().Reserve(frame.view(memory))
