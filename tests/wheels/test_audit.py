"""The audit of a wheel notices what it is for: a wheel made up here has no fault, and each planted one is told of."""

from __future__ import annotations

import struct
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import rnnkernels
from tests.wheels import audit, elf

if TYPE_CHECKING:
    from collections.abc import Callable

INFO = "rnnkernels-1.0.dist-info"
MODULE = "rnnkernels/_cpu.cpython-311-x86_64-linux-gnu.so"
METADATA = b"License-Expression: BSD-3-Clause\nRequires-Python: >=3.10\nSummary: of\n\n"


def library(
    sections: tuple[str, ...] = (".text",),
    needed: tuple[str, ...] = ("libstdc++.so.6", "libm.so.6", "ld-linux-x86-64.so.2"),
    search_path: str = "",
    exported: tuple[str, ...] = ("PyInit__cpu",),
) -> bytes:
    """Return the bytes of a library that has these, and one symbol that it takes from elsewhere."""
    texts = [b""]

    def at(text: str) -> int:
        place = sum(len(each) + 1 for each in texts)
        texts.append(text.encode())
        return place

    dynamic = b"".join(struct.pack("<QQ", 1, at(name)) for name in needed)
    dynamic += struct.pack("<QQ", 29, at(search_path)) if search_path else b""
    dynamic += struct.pack("<QQ", 0, 0)
    taken = struct.pack("<IBBHQQ", at("PyList_New"), 1 << 4, 0, 0, 0, 0)
    hidden = struct.pack("<IBBHQQ", at("hidden"), 1 << 4, 2, 1, 0, 0)
    symbols = taken + hidden + b"".join(struct.pack("<IBBHQQ", at(name), 2 << 4, 0, 1, 0, 0) for name in exported)
    kinds = [(at(name), 1, b"") for name in sections]
    kinds += [(at(".dynamic"), 6, dynamic), (at(".dynsym"), 11, symbols), (at(".dynstr"), 3, b"")]
    kinds[-1] = (*kinds[-1][:2], b"\0".join(texts) + b"\0")
    body, headers, last = b"", b"", len(kinds) - 1
    for name, kind, data in kinds:
        headers += struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, 64 + len(body), len(data), last, 0, 1, 0)
        body += data
    head = b"\x7fELF\x02\x01" + bytes(34) + struct.pack("<Q", 64 + len(body)) + bytes(10)
    return head + struct.pack("<HHH", 64, len(kinds), last) + body + headers


def wheel_of(folder: Path, change: Callable[[dict[str, bytes]], object] = lambda _: None) -> Path:
    """Return a wheel with the package's files, changed."""
    members = {
        f"rnnkernels/{file.relative_to(audit.PACKAGE).as_posix()}": b""
        for file in audit.PACKAGE.rglob("*")
        if file.suffix in audit._FILES and "__pycache__" not in file.parts
    }
    members[MODULE] = library()
    members[f"{INFO}/METADATA"] = METADATA
    members[f"{INFO}/licenses/LICENSE"] = b"BSD"
    members[f"{INFO}/entry_points.txt"] = b"[console_scripts]\nrnnkernels = rnnkernels.cli:main\n"
    change(members)
    wheel = folder / "rnnkernels-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return wheel


def test_a_right_wheel_has_no_fault(tmp_path: Path) -> None:
    assert audit.faults(wheel_of(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update({"tests/test_a.py": b""}), "tests/test_a.py: expected nothing beside"),
        (lambda m: m.update({"rnnkernels/tests/a.py": b""}), "rnnkernels/tests/a.py: expected the package's own files"),
        (lambda m: m.update({"rnnkernels/cell.h": b""}), "rnnkernels/cell.h: expected the package's own files"),
        (lambda m: m.pop("rnnkernels/py.typed"), "rnnkernels/py.typed: expected in the wheel"),
        (lambda m: m.pop(f"{INFO}/licenses/LICENSE"), "licenses/LICENSE: expected in the wheel"),
        (lambda m: m.pop(f"{INFO}/entry_points.txt"), "expected the command rnnkernels"),
        (lambda m: m.update({f"{INFO}/METADATA": METADATA[33:]}), "expected License-Expression, got none"),
        (lambda m: m.pop(MODULE), "compiled modules: expected _cpu, or _cpu and _cuda, got none"),
        (lambda m: m.update({MODULE: library() + bytes(3_500_000)}), "expected at most 3000000 bytes"),
        (lambda m: m.update({MODULE: library() + str(audit.ROOT).encode()}), "expected no path of the machine"),
        (lambda m: m.update({MODULE: library((".text", ".debug_info"))}), "got the section .debug_info"),
        (lambda m: m.update({MODULE: library((".symtab",))}), "got the section .symtab"),
        (lambda m: m.update({MODULE: library(needed=("libgomp.so.1",))}), "got libgomp.so.1"),
        (lambda m: m.update({MODULE: library(search_path="/opt/lib")}), "expected no RPATH, got /opt/lib"),
        (lambda m: m.update({MODULE: library(exported=("PyInit__cpu", "_ZNSt"))}), "got 1 others, _ZNSt"),
        (lambda m: m.update({MODULE: library(exported=())}), "expected to export PyInit__cpu alone"),
    ],
)
def test_a_fault_is_told(change: Callable[[dict[str, bytes]], object], said: str, tmp_path: Path) -> None:
    found = audit.faults(wheel_of(tmp_path, change))
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a library of Linux")
def test_the_installed_module_can_be_read() -> None:
    found = elf.read(Path(str(rnnkernels._cpu.__file__)).read_bytes())
    assert ".dynsym" in found.sections
    assert "libc.so.6" in found.needed or any(name.startswith("libc.musl") for name in found.needed)
    assert "PyInit__cpu" in found.exported


def test_what_is_no_library_is_named() -> None:
    with pytest.raises(ValueError, match="expected an ELF library of 64 bits, little-endian, got bytes that begin"):
        elf.read(b"MZ\x90")
