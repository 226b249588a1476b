"""What compile_resident.py and compile_grid.py ask of machine code: a disassembler, and the instructions of a step.

No GPU is needed. A disassembler is nvdisasm on the path, or named in RNNKERNELS_NVDISASM, or that of the package
nvidia-cuda-nvdisasm (`pip install 'nvidia-cuda-nvdisasm==13.*'`), or of triton.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
from pathlib import Path

PACKAGES = ("nvidia-cuda-nvdisasm", "triton")


def disassembler() -> str | None:
    """Return where one is."""
    found = os.environ.get("RNNKERNELS_NVDISASM") or shutil.which("nvdisasm")
    for package in PACKAGES:
        if found:
            break
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found = next((str(file.locate()) for file in files if file.name == "nvdisasm"), None)
    return found


def listing(tool: str, cubin: Path) -> list[str]:
    """Return the instructions of a file's kernel, each without its address, and its labels, which end in a colon."""
    text = subprocess.run([tool, "-c", str(cubin)], capture_output=True, text=True, check=True).stdout
    found: list[str] = []
    for line in text.splitlines():
        label = re.match(r"(\.L_x_\d+:)", line)
        instruction = re.match(r"\s+/\*[0-9a-f]+\*/\s+(.*)", line)
        if label:
            found.append(label[1])
        elif instruction:
            found.append(instruction[1])
    return found


def names(lines: list[str]) -> list[str]:
    """Return what each instruction is called, without what follows a dot."""
    bare = [re.sub(r"^@!?U?P\w+\s+", "", line) for line in lines if not line.endswith(":")]
    return [line.split()[0].rstrip(";").split(".")[0] for line in bare if line]


def step_of(lines: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Return the instructions of the innermost loop with all that is wanted in it, up to its last way back."""
    places = {line[:-1]: at for at, line in enumerate(lines) if line.endswith(":")}
    loops: dict[int, list[str]] = {}
    for end, line in enumerate(lines):
        target = re.search(r"\bBRA\b.*`\((\.L_x_\d+)\)", line)
        if target and places.get(target[1], end) < end:
            loop = lines[places[target[1]] : end]
            if set(wanted) <= set(names(loop)):
                loops[places[target[1]]] = loop
    if not loops:
        raise SystemExit(f"expected a loop with {wanted} in it, found none")
    return loops[max(loops)]


def compiled(source: Path, architecture: str) -> tuple[Path, str]:
    """Compile a file by nvcc; return the machine code's file and what ptxas said of it. Warnings are errors."""
    cubin = source.with_suffix(f".{architecture}.cubin")
    target = f"--generate-code=arch=compute_{architecture},code=sm_{architecture}"
    flags = ["-std=c++20", "--fmad=false", "-Werror", "all-warnings", "-Xptxas", "-v", target, "-cubin"]
    done = subprocess.run(["nvcc", *flags, "-o", str(cubin), str(source)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{source.name}, sm_{architecture}:\n{done.stderr}")
    return cubin, done.stderr


def largest(said: str, of: str) -> int:
    """Return the largest number of bytes that ptxas said of something."""
    return max(int(number) for number in re.findall(rf"(\d+) bytes {of}", said))
