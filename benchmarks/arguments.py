"""The command line of a benchmark of our own cells: which cells, threads, for how long, and where results go."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import rnnkernels as rk


def parse(
    command: str,
    description: str,
    arguments: Sequence[str],
    *,
    cells: Iterable[str],
    threads: str | None = None,
    seconds: str = "per participant and line",
) -> argparse.Namespace:
    """Read the arguments of `python -m benchmarks <command>`; `threads` and `seconds` are what those two mean."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {command}", description=description)
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru"], choices=list(cells))
    parser.add_argument("--threads", type=int, default=rk.num_threads(), help=threads)
    parser.add_argument("--seconds", type=float, default=0.5, help=seconds)
    parser.add_argument("--out", type=Path, help="JSON lines; lines of other kinds in it are kept")
    return parser.parse_args(arguments)
