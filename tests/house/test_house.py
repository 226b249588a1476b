"""The rules of csrc/: who may include whom, what may be in an object file, how long a file may be.

Each rule is a function that lists what breaks it. It is run over the sources here, and over a small wrong example:
a rule that cannot fail says nothing.

The symbol rule reads the objects of the newest build in build/ (`pip install .` leaves one). When there is none, or
the sources have changed since, it compiles what is compiled per set itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from rnnkernels import _cpu

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"

if not CSRC.is_dir():
    pytest.skip("the sources are not here", allow_module_level=True)

# Each layer and the layers it may include, itself among them.
LAYERS = {
    "math": {"math"},
    "cells": {"math", "cells"},
    "recurrence": {"math", "cells", "recurrence"},
    "passes": {"math", "cells", "recurrence", "passes"},
    "cpu": {"math", "cells", "recurrence", "passes", "cpu", "backend_table.h"},
    "cuda": {"math", "cells", "recurrence", "passes", "cuda", "backend_table.h", "device_table.h"},
    "backend_table.h": {"recurrence", "passes"},
    "device_table.h": {"recurrence"},
    "binding": {"recurrence", "backend_table.h", "device_table.h", "binding"},
}
# What is compiled once per instruction set may use these of the standard library: they hold no function that the
# linker could take from another set's object.
PER_SET_SYSTEM = {"cstdint", "cstddef", "cstring", "type_traits", "utility", "concepts", "limits", "new"} | {
    "immintrin.h",
    "arm_neon.h",
}
PER_SET_SOURCES = ("cpu/engine.cpp", "passes/passes.cpp", "passes/program_pass.cpp")
SET_NAMES = ("scalar", "avx2", "avx512", "neon")
# Kernels for products in low precision have a set's flags and their own; that of the scalar set has neither.
LOW_KERNELS = sorted(
    f"cpu/low/{file.name}"
    for file in (CSRC / "cpu" / "low").glob("*.cpp")
    if file.stem not in {"features", "kernels", "scalar"}
)
MOST_LINES = 400
MOST_PYTHON_LINES = 500  # docstrings included

Files = dict[PurePosixPath, str]


def sources(folder: Path = CSRC) -> Files:
    """Every C++ file under `folder`: path relative to it, and text."""
    kinds = {".h", ".cpp", ".cuh", ".cu"}
    return {
        PurePosixPath(file.relative_to(folder).as_posix()): file.read_text(encoding="utf-8")
        for file in sorted(folder.rglob("*"))
        if file.suffix in kinds
    }


def includes(text: str) -> list[tuple[str, str]]:
    """The include lines of a file, as (kind, target): kind is ``<`` or ``"``."""
    return re.findall(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', text, flags=re.MULTILINE)


def resolve(file: PurePosixPath, target: str, files: Iterable[PurePosixPath]) -> PurePosixPath | None:
    """The file of csrc that an include line in `file` means; None if there is no such file."""
    beside = PurePosixPath(os.path.normpath(file.parent / target).replace(os.sep, "/"))
    return next((path for path in (beside, PurePosixPath(target)) if path in set(files)), None)


# ---- include rules ------------------------------------------------------------------------------


def layer_faults(files: Files) -> list[str]:
    faults = []
    for file, text in files.items():
        layer = file.parts[0]
        if layer not in LAYERS:
            faults.append(f"{file}: belongs to no layer")
            continue
        for kind, target in includes(text):
            if kind == "<":
                continue
            found = resolve(file, target, files)
            if found is None:
                faults.append(f"{file}: includes {target}, which is not in csrc")
            elif found.parts[0] not in LAYERS[layer]:
                faults.append(f"{file}: {layer} must not include {found}")
    return faults


def outsider_faults(files: Files) -> list[str]:
    """Python only in binding/, CUDA only in cuda/."""
    faults = []
    for file, text in files.items():
        for _, target in includes(text):
            if re.match(r"pybind11/|Python\.h|numpy/", target) and file.parts[0] != "binding":
                faults.append(f"{file}: only binding/ may include {target}")
            if re.match(r"cuda|cublas|cooperative_groups|nv", target) and file.parts[0] != "cuda":
                faults.append(f"{file}: only cuda/ may include {target}")
    return faults


def compiled_per_set(files: Files) -> set[PurePosixPath]:
    """What is compiled once per instruction set, and every file of csrc that it includes, directly or not."""
    found: set[PurePosixPath] = set()
    waiting = [PurePosixPath(name) for name in (*PER_SET_SOURCES, *LOW_KERNELS)]
    while waiting:
        file = waiting.pop()
        if file in found or file not in files:
            continue
        found.add(file)
        for kind, target in includes(files[file]):
            inner = resolve(file, target, files) if kind == '"' else None
            if inner is not None:
                waiting.append(inner)
    return found


def standard_library_faults(files: Files) -> list[str]:
    return [
        f"{file}: is compiled once per instruction set and must not include <{target}>"
        for file in sorted(compiled_per_set(files))
        for kind, target in includes(files[file])
        if kind == "<" and target not in PER_SET_SYSTEM
    ]


def test_layers() -> None:
    assert not layer_faults(sources())


def test_outsiders_stay_in_their_place() -> None:
    assert not outsider_faults(sources())


def test_per_set_code_uses_no_standard_library_that_leaks() -> None:
    files = sources()
    assert len(compiled_per_set(files)) > 10
    assert not standard_library_faults(files)


WRONG: Files = {
    PurePosixPath(name): text
    for name, text in {
        "math/a.h": '#include "../cells/b.h"\n',
        "cells/b.h": '#  include "lost.h"\n',
        "cpu/engine.cpp": '#include "c.h"\n#include <cuda_runtime.h>\n',
        "cpu/c.h": "#include <algorithm>\n#include <cstdint>\n",
        "cuda/d.cuh": '#include "../cpu/c.h"\n#include <Python.h>\n',
        "other.h": "",
    }.items()
}


def test_include_rules_can_fail() -> None:
    assert layer_faults(WRONG) == [
        "math/a.h: math must not include cells/b.h",
        "cells/b.h: includes lost.h, which is not in csrc",
        "cuda/d.cuh: cuda must not include cpu/c.h",
        "other.h: belongs to no layer",
    ]
    assert outsider_faults(WRONG) == [
        "cpu/engine.cpp: only cuda/ may include cuda_runtime.h",
        "cuda/d.cuh: only binding/ may include Python.h",
    ]
    assert standard_library_faults(WRONG) == [
        "cpu/c.h: is compiled once per instruction set and must not include <algorithm>",
        "cpu/engine.cpp: is compiled once per instruction set and must not include <cuda_runtime.h>",
    ]


# ---- files --------------------------------------------------------------------------------------


def file_faults(files: Files) -> list[str]:
    faults = []
    for file, text in files.items():
        lines = text.splitlines()
        if len(lines) > MOST_LINES:
            faults.append(f"{file}: {len(lines)} lines, at most {MOST_LINES}")
        if not lines or not re.match(r"// \S+ \S+", lines[0]):
            faults.append(f"{file}: does not begin with a comment that says what it is")
        if file.suffix in {".h", ".cuh"} and text.count("#pragma once") != 1:
            faults.append(f"{file}: a header has #pragma once, once")
    return faults


def test_files_say_what_they_are_and_stay_short() -> None:
    assert not file_faults(sources())


def test_python_files_stay_short() -> None:
    modules = (ROOT / "python").rglob("*.py")
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in modules}
    assert not {file: length for file, length in lengths.items() if length > MOST_PYTHON_LINES}


