"""Libraries that cannot take part, so that a reader finds them named with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.workloads import Workload

from .base import Timed


@dataclass(frozen=True)
class Absent:
    """A peer that is always missing."""

    name: str
    reason: str
    counted: bool = False

    def missing(self) -> str:
        return self.reason

    def supports(self, work: Workload) -> bool:  # noqa: ARG002 - nothing is
        return False

    def prepare(self, work: Workload, threads: int) -> Timed:
        raise NotImplementedError(self.reason)
