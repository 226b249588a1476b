"""Arguments of this package's functions, checked: errors begin with the argument's name, and say what came instead.

Not here: what every function of rnnkernels asks of its arguments (rnnkernels._scalars).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnkernels import _scalars
from rnnkernels._scalars import as_integer, shown

__all__ = ["as_integers", "as_number", "as_path", "check_kind", "check_seed"]


def check_kind(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Raise TypeError where a value is no instance of `kinds`, in words `expected`."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name}: expected {expected}, got {shown(value)}")


def as_number(name: str, value: Any, low: float, high: float, expected: str) -> float:
    """Return a float in [low, high), in words `expected`."""
    number = _scalars.as_number(name, value)
    if not low <= number < high:
        raise ValueError(f"{name}: expected {expected}, got {shown(value)}")
    return number


def as_path(name: str, value: Any) -> str:
    """Return a path as text."""
    try:
        path = os.fspath(value)
    except TypeError:
        path = None
    if not isinstance(path, str):
        raise TypeError(f"{name}: expected a path, got {shown(value)}")
    if not path or "\0" in path:
        raise ValueError(f"{name}: expected a path, got {shown(value)}")
    return path


def check_seed(name: str, value: Any) -> None:
    """Raise TypeError or ValueError where `numpy.random.default_rng` has no use for a seed."""
    if value is not None and not isinstance(value, np.random.Generator | np.random.SeedSequence):
        as_integer(name, value, 0, 1 << 8192)


def as_integers(name: str, value: Any, size: int) -> npt.NDArray[Any]:
    """Return an array of one dimension whose integers lie in [0, size)."""
    check_kind(name, value, (np.ndarray, Iterable), "a sequence of tokens")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{name}: expected a sequence of tokens, got {shown(value)}") from None
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name}: expected a 1-D array of integers, got {array.dtype} {array.shape}")
    if array.size and not (0 <= array.min() and array.max() < size):
        raise ValueError(f"{name}: expected 0 to {size - 1}, got {array.min()} to {array.max()}")
    return array
