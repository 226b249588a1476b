"""Copies and pickles of what the extension lays out as it likes: a run's reserve, a prepared layer's packed weights.

Both are bytes in the layout of an instruction set and of a version of this package, which is why these travel with
them. Neither changes once it is made. Importing this module makes reserves known to `copy` and `pickle`.
"""

from __future__ import annotations

import copyreg
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _cpu
from ._runtime import version

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]


__all__ = ["check_version", "version"]


def check_version(what: str, written: str) -> None:
    """Raise ValueError where another version may have had another layout."""
    if written != version():
        raise ValueError(
            f"{what}: expected a pickle of rnnkernels {version()}, whose layout this is, got one of {written}; "
            f"make it again from its parameters"
        )


def _reduce_reserve(reserve: Any) -> tuple[Any, ...]:
    memory = np.frombuffer(reserve, np.uint8)[: reserve.nbytes].copy()
    return _reserve, (version(), reserve.instruction_set, memory)


def _reserve(written: str, instruction_set: str, memory: Bytes) -> _cpu.Reserve:
    check_version("reserve", written)
    return _cpu.copy_reserve(memory, instruction_set)


copyreg.pickle(_cpu.Reserve, _reduce_reserve)
