"""`python -m benchmarks.builds budget`: whether a build, and one more cell, cost no more than budget.json allows.

Bytes are judged as they are. Seconds were set on a machine whose yardstick (cost.py) took `yardstick_seconds`; on
another, or beside other work, they are allowed to be as much more as the yardstick takes now. That follows other work
roughly: `--bytes` judges bytes alone, and says the seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import machine

from .build import BuildError
from .cost import CellCost, Cost, measure, text

FILE = Path(__file__).with_name("budget.json")


def judge(budget: Mapping[str, float], cost: Cost, cell: CellCost) -> list[tuple[str, float, float]]:
    """What is judged: its name, what it is and what it may be."""
    now, then = cost.yardstick / budget["yardstick_seconds"], cell.yardstick / budget["yardstick_seconds"]
    return [
        ("processor seconds of a build", cost.seconds, budget["build_seconds"] * now),
        ("bytes of the module", cost.module_bytes, budget["module_bytes"]),
        ("processor seconds of one more cell", cell.seconds, budget["cell_seconds"] * then),
        ("bytes of one more cell, each set", cell.bytes_per_set, budget["cell_bytes_per_set"]),
    ]


def rows(judged: Sequence[tuple[str, float, float]]) -> list[str]:
    """A line for each, marked where it is over."""
    return [
        f"{name:36} {value:14,.2f}, allowed {allowed:14,.2f}{'  OVER' if value > allowed else ''}"
        for name, value, allowed in judged
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.builds budget", description="Is a build cheap enough?")
    parser.add_argument("source", type=Path, nargs="?", default=machine.REPOSITORY, help="default: this tree")
    parser.add_argument("--bytes", action="store_true", help="judge bytes alone")
    parser.add_argument("--define", action="append", default=[], metavar="NAME=VALUE", help="for CMake")
    args = parser.parse_args(arguments)
    options = [part for value in args.define for part in ("-D", value)]
    try:
        cost, cell = measure(args.source.resolve(), cell=True, options=options)
    except (BuildError, subprocess.CalledProcessError) as error:
        parser.error(str(error))
    assert cell is not None
    judged = judge(json.loads(FILE.read_text("utf-8")), cost, cell)
    print(*text(cost, cell), *rows(judged), sep="\n")
    over = [name for name, value, allowed in judged if value > allowed and not (args.bytes and "seconds" in name)]
    for name in over:
        print(f"over budget: {name} ({FILE.name})")
    return int(bool(over))
