"""The pictures in docs/, from a file of results: ratios.svg, variants.svg, roofline.svg, scaling.svg, latency.svg,
attention.svg, low_precision.svg.

`python -m benchmarks draw [FILE.jsonl]`

The same file gives the same bytes. What has no lines in the file is not drawn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import results
from .machine import REPOSITORY
from .results import Line
from .shapes import CORE_SHAPES, FUSED_ELSEWHERE, VARIANT_SHAPES

COLORS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#bbbbbb")
SETTINGS = {
    "svg.hashsalt": "rnnkernels",
    "svg.fonttype": "none",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
}
READING_SIZES = {"16 KB": 16 << 10, "2 MB": 2 << 20, "64 MB": 64 << 20}


def ratios(lines: Sequence[Line]) -> Any:
    """How many times faster than the best peer, per core shape: the cells that other libraries have fused."""
    speeds = [x for x in _ratios(lines) if x["cell"] in FUSED_ELSEWHERE and tuple(x["shape"]) in CORE_SHAPES]
    shapes = [shape for shape in CORE_SHAPES if any(tuple(x["shape"]) == shape for x in speeds)]
    names = [_sizes(shape, "\n") for shape in shapes]
    cells = list(dict.fromkeys(x["cell"] for x in speeds))
    return _bars(
        lines,
        speeds,
        groups=names,
        bars=cells,
        place=lambda x: (names[shapes.index(tuple(x["shape"]))], x["cell"]),
    )


def variants(lines: Sequence[Line]) -> Any:
    """The same per cell, for the cells that no other library has fused."""
    speeds = [x for x in _ratios(lines) if x["cell"] not in FUSED_ELSEWHERE and tuple(x["shape"]) in VARIANT_SHAPES]
    cells = list(dict.fromkeys(x["cell"] for x in speeds))
    names = [cell.removeprefix("lstm_").replace("_projected", "\nprojected") for cell in cells]
    return _bars(
        lines,
        speeds,
        groups=names,
        bars=[_sizes(shape, " ") for shape in VARIANT_SHAPES],
        place=lambda x: (names[cells.index(x["cell"])], _sizes(x["shape"], " ")),
    )


def _ratios(lines: Sequence[Line]) -> list[Line]:
    """Inference and training, with a best peer, on the most threads that were measured."""
    speeds = [x for x in _speeds(lines) if "ratio" in x and x["mode"] in {"inference", "training"}]
    return [x for x in speeds if x["threads"] == max(y["threads"] for y in speeds)]


def _sizes(shape: Sequence[int], between: str) -> str:
    return "T{} B{}{}I{} H{}".format(*shape[:2], between, *shape[2:])


def _bars(
    lines: Sequence[Line],
    speeds: Sequence[Line],
    *,
    groups: Sequence[str],
    bars: Sequence[str],
    place: Callable[[Line], tuple[str, str]],
) -> Any:
    """Bars from 1×, inference above training; `place` says a line's group and bar."""
    from matplotlib import pyplot as plt

    if not speeds:
        return None
    figure, axes = plt.subplots(2, 1, figsize=(9, 5.4), sharex=True)
    width = 0.8 / len(bars)
    for axis, mode in zip(axes, ("inference", "training"), strict=True):
        for i, bar in enumerate(bars):
            found = {group: x["ratio"] for x in speeds if x["mode"] == mode for group, b in [place(x)] if b == bar}
            places = [groups.index(group) + (i - (len(bars) - 1) / 2) * width for group in found]
            heights = [ratio - 1 for ratio in found.values()]
            axis.bar(places, heights, 0.92 * width, bottom=1, label=bar, color=COLORS[i % len(COLORS)])
        axis.set_yscale("log")
        _times(axis, [x["ratio"] for x in speeds if x["mode"] == mode])
        axis.axhline(1, color="black", linewidth=0.8)
        axis.grid(axis="y", color="#e0e0e0", linewidth=0.6)
        threads = _threads(speeds[0]["threads"])
        axis.set_title(f"{mode}, {threads}: times faster than the fastest peer", loc="left")
    axes[1].set_xticks(range(len(groups)), groups)
    axes[1].set_xlim(-0.6, len(groups) - 0.4)
    axes[0].legend(ncols=len(bars), loc="upper right", bbox_to_anchor=(1, 1.16), columnspacing=1, handlelength=1)
    peers = sorted({name for x in speeds for name, peer in x["peers"].items() if "median" in peer} & _counted(speeds))
    note = f"fastest of {', '.join(peers)}; medians of alternated calls, weight packing and the Python call included"
    _footnote(figure, lines, speeds[0], note)
    return figure


