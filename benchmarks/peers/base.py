"""What a participant is: how it is asked, and what it gives to be timed and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.workloads import Answer, Workload


@dataclass(frozen=True)
class Timed:
    """A call, all its data in the library's own form, and how its result is read.

    `call` has finished its work when it returns. `answer` is never timed; see `Workload.error` for what it holds.
    A stream's call makes one step, with the next of the workload's inputs, and its answer is that step's ``output``
    (B, H).
    """

    call: Callable[[], Any]
    answer: Callable[[Any], Answer]


class Peer(Protocol):
    """A library, or one way to use it."""

    @property
    def name(self) -> str:
        """As in ``--peers``, in tables and in results."""

    @property
    def counted(self) -> bool:
        """Whether it can be the best peer; else it is measured as a yardstick only."""

    def missing(self) -> str:
        """Why it cannot take part on this machine; empty if it can."""

    def supports(self, work: Workload) -> bool:
        """Whether it has this cell in this mode; a no is no fault."""

    def prepare(self, work: Workload, threads: int) -> Timed:
        """Everything that a user does once, such as loading weights or compiling."""
