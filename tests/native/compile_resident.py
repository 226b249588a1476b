"""Compile resident kernels by nvcc for every release architecture that has them, and look at their machine code.

    python compile_resident.py _cuda*.so FOLDER [--fewer]

No GPU is needed. --fewer: all of them for the first architecture; for the others one of each kind.

In a step's loop nothing may stand but what the algorithm needs: no local memory, no barrier of a block, no fence, no
invalidation of a cache (they cost more than the step). That is looked for where there is a disassembler
(machine_code.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

from cuda_build import ROOT, load, release_architectures
from machine_code import compiled, disassembler, largest, listing, look_at_bounds, names, steps_of

sys.path.append(str(ROOT / "tests/support"))

from hand_programs import CELLS

LAYERS = [("lstm", 512, 16), ("gru", 256, 64), ("rnn_tanh", 511, 600), ("slstm", 100, 3), ("lstm_program", 40, 9)]
LAYERS += [("gru", 200, 600)]  # four groups
# Of two products in a step.
LAYERS += [("gru_reset_before", 512, 16), ("mut1", 256, 64), ("mgu", 511, 600), ("gru_reset_before_program", 40, 9)]
# Vectors that are fed back.
LAYERS += [("mut3", 512, 16), ("lstm_fgr", 128, 16), ("lstm_fgr", 100, 600), ("lstm_fgr_program", 40, 9)]
# Both directions in one kernel.
PAIRS = [("lstm", 512, 16), ("gru", 256, 64), ("lstm_program", 40, 9)]
FLOAT_PAIRS = [("lstm", 256, 56, False), ("gru", 256, 64, True)]
# Backwards.
BACKWARDS = [*LAYERS[:10], ("lstm_peephole", 512, 64), ("slstm", 512, 64), ("janet", 512, 40)]
BACKWARDS += [("gru_reset_before", 512, 600), ("mgu", 512, 40), ("mut2_projected", 200, 600), ("mgu_program", 200, 33)]
BACKWARDS += [("mut3", 512, 16), ("mut3", 200, 600), ("lstm_fgr", 128, 16), ("lstm_fgr_program", 40, 9)]
# With zoneout, recurrent dropout, or both (csrc/cuda/resident/unit_masks.h).
MASKED = [("lstm", 512, 16, 3), ("gru_reset_before", 512, 16, 3), ("gru", 256, 64, 2), ("slstm", 100, 3, 1)]
MASKED_BACKWARDS = [*MASKED, ("rnn_tanh", 511, 600, 3), ("gru", 200, 600, 3), ("mgu", 512, 40, 3)]
MASKED_BACKWARDS += [("lstm_program", 40, 9, 3), ("mgu_program", 200, 33, 3)]
# Both directions of a backward.
BACKWARD_PAIRS = [("lstm", 512, 16), ("lstm_program", 40, 9), ("mut3", 256, 16)]
# Of float32, in TF32 or not.
FLOAT_LAYERS = [("lstm", 384, 16, True), ("lstm", 384, 8, False), ("gru", 256, 120, False), ("slstm", 100, 3, True)]
FLOAT_LAYERS += [("gru_reset_before", 384, 16, True), ("gru_reset_before", 384, 8, False), ("mgu", 256, 128, False)]
FLOAT_LAYERS += [("mut3", 384, 16, True), ("mut3", 256, 8, False), ("lstm_fgr", 144, 16, True)]
FLOAT_LAYERS += [("lstm_fgr", 128, 8, False)]
FLOAT_BACKWARDS = [
    *FLOAT_LAYERS[:7],
    ("lstm", 512, 16, True),
    ("lstm", 256, 600, True),
    ("gru", 256, 600, True),
    ("rnn_tanh", 511, 16, True),
    ("lstm", 384, 64, False),
    ("rnn_tanh", 200, 300, False),
    ("lstm_program", 40, 9, True),
    ("lstm_program", 40, 9, False),
    ("mut3", 384, 16, True),
    ("mut3", 256, 8, False),
    ("lstm_fgr", 128, 16, True),
    ("lstm_fgr", 128, 8, False),
]
FLOAT_BACKWARD_PAIRS = [("lstm", 256, 16, True), ("gru", 256, 56, False)]
MASKED_FLOAT_BACKWARDS = [("lstm", 384, 16, 3, True), ("gru_reset_before", 384, 8, 3, False)]
PROCESSORS = 132
MANY = 500  # rows, for which a cluster has several groups of eight
WANTED = ("STAS",)  # and a product
FORBIDDEN = ("LDL", "STL", "BAR", "MEMBAR", "CCTL", "ERRBAR", "UCGABAR")
# Bytes. Some registers go to memory and back once, when a layer's weights are loaded; more would be of a step.
MOST_SPILLED = 256


def architectures() -> list[str]:
    """Return the release's from 90 on."""
    return [number for number in release_architectures() if int(number) >= 90]