def roofline(lines: Sequence[Line]) -> Any:
    """Speed over flops per byte of weights, under the limits that were measured."""
    from matplotlib import pyplot as plt

    limits = {x["threads"]: x for x in results.of_kind(lines, "roofline")}
    speeds = [x for x in _speeds(lines) if x["cell"] in FUSED_ELSEWHERE and x["mode"] != "bfloat16"]
    speeds = [x for x in speeds if x["threads"] in limits and "flops_per_byte" in x]
    if not speeds:
        return None
    counts = sorted({x["threads"] for x in speeds})
    cells = list(dict.fromkeys(x["cell"] for x in speeds))
    figure, axes = plt.subplots(1, len(counts), figsize=(max(6, 4.5 * len(counts)), 4), sharey=True, squeeze=False)
    for axis, threads in zip(axes[0], counts, strict=True):
        mine = [x for x in speeds if x["threads"] == threads]
        peak = limits[threads]["flops"][mine[0]["instruction_set"]]["float32"]
        right = 2 * max(x["flops_per_byte"] for x in mine)
        reading = dict(limits[threads]["bandwidth"])
        for name, size in READING_SIZES.items():
            knee = peak / reading[size]
            axis.plot([0.25, knee, right], [0.25 * reading[size], peak, peak], color="black", linewidth=0.7)
            axis.text(
                0.32, 0.32 * reading[size], name, fontsize=6, va="center", bbox={"fc": "white", "ec": "none", "pad": 1}
            )
        axis.annotate(f"{peak:.0f} GFLOP/s", (right, peak), xytext=(0, 3), textcoords="offset points", ha="right")
        for i, cell in enumerate(cells):
            for mode, marker in (("inference", "o"), ("streaming", "^")):
                points = [(x["flops_per_byte"], x["gflops"]) for x in mine if (x["cell"], x["mode"]) == (cell, mode)]
                if points:
                    color = COLORS[i % len(COLORS)]
                    axis.plot(*zip(*points, strict=True), marker, markersize=4, color=color, label=f"{cell} {mode}")
        _log(axis)
        axis.set_xlabel("flops per byte of the weights that each step reads")
        axis.set_title(_threads(threads), loc="left")
    axes[0][0].set_ylabel("GFLOP/s")
    axes[0][-1].legend(fontsize=6, loc="lower right")
    _footnote(figure, lines, speeds[0], "lines: measured multiply-add peak, and reading of working sets of these sizes")
    return figure


