"""The training loops' steps (loops.py), with NumPy's threads as they come and with one, in turn.

OpenBLAS reads OPENBLAS_NUM_THREADS when it is loaded, so the two are processes of their own; each takes its turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.builds import answers
from benchmarks.builds.build import Build
from benchmarks.results import Line

from . import figures
from .calls import WrongAnswerError, others_of
from .loops import CHARACTERS, LOOPS, SIZES
from .processes import Process, Who, build_of

SETTINGS: dict[str, dict[str, str]] = {"default": {}, "one": {"OPENBLAS_NUM_THREADS": "1"}}
TURN = 0.4  # seconds of steps in one round


def measure(
    loops: Sequence[str], whos: Sequence[Who], builds: dict[str, Build], *, rounds: int, folder: Path
) -> Iterator[list[Line]]:
    """Yield the lines of one loop, a line for each number of threads."""
    for loop in loops:
        with ExitStack() as stack:
            children = {
                (who, name): stack.enter_context(closing(Process(build_of(who, builds), settings)))
                for who, (name, settings) in product(whos, SETTINGS.items())
            }
            reference = LOOPS[loop](**SIZES[loop])
            for (who, name), child in children.items():
                file = folder / "answer.npz"
                child.ask("begin loop", loop=loop, sizes=SIZES[loop], threads=who.threads, file=str(file))
                error = reference.error(answers.load(file))
                if not error < 1:
                    raise WrongAnswerError(f"loop {loop}, {who}, {name}: {error:.1f} times the error that is allowed")
            found: dict[tuple[Who, str], list[dict[str, Any]]] = {key: [] for key in children}
            for k in range(rounds):
                for key in list(children) if k % 2 == 0 else reversed(list(children)):
                    found[key].append(children[key].ask("round of steps", seconds=TURN))
            yield _lines(loop, whos, found)


def _lines(loop: str, whos: Sequence[Who], found: dict[tuple[Who, str], list[dict[str, Any]]]) -> list[Line]:
    sizes = SIZES[loop]
    shape = [sizes["steps"], sizes["batch"], sizes.get("inputs", CHARACTERS), sizes["hidden"]]
    lines = []
    for threads in dict.fromkeys(who.threads for who in whos):
        line: Line = {"kind": "neighbours", "what": f"loop {loop}", "cell": "lstm", "mode": "training", "shape": shape}
        line |= {"threads": threads, "loops": {}}
        mine = [who for who in whos if who.threads == threads]
        for who in mine:
            times = [[time for one in found[who, name] for time in one["steps"]] for name in SETTINGS]
            line["loops"][who.victim] = figures.of_loop(*times)
        line["others"] = others_of(one for who in mine for name in SETTINGS for one in found[who, name])
        lines.append(line)
    return lines
