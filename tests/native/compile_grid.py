"""Compile grid kernels by nvcc for every release architecture, and look at what the compiler says of registers.

    python compile_grid.py _cuda*.so FOLDER

No GPU is needed. A register that is spilled, or an array in local memory, is an error. A step has two barriers of a
block beside the one behind a wait, and the flags' acquire and release: those are the algorithm's (csrc/cuda/grid/). Any
other fence is an error where there is a disassembler (compile_resident.py).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from compile_resident import disassembler
from cuda_build import ROOT, load, release_architectures

sys.path.append(str(ROOT / "tests/support"))

from hand_programs import CELLS

# A card of each architecture: its processors, and the most units of an LSTM that its blocks keep.
CARDS = {"75": (40, 640), "80": (108, 1728), "86": (84, 1344), "89": (128, 1344), "90": (132, 2112), "100": (148, 2368)}
CARDS["120"] = (170, 1344)
LAYERS = [("lstm", 0, 16), ("gru", 256, 64), ("rnn_tanh", 511, 600), ("slstm", 100, 3), ("lstm_program", 40, 9)]
FORBIDDEN = ("LDL", "STL")


def main(file: str, folder: str) -> None:
    """Compile each, and look at what came out."""
    module = load(file)
    if "lstm_program" not in module.cells():
        module.add_program(**{"name": "lstm_program", **CELLS["lstm"]})
    tool = disassembler()
    for architecture in release_architectures():
        processors, most = CARDS[architecture]
        for cell, given, batch in LAYERS:
            hidden = given or most
            dtype = "float16" if architecture == "75" else "bfloat16"
            what = f"{cell}, H {hidden}, B {batch}, sm_{architecture}"
            to = Path(folder, f"grid_{cell}.{architecture}.cu")
            source = module.grid_source(cell, dtype, hidden, batch, processors, int(architecture))
            to.write_text("\n".join(source), encoding="utf-8")
            cubin = to.with_suffix(".cubin")
            target = f"--generate-code=arch=compute_{architecture},code=sm_{architecture}"
            flags = ["-std=c++20", "--fmad=false", "-Werror", "all-warnings", "-Xptxas", "-v", target, "-cubin"]
            done = subprocess.run(
                ["nvcc", *flags, "-o", str(cubin), str(to)], capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise SystemExit(f"compile_grid: {what}:\n{done.stderr}")
            spilled = max(map(int, re.findall(r"(\d+) bytes spill stores", done.stderr)))
            frame = max(map(int, re.findall(r"(\d+) bytes stack frame", done.stderr)))
            if spilled or frame:
                raise SystemExit(f"compile_grid: {what}: {spilled} bytes are spilled, {frame} stand in local memory")
            registers = re.findall(r"Used (\d+) registers", done.stderr)
            print(f"{what}: {registers[-1]} registers", flush=True)
            if tool is not None:
                listing = subprocess.run([tool, "-c", str(cubin)], capture_output=True, text=True, check=True).stdout
                found = [name for name in FORBIDDEN if re.search(rf"\s{name}\b", listing)]
                if "HMMA" not in listing or found:
                    raise SystemExit(f"compile_grid: {what}: expected products and no {found}")
    print(f"{len(LAYERS)} grid kernels compiled for {', '.join(release_architectures())}")
    if tool is None:
        print("their machine code is NOT looked at: there is no nvdisasm here")


if __name__ == "__main__":
    main(*sys.argv[1:])
