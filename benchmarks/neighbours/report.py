"""What a person reads of a run: a row per line, then a table of means and worst cases, and what fell short."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks import report
from benchmarks.results import Line

from . import beside, figures
from .figures import LIBRARY, OURS
from .problems import text

NAMES = {OURS: "ours", LIBRARY: "library", "torch": "PyTorch", "onnxruntime": "ONNX Runtime"}


def row(line: Line) -> str:
    """One line; of calls how much slower the median is, and in brackets the 90th percentile."""
    if "loops" in line:
        return _loop(line)
    busy = f"  BUSY {100 * line['others']:.0f}%" if report.busy(line) else ""
    found = [f"{NAMES[name]} {_slower(victim)}" for name, victim in line["victims"].items()]
    return "  ".join([f"{_name(line)}:", *found, *_said(line), *_over_library(line)]) + busy


def summary(lines: Sequence[Line]) -> list[str]:
    """The table, then what fell short."""
    short = [f"short: {_name(line)}: {said}" for line in lines for said in _said(line) if said.endswith("short")]
    disturbed = sum(map(report.busy, lines))
    busy = [f"{disturbed} of {len(lines)} lines were measured while others used the machine (BUSY)"][:disturbed]
    return [*table(lines), "", *busy, *(short or ["nothing fell short"])]


def table(lines: Iterable[Line]) -> list[str]:
    """A table in Markdown: geometric mean and worst slow-down of each victim beside each neighbour."""
    lines = list(lines)
    calls = [line for line in lines if "victims" in line]
    names = [name for name in NAMES if any(name in line["victims"] for line in calls)]
    rows = []
    if calls:
        rows += [f"| | threads | {' | '.join(NAMES[name] for name in names)} | ours over one thread, worst |"]
        rows += [f"|---|---|{'---|' * (len(names) + 1)}"]
    for what, threads in dict.fromkeys((line["what"], line["threads"]) for line in calls):
        part = [line for line in calls if (line["what"], line["threads"]) == (what, threads)]
        cells = [_cell([x["victims"].get(name, {}).get("slower") for x in part]) for name in names]
        over = [line["over_one"] for line in part if "over_one" in line]
        worst = f"{max(over):.2f}" if over else "-"
        rows.append(f"| {beside.TEXTS[what]} | {threads} | {' | '.join(cells)} | {worst} |")
    loops = [line for line in lines if "loops" in line]
    if loops:
        rows += [*([""] if rows else []), "| loop | threads | ms per step | with one thread of NumPy's | ratio |"]
        rows += ["|---|---|---|---|---|"]
    for line in loops:
        for name, found in line["loops"].items():
            whose = "" if name == OURS else f", {NAMES[name]}"
            times = f"{1e3 * found['default']:.1f} | {1e3 * found['one']:.1f} | {found['ratio']:.2f}"
            rows.append(f"| {line['what'].removeprefix('loop ')}{whose} | {line['threads']} | {times} |")
    return rows


def _cell(slower: Sequence[float | None]) -> str:
    values = [value for value in slower if value is not None]
    if not values:
        return "-"
    return f"{figures.mean(values):.2f}× ({max(values):.2f}×)"


def _name(line: Line) -> str:
    what = line["what"] if "loops" in line else beside.TEXTS[line["what"]]
    return f"{what:26} {text((line['cell'], line['mode'], line['shape']))} {line['threads']} thr"


def _slower(victim: figures.Figures) -> str:
    if "wrong" in victim:
        return f"WRONG {victim['error']:.0e}"
    return f"{1e3 * victim['alone']:.4g} ms × {victim['slower']:.2f} ({victim['slower_p90']:.2f})"


def _said(line: Line) -> list[str]:
    """The criteria of a line, each with its ratio and ok or short."""
    if "loops" in line:
        ratio = line["loops"][OURS]["ratio"] if OURS in line["loops"] else None
        asked = [("over one thread of NumPy's", ratio, figures.LOOP)]
    else:
        asked = [("over one thread", line.get("over_one"), figures.OVER_ONE_THREAD)]
        asked += [("over peers", line.get("over_peers"), figures.OVER_PEERS)]
    return [f"{name} {value:.2f} {figures.verdict(value, most)}" for name, value, most in asked if value is not None]


def _over_library(line: Line) -> list[str]:
    """The other build's times over ours."""
    other, ours = (line["victims"].get(name, {}) for name in (LIBRARY, OURS))
    if "median" not in other or "median" not in ours:
        return []
    return [f"library over ours {other['alone'] / ours['alone']:.2f} alone, {other['median'] / ours['median']:.2f} met"]


def _loop(line: Line) -> str:
    found = [
        f"{NAMES[name]} {1e3 * of['default']:.1f} ms, with one thread of NumPy's {1e3 * of['one']:.1f} ms"
        for name, of in line["loops"].items()
    ]
    if {OURS, LIBRARY} <= line["loops"].keys():
        found.append(f"library over ours {line['loops'][LIBRARY]['default'] / line['loops'][OURS]['default']:.2f}")
    busy = f"  BUSY {100 * line['others']:.0f}%" if report.busy(line) else ""
    return "  ".join([f"{_name(line)}:", *found, *_said(line)]) + busy
