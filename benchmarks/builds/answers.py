"""What a call answers, as arrays by name: digests to compare bits by, files, and by how much two answers differ.

Nothing here imports rnnkernels: the process that compares has no build of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Answer = dict[str, Array]


def named(name: str, arrays: Sequence[Any] | None) -> Answer:
    """A tuple of arrays, or of tuples of arrays, as arrays by name."""
    found: Answer = {}
    for k, value in enumerate(arrays or ()):
        found |= named(f"{name}[{k}]", value) if isinstance(value, tuple) else {f"{name}[{k}]": value}
    return found


def digests(answer: Answer) -> dict[str, str]:
    """Of each array: a digest of its dtype, shape and bytes."""
    found = {}
    for name, array in answer.items():
        seen = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=8)
        seen.update(array.tobytes())
        found[name] = seen.hexdigest()
    return found


def save(file: Path, answer: Answer) -> None:
    np.savez(file, np.array(list(answer)), *answer.values())


def load(file: Path) -> Answer:
    with np.load(file) as found:
        names, *arrays = (found[name] for name in found.files)
        return dict(zip(map(str, names), arrays, strict=True))


def differences(before: Answer, after: Answer) -> dict[str, float]:
    """By how much each array differs."""
    return {name: relative(before.get(name), after.get(name)) for name in {**before, **after}}


def relative(before: Array | None, after: Array | None) -> float:
    """The largest difference over the largest value; infinite where one of them has no such array, or another shape."""
    if before is None or after is None or before.shape != after.shape or before.dtype != after.dtype:
        return np.inf
    if before.dtype.kind != "f" or not before.size:
        return np.inf
    scale = float(np.abs(before).max()) or 1.0
    size = float(np.abs(before.astype(np.float64) - after).max()) / scale
    return size if np.isfinite(size) else np.inf
