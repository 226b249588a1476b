"""A sequence that comes in pieces of any lengths, cut anew into pieces of one length; nothing else is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._arrays import frame_of
from ._scalars import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .parameters import Array


def recut(name: str, chunks: Iterable[Array], length: int) -> Iterator[Array]:
    """Yield the same steps in pieces of `length`, the last one maybe shorter; views where one chunk has it all."""
    waiting: list[Array] = []  # fewer than `length` steps
    count = 0
    like: tuple[object, ...] | None = None
    number = 0
    for chunk in chunks:
        if getattr(chunk, "ndim", 0) < 2:
            raise TypeError(f"{name}: expected arrays (T, B, I) or (T, B), got number {number} = {chunk!r:.60}")
        like = like or (chunk.shape[1:], chunk.dtype)
        if (chunk.shape[1:], chunk.dtype) != like:
            raise ValueError(
                f"{name}: expected rows of shape {like[0]} and dtype {like[1]} as in the first, "
                f"got {chunk.shape[1:]} and {chunk.dtype} in number {number}"
            )
        begin = 0
        while count + len(chunk) - begin >= length:
            stop = begin + length - count
            waiting.append(chunk[begin:stop])
            yield waiting[0] if len(waiting) == 1 else join(waiting)
            waiting, count, begin = [], 0, stop
        if begin < len(chunk):
            waiting.append(copy(chunk[begin:]))  # a view would keep the chunk
            count += len(chunk) - begin
        number += 1  # noqa: SIM113 - enumerate holds on to a chunk while it asks for the next
        del chunk
    if waiting:
        yield join(waiting)


def join(pieces: list[Array]) -> Array:
    """Return the steps of several arrays as one."""
    joined: Array = frame_of(pieces[0]).concatenate(pieces)
    return joined


def copy(array: Array) -> Array:
    """Return a copy."""
    copy: Array = frame_of(array).copy(array)
    return copy


def check_chunks(name: str, chunks: Any, one: str) -> None:
    """Raise TypeError where chunks are nothing that can be gone through, or one array, whose steps are no chunks."""
    if hasattr(chunks, "ndim") and hasattr(chunks, "shape"):
        raise TypeError(f"{name}: expected several arrays, one after another, got one {type(chunks).__name__}: [{one}]")
    try:
        iter(chunks)
    except TypeError:
        raise TypeError(f"{name}: expected several arrays, one after another, got {shown(chunks)}") from None
