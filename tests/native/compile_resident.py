"""Compile resident kernels by nvcc for every release architecture that has them, and look at their machine code.

    python compile_resident.py _cuda*.so FOLDER

No GPU is needed. In a step's loop nothing may stand but what the algorithm needs: no local memory, no barrier of a
block, no fence, no invalidation of a cache (they cost more than the step). That is looked for where there is a
disassembler: nvdisasm on the path, or named in RNNKERNELS_NVDISASM, or that of the package triton.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cuda_build import ROOT, load, release_architectures

sys.path.append(str(ROOT / "tests/support"))

from hand_programs import CELLS

# Cell, H, B, whether one kernel is both directions'.
LAYERS = [
    ("lstm", 512, 16, False),
    ("gru", 256, 64, False),
    ("rnn_tanh", 511, 600, False),
    ("slstm", 100, 3, False),
    ("lstm_program", 40, 9, False),
    ("lstm", 512, 16, True),
    ("gru", 256, 64, True),
    ("lstm_program", 40, 9, True),
]
PROCESSORS = 132
WANTED = ("HMMA", "LDSM", "STAS")
FORBIDDEN = ("LDL", "STL", "BAR", "MEMBAR", "CCTL", "ERRBAR", "UCGABAR")
# Bytes. Some registers go to memory and back once, when a layer's weights are loaded; more would be of a step.
MOST_SPILLED = 256


def architectures() -> list[str]:
    """Return the release's from 90 on."""
    return [number for number in release_architectures() if int(number) >= 90]


def disassembler() -> str | None:
    """Return where one is."""
    found = os.environ.get("RNNKERNELS_NVDISASM") or shutil.which("nvdisasm")
    package = importlib.util.find_spec("triton")
    if not found and package is not None and package.origin is not None:
        inside = Path(package.origin).parent / "backends/nvidia/bin/nvdisasm"
        found = str(inside) if inside.is_file() else None
    return found


def step_of(listing: str) -> list[str]:
    """Return the instructions of the shortest loop with products in it."""
    lines: list[str] = []
    places: dict[str, int] = {}
    for line in listing.splitlines():
        label = re.match(r"(\.L_x_\d+):", line)
        instruction = re.match(r"\s+/\*[0-9a-f]+\*/\s+(.*)", line)
        if label:
            places[label[1]] = len(lines)
        elif instruction:
            lines.append(instruction[1])
    loops = []
    for end, line in enumerate(lines):
        target = re.search(r"\bBRA\b.*`\((\.L_x_\d+)\)", line)
        if target and places.get(target[1], end) < end:
            loop = lines[places[target[1]] : end]
            if any("HMMA" in one for one in loop):
                loops.append(loop)
    if not loops:
        raise SystemExit("compile_resident: expected a loop with products in it, found none")
    return min(loops, key=len)


def look(cubin: Path, tool: str, what: str) -> None:
    """Hold the machine code of a step to what may stand there."""
    listing = subprocess.run([tool, "-c", str(cubin)], capture_output=True, text=True, check=True).stdout
    names = [re.sub(r"^@!?U?P\w+\s+", "", line).split()[0].split(".")[0] for line in step_of(listing) if line]
    missing = [name for name in WANTED if name not in names]
    forbidden = sorted({name for name in names if name.startswith(FORBIDDEN)})
    if missing or forbidden:
        raise SystemExit(f"compile_resident: {what}: expected {missing} in a step's loop, and no {forbidden}")
    print(f"{what}: a step is {len(names)} instructions, {names.count('HMMA')} of them products")


def main(file: str, folder: str) -> None:
    """Compile each, and look at what came out."""
    module = load(file)
    module.add_program(**{"name": "lstm_program", **CELLS["lstm"]})
    tool = disassembler()
    for cell, hidden, batch, pair in LAYERS:
        to = Path(folder, f"resident_{cell}{'_pair' * pair}.cu")
        source = module.resident_source(cell, "bfloat16", hidden, batch, PROCESSORS, pair)
        to.write_text("\n".join(source), encoding="utf-8")
        for architecture in architectures():
            cubin = to.with_suffix(f".{architecture}.cubin")
            target = f"--generate-code=arch=compute_{architecture},code=sm_{architecture}"
            flags = ["-std=c++20", "--fmad=false", "-Werror", "all-warnings", "-Xptxas", "-v", target, "-cubin"]
            done = subprocess.run(
                ["nvcc", *flags, "-o", str(cubin), str(to)], capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise SystemExit(f"compile_resident: {cell}, sm_{architecture}:\n{done.stderr}")
            spilled = max(map(int, re.findall(r"(\d+) bytes spill stores", done.stderr)))
            if spilled > MOST_SPILLED:
                raise SystemExit(
                    f"compile_resident: {cell}, sm_{architecture}: {spilled} bytes of registers are spilled"
                )
            if tool is not None:
                look(cubin, tool, f"{cell}{', both directions' * pair}, H {hidden}, B {batch}, sm_{architecture}")
    print(f"{len(LAYERS)} resident kernels compiled for {', '.join(architectures())}")
    if tool is None:
        print("their machine code is NOT looked at: there is no nvdisasm here")


if __name__ == "__main__":
    main(*sys.argv[1:])
