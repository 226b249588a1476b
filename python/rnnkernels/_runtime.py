"""The process's settings: which backend serves, with which instructions, on how many threads.

Importing this module loads the compiled CPU backend and applies four environment variables, once:

- ``RNNKERNELS_ISA``: the instruction set to use (``scalar``, ``avx2``, ``avx512``, ``neon``).
  Unset or empty: the fastest one that was compiled and that the machine has.
- ``RNNKERNELS_NUM_THREADS``: the number of threads, at most. Unset or empty: what else there is (`_threads`) decides.
- ``RNNKERNELS_SHARE_BLAS``: ``1``, unset or empty: `share_blas` at the first call that may use several threads; ``0``:
  not.
- ``RNNKERNELS_BACKEND``: ``cpu`` (the default) or ``cuda``, as `set_backend` takes it.

A value that cannot be honoured makes the import fail with a ``ValueError``, or with a
``rnnkernels.cuda.CudaUnavailableError`` where no GPU serves: a run that is silently slower, or silently not what was
being tested, is worse than one that does not start. Either names the variable. The command line says it in one line,
and ends with exit code 2.

It does no arithmetic and knows no cell; those are in `rnnkernels.functional`.
"""

from __future__ import annotations

import operator
import os
import platform
import re
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, SupportsIndex

from ._scalars import shown

try:
    from rnnkernels import _cpu
except ImportError as error:  # pragma: no cover - a broken installation
    raise ImportError(
        "rnnkernels' compiled part (rnnkernels._cpu) cannot be loaded: "
        f"{error}. Install the package with `pip install .` instead of importing its source tree."
    ) from error

from . import _threads
from ._threads import MAX_THREADS

if TYPE_CHECKING:
    from collections.abc import Mapping

BACKEND_VARIABLE = "RNNKERNELS_BACKEND"
ISA_VARIABLE = "RNNKERNELS_ISA"
SHARE_BLAS_VARIABLE = "RNNKERNELS_SHARE_BLAS"
THREADS_VARIABLE = "RNNKERNELS_NUM_THREADS"

# Whether `share_blas` is called where nobody says: at the first call that may use several threads. A training loop
# with a readout of NumPy's takes 0.6 of the time for it (docs/threads.md).
SHARE_BLAS = True

_OPTIONAL = ("torch", "safetensors", "tqdm")


# ---- instruction sets ---------------------------------------------------------------------------


def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets that were compiled and that this machine has, slowest first."""
    return tuple(_cpu.instruction_sets())


def instruction_set() -> str:
    """Return the instruction set in use."""
    return _cpu.instruction_set()


def set_instruction_set(name: str) -> None:
    """Use another instruction set from the next call on, in every Python thread.

    Results differ between instruction sets in the last digits (``docs/reproducibility.md``).

    Parameters
    ----------
    name : str
        One of `instruction_sets`.

    Raises
    ------
    TypeError
        If `name` is not a string.
    ValueError
        If `name` was not compiled, or this machine lacks it.
    """
    if not isinstance(name, str):
        raise TypeError(f"name: expected a string, got {type(name).__name__}")
    _check_instruction_set("name", name)
    _cpu.set_instruction_set(name)


def _check_instruction_set(what: str, name: str) -> None:
    known = instruction_sets()
    if name not in known:
        raise ValueError(
            f"{what}: expected an instruction set that was compiled and that this machine "
            f"({platform.machine()}) has, one of {', '.join(known)}; got {name!r}"
        )


# ---- backends -----------------------------------------------------------------------------------

on_cuda = False  # whether NumPy's arrays are copied to a GPU and back


def backend() -> str:
    """Return which backend serves calls with NumPy's arrays, ``"cpu"`` or ``"cuda"``."""
    return "cuda" if on_cuda else "cpu"


def set_backend(name: str) -> None:
    """Have another backend serve calls with NumPy's arrays, from the next one on, in every Python thread.

    On ``"cuda"`` they are copied to the first GPU and results are copied back. Arrays that are on a GPU are served
    there whatever this says.

    Parameters
    ----------
    name : {"cpu", "cuda"}

    Raises
    ------
    TypeError, ValueError
        If `name` is no backend.
    rnnkernels.cuda.CudaUnavailableError
        If no GPU serves; the message says why.
    """
    if not isinstance(name, str):
        raise TypeError(f"name: expected a string, got {type(name).__name__}")
    _set_backend("name", name)


def _set_backend(what: str, name: str) -> None:
    global on_cuda  # noqa: PLW0603 - a setting of the process
    if name not in ("cpu", "cuda"):
        raise ValueError(f"{what}: expected 'cpu' or 'cuda', got {name!r}")
    if name == "cuda":
        from . import cuda  # noqa: PLC0415 - only where a GPU is asked for

        why = cuda.reason()
        if why is not None:
            raise cuda.CudaUnavailableError(f"{what}: expected a backend that serves here, got 'cuda': {why}")
    on_cuda = name == "cuda"


# ---- threads ------------------------------------------------------------------------------------


