"""`rnnkernels.jax` refuses what no argument can be, by its name; arrays of NumPy's may have any memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from array_forms import misaligned, spelled
from bad_values import bad_argument_tests, row

import rnnkernels as rk
from rnnkernels import jax as rkj

T, B, I, H = 5, 2, 3, 4  # noqa: E741

X = np.linspace(-1, 1, T * B * I, dtype=np.float32).reshape(T, B, I)
P = rk.init_params("lstm", I, H, rng=0)
STATE = (np.ones((B, H), np.float32), np.ones((B, H), np.float32))
CALL: dict[str, Any] = {"cell": "lstm", "x": X, "params": P, "state": STATE, "lengths": np.array([T, 2])}
CALL |= {"resets": np.zeros((T, B), bool), "reset_state": STATE}

OPTIONAL = dict.fromkeys(("state", "lengths", "resets", "reset_state"), "none")
ROWS = [row("jax.forward", rkj.forward, OPTIONAL, **CALL, reverse=False, products="full")]

test_the_call_of_each_row_runs, test_a_bad_argument_is_named, test_an_odd_argument_is_named_or_served = (
    bad_argument_tests(ROWS)
)


@pytest.mark.parametrize("of", [spelled, misaligned, np.asfortranarray, lambda a: a[::-1].copy()[::-1]])
def test_arrays_of_any_memory_are_read_right(of: Any) -> None:
    plain = rkj.forward(**CALL)[0]
    given = CALL | {"x": of(X), "params": {k: of(v) for k, v in P.items()}, "state": tuple(map(of, STATE))}
    np.testing.assert_array_equal(rkj.forward(**given | {"lengths": of(CALL["lengths"])})[0], plain)


@pytest.mark.parametrize("name", ["x", "params", "state", "lengths"])
def test_a_wrong_shape_is_refused_before_anything_is_copied(name: str) -> None:
    huge = np.broadcast_to(np.float32(0), (2**24, 2**24))
    wrong = {
        "x": np.broadcast_to(huge[0, 0], (2**24, 2**24, I + 1)),
        "params": P | {"bias_ih": huge},
        "state": (huge, STATE[1]),
        "lengths": huge.view("i4"),
    }
    with pytest.raises(ValueError, match=rf"^{name}.*: expected"):
        rkj.forward(**CALL | {name: wrong[name]})
