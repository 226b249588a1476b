"""One thread at a time: a second one is refused, and does not wait.

For objects whose call changes several parts one after the other, where two calls at once would mix them. The
extension's own steppers (csrc/binding/prepared.cpp) do the same without Python.
"""

from __future__ import annotations

import threading
from typing import Any


class Alone:
    """A context that one thread may be in; a copy is another context, which nobody is in."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("stepper: expected one call at a time, got a second one")

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return Alone, ()
