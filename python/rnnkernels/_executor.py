"""Calls on the threads of an executor that a program has already. How threads share a call: docs/threads.md."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Protocol

from rnnkernels import _cpu

from ._runtime import num_threads
from ._scalars import as_integer, shown
from ._threads import MAX_THREADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import SupportsIndex

__all__ = ["Executor", "on_executor"]


class Executor(Protocol):
    """What `on_executor` needs of an executor: `concurrent.futures.Executor` has it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """Run ``fn(*args)`` on a thread of this process, now or later."""


class _Lent(threading.local):
    """What this thread's calls run on; the innermost last."""

    def __init__(self) -> None:
        self.threads: list[_cpu.LentThreads] = []


_lent = _Lent()


@contextlib.contextmanager
def on_executor(executor: Executor, threads: SupportsIndex | None = None) -> Iterator[None]:
    """Run this Python thread's calls on the threads of an executor, and start none.

    While the context lasts up to ``threads - 1`` of the executor's threads belong to the calls made in it. Between two
    calls they sleep. A call needs none of them: those that are busy with something else join it when they come, and it
    is done without those that do not. So an executor that is full, or has fewer threads, makes a call slower and never
    wait. Results have the same bits as always.

    Other Python threads' calls run where they would have run without this. PyTorch's layers, too, run on the executor
    inside the context.

    Parameters
    ----------
    executor : concurrent.futures.ThreadPoolExecutor, or whatever has its ``submit``
        Its threads have to be this process's.
    threads : int, optional
        How many threads a call may use, the calling one included: 1 to 1024. By default `num_threads` of now. What else
        limits a call (affinity, `set_num_threads`, ...) does so inside, too.

    Raises
    ------
    TypeError
        If `executor` has no ``submit``, or `threads` is no integer.
    ValueError
        If `threads` is out of range.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> import numpy as np, rnnkernels as rk
    >>> with ThreadPoolExecutor(3) as pool, rk.on_executor(pool):
    ...     run = rk.forward("gru", np.zeros((5, 2, 3), np.float32), rk.init_params("gru", 3, 4))
    """
    submit = getattr(executor, "submit", None)
    if isinstance(executor, type) or not callable(submit):
        raise TypeError(f"executor: expected an object with submit(function, *arguments), got {shown(executor)}")
    count = num_threads() if threads is None else as_integer("threads", threads, 1, MAX_THREADS)
    lent = _cpu.LentThreads(count - 1)
    tasks = [submit(lent.work, number) for number in range(1, count)]
    _lent.threads.append(lent)
    _cpu.use_lent(lent)
    try:
        yield
    finally:
        _lent.threads.pop()
        _cpu.use_lent(_lent.threads[-1] if _lent.threads else None)
        lent.end()
        for task in tasks:  # those that no thread came to
            if callable(getattr(task, "cancel", None)):
                task.cancel()
