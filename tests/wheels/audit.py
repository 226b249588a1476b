"""What a wheel has in it: `faults` says what is missing and what should not be there.

Not here: whether it runs (`bare`), and which Linux it runs on at least, which auditwheel says.
"""

from __future__ import annotations

import re
import zipfile
from email.parser import BytesParser
from pathlib import Path
from typing import TYPE_CHECKING

from . import elf

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "rnnkernels"

MOST_BYTES = {"_cpu": 3_000_000, "_cuda": 60_000_000}  # of a wheel with this module

_FILES = {".css", ".html", ".js", ".py", ".pyi", ".typed"}  # beside compiled modules
_COMPILED = {".so", ".pyd"}
_NEEDED = re.compile(r"lib(stdc\+\+|m|gcc_s|c|pthread|dl|rt)\.(so\.\d+|musl-\w+\.so\.1)|ld-(linux|musl)-[\w-]+\.so\.\d")


def faults(wheel: Path, root: Path = ROOT) -> list[str]:
    """Return what is wrong with a wheel, a sentence each; `root`: of the sources that it was built from."""
    with zipfile.ZipFile(wheel) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    return list(_of_files(members)) + list(_of_metadata(members)) + list(_of_modules(wheel, members, root))


def _of_files(members: dict[str, bytes]) -> Iterator[str]:
    for name in members:
        first, _, rest = name.partition("/")
        if first == "rnnkernels":
            if Path(name).suffix not in _FILES | _COMPILED or any(part.startswith("test") for part in rest.split("/")):
                yield f"{name}: expected the package's own files alone"
        elif not re.fullmatch(r"rnnkernels-[\w.+]+\.dist-info", first):
            yield f"{name}: expected nothing beside rnnkernels/ and its .dist-info/"
    for file in sorted(PACKAGE.rglob("*")):
        name = f"rnnkernels/{file.relative_to(PACKAGE).as_posix()}"
        if file.suffix in _FILES and "__pycache__" not in name and name not in members:
            yield f"{name}: expected in the wheel, it is missing"


def _of_metadata(members: dict[str, bytes]) -> Iterator[str]:
    found = [name for name in members if name.endswith(".dist-info/METADATA")]
    if len(found) != 1:
        yield f"METADATA: expected one, got {len(found)}"
        return
    folder = found[0].rpartition("/")[0]
    metadata = BytesParser().parsebytes(members[found[0]])
    for field in ("License-Expression", "Requires-Python", "Summary"):
        if not metadata[field]:
            yield f"METADATA: expected {field}, got none"
    for licence in metadata.get_all("License-File", ["LICENSE"]):
        if f"{folder}/licenses/{licence}" not in members:
            yield f"{folder}/licenses/{licence}: expected in the wheel, it is missing"
    if b"rnnkernels.cli:main" not in members.get(f"{folder}/entry_points.txt", b""):
        yield "entry_points.txt: expected the command rnnkernels"


def _of_modules(wheel: Path, members: dict[str, bytes], root: Path) -> Iterator[str]:
    modules = {name: data for name, data in members.items() if Path(name).suffix in _COMPILED}
    stems = [Path(name).name.partition(".")[0] for name in modules]
    if sorted(stems) not in (["_cpu"], ["_cpu", "_cuda"]):
        yield f"compiled modules: expected _cpu, or _cpu and _cuda, got {', '.join(sorted(stems)) or 'none'}"
    most = MOST_BYTES["_cuda" if "_cuda" in stems else "_cpu"]
    if wheel.stat().st_size > most:
        yield f"{wheel.name}: expected at most {most} bytes, got {wheel.stat().st_size}"
    for (name, data), stem in zip(modules.items(), stems, strict=True):
        if str(root).encode() in data:
            yield f"{name}: expected no path of the machine that it was built on, got {root}"
        if name.endswith(".so") and data.startswith(b"\x7fELF"):
            yield from (f"{name}: {fault}" for fault in _of_library(elf.read(data), f"PyInit_{stem}"))


def _of_library(library: elf.Elf, entry: str) -> Iterator[str]:
    for section in library.sections:
        if section.startswith((".debug", ".zdebug")) or section == ".symtab":
            yield f"expected a stripped library, got the section {section}"
    for name in library.needed:
        if not _NEEDED.fullmatch(name):
            yield f"expected to need the C and C++ libraries alone, got {name}"
    for path in library.search_paths:
        yield f"expected no RPATH, got {path}"
    others = [name for name in library.exported if name != entry]
    if entry not in library.exported or others:
        yield f"expected to export {entry} alone, got {len(others)} others, {', '.join(others[:3])}"