def test_file_rules_can_fail() -> None:
    wrong = {PurePosixPath("a.h"): "#pragma once\n" * 2, PurePosixPath("b.cpp"): "// What it is.\n" * 401}
    assert [fault.partition(":")[0] for fault in file_faults(wrong)] == ["a.h", "a.h", "b.cpp"]


# ---- symbols ------------------------------------------------------------------------------------


def weak_symbols(nm: str, obj: Path) -> set[str]:
    """Symbols that `obj` defines and that the linker may take from another object instead.

    DW.ref.* are the compiler's own pointers to its runtime: the same eight bytes in every object, and no code.
    """
    listing = subprocess.run([nm, "--defined-only", str(obj)], capture_output=True, text=True, check=True, timeout=120)
    fields = [line.split() for line in listing.stdout.splitlines()]
    return {f[2] for f in fields if len(f) == 3 and f[1] in {"W", "V", "u"} and not f[2].startswith("DW.ref.")}


def shared_symbols(objects: Mapping[str, set[str]]) -> list[str]:
    """Weak symbols that a set's object has in common with any other object."""
    owners = defaultdict(list)
    for name, symbols in sorted(objects.items()):
        for symbol in symbols:
            owners[symbol].append(name)
    flagged = {*SET_NAMES, *LOW_KERNELS}
    return [f"{s}: in {', '.join(o)}" for s, o in sorted(owners.items()) if len(o) > 1 and set(o) & flagged]


# Elsewhere nm has other letters, or another name.
needs_elf = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads object files in ELF")


def tool(name: str, variable: str) -> str:
    found = shutil.which(os.environ.get(variable) or name)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


def built_objects() -> dict[str, list[Path]]:
    """The objects of the newest build of all sets that is newer than the sources, by instruction set or source file."""
    newest_source = max((CSRC / file).stat().st_mtime for file in sources())
    builds: list[tuple[float, dict[str, list[Path]]]] = []
    for folder in ROOT.glob("build/*/CMakeFiles"):
        groups: defaultdict[str, list[Path]] = defaultdict(list)
        for obj in folder.glob("*.dir/csrc/**/*.o"):
            per_set = obj.as_posix().endswith(tuple(f"/csrc/{source}.o" for source in PER_SET_SOURCES))
            # rnnkernels_cpu_<set>.dir
            library = obj.relative_to(folder).parts[0].removesuffix(".dir")
            low = f"cpu/low/{obj.stem}"
            groups[library.split("_")[2] if per_set else low if low in LOW_KERNELS else obj.name].append(obj)
        if set(_cpu.instruction_sets()) <= set(groups):
            builds.append((min(obj.stat().st_mtime for group in groups.values() for obj in group), dict(groups)))
    built, objects = max(builds, key=lambda build: build[0], default=(0.0, {}))
    return objects if built > newest_source else {}


