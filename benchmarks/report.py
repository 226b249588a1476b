"""What a person reads of a run: a row per workload, and at the end means, worst cases and what missed its target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from . import targets
from .results import Line
from .shapes import CORE_SHAPES, shapes

BUSY = 0.05
SIZES = f"{'T':>4} {'B':>3} {'I':>4} {'H':>4}"


def heading(peers: Sequence[str]) -> str:
    names = " ".join(f"{name:>13}" for name in peers)
    return f"{'cell':16} {'mode':9} {SIZES} {'ours':>13} {names} {'ratio':>6} {'GF/s':>6} {'peak':>5} {'read':>5} plan"


def row(line: Line, peers: Sequence[str]) -> str:
    """One line of results; `peers` are the columns of the heading."""
    steps, batch, inputs, hidden = line["shape"]
    cells = " ".join(f"{_time(line['peers'].get(name)):>13}" for name in peers)
    ratio = f"{line['ratio']:5.2f}×" if "ratio" in line else f"{'-':>6}"
    plan = " ".join(f"{_initials(name)}{value}" for name, value in line["plan"].items())
    shares = f"{_share(line, 'peak_share')} {_share(line, 'bandwidth_share')}"
    beside = f" BUSY {100 * line['others']:.0f}%" if busy(line) else ""
    return (
        f"{line['cell']:16} {line['mode']:9} {steps:4} {batch:3} {inputs:4} {hidden:4} {_time(line['ours']):>13} "
        f"{cells} {ratio} {line['gflops']:6.1f} {shares} {plan}{_memory(line)}{beside}{_errors(line)}"
    )


def summary(lines: Sequence[Line]) -> str:
    """Geometric means and worst cases over all shapes measured, and the shapes and means that missed a target."""
    text, missed = [], []
    for cell, mode, threads in dict.fromkeys((x["cell"], x["mode"], x["threads"]) for x in lines):
        group = [x for x in lines if (x["cell"], x["mode"], x["threads"]) == (cell, mode, threads) and "ratio" in x]
        if not group:
            continue
        name = f"{cell:16} {mode:9} {threads} thr"
        worst = min(group, key=lambda x: float(x["ratio"]))
        text.append(
            f"{name}  geometric mean {mean(group):5.2f}×  worst {worst['ratio']:5.2f}× at {_shape(worst)} "
            f"against {worst['best']}"
        )
        missed += [
            f"{name}  {_shape(line)}: {line['ratio']:.2f}× against {line['best']}, wanted {wanted:g}×"
            for line in group
            if line["ratio"] < (wanted := targets.shape_target(cell, mode, threads, tuple(line["shape"])))
        ]
        core = [line for line in group if tuple(line["shape"]) in CORE_SHAPES]
        wanted_mean = targets.mean_target(cell, mode)
        if wanted_mean and len(core) == len(shapes(mode, "core", cell)) and mean(core) < wanted_mean:
            missed.append(f"{name}  geometric mean {mean(core):.2f}×, wanted {wanted_mean:g}×")
    if not text:
        return "no peer took part: no ratios"
    disturbed = sum(map(busy, lines))
    if disturbed:
        text += ["", f"{disturbed} of {len(lines)} lines were measured while others used the machine (BUSY)"]
    return "\n".join([*text, "", *(["below target:", *missed] if missed else ["no target missed"])])


def busy(line: Line) -> bool:
    """Whether others used so much of the machine that the line should be measured again."""
    return (line.get("others") or 0.0) > BUSY


def mean(lines: Sequence[Line]) -> float:
    """Geometric mean of the ratios."""
    return math.exp(sum(math.log(line["ratio"]) for line in lines) / len(lines))


def _time(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    if "failed" in found:
        return "failed"
    if "median" not in found:
        return f"WRONG {found['error']:.0e}"
    median = found["median"]
    spread = 100 * (found["high"] - found["low"]) / 2 / median
    return f"{1e3 * median:.4g} ±{spread:.0f}%"


def _errors(line: Line) -> str:
    """Why a peer failed; and of bfloat16 weights how far they are from the exact answer."""
    text = "".join(f"\n  {name} failed: {x['failed']}" for name, x in line["peers"].items() if "failed" in x)
    return text + (f" error {line['ours']['error']:.1e}" if line["mode"] == "bfloat16" else "")


def _memory(line: Line) -> str:
    if "peak_bytes" in line:
        return " peak " + ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in line["peak_bytes"].items())
    return f" holds {line['held_bytes'] / 2**20:.1f} MiB" if "held_bytes" in line else ""


def _share(line: Line, name: str) -> str:
    return f"{100 * line[name]:4.0f}%" if name in line else f"{'-':>5}"


def _initials(name: str) -> str:
    return "".join(word[0] for word in name.split("_"))


def _shape(line: Line) -> str:
    return "T{} B{} I{} H{}".format(*line["shape"])
