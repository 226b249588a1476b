"""Where the text of a character language model comes from, and how it is split.

A corpus is a few named documents: one file, the text files of a folder, or the Python standard library's own source
files, which every installation of Python has. This file reads them, cuts them and holds a part out for validation.
It knows nothing of vocabularies or models.

One rule splits everything. Documents are drawn in the order of the SHA-256 hash of their names, which is the same on
every machine and mixes the alphabet. Validation takes documents in that order until it has its share; the document
that crosses the line is divided, and validation gets its tail. So a single file is divided into a head to train on
and a tail to validate on, and a folder is divided file by file. A limit cuts the training text in the same order, and
leaves the validation text alone: figures for different limits can be compared.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rnnkernels._scalars import as_integer

from .checks import as_number, as_path, check_kind

__all__ = ["Corpus", "Document", "Split", "read_folder", "read_path", "read_text_file", "standard_library"]

# The generated tables of the standard library: character maps, the text of `help()`, build settings. They are data
# in Python syntax; left in, they would make up a sixth of the corpus and lower every model's loss.
GENERATED = ("encodings", "pydoc_data", "_sysconfigdata")
INSTALLED = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class Document:
    """A text and the name that decides its place in the draw (a path with forward slashes)."""

    name: str
    text: str


@dataclass(frozen=True)
class Split:
    """Training and validation text, each the concatenation of its documents in the order of their names."""

    train: str
    valid: str


@dataclass(frozen=True)
class Corpus:
    """Documents in the order of their names, and what was passed over on the way (a sentence each)."""

    documents: tuple[Document, ...]
    skipped: tuple[str, ...] = ()

    @classmethod
    def from_text(cls, text: str, name: str = "text") -> Corpus:
        """Return a corpus of one document.

        Raises
        ------
        TypeError
            If `text` or `name` is not a string.
        """
        check_kind("text", text, str, "a str")
        check_kind("name", name, str, "a str")
        return cls((Document(name, text),))

    @property
    def characters(self) -> int:
        """The number of characters (Unicode code points) in all documents."""
        return sum(len(document.text) for document in self.documents)

    def split(self, valid_fraction: float = 0.05, limit: int | None = None) -> Split:
        """Hold out a part for validation; see the head of this file for the rule.

        Parameters
        ----------
        valid_fraction : float
            Share of all characters that validation gets, in [0, 1).
        limit : int, optional
            The most characters of training text to keep.

        Raises
        ------
        ValueError
            If the fraction or the limit is out of range.
        """
        valid_fraction = as_number("valid_fraction", valid_fraction, 0, 1, "a number in [0, 1)")
        if limit is not None:
            as_integer("limit", limit, 1, 1 << 8192)
        wanted = round(valid_fraction * self.characters)
        room = self.characters - wanted if limit is None else limit
        train: dict[str, str] = {}
        valid: dict[str, str] = {}
        for document in sorted(self.documents, key=_draw):
            held_out = min(wanted, len(document.text))
            cut = len(document.text) - held_out
            kept = min(room, cut)
            wanted -= held_out
            room -= kept
            train[document.name] = document.text[:kept]
            valid[document.name] = document.text[cut:]
        names = [document.name for document in self.documents]
        return Split("".join(train[n] for n in names), "".join(valid[n] for n in names))


def _draw(document: Document) -> tuple[bytes, str]:
    return hashlib.sha256(document.name.encode("utf-8", "surrogateescape")).digest(), document.name


def read_text_file(path: str | os.PathLike[str]) -> str:
    """Read a UTF-8 text file; a byte order mark is dropped, and line ends become newlines.

    Raises
    ------
    ValueError
        If the file cannot be read, is not UTF-8, or holds NUL characters (a binary file): the message names it.
    """
    path = as_path("path", path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{os.fspath(path)}: cannot be read: {error.strerror or error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{os.fspath(path)}: expected UTF-8 text, got byte 0x{data[error.start]:02x} at offset {error.start}"
        ) from None
    if "\0" in text:
        raise ValueError(f"{os.fspath(path)}: expected text, got a binary file (NUL at character {text.index(chr(0))})")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_path(path: str | os.PathLike[str], pattern: str = "*") -> Corpus:
    """Read a corpus from a text file or, with `read_folder`, from a folder of them.

    Raises
    ------
    ValueError
        If there is no such file or folder, or a file that was named is not text.
    """
    place = Path(as_path("path", path))
    check_kind("pattern", pattern, str, "a str")
    if place.is_dir():
        return read_folder(place, pattern)
    if not place.exists():
        raise ValueError(f"{os.fspath(path)}: expected a text file or a folder, found nothing there")
    return Corpus((Document(place.name, read_text_file(place)),))


def read_folder(folder: str | os.PathLike[str], pattern: str = "*") -> Corpus:
    """Read every text file below a folder whose name matches a pattern.

    Files are taken in the order of their relative paths, in all sub-folders; names that begin with a dot, and
    `__pycache__`, are left out, and links to folders are not followed. Files that are not UTF-8 text are skipped and
    listed in `Corpus.skipped`. A document that does not end in a newline is given one.

    Raises
    ------
    ValueError
        If nothing is left.
    """
    root = Path(as_path("folder", folder))
    check_kind("pattern", pattern, str, "a str")
    if not pattern:
        raise ValueError("pattern: expected at least one character, got an empty text")

    def wanted(path: PurePosixPath) -> bool:
        return path.match(pattern) and not any(part.startswith(".") or part == "__pycache__" for part in path.parts)

    return _read_tree(root, wanted, f"a text file that matches {pattern!r}")


def standard_library() -> Corpus:
    """Read the Python standard library's own source files, in the order of their paths.

    Test packages, installed packages (`site-packages`) and the generated tables in `GENERATED` are left out.

    Raises
    ------
    ValueError
        If this Python has no source files of its library on disk.
    """

    def wanted(path: PurePosixPath) -> bool:
        folders = path.parts[:-1]
        tests = any(part in ("test", "tests") or part.endswith("_test") for part in folders)
        left_out = path.parts[0].startswith(GENERATED) or any(part in INSTALLED for part in folders)
        return path.suffix == ".py" and not tests and not left_out

    return _read_tree(Path(sysconfig.get_paths()["stdlib"]), wanted, "the Python standard library's source files")


def _read_tree(root: Path, wanted: Callable[[PurePosixPath], bool], expected: str) -> Corpus:
    documents: list[Document] = []
    skipped: list[str] = []
    for name in sorted(_file_names(root)):
        if not wanted(PurePosixPath(name)):
            continue
        try:
            text = read_text_file(root / name)
        except ValueError as error:
            skipped.append(str(error))
            continue
        if text:
            documents.append(Document(name, text if text.endswith("\n") else text + "\n"))
    if not documents:
        why = f"; skipped {len(skipped)}, the first: {skipped[0]}" if skipped else ""
        raise ValueError(f"{root}: expected {expected}, found none{why}")
    return Corpus(tuple(documents), tuple(skipped))


def _file_names(root: Path) -> Iterator[str]:
    """Yield the path of every regular file below `root`, relative and with forward slashes."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if path.is_file():
                yield path.relative_to(root).as_posix()