def num_threads() -> int:
    """Return how many threads a call of this Python thread may use now, the calling one included.

    The least of what these say: `set_num_threads` or ``RNNKERNELS_NUM_THREADS``; ``OMP_NUM_THREADS`` and
    ``OMP_THREAD_LIMIT``; the cgroup's CPU quota; the CPU affinity; PyTorch, once it is loaded.
    `backends` and ``rnnkernels info`` name the one that decides.
    """
    return _threads.deciding().threads


def set_num_threads(n: SupportsIndex) -> None:
    """Set how many threads a call may use at most, the calling one included.

    The setting is one of several, and the least of them holds (`num_threads`): of 8 threads set on a machine of two
    processors a call uses two, and `num_threads` says so. The 8 stay set, should the others come to allow more.

    The number changes the time of a call and never its result: every output is accumulated in one fixed order,
    whichever thread does it (``docs/reproducibility.md``).

    Parameters
    ----------
    n : int
        At least 1 and at most 1024.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is out of range.
    """
    if isinstance(n, bool):
        raise TypeError(f"n: expected an integer, got {n!r}")
    try:
        count = operator.index(n)
    except TypeError:
        raise TypeError(f"n: expected an integer, got {type(n).__name__}") from None
    if not 1 <= count <= MAX_THREADS:
        raise ValueError(f"n: expected 1 to {MAX_THREADS} threads, got {shown(count)}")
    _threads.set_own("set_num_threads", count)


# ---- what is there ------------------------------------------------------------------------------


def backends() -> dict[str, str]:
    """Return each backend's name and what serves it, or why nothing does.

    Returns
    -------
    dict of str to str
        For example ``{"cpu": "avx512 (of scalar, avx2, avx512; int8 by avx512_vnni, bfloat16 by avx512_bf16), 2 threads
        (affinity)", "cuda": "not built: ..."}``: the instruction set, of those that are there, which kernels serve
        products of int8 and of bfloat16 (docs/low_precision.md), and what decides the number of threads
        (`num_threads`).
    """
    from . import cuda  # noqa: PLC0415 - loads the CUDA backend, if there is one

    source, threads = _threads.deciding()
    return {
        "cpu": (
            f"{instruction_set()} (of {', '.join(instruction_sets())}; {_low('int8')}, {_low('bfloat16')}), "
            f"{threads} thread{'' if threads == 1 else 's'} ({source})"
        ),
        "cuda": cuda.summary(),
    }


def _low(kind: str) -> str:
    """Return what serves products in low precision."""
    serving = _cpu.low_kernels(kind)[1]
    return f"no {kind}" if serving is None else f"{kind} by {serving}"


def version() -> str:
    """Return this package's version."""
    from rnnkernels import __version__  # noqa: PLC0415 - the package imports this module

    return __version__


def versions() -> dict[str, str]:
    """Return the versions that a bug report should name.

    Returns
    -------
    dict of str to str
        ``rnnkernels``, ``python``, ``platform``, ``numpy`` and, where they are installed, the
        optional packages. None of them is imported for it.
    """
    found = {
        "rnnkernels": version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "numpy": _version("numpy") or "unknown",
    }
    for package in _OPTIONAL:
        installed = _version(package)
        if installed is not None:
            found[package] = installed
    return found


def _version(package: str) -> str | None:
    import importlib.metadata  # noqa: PLC0415 - slow, and few programs ask

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


# ---- import -------------------------------------------------------------------------------------


def _apply_environment(environment: Mapping[str, str]) -> None:
    name = environment.get(ISA_VARIABLE, "").strip()
    if name:
        _check_instruction_set(f"environment variable {ISA_VARIABLE}", name)
        _cpu.set_instruction_set(name)

    text = environment.get(THREADS_VARIABLE, "").strip()
    _threads.start(environment)
    # Checked before int(): it also takes "1_0", and is slow on a very long string of digits.
    if text and (not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MAX_THREADS):
        raise ValueError(
            f"environment variable {THREADS_VARIABLE}: expected a number of threads from 1 to "
            f"{MAX_THREADS}, got {text!r}"
        )
    if text:
        _threads.set_own(THREADS_VARIABLE, int(text))

    text = environment.get(SHARE_BLAS_VARIABLE, "").strip()
    if text not in ("", "0", "1"):
        raise ValueError(f"environment variable {SHARE_BLAS_VARIABLE}: expected 0 or 1, got {text!r}")
    _cpu.share_blas_when_parallel(text == "1" if text else SHARE_BLAS)

    name = environment.get(BACKEND_VARIABLE, "").strip()
    if name:
        _set_backend(f"environment variable {BACKEND_VARIABLE}", name)


def _is_command_line() -> bool:
    """Whether this process runs a command line of this package, and is no program that imports the package.

    Python imports the package before the command line's own code runs, which could not say it in one line.
    """
    program, *arguments = getattr(sys, "argv", None) or [""]
    if program == "-m":  # Python is looking for the module
        module = sys.orig_argv[-len(arguments) - 1].removeprefix("-m")
        return module.partition(".")[0] == "rnnkernels"
    return PurePath(program).stem == "rnnkernels"


try:
    _apply_environment(os.environ)
except (ValueError, RuntimeError) as fault:
    if not _is_command_line():
        raise
    if sys.stderr is not None:
        sys.stderr.write(f"rnnkernels: error: {fault}\n")
    raise SystemExit(2) from None
