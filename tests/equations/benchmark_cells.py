"""The cells of `python -m benchmarks equations`, and what others are given of them: right answers before any speed.

A cell from equations stays for as long as its process lives: test_cells.py runs these tests in one of their
own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import equations
from benchmarks.own_cells import SAME, UNFUSED
from benchmarks.peers.equations import JaxScan, TorchLoop
from benchmarks.peers.ours import Ours
from benchmarks.workloads import Workload

SHAPE = (5, 3, 6, 6)


@pytest.mark.parametrize("mode", ["training", "inference"])
@pytest.mark.parametrize("name", [*SAME, *UNFUSED])
def test_ours_and_the_loop_answer_right(name: str, mode: str) -> None:
    pytest.importorskip("torch")
    work = Workload(equations.own((SAME | UNFUSED)[name]), mode, SHAPE)
    for peer in (Ours(), TorchLoop()):
        equations.checked(work, peer, 1)


def test_a_scan_answers_right() -> None:
    pytest.importorskip("jax")
    equations.checked(Workload(equations.own(UNFUSED["lem"]), "training", SHAPE), JaxScan(), 1)


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_a_wrong_answer_has_no_speed(mode: str) -> None:
    class Wrong(Ours):
        name = "wrong"

        def prepare(self, work: Workload, threads: int) -> Any:
            timed = super().prepare(work, threads)
            return replace(timed, answer=lambda made: {key: 1.01 * a for key, a in timed.answer(made).items()})

    with pytest.raises(RuntimeError, match=rf"wrong: star_own {mode} \(5, 3, 6, 6\) is off by"):
        equations.checked(Workload(equations.own(UNFUSED["star"]), mode, SHAPE), Wrong(), 1)


def test_every_definition_is_timed_under_a_name_of_its_own() -> None:
    found = equations.ours_first("star", UNFUSED["star"])
    assert 0 < found["result"] < found["gradient"]