def look(cubin: Path, tool: str, product: str, what: str) -> None:
    """Hold the machine code of a step to what may stand there."""
    for loop in steps_of(listing(tool, cubin), (product, *WANTED)):
        step = names(loop)
        missing = ["LDSM"] if product == "HMMA" and "LDSM" not in step else []
        forbidden = sorted({name for name in step if name.startswith(FORBIDDEN)})
        if missing or forbidden:
            raise SystemExit(f"compile_resident: {what}: expected {missing} in a step's loop, and no {forbidden}")
        print(f"{what}: a step is {len(step)} instructions, {step.count(product)} of them products", flush=True)


def main(file: str, folder: str, *options: str) -> None:
    """Compile each, and look at what came out."""
    first, *others = architectures()
    module = load(file)
    for name in ("lstm", "gru_reset_before", "mgu", "lstm_fgr"):
        module.add_program(**{"name": f"{name}_program", **CELLS[name]})
    tool = disassembler()
    forms = {"mut3": "vectors", "lstm_fgr": "vectors"}
    forms |= dict.fromkeys(("gru_reset_before", "mut1", "mut2_projected", "mgu"), "two products")
    seen: set[tuple[object, ...]] = set()
    layers = [(*layer, "bfloat16", False, False, False, 0) for layer in LAYERS]
    layers += [(*layer, "bfloat16", False, True, False, 0) for layer in PAIRS]
    layers += [(*layer, "bfloat16", False, False, True, 0) for layer in BACKWARDS]
    layers += [(*layer, "bfloat16", False, True, True, 0) for layer in BACKWARD_PAIRS]
    layers += [(*layer[:3], "bfloat16", False, False, False, layer[3]) for layer in MASKED]
    layers += [(*layer[:3], "bfloat16", False, False, True, layer[3]) for layer in MASKED_BACKWARDS]
    layers += [(*layer[:3], "float32", layer[4], False, True, layer[3]) for layer in MASKED_FLOAT_BACKWARDS]
    for given, pair, backward in (
        (FLOAT_LAYERS, False, False),
        (FLOAT_PAIRS, True, False),
        (FLOAT_BACKWARDS, False, True),
        (FLOAT_BACKWARD_PAIRS, True, True),
    ):
        layers += [(cell, hidden, batch, "float32", tf32, pair, backward, 0) for cell, hidden, batch, tf32 in given]
    for cell, hidden, batch, dtype, tf32, pair, backward, masks in layers:
        what = f"{cell}, {dtype}, H {hidden}, B {batch}" + ", TF32" * tf32 + ", both directions" * pair
        what += ", backward" * backward + f", masks {masks}" * (masks > 0)
        to = Path(folder, f"resident_{cell}_{hidden}_{batch}_{dtype}{tf32:d}{pair:d}{backward:d}{masks}.cu")
        source = module.resident_source(cell, dtype, hidden, batch, PROCESSORS, tf32, pair, backward, masks)
        to.write_text("\n".join(source), encoding="utf-8")
        product = "FFMA" if dtype == "float32" and not tf32 else "HMMA"
        kind = (dtype, tf32, pair, backward, masks > 0, forms.get(cell.removesuffix("_program")), batch > MANY)
        is_new = kind not in seen
        seen.add(kind)
        for architecture in (first, *(others if is_new or "--fewer" not in options else [])):
            cubin, said = compiled(to, architecture)
            spilled = largest(said, "spill stores")
            if dtype == "float32" and largest(said, "stack frame") > spilled + MOST_SPILLED // 4:
                raise SystemExit(f"compile_resident: {cell}, {dtype}, sm_{architecture}: sums are in local memory")
            if spilled > MOST_SPILLED:
                raise SystemExit(
                    f"compile_resident: {cell}, sm_{architecture}: {spilled} bytes of registers are spilled"
                )
            if tool is not None:
                look(cubin, tool, product, f"{what}, sm_{architecture}")
        if (cell, hidden) == ("lstm", 512):
            look_at_bounds(to, first, tool)
    of_which = "some of them for" if "--fewer" in options else "and"
    print(f"{len(layers)} resident kernels compiled for {first}, {of_which} {', '.join(others)}")
    if tool is None:
        print("their machine code is NOT looked at: there is no nvdisasm here")


if __name__ == "__main__":
    main(*sys.argv[1:])
