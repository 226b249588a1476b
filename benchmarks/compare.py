"""Two files of results, or the committed results of two commits, side by side.

`python -m benchmarks compare A B`

Times of two runs mean little by themselves on a shared machine: beside them stand the ratios to the best peer, which
were measured in one run each. Marked are times whose quartiles do not overlap.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from . import machine, report, results
from .results import Line


def load(name: str, file: str | None = None) -> list[Line]:
    """Lines of a file, or of a commit's file in benchmarks/results/ (the only one there, or `file`)."""
    if Path(name).is_file():
        return results.read(Path(name))
    folder = "benchmarks/results"
    if file is None:
        files = machine.git("ls-tree", "--name-only", name, f"{folder}/").split()
        if len(files) != 1:
            raise ValueError(f"{name}: expected a file, or a commit with one file of results; got {files}")
        path = files[0]
    else:
        path = f"{folder}/{file}"
    text = machine.git("show", f"{name}:{path}")
    if not text:
        raise ValueError(f"{name}: expected a file, or a commit that has {path}")
    return results.parse(text)


def compare(before: Sequence[Line], after: Sequence[Line]) -> list[str]:
    """A row per measurement that both have."""
    old = {results.key(line): line for line in results.of_kind(before, "speed")}
    rows = []
    for line in results.of_kind(after, "speed"):
        was = old.get(results.key(line))
        if was is None:
            continue
        a, b = was["ours"], line["ours"]
        mark = "faster" if b["high"] < a["low"] else "slower" if b["low"] > a["high"] else ""
        steps, batch, inputs, hidden = line["shape"]
        rows.append(
            f"{line['cell']:16} {line['mode']:9} {line['threads']:3} {steps:4} {batch:3} {inputs:4} {hidden:4} "
            f"{1e3 * a['median']:9.4g} {1e3 * b['median']:9.4g} {a['median'] / b['median']:6.2f}× "
            f"{_ratio(was):>7} {_ratio(line):>7} {mark}".rstrip()
        )
    return rows


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare", description="Two results side by side.")
    parser.add_argument("before", metavar="A", help="a file of results or a commit")
    parser.add_argument("after", metavar="B", help="a file of results or a commit")
    parser.add_argument("--file", help="name in benchmarks/results/, where a commit has several")
    args = parser.parse_args(arguments)
    try:
        before, after = load(args.before, args.file), load(args.after, args.file)
    except ValueError as error:
        parser.error(str(error))
    rows = compare(before, after)
    print(f"{'cell':16} {'mode':9} thr {report.SIZES} {'A ms':>9} {'B ms':>9} {'A/B':>7} {'A ratio':>7} {'B ratio':>7}")
    for row in rows:
        print(row)
    for word in ("faster", "slower"):
        print(f"{sum(row.endswith(word) for row in rows)} of {len(rows)} {word} beyond the spread")
    alone = len(results.of_kind(before, "speed")), len(results.of_kind(after, "speed"))
    print(f"only in A: {alone[0] - len(rows)}, only in B: {alone[1] - len(rows)}")
    return 0


def _ratio(line: Line) -> str:
    return f"{line['ratio']:.2f}×" if "ratio" in line else "-"
