"""What a participant is: how it is asked, and what it gives to be timed and checked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

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


class Peer(ABC):
    """A library, or one way to use it.

    Attributes
    ----------
    name : str
        As in ``--peers``, in tables and in results.
    counted : bool
        Whether it can be the best peer; else it is measured as a yardstick only.
    packages : tuple of str
        What must be installed.
    """

    name: str
    counted: bool = True
    packages: tuple[str, ...] = ()

    def missing(self) -> str:
        """Why it cannot take part on this machine; empty if it can."""
        absent = [package for package in self.packages if not find_spec(package)]
        return f"{' and '.join(absent)} not installed" if absent else ""

    @abstractmethod
    def supports(self, work: Workload) -> bool:
        """Whether it has this cell in this mode; a no is no fault."""

    @abstractmethod
    def prepare(self, work: Workload, threads: int) -> Timed:
        """Everything that a user does once, such as loading weights or compiling."""
