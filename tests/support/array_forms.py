"""The same numbers in memory that a kernel cannot, or need not, read as it reads a fresh array's."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def spelled(a: Any) -> Any:
    """Return an array whose dtype spells the machine's byte order, as those of h5py do."""
    return a.copy().view(a.dtype.newbyteorder("<" if sys.byteorder == "little" else ">"))


def misaligned(a: Any, by: int = 1) -> Any:
    """Return an array that begins `by` bytes behind an aligned address, as in a file whose header is not padded."""
    moved = np.zeros(a.nbytes + by, np.uint8)[by:].view(a.dtype).reshape(a.shape)
    moved[...] = a
    return moved


def read_only(a: Any) -> Any:
    """Return an array that nobody may write into."""
    a = a.copy()
    a.flags.writeable = False
    return a
