"""The fuzz command: a few seconds of its parts, and that a wrong value, a signal and a hang are seen."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from processes import python

import rnnkernels as rk
from tests.fuzz import children, numpy_calls
from tests.fuzz.cases import draw
from tests.fuzz.children import Tried
from tests.fuzz.own_cells import own_cells
from tests.fuzz.parts import PARTS

SECONDS = 4.0
SEED = 15_000_000


@pytest.mark.parametrize("name", [name for name in PARTS if name != "charlm"])  # test_charlm_fuzz.py
def test_a_few_seconds_of_each_part(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    part = PARTS[name]
    if part.missing:
        pytest.skip(f"there is no {', '.join(part.missing)}")
    assert part.load().run(SECONDS, SEED) == []
    print(capsys.readouterr().out)


def test_a_case_makes_many_calls() -> None:
    tried = [numpy_calls.case(SEED + k) for k in range(60)]
    assert not [failure for t in tried for failure in t.failures]
    assert min(t.count for t in tried) >= 8  # of every case several, and of all of them every kind
    assert {kind for t in tried for kind in t.calls} >= {"forward", "backward", "inference", "prepared", "step"}


def test_cells_from_equations_are_drawn() -> None:
    own = own_cells()
    drawn = Counter(draw(SEED + k).cell for k in range(2000))
    assert sum(drawn[cell] for cell in own) > 500
    assert own.keys() <= drawn.keys()  # each of them
    assert rk.cells()[0] in drawn
    tried = [numpy_calls.case(SEED + k) for k in range(60) if draw(SEED + k).cell in own]
    assert len(tried) > 10
    assert not [failure for t in tried for failure in t.failures]


def test_a_wrong_cell_from_equations_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth of each is another than that of equations beside it."""
    own = own_cells()
    cells = ["fuzz_lstm", "fuzz_lstm(cell_clip=0.1)", "fuzz_gated_3", "fuzz_several_heads", "fuzz_two_orders"]
    for cell in cells:
        step = own[cell].step

        def wrong(x: Any, states: Any, p: Any, step: Any = step) -> Any:
            h, *others = step(x, states, p)
            return (h * (1 + 1e-4), *others)

        monkeypatch.setitem(own, cell, own[cell]._replace(step=wrong))
    seeds = [k for k in range(3000) if draw(SEED + k).cell in cells and min(draw(SEED + k).sizes) > 0][:12]
    assert all(numpy_calls.case(SEED + k).failures for k in seeds)


def wrong_by(monkeypatch: pytest.MonkeyPatch, size: float) -> list[str]:
    """What is found where every forward adds `size` to one unit of its last output."""
    plain = rk.forward

    def forward(*arguments: Any, **named: Any) -> Any:
        run = plain(*arguments, **named)
        if run.output.size:
            run.output[-1, -1, -1] += run.output.dtype.type(size)
        return run

    monkeypatch.setattr(rk, "forward", forward)
    return [failure for k in range(20) for failure in numpy_calls.case(SEED + k).failures]


def test_a_wrong_output_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = wrong_by(monkeypatch, 1e-4)
    assert len(found) > 5
    assert re.search(
        r"^(forward|inference) \(float(32|64), .*\) of \w+, T \d+, .*: output: error [0-9.e-]+, allowed", found[0]
    )


def test_a_wrong_gradient_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = rk.backward

    def backward(*arguments: Any, **named: Any) -> Any:
        grads = plain(*arguments, **named)
        grads.params["weight_ih"][-1, -1] += grads.params["weight_ih"].dtype.type(0.01)
        return grads

    monkeypatch.setattr(rk, "backward", backward)
    found = [failure for k in range(20) for failure in numpy_calls.case(SEED + k).failures]
    assert len(found) > 20
    assert all("d params: slope" in failure for failure in found)


def test_nodes_of_integers_are_drawn_and_wrong_ones_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from rnnkernels.onnx import quantized
    from tests.fuzz import onnx_fuzz

    tried = [onnx_fuzz.case(SEED + k) for k in range(40)]
    assert not [failure for t in tried for failure in t.failures]
    kinds = {kind for t in tried for kind in t.calls if "integers" in kind}
    assert len(kinds) == 4, kinds
    plain = quantized.to_quantized

    def wrong(*arguments: Any) -> Any:
        found = plain(*arguments)
        return None if found is None else {**found, "weight_hh_scale": found["weight_hh_scale"][::-1].copy()}

    monkeypatch.setattr("rnnkernels.onnx.operators.to_quantized", wrong)
    assert [failure for k in range(40) for failure in onnx_fuzz.case(SEED + k).failures]


# ---- what a child may do -------------------------------------------------------------------------


def case(seed: int) -> Tried:
    """What a child of these tests does: it dies, hangs, raises or finds something wrong, by its seed."""
    tried = Tried()
    tried.calls["tried"] = 1
    if seed == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    if seed == 4:
        time.sleep(600)
    if seed == 5:
        raise ValueError("a message")
    if seed == 6:
        tried.failures.append("wrong")
    return tried


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_signal_a_hang_and_an_error_are_failures_with_their_seed() -> None:
    tried = children.run("tests.fuzz.fuzzed_cases", 600, 0, 6, patience=1.0, most_seconds=1.0)
    assert [failure.split("\n")[0] for failure in tried.failures] == [
        "seed 2: a signal: SIGSEGV",
        "seed 4: a hang: nothing ended within 1 s of the child's time",
        "seed 5: Traceback (most recent call last):",
        "seed 6: wrong",
    ]


def test_the_command_says_what_it_does_not_know() -> None:
    run = "import runpy, sys; sys.argv[1:] = {}; runpy.run_module('tests.fuzz', run_name='__main__')"
    for arguments, message in (
        (["jax"], "PART: expected some of numpy, onnx, torch, charlm; got jax"),
        (["--seconds", "0"], "--seconds: expected a number above 0, got 0"),
        (["--seed", "-1"], "--seed: expected a number from 0 on, got -1"),
    ):
        done = python(run.format(arguments))
        assert done.returncode == 2
        assert message in done.stderr


def test_a_case_can_be_repeated() -> None:
    first, again = draw(SEED), draw(SEED)
    assert first.describe() == again.describe()
    np.testing.assert_array_equal(first.x, again.x)
