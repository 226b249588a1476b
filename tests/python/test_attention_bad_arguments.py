"""Every public function of `rnnkernels.attention` refuses what no argument can be, by its name: support/bad_values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bad_values import Row, cases, check_named, check_named_or_runs, check_runs, row

import rnnkernels as rk
from rnnkernels import attention

T, B, I, H, L, D = 4, 2, 3, 5, 6, 2  # noqa: E741

SIZES: dict[str, Any] = {
    "cell": "lstm",
    "input_size": I,
    "feature_size": D,
    "hidden_size": H,
    "scores": "additive",
    "attention_size": 7,
    "gated": True,
    "location": (2, 3),
    "bias": True,
}
PARAMS = attention.init_params(**SIZES, rng=0)
X, FEATURES = np.ones((T, B, I), np.float32), np.ones((B, L, D), np.float32)
STATE = (np.zeros((B, H), np.float32), np.zeros((B, H), np.float32))
MASK = np.ones((B, L), bool)
GIVEN: dict[str, Any] = {"cell": "lstm", "features": FEATURES, "params": PARAMS, "state": STATE, "mask": MASK}
RUN = attention.forward("lstm", X, FEATURES, PARAMS)
STEPPER = attention.Stepper("lstm", FEATURES, PARAMS)

CHOICES = dict.fromkeys(("attention_size", "location"), "none")
OPTIONAL = dict.fromkeys(("state", "mask", "lengths", "resets", "reset_state", "noise", "cell_clip", "hard"), "none")
FEW = dict.fromkeys(("state", "mask", "cell_clip", "hard", "noise"), "none")
GRADIENTS = dict.fromkeys(("d_output", "d_state", "d_weights", "d_contexts"), "none")

ROWS = [
    row("attention.parameter_shapes", attention.parameter_shapes, CHOICES, **SIZES),
    row(
        "attention.init_params", attention.init_params, CHOICES | {"rng": "none huge"}, **SIZES, rng=0, dtype="float32"
    ),
    row(
        "attention.forward",
        attention.forward,
        OPTIONAL,
        **GIVEN,
        x=X,
        training=True,
        lengths=[T, 2],
        resets=np.zeros((T, B), bool),
        reset_state=STATE,
        reverse=False,
        noise=rk.Noise(1),
        cell_clip=1.0,
        hard=1,
        memory="all",
    ),
    row(
        "attention.backward",
        attention.backward,
        GRADIENTS,
        run=RUN,
        d_output=RUN.output,
        d_state=STATE,
        d_weights=RUN.weights,
        d_contexts=RUN.contexts,
    ),
    row("attention.Stepper", attention.Stepper, FEW, **GIVEN, cell_clip=1.0, hard=1, noise=rk.Noise(1)),
    row("attention.Stepper()", STEPPER.__call__, x_t=X[0]),
    row("attention.Stepper.reset", STEPPER.reset, {"state": "none"}, state=STATE),
]


@pytest.mark.parametrize("each", ROWS, ids=lambda each: each.name)
def test_the_call_of_each_row_runs(each: Row) -> None:
    check_runs(each)


@pytest.mark.parametrize(("each", "argument"), cases(ROWS))
def test_a_bad_argument_is_named(each: Row, argument: str) -> None:
    check_named(each, argument)


@pytest.mark.parametrize(("each", "argument"), cases(ROWS))
def test_an_odd_argument_is_named_or_served(each: Row, argument: str) -> None:
    check_named_or_runs(each, argument)
