"""Every public function of `rnnkernels.reference` refuses what no argument can be, by its name: support/bad_values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bad_values import bad_argument_tests, row

import rnnkernels as rk
from rnnkernels import reference
from rnnkernels.reference import low_precision

T, B, I, H = 3, 2, 3, 4  # noqa: E741

STATE = (np.ones((B, H)), np.ones((B, H)))
CALL: dict[str, Any] = {
    "cell": "lstm",
    "x": np.ones((T, B, I)),
    "params": rk.init_params("lstm", I, H, rng=0),
    "state": STATE,
}
D_CALL = CALL | {"d_output": np.ones((T, B, H)), "d_state": STATE}
OPTIONS: dict[str, Any] = {"noise": rk.Noise(1, zoneout=0.1), "cell_clip": 1.0}
OPTIONAL = dict.fromkeys(("state", "d_state", "noise"), "none")
FEW = {"state": "none", "noise": "none"}

ROWS = [
    row("reference.forward", reference.forward, FEW, **CALL, **OPTIONS, training=True),
    row("reference.gradients", reference.gradients, OPTIONAL, **D_CALL, **OPTIONS),
    row(
        "reference.directional_derivative",
        reference.directional_derivative,
        OPTIONAL,
        **D_CALL,
        direction={"weight_hh": np.ones((4 * H, H))},
        **OPTIONS,
    ),
    row("reference.low_precision.forward", low_precision.forward, FEW, **CALL, **OPTIONS, arithmetic="int8"),
]

test_the_call_of_each_row_runs, test_a_bad_argument_is_named, test_an_odd_argument_is_named_or_served = (
    bad_argument_tests(ROWS)
)


@pytest.mark.parametrize("token", [-1, I])
def test_a_token_that_there_is_not_is_named(token: int) -> None:
    with pytest.raises(ValueError, match=rf"^x: expected tokens in \[0, {I}\), got"):
        reference.forward(**CALL | {"x": [[0, token]]})
