"""The texts of results: what there is, of which shape; no number of an array, however large."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnkernels as rk

T, B, I, H = 5, 2, 3, 4  # noqa: E741

X = np.full((T, B, I), 0.123456, np.float32)
PARAMS = rk.init_params("lstm", I, H, rng=0)
STACK = rk.Stack("lstm", I, H, 2, rng=0)
BOTH = rk.Stack("gru", I, H, bidirectional=True, rng=0)
RUN = rk.forward("lstm", X, PARAMS, resets=np.zeros((T, B), bool), term=np.zeros((B, 4 * H), np.float32))
STACK_RUN = STACK.forward(X)
KEPT = sum(run.reserve_bytes for run in STACK_RUN._runs)


def loss(output: Any, start: int) -> Any:
    return 0.25, np.ones_like(output), {"w": np.ones(2)}


TEXTS = {
    "Run": (RUN, f"Run(cell='lstm', T=5, B=2, H=4, reserve_bytes={RUN.reserve_bytes})"),
    "Gradients": (
        rk.backward(RUN, np.ones((T, B, H), np.float32)),
        "Gradients(x=float32 (5, 2, 3), params=4 arrays, state=2 arrays, reset_state=2 arrays, term=float32 (2, 16))",
    ),
    "StackRun": (
        STACK_RUN,
        f"StackRun(cell='lstm', layers=2, directions=1, T=5, B=2, H=4, reserve_bytes={KEPT})",
    ),
    "StackRun of two directions": (
        BOTH.forward(X, training=False),
        "StackRun(cell='gru', layers=1, directions=2, T=5, B=2, H=4, reserve_bytes=0)",
    ),
    "StackGradients": (
        STACK.backward(STACK_RUN, np.ones((T, B, H), np.float32), need_x=False, norms=True),
        "StackGradients(params=8 arrays, state=4 arrays, norms=4 arrays)",
    ),
    "bptt.Result": (
        rk.bptt.full_bptt(STACK, X, loss),
        "Result(loss=0.25, grads=9 arrays, state=4 arrays, start=0, d_initial_state=4 arrays)",
    ),
    "a loss that is an array": (
        rk.bptt.Result(np.zeros((), np.float32), {"w": np.ones(2)}, None, 3),
        "Result(loss=float32 (), grads=1 array, start=3)",
    ),
}


@pytest.mark.parametrize(("result", "text"), TEXTS.values(), ids=TEXTS)
def test_what_a_result_says_of_itself(result: Any, text: str) -> None:
    assert repr(result) == text
    assert str(result) == text
