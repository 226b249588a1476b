"""Text that is on the machine: the standard library of this Python, and headers in C. No example itself.

Several examples read the same; within a process it is read once.
"""

from __future__ import annotations

import functools
import sysconfig
from pathlib import Path

import numpy as np

from rnnkernels import charlm

__all__ = ["headers", "python"]

python = functools.cache(charlm.standard_library)


@functools.cache
def headers() -> charlm.Corpus:
    """Return the headers of this Python, or those of NumPy where they are not installed."""
    here = Path(sysconfig.get_paths()["include"])
    return charlm.read_folder(here if (here / "Python.h").exists() else np.get_include(), "*.h")
