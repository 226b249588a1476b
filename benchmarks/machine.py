"""What a result depends on beside the code: processor, caches, versions, commit; and how a process is pinned."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("rnnkernels", "numpy", "torch", "onnxruntime", "jax", "jaxlib")


def describe() -> dict[str, Any]:
    """Everything about this machine and run that a line of results refers to."""
    return {
        "machine": processor(),
        "system": f"{platform.system()} {platform.release()}",
        "cpus": available_cpus(),
        "caches": caches(),
        "commit": commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def processor() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


class Others:
    """How much of this machine other processes used while the `with` block ran, as ``share``; None where unknown.

    A line of results that was measured beside other work says so by it. Linux only.
    """

    share: float | None = None

    def __enter__(self) -> Others:  # noqa: PYI034 - Self came with Python 3.11
        self._begin = _processor_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        end = _processor_seconds()
        if self._begin and end:
            everyone, idle, own = (after - before for after, before in zip(end, self._begin, strict=True))
            total = everyone + idle
            self.share = round(max(0.0, everyone - own) / total, 3) if total else None


def _processor_seconds() -> tuple[float, float, float] | None:
    """Since the system's start: of all processes, idle, and of this process and its children."""
    fields = _read(Path("/proc/stat")).partition("\n")[0].split()[1:9]
    if len(fields) < 8:
        return None
    user, nice, system, idle, waiting, irq, softirq, steal = (int(f) / os.sysconf("SC_CLK_TCK") for f in fields)
    return user + nice + system + irq + softirq + steal, idle + waiting, sum(os.times()[:4])


def caches() -> dict[str, str]:
    """Data caches of the first processor, as the system tells them; empty where it does not."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if _read(index / "type").strip() != "Instruction":
            found["L" + _read(index / "level").strip()] = _read(index / "size").strip()
    return found


def commit() -> str:
    """The checkout's commit, marked if its files differ from it."""
    return git("describe", "--always", "--dirty", "--exclude", "*").strip() or "unknown"


def git(*arguments: str) -> str:
    """What git says in this repository; empty if it fails or is not there."""
    try:
        found = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.decode("utf-8", errors="replace")


def available_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpus() -> list[int]:
    """The processors this process may use; empty where a process cannot be pinned to some of them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []


def pin(threads: int) -> Callable[[], None] | None:
    """Make what a child process calls before it starts: it may then use the first `threads` processors of ours only.

    None where that is not possible; libraries that can be told a number of threads still keep to it.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    return lambda: os.sched_setaffinity(0, cpus)


def environment(threads: int, instruction_set: str | None) -> dict[str, str]:
    """Variables for a child process whose libraries shall use that many threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RNNKERNELS_NUM_THREADS")
    given = {name: str(threads) for name in names}
    given["JAX_PLATFORMS"] = "cpu"
    given["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    if instruction_set:
        given["RNNKERNELS_ISA"] = instruction_set
    return {**os.environ, **given}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
