"""Every victim's calls beside every neighbour: all victims take turns in one run, round after round.

A round of a victim is a pause, calls alone, and calls beside the neighbour (child.py). Of one problem the rounds of
all victims alternate, on all numbers of threads: what slows the machine for a while slows all.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from benchmarks.builds import answers
from benchmarks.builds.build import Build
from benchmarks.peers import peers
from benchmarks.results import Line
from benchmarks.workloads import Workload

from . import figures
from .problems import Problem, text
from .processes import Process, Who, build_of

LEAST, MOST = 2, 100  # rounds


class WrongAnswerError(Exception):
    """Ours is not the reference's."""


def measure(
    neighbours: Sequence[str],
    problems: Sequence[Problem],
    whos: Sequence[Who],
    builds: dict[str, Build],
    *,
    seconds: float,
    folder: Path,
) -> Iterator[list[Line]]:
    """Yield the lines of one problem beside one neighbour, a line for each number of threads.

    Beside nothing, which shows what the noise is, ours take part alone.
    """
    works = {problem: Workload(*problem) for problem in problems}  # which keep the reference's answers
    for neighbour in neighbours:
        with ExitStack() as stack:
            here = [who for who in whos if neighbour != "nothing" or who.peer == figures.OURS]
            children = {who: stack.enter_context(closing(Process(build_of(who, builds)))) for who in here}
            for who, child in children.items():
                child.ask("meet", victim=who.peer, threads=who.threads, neighbour=neighbour)
            for work in works.values():
                present = {who: child for who, child in children.items() if _supports(who, work)}
                yield _lines(neighbour, work, present, seconds, folder)


def _lines(neighbour: str, work: Workload, children: Mapping[Who, Process], seconds: float, folder: Path) -> list[Line]:
    found = {who: check(who, child, work, folder / "answer.npz") for who, child in children.items()}
    right = {who: child for who, child in children.items() if "wrong" not in found[who]}
    rounds = alternate(right, seconds)
    for who, each in rounds.items():
        alone, met = ([time for one in each for time in one[kind]] for kind in ("alone", "beside"))
        found[who] |= {**figures.of_calls(alone, met), "rounds": len(each)}
    lines = []
    for threads in dict.fromkeys(who.threads for who in children):
        line: Line = {"kind": "neighbours", "what": neighbour, "cell": work.cell, "mode": work.mode}
        line |= {"shape": list(work.shape), "threads": threads}
        line["victims"] = {who.victim: found[who] for who in children if who.threads == threads}
        line["others"] = others_of(one for who, each in rounds.items() if who.threads == threads for one in each)
        lines.append(line)
    figures.add_criteria(lines)
    return lines


def check(who: Who, child: Process, work: Workload, file: Path) -> dict[str, Any]:
    """Have a victim begin a problem: the error of its answer, and ``wrong`` where that is too large.

    Raises WrongAnswerError if it is ours that is wrong.
    """
    child.ask("begin", cell=work.cell, mode=work.mode, shape=work.shape, file=str(file))
    error = work.error(answers.load(file))
    if error < work.tolerance:
        return {"error": error}
    if who.victim == figures.OURS:
        problem = text((work.cell, work.mode, work.shape)).strip()
        raise WrongAnswerError(f"{problem}: our answer is off by {error:.1e}, allowed is {work.tolerance:.0e}")
    return {"error": error, "wrong": True}


def alternate(children: Mapping[Who, Process], seconds: float) -> dict[Who, list[dict[str, Any]]]:
    """Rounds of all in turn, every second time in the other order, for about that many seconds of each."""
    rounds: dict[Who, list[dict[str, Any]]] = {who: [] for who in children}
    begin = time.monotonic()
    done, wanted = 0, LEAST if children else 0
    while done < wanted:
        for who in list(children) if done % 2 == 0 else reversed(list(children)):
            rounds[who].append(children[who].ask("round"))
        done += 1
        if done == 1:
            wanted = max(LEAST, min(MOST, round(seconds * len(children) / (time.monotonic() - begin))))
    return rounds


def others_of(rounds: Iterator[dict[str, Any]]) -> float | None:
    """What others used of the machine before the rounds, in the mean; None where that is not known."""
    shares = [one["others"] for one in rounds if one["others"] is not None]
    return round(statistics.fmean(shares), 3) if shares else None


def _supports(who: Who, work: Workload) -> bool:
    return who.peer == figures.OURS or peers([who.peer])[0].supports(work)