def compile_objects(folder: Path) -> dict[str, list[Path]]:
    """Compile the kernels for each set this machine has; -O1 leaves more functions uninlined than -O3 does."""
    compiler = tool("c++", "CXX")
    cmake = (ROOT / "cmake" / "InstructionSets.cmake").read_text(encoding="utf-8")
    given = re.findall(r"flags_(\w+)([^#)]*\))", cmake)
    flags: dict[str, list[str]] = {}
    for name, text in given:
        flags.setdefault(name, []).extend(re.findall(r"(?<=\s)-m\S+(?=[\s)])", text))

    def compile_one(name: str, source: str) -> Path:
        obj = folder / f"{name}_{Path(source).name}.o"
        command = [compiler, "-std=c++20", "-O1", "-fPIC", "-ffp-contract=off", f"-DRNNKERNELS_TARGET={name}"]
        command += [*flags[name], f"-I{CSRC}", "-c", str(CSRC / source), "-o", str(obj)]
        subprocess.run(command, check=True, timeout=1800)
        return obj

    wanted = [(name, source) for name in _cpu.instruction_sets() for source in PER_SET_SOURCES]
    for name in _cpu.instruction_sets():
        # A set's plain kernels, then `rnnkernels_low(<set> <kernels> <flag>)`.
        low = [(name, ""), *re.findall(rf"rnnkernels_low\({name} (\w+) (\S+)\)", cmake)]
        for kernels, flag in low[name == "scalar" :]:
            flags[kernels] = [*dict.fromkeys([*flags[name], *flag.split(), *flags.get(kernels, [])])]
            wanted.append((kernels, f"cpu/low/{kernels}.cpp"))
    objects = defaultdict(list)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (name, source), obj in zip(wanted, pool.map(compile_one, *zip(*wanted, strict=True)), strict=True):
            objects[source if source in LOW_KERNELS else name].append(obj)
    return dict(objects)


@needs_elf
def test_no_weak_symbol_is_shared_between_instruction_sets(tmp_path: Path) -> None:
    nm = tool("nm", "NM")
    objects = built_objects() or compile_objects(tmp_path)
    symbols = {name: set[str]().union(*(weak_symbols(nm, obj) for obj in group)) for name, group in objects.items()}
    assert not shared_symbols(symbols)


@needs_elf
def test_symbol_rule_can_fail(tmp_path: Path) -> None:
    compiler, nm = tool("c++", "CXX"), tool("nm", "NM")
    source = tmp_path / "source.cpp"
    source.write_text(
        "inline int shared(int x) { return x + 1; }\n"
        "namespace TARGET { inline int apart(int x) { return x + 2; }\n"
        "int strong(int x) { return shared(x) + apart(x); } }\n",
        encoding="utf-8",
    )
    symbols = {}
    for name in SET_NAMES[:2]:
        obj = tmp_path / f"{name}.o"
        command = [compiler, "-O0", f"-DTARGET={name}", "-c", str(source), "-o", str(obj)]
        subprocess.run(command, check=True, timeout=120)
        symbols[name] = weak_symbols(nm, obj)
        assert len(symbols[name]) == 2
    assert [fault.split(":")[0] for fault in shared_symbols(symbols)] == ["_Z6sharedi"]
    # Two objects for the baseline may share: whichever copy is kept runs everywhere.
    assert not shared_symbols({"select.cpp.o": {"f"}, "binding.cpp.o": {"f"}})
    assert shared_symbols({"select.cpp.o": {"f"}, "avx512": {"f"}})


def test_instruction_set_flags_stay_on_the_kernels() -> None:
    databases = sorted(ROOT.glob("build/*/compile_commands.json"), key=lambda file: file.stat().st_mtime)
    commands = [json.loads(file.read_text(encoding="utf-8")) for file in databases]
    commands = [entries for entries in commands if any(re.search(r"_TARGET=(avx|neon)", e["command"]) for e in entries)]
    if not commands:
        pytest.skip("no build of several instruction sets in build/")
    flagged = {}
    for entry in commands[-1]:
        words = entry["command"].split()
        name = next((w.partition("=")[2] for w in words if w.startswith("-DRNNKERNELS_TARGET=")), "common")
        flagged[f"{name} {Path(entry['file']).parent.name}/{Path(entry['file']).name}"] = any(
            w.startswith(("-mavx", "-mfma", "-march")) for w in words
        )
    assert not any(flagged.pop(f"scalar {source}") for source in PER_SET_SOURCES)
    assert {file for file, flag in flagged.items() if flag} <= {
        f"{name} {source}" for name in ("avx2", "avx512") for source in PER_SET_SOURCES
    } | {f"common {source.removeprefix('cpu/')}" for source in LOW_KERNELS}
    assert any(flagged.values()) or "neon cpu/engine.cpp" in flagged
