"""Compile grid kernels by nvcc for every release architecture, and look at their machine code.

    python compile_grid.py _cuda*.so FOLDER [--fewer]

No GPU is needed. --fewer: all of them for the architectures in WHOLE; for others those of the most units alone.

A register that is spilled, or an array in local memory, is an error. A step has what the algorithm needs
(csrc/cuda/grid/warp.h, backward_warp.h) and nothing else: of each product one barrier of the block, one release and one
acquire of a warp, and no wait beside them. That is counted where there is a disassembler (machine_code.py).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from cuda_build import ROOT, load, release_architectures
from machine_code import compiled, disassembler, largest, listing, look_at_bounds, names, steps_of

sys.path.append(str(ROOT / "tests/support"))

from hand_programs import CELLS

# A card of each architecture: its processors, and the most units that its blocks keep: of an LSTM in both directions,
# of a GRU of two products forwards, and backwards.
CARDS = {"75": (40, 640, 704, 640), "80": (108, 1728, 1728, 1728), "86": (84, 1344, 1344, 1344)}
CARDS |= {"89": (128, 1344, 1792, 1536), "90": (132, 2112, 2112, 2112), "100": (148, 2368, 2368, 2368)}
CARDS |= {"120": (170, 1344, 1792, 1536)}
LAYERS = [("lstm", 0, 16), ("gru", 256, 64), ("rnn_tanh", 511, 600), ("slstm", 100, 3), ("lstm_program", 40, 9)]
# Of two products in a step.
TWO_PRODUCTS = [("gru_reset_before", 0, 16), ("mut1", 256, 64), ("mgu", 511, 600), ("gru_reset_before_program", 40, 9)]
BACKWARDS = [*LAYERS, ("lstm", 768, 16), ("janet", 300, 64)]
TWO_PRODUCTS_BACK = [("gru_reset_before", 0, 16), ("mut1", 300, 64), ("gru_reset_before_program", 40, 9)]
# How often what begins with a name stands in a step's loop for each product, and outside of it. A release is a fence
# (MEMBAR, ERRBAR) and a count (RED); a forward begins with one, too. An acquire is a load, behind which a cache is
# emptied: CCTL.
COUNTS = {"BAR": (1, 0), "UCGABAR": (0, 0), "MEMBAR": (1, 1), "ERRBAR": (1, 1), "RED": (1, 1), "CCTL": (1, 0)}
COUNTS |= {"ATOM": (0, 0), "LDL": (0, 0), "STL": (0, 0)}
BACKWARD_COUNTS = COUNTS | {"MEMBAR": (1, 0), "ERRBAR": (1, 0), "RED": (1, 0)}
PRODUCT = "HMMA"
# Architectures that have every kernel compiled: 75 multiplies by other instructions than those from 80 on.
WHOLE = ("75", "90", "120")


def look(cubin: Path, tool: str, what: str, counts: dict[str, tuple[int, int]], products: int) -> None:
    """Hold the machine code of a step, and of the whole kernel, to what may stand there."""
    whole = listing(tool, cubin)
    steps = steps_of(whole, (PRODUCT, "BAR"))
    step = names(steps[0])
    if len(steps) > 1:
        raise SystemExit(f"compile_grid: {what}: expected one loop over steps, found {len(steps)}")
    for of, (each, beside) in counts.items():
        expected = (each * products, each * products + beside)
        found = tuple(sum(name.startswith(of) for name in part) for part in (step, names(whole)))
        if found != expected:
            raise SystemExit(f"compile_grid: {what}: expected {expected} {of} in a step and the kernel, found {found}")
    print(f"{what}: a step is {len(step)} instructions, {step.count(PRODUCT)} of them products")


def main(file: str, folder: str, *options: str) -> None:
    """Compile each, and look at what came out."""
    module = load(file)
    for name in ("lstm", "gru_reset_before"):
        if f"{name}_program" not in module.cells():
            module.add_program(**{"name": f"{name}_program", **CELLS[name]})
    tool = disassembler()
    layers = [(*layer, False, 1) for layer in LAYERS] + [(*layer, False, 2) for layer in TWO_PRODUCTS]
    layers += [(*layer, True, 1) for layer in BACKWARDS] + [(*layer, True, 2) for layer in TWO_PRODUCTS_BACK]
    for architecture in release_architectures():
        processors, *most = CARDS[architecture]
        is_whole = architecture in WHOLE or "--fewer" not in options
        for cell, given, batch, backward, products in layers:
            if not is_whole and given:
                continue
            largest_hidden = most[0 if products == 1 else 1 + backward]
            hidden = given or largest_hidden
            dtype = "float16" if architecture == "75" else "bfloat16"
            what = f"{cell}, H {hidden}, B {batch}, sm_{architecture}" + ", backward" * backward
            to = Path(folder, f"grid_{cell}_{hidden}_{backward:d}.cu")
            if hidden > largest_hidden:
                continue
            source = module.grid_source(cell, dtype, hidden, batch, processors, int(architecture), backward)
            to.write_text("\n".join(source), encoding="utf-8")
            cubin, said = compiled(to, architecture)
            spilled, frame = largest(said, "spill stores"), largest(said, "stack frame")
            if spilled or frame:
                raise SystemExit(f"compile_grid: {what}: {spilled} bytes are spilled, {frame} stand in local memory")
            registers = re.findall(r"Used (\d+) registers", said)
            print(f"{what}: {registers[-1]} registers", flush=True)
            if tool is not None:
                look(cubin, tool, what, BACKWARD_COUNTS if backward else COUNTS, products)
            if cell == LAYERS[0][0]:
                look_at_bounds(to, architecture, tool)
    which = "the largest of " if "--fewer" in options else ""
    others = ", ".join(one for one in release_architectures() if one not in WHOLE)
    print(f"{len(layers)} grid kernels compiled for {', '.join(WHOLE)}, {which}them for {others}")
    if tool is None:
        print("their machine code is NOT looked at: there is no nvdisasm here")


if __name__ == "__main__":
    main(*sys.argv[1:])
