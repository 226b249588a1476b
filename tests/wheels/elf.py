"""What a shared library of Linux says of itself: sections, what it needs, where it looks for it, what it exports."""

from __future__ import annotations

import struct
from typing import NamedTuple

# Name, type, flags, address, offset, size, link, info, alignment, size of an entry.
_SECTIONS = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC, _DYNAMIC_SYMBOLS = 6, 11  # types of sections
_NEEDED, _RPATH, _RUNPATH = 1, 15, 29  # tags of the dynamic section
_EXPORTED = {1, 2, 10}  # bindings: global, weak, GNU's unique


class Elf(NamedTuple):
    """A library of 64 bits, little-endian."""

    sections: tuple[str, ...]
    needed: tuple[str, ...]
    search_paths: tuple[str, ...]  # RPATH, RUNPATH
    exported: tuple[str, ...]


def read(data: bytes) -> Elf:
    """Return what a library's bytes say.

    Raises
    ------
    ValueError
        If they are none of such a library.
    """
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"expected an ELF library of 64 bits, little-endian, got bytes that begin with {data[:6]!r}")
    (start,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    headers = [_SECTIONS.unpack_from(data, start + k * size) for k in range(count)]

    def text(section: int, at: int) -> str:
        begin = headers[section][4] + at
        return data[begin : data.index(b"\0", begin)].decode()

    needed, search_paths, exported = [], [], []
    for _, kind, _, _, offset, length, link, *_ in headers:
        if kind == _DYNAMIC:
            for at in range(offset, offset + length, 16):
                tag, value = struct.unpack_from("<QQ", data, at)
                if tag == _NEEDED:
                    needed.append(text(link, value))
                elif tag in (_RPATH, _RUNPATH):
                    search_paths.append(text(link, value))
        elif kind == _DYNAMIC_SYMBOLS:
            for at in range(offset, offset + length, 24):
                name, info, visibility, section = struct.unpack_from("<IBBH", data, at)
                if section != 0 and info >> 4 in _EXPORTED and visibility & 3 in (0, 3):  # default, protected
                    exported.append(text(link, name))
    sections = tuple(text(names, header[0]) for header in headers)
    return Elf(sections, tuple(needed), tuple(search_paths), tuple(exported))
