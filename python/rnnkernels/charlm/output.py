"""Standard output and standard error, written to in a way that cannot end a training.

A reader may leave (`| head`), a disk fill up, a stream be closed, an encoding lack a character. None of that is worth
the work that is not saved yet: what cannot be written is dropped.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Literal, TextIO

__all__ = ["Output", "encodable", "to_nowhere"]


class Output:
    """One of the two streams, looked up in `sys` whenever something is written.

    Attributes
    ----------
    fault : str or None
        Why nothing more is written, once that is so.
    """

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self.name = name
        self.fault: str | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the stream is there, and is a terminal."""
        try:
            return bool(self._stream().isatty())
        except (OSError, ValueError):
            return False

    def write(self, text: str) -> None:
        """Write and flush a text; after the first time that fails, do nothing."""
        if self.fault is None:
            try:
                stream = self._stream()
                stream.write(encodable(text, stream))
                stream.flush()
            except (OSError, ValueError) as error:
                self.drop(error)

    def drop(self, error: Exception) -> None:
        """Write nothing more, because of an error."""
        self.fault = (error.strerror if isinstance(error, OSError) else None) or str(error)
        to_nowhere(getattr(sys, self.name))

    def _stream(self) -> TextIO:
        stream: TextIO | None = getattr(sys, self.name)
        if stream is None:  # it was closed before Python started
            raise ValueError("it is closed")
        return stream


def encodable(text: str, stream: TextIO) -> str:
    """Return a text with ``?`` for each character that a stream's encoding lacks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding, getattr(stream, "errors", None) or "strict")
    except UnicodeEncodeError:
        return text.encode(encoding, "replace").decode(encoding)
    except LookupError:
        return text
    return text


def to_nowhere(stream: TextIO | None) -> None:
    """Let a stream that failed end in nothing: Python writes what it still holds at its end, and would fail again."""
    if stream is not None:
        with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
