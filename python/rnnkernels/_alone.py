"""One thread at a time: a second one is refused, and does not wait.

For objects whose call changes several parts one after the other, where two calls at once would mix them. The
extension's own steppers (csrc/binding/prepared.cpp) do the same without Python.
"""

from __future__ import annotations

import threading
from typing import Any


class Alone:
    """A context that one thread may be in; a copy is another context, which nobody is in.

    Where a microsecond counts: ``if not alone.enter(False): raise alone.refused()``, and ``alone.leave()`` in the end.
    """

    __slots__ = ("enter", "leave")

    def __init__(self) -> None:
        lock = threading.Lock()
        self.enter, self.leave = lock.acquire, lock.release

    @staticmethod
    def refused() -> RuntimeError:
        """Return the error of a second thread."""
        return RuntimeError("stepper: expected one call at a time, got a second one")

    def __enter__(self) -> None:
        if not self.enter(False):
            raise self.refused()

    def __exit__(self, *_: object) -> None:
        self.leave()

    def __reduce__(self) -> tuple[Any, ...]:
        return Alone, ()
