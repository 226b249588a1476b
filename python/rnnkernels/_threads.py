"""How many threads a call may use: what each source says, and which of them decides. The least holds.

In the order in which equal ones are named: the package's own setting, ``OMP_NUM_THREADS`` and ``OMP_THREAD_LIMIT``
(which torchrun, containers and batch systems set), the CPU quota of the cgroup, the CPU affinity, and PyTorch's number
of threads once it is loaded. Affinity and PyTorch are asked by every call that can use several
threads (``csrc/cpu/thread_limits.h``), the environment when the package is imported; the quota then and whenever
somebody asks here.

Not here: the public functions and their checks (`_runtime`), nor how a quota is read (`_cpus`).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rnnkernels import _cpu

from ._cpus import affinity, cgroup_quota

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Above any machine of today, below what exhausts a process: a mistyped number of threads ends in a
# sentence, not in a thousand million attempts to start one.
MAX_THREADS = 1024

ROOT = Path("/")  # where /proc and /sys are looked for; the tests put others there

_VARIABLES = ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT")


class Limit(NamedTuple):
    """What one source says."""

    source: str  # as users are told of it
    threads: int


_own: Limit | None = None
_environment: tuple[Limit, ...] = ()


def start(environment: Mapping[str, str]) -> None:
    """Begin with what the environment says, and no setting of our own."""
    global _own, _environment
    _own, _environment = None, tuple(_of_environment(environment))
    _cpu.set_num_threads(0)
    limits()  # bounds the calls to come


def set_own(source: str, threads: int) -> None:
    """Set the package's own number of threads, 1 to `MAX_THREADS`."""
    global _own  # noqa: PLW0603 - a setting of the process
    _own = Limit(source, threads)
    _cpu.set_num_threads(threads)


def limits() -> list[Limit]:
    """Return what every source says now; a source that says nothing is left out. Calls then heed the quota of now."""
    quota = cgroup_quota(ROOT)
    of_process = list(_environment)
    if quota is not None:
        of_process.append(Limit("cgroup quota", quota))
    _cpu.bound_threads(min([MAX_THREADS, *(limit.threads for limit in of_process)]))
    found = [] if _own is None else [_own]
    found += of_process
    found.append(Limit("affinity", affinity()))
    torch = sys.modules.get("torch")
    if torch is not None and _cpu.join_torch():
        found.append(Limit("PyTorch", torch.get_num_threads()))
    return found


def deciding() -> Limit:
    """Return how many threads a call of this Python thread may use now, and the source that says so."""
    found = limits()
    threads = _cpu.num_threads()  # what a call would use, whatever was found
    said = (limit.source for limit in found if limit.threads == threads)
    return Limit(next(said, min(found, key=lambda limit: limit.threads).source), threads)


def _of_environment(environment: Mapping[str, str]) -> Iterator[Limit]:
    for variable in _VARIABLES:
        # "4,2": of a parallel region, and of one inside it. OpenMP ignores what it does not understand, and so do we.
        text = environment.get(variable, "").partition(",")[0].strip()
        if re.fullmatch(r"\+?[0-9]{1,9}", text) and int(text) > 0:
            yield Limit(variable, int(text))
