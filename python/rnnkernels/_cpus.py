"""How many CPUs this process can keep busy: its affinity, and the quotas of its cgroups, which are read here.

Not here: how many threads a call uses (`_threads`).
"""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def affinity() -> int:
    """Return how many CPUs the calling thread may run on (``taskset``, batch systems), at least 1."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_quota(root: Path) -> int | None:
    """Return how many CPUs' worth of time this process's cgroup may use, rounded up; None: as much as there is.

    Containers set it. A process that may run on 64 cores for 2 cores' worth of time is stopped for most of every period
    if it starts 64 threads. Versions 1 and 2 of cgroups.

    Parameters
    ----------
    root : Path
        Where ``/proc`` and ``/sys`` are looked for.

    Returns
    -------
    int or None
        At least 1.
    """
    return min(_cgroup_quotas(root), default=None)


def _cgroup_quotas(root: Path) -> Iterator[int]:
    """Yield the CPU quotas, in whole CPUs rounded up, of this process's cgroups and their parents.

    Nothing here is essential, so whatever cannot be read or understood counts as "no quota".
    """
    paths = dict(_cgroup_paths(_read(root / "proc/self/cgroup")))
    for version, mounted, mount_point in _cgroup_mounts(_read(root / "proc/self/mountinfo")):
        if version not in paths:
            continue
        # The mount shows the hierarchy from `mounted` down. A container's own cgroup is often
        # mounted as the root of what it sees, while its path is still told from the host's root.
        path = PurePosixPath(paths[version])
        below = path.relative_to(mounted).parts if path.is_relative_to(mounted) else ()
        directory = root.joinpath(*mount_point.parts[1:])
        quota = _quota_v1 if version == 1 else _quota_v2
        for part in ("", *below):
            directory = directory / part
            cpus = quota(directory)
            if cpus is not None:
                yield cpus


def _cgroup_paths(text: str) -> Iterator[tuple[int, str]]:
    """Parse ``/proc/self/cgroup``: (version, path) of the hierarchies that can limit CPU time."""
    for line in text.splitlines():
        fields = line.split(":", 2)  # hierarchy : controllers : path
        if len(fields) != 3 or not fields[2].startswith("/") or ".." in fields[2].split("/"):
            continue
        if fields[0] == "0" and not fields[1]:
            yield 2, fields[2]
        elif "cpu" in fields[1].split(","):
            yield 1, fields[2]


def _cgroup_mounts(text: str) -> Iterator[tuple[int, PurePosixPath, PurePosixPath]]:
    """Parse ``/proc/self/mountinfo``: (version, path of the mounted cgroup, mount point)."""
    for line in text.splitlines():
        # id parent device root mount_point options ... - type source options
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if not separator or len(fields) < 5 or len(kind) < 3:
            continue
        places = (PurePosixPath(_unescape(fields[3])), PurePosixPath(_unescape(fields[4])))
        if kind[0] == "cgroup2":
            yield 2, *places
        elif kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            yield 1, *places


def _unescape(text: str) -> str:
    """Undo mountinfo's octal escapes, such as 040 after a backslash for a space."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _quota_v2(directory: Path) -> int | None:
    fields = _read(directory / "cpu.max").split()  # "max 100000" or "150000 100000"
    return _whole_cpus(fields[0], fields[1]) if len(fields) == 2 else None


def _quota_v1(directory: Path) -> int | None:
    return _whole_cpus(
        _read(directory / "cpu.cfs_quota_us").strip(),  # -1: none
        _read(directory / "cpu.cfs_period_us").strip(),
    )


def _whole_cpus(quota: str, period: str) -> int | None:
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):
        return None
    return -(-int(quota) // int(period))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