def scaling(lines: Sequence[Line]) -> Any:
    """Time over each size; the fitted slope beside each line."""
    from matplotlib import pyplot as plt

    found = results.of_kind(lines, "scaling")
    if not found:
        return None
    names = list(dict.fromkeys(x["axis"] for x in found))
    series = list(dict.fromkeys((x["cell"], x["mode"]) for x in found))
    figure, axes = plt.subplots(1, len(names), figsize=(2.6 * len(names), 3.4), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        for line in (x for x in found if x["axis"] == name):
            values, medians, low, high = zip(*line["points"], strict=True)
            color = COLORS[series.index((line["cell"], line["mode"])) % len(COLORS)]
            slope = "" if line["slope"] is None else f" {line['slope']:.2f}"
            axis.plot(values, [1e3 * s for s in medians], "o-", color=color, markersize=3, linewidth=1)
            axis.fill_between(values, [1e3 * s for s in low], [1e3 * s for s in high], color=color, alpha=0.2, lw=0)
            axis.plot([], [], "o-", color=color, markersize=3, label=f"{line['cell']} {line['mode']}{slope}")
        _log(axis, values)
        axis.set_xlabel(name)
        shape = next(x["shape"] for x in found if x["axis"] == name)
        fixed = [f"{letter}{size}" for letter, size in zip("TBIH", shape, strict=True) if size]
        axis.set_title(" ".join(fixed), loc="left")
        axis.legend(fontsize=6, title="slope", title_fontsize=6)
    axes[0][0].set_ylabel("ms")
    _footnote(figure, lines, found[0], "median and quartiles; the slope is that of log time over log size")
    return figure


def latency(lines: Sequence[Line]) -> Any:
    """One step at batch 1: microseconds over H, ours and the peers'."""
    from matplotlib import pyplot as plt

    found = [x for x in _speeds(lines) if x["mode"] == "streaming" and x["cell"] in FUSED_ELSEWHERE]
    if not found:
        return None
    cells = list(dict.fromkeys(x["cell"] for x in found))
    counts = sorted({x["threads"] for x in found})
    sizes = sorted({x["shape"][3] for x in found})
    names = list(dict.fromkeys(name for x in found for name, peer in x["peers"].items() if "median" in peer))
    figure, axes = plt.subplots(
        len(counts), len(cells), figsize=(2.1 * len(cells), 2.2 * len(counts)), sharex=True, sharey=True, squeeze=False
    )
    for i, threads in enumerate(counts):
        for j, cell in enumerate(cells):
            axis = axes[i][j]
            mine = [x for x in found if (x["threads"], x["cell"]) == (threads, cell)]
            for k, name in enumerate(["ours", *names]):
                timed = {x["shape"][3]: x["ours"] if name == "ours" else x["peers"].get(name, {}) for x in mine}
                points = [(size, 1e6 * timing["median"]) for size, timing in timed.items() if "median" in timing]
                if points:
                    wide = 1.8 if name == "ours" else 1
                    axis.plot(
                        *zip(*points, strict=True), "o-", color=COLORS[k], markersize=3, linewidth=wide, label=name
                    )
            _log(axis, sizes)
            axis.set_title(f"{cell}, {_threads(threads)}", loc="left")
            axis.set_xlabel("H" if i == len(counts) - 1 else "")
            axis.set_ylabel("µs per step" if j == 0 else "")
    axes[0][0].legend(fontsize=6)
    _footnote(figure, lines, found[0], "batch 1, I = H, from Python, the state carried from step to step")
    return figure


ATTENDING = {
    "loop": "PyTorch loop",
    "cells": "loop of PyTorch's cells",
    "compile": "compiled loop",
    "jax": "jax lax.scan",
}


def attention(lines: Sequence[Line]) -> Any:
    """Training of an attending LSTM: the others' time over ours, for each shape and number of threads."""
    from matplotlib import pyplot as plt

    found = [x for x in results.of_kind(lines, "attention") if x["cell"] == "lstm"]
    if not found:
        return None
    counts = sorted({x["threads"] for x in found})
    shapes = sorted({tuple(x["shape"]) for x in found})
    peers = [name for name in ATTENDING if any(name in x["medians"] for x in found)]
    figure, axes = plt.subplots(len(counts), 1, figsize=(9, 2.4 * len(counts)), sharex=True, squeeze=False)
    width = 0.8 / len(peers)
    for axis, threads in zip(axes[:, 0], counts, strict=True):
        mine = [x for x in found if x["threads"] == threads]
        values = []
        for i, peer in enumerate(peers):
            of_peer = [x for x in mine if peer in x["medians"]]
            places = [shapes.index(tuple(x["shape"])) + (i - (len(peers) - 1) / 2) * width for x in of_peer]
            ratios = [x["medians"][peer] / x["medians"]["ours"] for x in of_peer]
            values += ratios
            heights = [ratio - 1 for ratio in ratios]
            axis.bar(places, heights, 0.92 * width, bottom=1, label=ATTENDING[peer], color=COLORS[i])
        axis.set_yscale("log")
        _times(axis, values)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.grid(axis="y", color="#e0e0e0", linewidth=0.6)
        axis.set_title(f"training, {_threads(threads)}: the others' time over ours", loc="left")
    names = ["T{} L{}\nD{} H{}".format(shape[0], *shape[3:]) for shape in shapes]
    axes[-1][0].set_xticks(range(len(shapes)), names)
    axes[0][0].legend(ncols=len(peers), loc="upper right", bbox_to_anchor=(1, 1.2), columnspacing=1, handlelength=1)
    _footnote(figure, lines, found[0], "LSTM, additive scores, batch 32; medians of alternated calls")
    return figure


LOW_PRECISION = (
    "ours int8",
    "ours bfloat16",
    "ours float32",
    "onnxruntime int8",
    "torch int8",
    "torch bfloat16",
    "torch autocast",
)


def low_precision(lines: Sequence[Line]) -> Any:
    """Inference of an LSTM in low precision: times over ours of int8 for each number of threads, and errors."""
    from matplotlib import pyplot as plt

    found = [x for x in results.of_kind(lines, "low_precision") if (x["cell"], x["mode"]) == ("lstm", "inference")]
    if not found:
        return None
    counts = sorted({x["threads"] for x in found})
    shapes = sorted({tuple(x["shape"]) for x in found}, key=lambda shape: (shape[1], shape[3]))
    names = [name for name in LOW_PRECISION if any(name in x["medians"] for x in found)]
    figure, axes = plt.subplots(len(counts) + 1, 1, figsize=(9, 2.3 * (len(counts) + 1)), sharex=True)
    width = 0.8 / len(names)

    def bars(axis: Any, mine: Sequence[Line], value: Callable[[Line, str], float], bottom: float) -> list[float]:
        heights = []
        for i, name in enumerate(names):
            there = [x for x in mine if name in x["medians"]]
            places = [shapes.index(tuple(x["shape"])) + (i - (len(names) - 1) / 2) * width for x in there]
            values = [value(x, name) for x in there]
            axis.bar(places, [v - bottom for v in values], 0.92 * width, bottom=bottom, label=name, color=COLORS[i])
            heights += values
        axis.grid(axis="y", color="#e0e0e0", linewidth=0.6)
        return heights

    for axis, threads in zip(axes, counts, strict=False):
        mine = [x for x in found if x["threads"] == threads]
        values = bars(axis, mine, lambda x, name: x["medians"][name] / x["medians"]["ours int8"], 1.0)
        axis.set_yscale("log")
        _times(axis, values)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_title(f"LSTM inference, {_threads(threads)}: times over that of our int8", loc="left")
    last = [x for x in found if x["threads"] == counts[-1]]
    bars(axes[-1], last, lambda x, name: 1e3 * x["errors"][name]["rms"], 0.0)
    axes[-1].set_title("root mean square error of the outputs, against float64, in thousandths", loc="left")
    axes[-1].set_xticks(range(len(shapes)), ["T{} B{}\nI{} H{}".format(*shape) for shape in shapes])
    axes[0].legend(ncols=len(names), loc="lower right", bbox_to_anchor=(1, 1.12), columnspacing=1, handlelength=1)
    note = (
        "weights packed or quantised before; medians of alternated calls; ONNX Runtime: DynamicQuantizeLSTM per channel"
    )
    _footnote(figure, lines, found[0], note, "float32, bfloat16, int8")
    return figure


PICTURES: dict[str, Callable[[Sequence[Line]], Any]] = {
    "ratios": ratios,
    "variants": variants,
    "roofline": roofline,
    "scaling": scaling,
    "latency": latency,
    "attention": attention,
    "low_precision": low_precision,
}


def draw(lines: Sequence[Line], folder: Path) -> list[Path]:
    """Draw what the lines have into `folder`; return the files."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    drawn = []
    with mpl.rc_context(SETTINGS):
        for name, picture in PICTURES.items():
            figure = picture(lines)
            if figure is not None:
                drawn.append(folder / f"{name}.svg")
                figure.savefig(drawn[-1], metadata={"Date": None})
                plt.close(figure)
    return drawn


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks draw", description="Draw the pictures in docs/.")
    parser.add_argument("file", type=Path, nargs="?", help="default: the one in benchmarks/results/")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "docs", help="default: docs/")
    args = parser.parse_args(arguments)
    try:
        lines = results.read(args.file or results.committed())
    except (OSError, ValueError) as error:
        parser.error(str(error))
    drawn = draw(lines, args.folder)
    print("\n".join(map(str, drawn)) or "nothing to draw in this file")
    return 0


def _speeds(lines: Sequence[Line]) -> list[Line]:
    """Speeds of the instruction set that most lines have: the machine's own."""
    speeds = results.of_kind(lines, "speed")
    names = [x["instruction_set"] for x in speeds]
    return [x for x in speeds if x["instruction_set"] == max(set(names), key=lambda name: (names.count(name), name))]


def _counted(speeds: Sequence[Line]) -> set[str]:
    """Peers that were the best somewhere or might have been: all but the yardsticks."""
    return {name for x in speeds for name in x["peers"]} - {"prepared", "numpy"}


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _times(axis: Any, values: Sequence[float]) -> None:
    """Ticks of a log axis of ratios, as far as the values go."""
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    low, high = min([*values, 0.9]), max([*values, 2.2])
    axis.set_ylim(low * 0.9, high * 1.15)
    shown = [tick for tick in ticks if low * 0.9 <= tick <= high * 1.15]
    axis.set_yticks(shown, [f"{tick:g}×" for tick in shown])
    axis.minorticks_off()


def _log(axis: Any, places: Sequence[int] | None = None) -> None:
    """Two log axes with plain numbers, on x those of `places` if given."""
    from matplotlib import ticker

    axis.set(xscale="log", yscale="log")
    axis.grid(color="#e8e8e8", linewidth=0.5)
    for one in (axis.xaxis, axis.yaxis):
        one.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = axis.get_ylim()
    if high < 30 * low:
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    if places:
        axis.set_xticks(places)
    axis.minorticks_off()


def _footnote(figure: Any, lines: Sequence[Line], line: Line, note: str, precision: str = "float32") -> None:
    run = results.run_of(lines, line)
    versions = ", ".join(f"{n} {v}" for n, v in run["versions"].items() if n not in {"numpy", "jaxlib"})
    figure.text(
        0.01,
        0.01,
        f"{precision}, {run['machine']} ({line['instruction_set']}); {versions}\n{note}",
        fontsize=6,
        color="#444444",
    )
    figure.tight_layout(rect=(0, 0.06, 1, 1))
