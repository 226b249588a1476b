"""Digests of what a file holds, tensor by tensor and text by text: a changed bit is found, and it is said where."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_digests", "digests_of"]

Part = npt.NDArray[Any] | str


def digests_of(parts: Mapping[str, Part]) -> dict[str, str]:
    """Return the SHA-256 of each part, under its name: of a tensor with dtype and shape, of a text as UTF-8."""
    return {name: _digest(part) for name, part in parts.items()}


def _digest(part: Part) -> str:
    if isinstance(part, str):
        return hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()
    digest = hashlib.sha256(f"{part.dtype.str} {part.shape}".encode())
    digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def check_digests(parts: Mapping[str, Part], digests: Mapping[str, str]) -> None:
    """Compare parts with the digests that were taken of them.

    Raises
    ------
    ValueError
        If a part is missing, was added or has changed: the message names it.
    """
    for name in [*digests, *parts]:
        if name not in parts or name not in digests:
            raise ValueError(
                f"expected the parts that were saved, got {'no' if name not in parts else 'also'} {name!r}"
            )
    for name, digest in digests_of(parts).items():
        if digest != digests[name]:
            what = "text" if isinstance(parts[name], str) else "tensor"
            raise ValueError(f"expected the {what} {name!r} as it was saved, got one that has changed (by its SHA-256)")
