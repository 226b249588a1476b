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

LAYERS = [("lstm", 512, 16), ("gru", 256, 64), ("rnn_tanh", 511, 600), ("slstm", 100, 3), ("lstm_program", 40, 9)]
# Of two products in a step.
LAYERS += [("gru_reset_before", 512, 16), ("mut1", 256, 64), ("mgu", 511, 600), ("gru_reset_before_program", 40, 9)]
# Both directions in one kernel.
PAIRS = [("lstm", 512, 16), ("gru", 256, 64), ("lstm_program", 40, 9)]
# Backwards.
BACKWARDS = [*LAYERS[:5], ("lstm_peephole", 512, 64), ("slstm", 512, 64), ("janet", 512, 40)]
# Of float32, in TF32 or not.
FLOAT_LAYERS = [("lstm", 384, 16, True), ("lstm", 384, 8, False), ("gru", 256, 128, False), ("slstm", 100, 3, True)]
PROCESSORS = 132
WANTED = ("STAS",)  # and a product
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


def step_of(listing: str, product: str) -> list[str]:
    """Return the instructions of the innermost loop with products and messages in it, up to its last way back."""
    lines: list[str] = []
    places: dict[str, int] = {}
    for line in listing.splitlines():
        label = re.match(r"(\.L_x_\d+):", line)
        instruction = re.match(r"\s+/\*[0-9a-f]+\*/\s+(.*)", line)
        if label:
            places[label[1]] = len(lines)
        elif instruction:
            lines.append(instruction[1])
    loops: dict[int, list[str]] = {}
    for end, line in enumerate(lines):
        target = re.search(r"\bBRA\b.*`\((\.L_x_\d+)\)", line)
        if target and places.get(target[1], end) < end:
            loop = lines[places[target[1]] : end]
            # Behind the kernel's end stands only where a wait goes on, which comes back into the loop.
            if not any("EXIT" in one for one in loop) and all(
                any(word in one for one in loop) for word in (product, *WANTED)
            ):
                loops[places[target[1]]] = loop
    if not loops:
        raise SystemExit("compile_resident: expected a loop with products in it, found none")
    return loops[max(loops)]


def look(cubin: Path, tool: str, product: str, what: str) -> None:
    """Hold the machine code of a step to what may stand there."""
    listing = subprocess.run([tool, "-c", str(cubin)], capture_output=True, text=True, check=True).stdout
    names = [re.sub(r"^@!?U?P\w+\s+", "", line).split()[0].split(".")[0] for line in step_of(listing, product) if line]
    wanted = (product, *WANTED, *(["LDSM"] if product == "HMMA" else []))
    missing = [name for name in wanted if name not in names]
    forbidden = sorted({name for name in names if name.startswith(FORBIDDEN)})
    if missing or forbidden:
        raise SystemExit(f"compile_resident: {what}: expected {missing} in a step's loop, and no {forbidden}")
    print(f"{what}: a step is {len(names)} instructions, {names.count(product)} of them products")


def main(file: str, folder: str) -> None:
    """Compile each, and look at what came out."""
    module = load(file)
    for name in ("lstm", "gru_reset_before"):
        module.add_program(**{"name": f"{name}_program", **CELLS[name]})
    tool = disassembler()
    layers = [(*layer, "bfloat16", False, False, False) for layer in LAYERS]
    layers += [(*layer, "bfloat16", False, True, False) for layer in PAIRS]
    layers += [(*layer, "bfloat16", False, False, True) for layer in BACKWARDS]
    layers += [(cell, hidden, batch, "float32", tf32, False, False) for cell, hidden, batch, tf32 in FLOAT_LAYERS]
    for cell, hidden, batch, dtype, tf32, pair, backward in layers:
        what = f"{cell}, {dtype}, H {hidden}, B {batch}" + ", TF32" * tf32 + ", both directions" * pair
        what += ", backward" * backward
        to = Path(folder, f"resident_{cell}_{hidden}_{dtype}{tf32:d}{pair:d}{backward:d}.cu")
        source = module.resident_source(cell, dtype, hidden, batch, PROCESSORS, tf32, pair, backward)
        to.write_text("\n".join(source), encoding="utf-8")
        product = "FFMA" if dtype == "float32" and not tf32 else "HMMA"
        for architecture in architectures():
            cubin = to.with_suffix(f".{architecture}.cubin")
            target = f"--generate-code=arch=compute_{architecture},code=sm_{architecture}"
            flags = ["-std=c++20", "--fmad=false", "-Werror", "all-warnings", "-Xptxas", "-v", target, "-cubin"]
            done = subprocess.run(
                ["nvcc", *flags, "-o", str(cubin), str(to)], capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise SystemExit(f"compile_resident: {cell}, sm_{architecture}:\n{done.stderr}")
            frames = [int(n) for n in re.findall(r"(\d+) bytes stack frame", done.stderr)]
            if dtype == "float32" and max(frames) > MOST_SPILLED // 4:
                raise SystemExit(f"compile_resident: {cell}, {dtype}, sm_{architecture}: sums are in local memory")
            spilled = max(map(int, re.findall(r"(\d+) bytes spill stores", done.stderr)))
            if spilled > MOST_SPILLED:
                raise SystemExit(
                    f"compile_resident: {cell}, sm_{architecture}: {spilled} bytes of registers are spilled"
                )
            if tool is not None:
                look(cubin, tool, product, f"{what}, sm_{architecture}")
    print(f"{len(layers)} resident kernels compiled for {', '.join(architectures())}")
    if tool is None:
        print("their machine code is NOT looked at: there is no nvdisasm here")


if __name__ == "__main__":
    main(*sys.argv[1:])
