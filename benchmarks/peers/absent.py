"""Libraries that cannot take part, so that a reader finds them named with the reason."""

from __future__ import annotations

from benchmarks.workloads import Workload

from .base import Peer, Timed


class Absent(Peer):
    """A peer that is always missing."""

    counted = False

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason

    def missing(self) -> str:
        return self.reason

    def supports(self, work: Workload) -> bool:  # noqa: ARG002 - nothing is
        return False

    def prepare(self, work: Workload, threads: int) -> Timed:
        raise NotImplementedError(self.reason)
