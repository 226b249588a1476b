"""A progress bar on standard error; nothing where that is no terminal, or tqdm is not installed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["bar"]

T = TypeVar("T")


def bar(steps: Iterable[T], title: str) -> Iterable[T]:
    """Return the same steps, drawn as they are taken."""
    try:
        tqdm = importlib.import_module("tqdm").tqdm
    except ModuleNotFoundError:
        return steps
    shown: Iterable[T] = tqdm(steps, desc=title, disable=None, leave=False, dynamic_ncols=True)
    return shown
