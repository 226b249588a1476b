"""A run's claim on its file: one run at a time saves there, and a file is replaced whole or not at all.

A claimed file is locked (`flock`), and each new file is locked before it takes the old one's place. So there is no
lock file to be left behind, and a lock ends with its process. A temporary file that nobody holds locked is what a
killed save left: the next claim removes it.

Some systems have no such locks (Windows, some network file systems). The mark serves there: each save has one of its
own in it, and the file must still have it when the next save comes.

Not here: what is in the file (`checkpoint.py`), and when it is saved (`training.py`).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

fcntl: ModuleType | None
try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Claim"]

OPEN = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
ATTEMPTS = 10  # to lock a file that is being replaced


class Claim:
    """A file that one run saves to; use as a context.

    Parameters
    ----------
    path : path
        The file. It need not be there. Of a link, what it points to is replaced, and the link stays.
    read_mark : callable
        Returns the mark of the last save to a file, None where the file has none.

    Raises
    ------
    ValueError
        On entry, if another run has claimed the file, or if it is a folder or a device.
    """

    def __init__(self, path: str | os.PathLike[str], read_mark: Callable[[Path], str | None]) -> None:
        self.name = os.fspath(path)
        self.path = Path(os.path.realpath(path))
        self._read_mark = read_mark
        self._mark: str | None = None
        self._lock: int | None = None  # a descriptor of the file as it is now, locked

    def __enter__(self) -> Self:
        if os.path.lexists(self.path) and not self.path.is_file():
            raise ValueError(f"{self.name}: expected a file to save to, found a folder or a device")
        self._lock = self._locked_file()
        self._mark = self._read_mark(self.path)
        for file in self._leftovers():
            _remove_if_unlocked(file, self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _close(self._lock)
        self._lock = None

    def write(self, data: bytes, mark: str) -> None:
        """Replace the file.

        Parameters
        ----------
        data : bytes
            What the file is to hold.
        mark : str
            The mark in it.

        Raises
        ------
        ValueError
            If the file is no longer the one that this claim saved or found. That file stays as it is; where this claim
            has something to lose, `data` is saved beside it, under a name that the message has.
        OSError
            If the file cannot be written; it is then as it was.
        """
        there = self.path.exists()
        if there and self._read_mark(self.path) != self._mark:
            raise self._taken(data)
        lock, temporary = self._new_file(data)
        try:
            if there:
                temporary.replace(self.path)
            else:
                _link(temporary, self.path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            _close(lock)
            if isinstance(error, FileExistsError) and not there:
                raise self._taken(data) from None
            raise
        _close(self._lock)
        self._mark, self._lock = mark, lock
        _flush_folder(self.path.parent)

    def _taken(self, data: bytes) -> ValueError:
        """Return the error of a file that is another's by now; save what there is to lose beside it."""
        said = f"{self.name}: another program has written this file while a run was saving to it"
        if self._mark is None:
            return ValueError(f"{said}; it stays as it is, and the run ends")
        lock, temporary = self._new_file(data)
        try:
            for number in range(2, 1000):
                beside = self.path.with_name(f"{self.path.stem}-{number}{self.path.suffix}")
                with contextlib.suppress(FileExistsError):
                    _link(temporary, beside)
                    return ValueError(f"{said}; it stays as it is, and the run ends, saved to {beside}")
        finally:
            temporary.unlink(missing_ok=True)
            _close(lock)
        return ValueError(f"{said}; it stays as it is, and the run ends, unsaved: there are too many files like it")

    # ---- locks -------------------------------------------------------------------------------------

    def _locked_file(self) -> int | None:
        """Return a locked descriptor of the file that is there; None without a file, or where there are no locks."""
        for _ in range(ATTEMPTS):
            try:
                lock = _open(self.path)
            except OSError:  # not there; or not to be read, which the first save says
                return None
            locked = _try_lock(lock)
            if locked is False:
                os.close(lock)
                raise ValueError(
                    f"{self.name}: another run is saving to this file; wait for its end, or choose another"
                )
            with contextlib.suppress(FileNotFoundError):
                if locked and os.path.samestat(os.fstat(lock), self.path.stat()):
                    return lock
            os.close(lock)  # no lock, or the file has been replaced since it was opened
        return None

    # ---- temporary files ---------------------------------------------------------------------------

    def _new_file(self, data: bytes) -> tuple[int | None, Path]:
        """Return a locked descriptor of a new file that holds `data`, on the disk, and its name.

        On Windows, which renames no open file, there is no descriptor.

        In the same folder, for a rename within one file system; a name that no other save, dead or alive, has used.
        """
        while True:
            temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}.tmp")
            lock = os.open(temporary, OPEN | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                # Another claim may take it for a leftover as long as it is not locked.
                if _try_lock(lock) is not False and os.fstat(lock).st_nlink:
                    with open(lock, "wb", closefd=False) as file:
                        file.write(data)
                        file.flush()
                        os.fsync(lock)
                    if fcntl is not None:
                        return lock, temporary
                    os.close(lock)
                    return None, temporary
            except BaseException:
                os.close(lock)
                temporary.unlink(missing_ok=True)
                raise
            os.close(lock)

    def _leftovers(self) -> Iterator[Path]:
        """Yield the temporary files of saves to this file."""
        name = re.compile(rf"\.{re.escape(self.path.name)}\.[0-9a-f]{{16}}\.tmp")
        with contextlib.suppress(OSError):  # no such folder: the first save says so
            for entry in list(os.scandir(self.path.parent)):
                if name.fullmatch(entry.name):
                    yield Path(entry.path)


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, OPEN)
    except PermissionError:  # a file that is read-only can be replaced all the same
        return os.open(path, OPEN & ~os.O_RDWR | os.O_RDONLY)


def _try_lock(descriptor: int) -> bool | None:
    """Lock an open file for this process: True, or False where another has it, or None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_if_unlocked(temporary: Path, path: Path) -> None:
    """Remove the temporary file of a save whose process is dead: nobody holds the file locked, or open on Windows."""
    with contextlib.suppress(OSError):
        if fcntl is None:
            temporary.unlink()
            return
        lock = os.open(temporary, OPEN)
        try:
            # A save to a new file may end between its link and this name's removal.
            if _try_lock(lock) or (path.exists() and os.path.samestat(os.fstat(lock), path.stat())):
                temporary.unlink(missing_ok=True)
        finally:
            os.close(lock)


def _link(temporary: Path, path: Path) -> None:
    """Give a file its name where no file has it: FileExistsError otherwise, and nothing is replaced."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from None
        temporary.replace(path)
    else:
        temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Bring a rename to the disk; Windows has no such handle."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
