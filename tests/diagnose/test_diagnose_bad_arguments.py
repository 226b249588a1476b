"""Every public function of `rnnkernels.diagnose` refuses what no argument can be, by its name: support/bad_values."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from bad_values import Row, cases, check_named, check_named_or_runs, check_runs, row

import rnnkernels as rk
from rnnkernels import diagnose

T, B, H = 3, 2, 4
PARAMS = rk.init_params("lstm", H, H, rng=0)
STACK = rk.Stack("lstm", H, H, rng=0)
X = np.zeros((T, B, H), np.float32)
STATE = (np.zeros((B, H), np.float32), np.zeros((B, H), np.float32))
FOUND = diagnose.of_cell("rnn_tanh", H, steps=T, batch=B)

ROWS = [
    row("sigmoid_gates", diagnose.sigmoid_gates, cell="lstm"),
    row("gate_values", diagnose.gate_values, {"state": "none"}, cell="lstm", x=X, params=PARAMS, state=STATE),
    row("singular_values", diagnose.singular_values, cell="lstm", params=PARAMS),
    row(
        "of_stack",
        diagnose.of_stack,
        {"d_last": "none", "state": "none"},
        stack=STACK,
        x=X,
        d_last=np.ones((B, H), np.float32),
        state=(STATE,),
    ),
    row(
        "of_cell",
        diagnose.of_cell,
        {"rng": "none huge"},
        cell="gru",
        hidden_size=H,
        num_layers=1,
        steps=T,
        batch=B,
        rng=0,
    ),
    row("step_factor", diagnose.step_factor, norms=[1.0, 2.0]),
    row("table", diagnose.table, diagnosis=FOUND),
]
if find_spec("matplotlib") is not None:
    ROWS.append(row("draw", diagnose.draw, diagnosis=FOUND, path=Path("picture.svg")))


@pytest.mark.parametrize("each", ROWS, ids=lambda each: each.name)
def test_the_call_of_each_row_runs(each: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_runs(each)


@pytest.mark.parametrize(("each", "argument"), cases(ROWS))
def test_a_bad_argument_is_named(each: Row, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_named(each, argument)


@pytest.mark.parametrize(("each", "argument"), cases(ROWS))
def test_an_odd_argument_is_named_or_served(
    each: Row, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_named_or_runs(each, argument)
