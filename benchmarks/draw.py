"""The README's picture: how many times faster than PyTorch, per cell and shape, from committed results."""

from __future__ import annotations

import json
from pathlib import Path


def draw(results: Path, picture: Path) -> None:
    """Draw bars of `results` (JSON lines of `python -m benchmarks --out`) into the SVG file `picture`."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "rnnkernels", "font.size": 8, "svg.fonttype": "none"})
    from matplotlib import pyplot as plt

    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    cells = list(dict.fromkeys(line["cell"] for line in lines))
    shapes = list(dict.fromkeys(tuple(line["shape"]) for line in lines))
    figure, axes = plt.subplots(2, 1, figsize=(9, 5), sharex=True)
    width = 0.8 / len(cells)
    for axis, mode in zip(axes, ("inference", "training"), strict=True):
        for i, cell in enumerate(cells):
            ratios = {tuple(x["shape"]): x["ratio"] for x in lines if x["cell"] == cell and x["mode"] == mode}
            places = [k + (i - (len(cells) - 1) / 2) * width for k in range(len(shapes))]
            peer = "PyTorch loop" if cell == "gru_reset_before" else "torch.nn"
            axis.bar(places, [ratios[s] for s in shapes], width, label=f"{cell} / {peer}")
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_yscale("log")
        ticks = [0.5, 1, 2, 5, 10, 20, 50]
        axis.set_yticks(ticks, [f"{t:g}×" for t in ticks])
        axis.minorticks_off()
        axis.set_title(f"{mode}: times faster than PyTorch", loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].set_xticks(range(len(shapes)), [f"T{t} B{b}\nI{i} H{h}" for t, b, i, h in shapes])
    axes[0].legend(ncols=3, frameon=False)
    first = lines[0]
    figure.text(
        0.01,
        0.005,
        f"float32, {first['threads']} threads, {first['machine']} ({first['instruction_set']}), "
        f"PyTorch {first['torch']}, medians of alternated calls; weight packing and the Python call included",
        fontsize=7,
    )
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(picture, metadata={"Date": None})
