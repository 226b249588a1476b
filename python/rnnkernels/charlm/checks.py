"""Arguments of this package's functions, checked: errors begin with the argument's name, and say what came instead."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["as_integers", "as_number", "as_path", "as_whole", "check_flag", "check_kind", "check_seed", "shown"]


def shown(value: object) -> str:
    """Return a value as a message shows it: of a long one the beginning, of an array dtype and shape."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} {value.shape}"
    try:
        text = " ".join(repr(value).splitlines())
    except ValueError:  # an int of more digits than Python writes
        return "a very large number"
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_kind(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Raise TypeError where a value is no instance of `kinds`, in words `expected`."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name}: expected {expected}, got {shown(value)}")


def check_flag(name: str, value: object) -> None:
    """Raise TypeError where a value is neither true nor false."""
    check_kind(name, value, (bool, np.bool_), "a bool")


def as_whole(name: str, value: Any, low: int, high: int = sys.maxsize) -> int:
    """Return an int from `low` to `high`; NumPy's integers will do."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an int, got {shown(value)}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name}: expected an int, got {value}")
    if number < low:
        raise ValueError(f"{name}: expected at least {low}, got {shown(number)}")
    if number > high:
        raise ValueError(f"{name}: expected at most {shown(high)}, got {shown(number)}")
    return number


def as_number(name: str, value: Any, low: float, high: float, expected: str) -> float:
    """Return a float in [low, high), in words `expected`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name}: expected a number, got {shown(value)}")
    if not low <= value < high:
        raise ValueError(f"{name}: expected {expected}, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}: expected {expected}, got {shown(value)}") from None


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
        as_whole(name, value, 0, high=1 << 8192)


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
