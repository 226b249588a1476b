"""The processes of a run: one for each victim, number of threads and neighbour, of one build of ours or another.

They run with every setting of threads at its default: the variables that hold libraries to a number of threads, or
tell idle threads how to wait, are taken out of their environment.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import rnnkernels as rk
from benchmarks.builds.build import Build, Child

from .figures import LIBRARY, OURS

SETTINGS = (
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_THREAD_TIMEOUT",
    "RNNKERNELS_NUM_THREADS",
)


@dataclass(frozen=True)
class Who:
    """A victim on a number of threads."""

    victim: str  # "library": ours of another build
    threads: int

    @property
    def peer(self) -> str:
        """The name that benchmarks.peers has for it."""
        return OURS if self.victim == LIBRARY else self.victim


class Process(Child):
    """A process of child.py. Ctrl-C is not for it: the run hears that, and ends it."""

    module = "benchmarks.neighbours.child"

    def __init__(self, build: Build, settings: dict[str, str] | None = None) -> None:
        self.settings = settings or {}
        with _interrupts_later():
            super().__init__(build)

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name not in SETTINGS} | self.settings

    def close(self) -> None:
        self._process.terminate()  # it may be in a round; its busy processes end as their input does
        super().close()


def builds(library: str | None) -> dict[str, Build]:
    """Ours, the package that is imported here; and `library`, another one of a folder or a virtual environment."""
    found = {OURS: Build.at(OURS, Path(rk.__file__).absolute().parent.parent)}
    return found | ({LIBRARY: Build.at(LIBRARY, library)} if library else {})


def build_of(who: Who, of: dict[str, Build]) -> Build:
    return of.get(who.victim, of[OURS])


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Hold Ctrl-C back; a process that is started meanwhile never hears it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
