"""The command line of a benchmark of our own: which cells and parts, threads, for how long, and where results go."""

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
    cells: Iterable[str] | None = None,
    what: Sequence[str] | None = None,
    shapes: int | None = None,
    peers: Sequence[str] | None = None,
    threads: str | None = None,
    seconds: str = "per participant and line",
    default_seconds: float = 0.5,
) -> argparse.Namespace:
    """Read the arguments of `python -m benchmarks <command>`.

    `cells`, `what` and `peers` are the choices of those, `shapes` how many there are to choose from, None: there is no
    such argument; `threads` and `seconds` say what those two mean.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {command}", description=description)
    if cells is not None:
        parser.add_argument("--cells", nargs="+", default=["lstm", "gru"], choices=list(cells))
    if what is not None:
        parser.add_argument("--what", nargs="+", default=list(what), choices=list(what))
    if shapes is not None:
        numbers = range(shapes)
        parser.add_argument("--shapes", nargs="+", type=int, default=list(numbers), choices=numbers, help="by number")
    if peers is not None:
        parser.add_argument("--peers", nargs="+", default=list(peers), choices=list(peers))
    parser.add_argument("--threads", type=int, default=rk.num_threads(), help=threads)
    parser.add_argument("--seconds", type=float, default=default_seconds, help=seconds)
    parser.add_argument("--out", type=Path, help="JSON lines; lines of other kinds in it are kept")
    return parser.parse_args(arguments)
