"""docs/neighbours.svg, and the table of docs/benchmarks.md, from a file of results.

`python -m benchmarks.neighbours draw FILE.jsonl`

The same file gives the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.draw import COLORS, SETTINGS
from benchmarks.machine import REPOSITORY
from benchmarks.results import Line

from . import beside, figures, report
from .figures import LIBRARY

WIDTH = 0.8  # of a neighbour's group of victims


def picture(lines: Sequence[Line]) -> Any:
    """Slow-downs of the median, a dot for each problem, and their geometric means; None without lines."""
    from matplotlib import pyplot as plt

    found = [line for line in results.of_kind(lines, "neighbours") if "victims" in line]
    if not found:
        return None
    counts = sorted({line["threads"] for line in found})
    neighbours = [name for name in beside.TEXTS if any(line["what"] == name for line in found)]
    victims = [v for v in report.NAMES if v != LIBRARY and any(v in line["victims"] for line in found)]
    figure, axes = plt.subplots(len(counts), 1, figsize=(9, 2.7 * len(counts)), sharex=True, sharey=True, squeeze=False)
    width = WIDTH / len(victims)
    for axis, threads in zip(axes[:, 0], counts, strict=True):
        for i, victim in enumerate(victims):
            color = COLORS[i % len(COLORS)]
            for k, neighbour in enumerate(neighbours):
                met = [line["victims"] for line in found if (line["threads"], line["what"]) == (threads, neighbour)]
                slower = [of[victim]["slower"] for of in met if "slower" in of.get(victim, {})]
                if not slower:
                    continue
                place = k + (i - (len(victims) - 1) / 2) * width
                spread = [place + 0.6 * width * ((n + 0.5) / len(slower) - 0.5) for n in range(len(slower))]
                axis.plot(spread, slower, "o", color=color, markersize=3, alpha=0.7)
                axis.hlines(figures.mean(slower), place - 0.4 * width, place + 0.4 * width, color=color, linewidth=2)
            axis.plot([], [], "o-", color=color, markersize=3, label=report.NAMES[victim])
        axis.axhline(1, color="black", linewidth=0.8)
        axis.grid(axis="y", color="#e0e0e0", linewidth=0.6)
        axis.set_yscale("log")
        axis.set_ylabel("times slower")
        axis.set_title(f"{threads} thread{'s' if threads > 1 else ''}", loc="left")
    _ticks(axes[0][0], [of["slower"] for line in found for of in line["victims"].values() if "slower" in of])
    texts = [beside.TEXTS[name].replace(" ", "\n", 1) for name in neighbours]
    axes[-1][0].set_xticks(range(len(neighbours)), texts)
    axes[0][0].legend(ncols=len(victims), loc="upper right", bbox_to_anchor=(1, 1.2), columnspacing=1, handlelength=1)
    run = results.run_of(lines, found[0])
    versions = ", ".join(f"{name} {v}" for name, v in run["versions"].items() if name not in {"jax", "jaxlib"})
    note = "a dot: one cell at one shape, median beside the neighbour over median alone; lines: geometric means"
    described = f"{run['machine']}, {run['cpus']} processors ({found[0]['instruction_set']}); {versions}\n{note}"
    figure.text(0.01, 0.01, described, fontsize=6, color="#444444")
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    return figure


def draw(lines: Sequence[Line], folder: Path) -> Path | None:
    """Draw the picture into a folder; return its file, None where there was nothing to draw."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    with mpl.rc_context(SETTINGS):
        figure = picture(lines)
        if figure is None:
            return None
        file = folder / "neighbours.svg"
        figure.savefig(file, metadata={"Date": None})
        plt.close(figure)
    return file


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours draw", description="Picture and table.")
    parser.add_argument("file", type=Path, metavar="FILE.jsonl")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "docs", help="default: docs/")
    args = parser.parse_args(arguments)
    try:
        lines = results.read(args.file)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(draw(lines, args.folder) or "nothing to draw in this file", "", sep="\n")
    print(*report.table(results.of_kind(lines, "neighbours")), sep="\n")
    return 0


def _ticks(axis: Any, values: Sequence[float]) -> None:
    """Ticks of a log axis of ratios, as far as the values go."""
    low, high = 0.9 * min([*values, 0.9]), 1.15 * max([*values, 2.2])
    steps = [m * 10.0**e for e in range(-2, 4) for m in (1, 2, 5)]
    shown = [tick for tick in steps if low <= tick <= high]
    axis.set_ylim(low, high)
    axis.set_yticks(shown, [f"{tick:g}×" for tick in shown])
    axis.minorticks_off()
