"""What does not fit the attending recurrence is refused in words; what nothing can be: test_attention_bad_arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attending import Form, Sizes, make
from problems import Array

import rnnkernels as rk
from rnnkernels import attention

SMALL = make("lstm", Form(gated=True, location=(2, 3)), Sizes(4, 3, 2, 5, 6, 3))


def without(*names: str) -> dict[str, Array]:
    return {name: value for name, value in SMALL.params.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cell": "mut2"}, ValueError, "cell: expected one that can attend, got mut2, which adds its input itself"),
        (
            {"cell": "lstm_projected"},
            ValueError,
            "cell: expected one that can attend, got lstm_projected, which projects h",
        ),
        ({"x": np.ones((4, 3, 3))}, ValueError, r"x: expected shape \(T, B, I\) = \(4, 3, 2\), got \(4, 3, 3\)"),
        ({"x": np.ones((4, 3, 2), "f4")}, TypeError, "x: expected dtype float64, the parameters', got float32"),
        ({"x": np.full((4, 3), 2)}, ValueError, r"x: expected tokens in \[0, 2\), got 2 at \[0, 0\]"),
        ({"x": np.zeros((4, 3, 2), int)}, ValueError, r"x: expected shape \(T, B\) of tokens, got \(4, 3, 2\)"),
        ({"x": np.ones((4, 2, 2))}, ValueError, r"features: expected shape \(B, L, D\) with B = 2, that of x"),
        (
            {"features": np.ones((3, 3))},
            ValueError,
            r"features: expected shape \(B, L, D\) with L at least 1, got \(3, 3\)",
        ),
        ({"features": np.ones((3, 0, 3))}, ValueError, r"features: expected shape \(B, L, D\) with L at least 1"),
        (
            {"features": np.ones((3, 6, 9))},
            ValueError,
            "features: expected .* with D from 1 to the 5 columns of params",
        ),
        ({"features": np.ones((3, 6, 3), "f4")}, TypeError, "features: expected dtype float64"),
        ({"features": np.ones((3, 6, 2))}, ValueError, r"params\['weight_key'\]: expected shape \(A, D\) = \(3, 2\)"),
        ({"mask": np.ones((3, 5), bool)}, ValueError, r"mask: expected shape \(B, L\) = \(3, 6\), got \(3, 5\)"),
        ({"mask": np.ones((3, 6))}, TypeError, "mask: expected booleans, got float64"),
        ({"mask": np.arange(18).reshape(3, 6) < 12}, ValueError, "mask: expected a place to look at .* none in row 2"),
        ({"state": (np.ones((3, 5)),)}, ValueError, r"state: expected 2 arrays \(h, c\), got 1"),
        ({"state": (np.ones((3, 5)), np.ones((2, 5)))}, ValueError, r"state\[1\]: expected shape \(B, H\) = \(3, 5\)"),
        ({"reset_state": SMALL.state}, ValueError, "reset_state: expected resets with it, got none"),
        ({"lengths": [1, 2, 5]}, ValueError, r"lengths: expected 0 to T = 4, got 5 at \[2\]"),
        ({"hard": -1}, ValueError, "hard: expected at least 0, got -1"),
        ({"hard": True}, TypeError, "hard: expected an integer, got True"),
        ({"hard": "best"}, ValueError, "hard: expected a seed or 'greedy', got 'best'"),
        ({"memory": "states"}, ValueError, "memory: expected 'all', the only choice"),
        ({"params": without("weight_query")}, ValueError, "params: expected weight_query beside the cell's, got none"),
        ({"params": without("weight_hh")}, ValueError, "params: expected weight_ih, weight_hh .* got no weight_hh"),
        ({"params": without("score")}, ValueError, r"params\['weight_location'\]: expected score with it, got none"),
        ({"params": without("weight_key")}, ValueError, r"params\['score'\]: expected weight_key with it, got none"),
        ({"params": without("weight_beta")}, ValueError, r"params\['bias_beta'\]: expected weight_beta with it"),
        (
            {"params": {**SMALL.params, "weight_value": 1}},
            ValueError,
            "params: expected .*; got an unknown 'weight_value'",
        ),
        (
            {"params": without("weight_key", "score", "weight_location") | {"weight_query": np.ones((2, 5))}},
            ValueError,
            r"params\['weight_query'\]: expected shape \(D, H\) = \(3, 5\), got \(2, 5\)",
        ),
        *(
            ({"params": {**SMALL.params, name: np.ones(shape)}}, ValueError, rf"params\['{name}'\]: expected shape")
            for name, shape in (
                ("weight_query", (3, 4)),
                ("bias_query", (4,)),
                ("score", (3, 1)),
                ("weight_beta", (5,)),
                ("bias_beta", ()),
                ("weight_location", (3, 2, 4)),
                ("weight_location", (3, 3, 3)),
            )
        ),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], error: type[Exception], message: str) -> None:
    names = ("cell", "x", "features", "params", "state")
    given = dict(zip(names, SMALL.call, strict=True)) | change
    with pytest.raises(error, match=f"^{message}"):
        attention.forward(**given)


def backward(run: attention.AttendingRun, name: str, d: Any) -> attention.AttendingGradients:
    given: dict[str, Any] = {name: d}
    return attention.backward(run, **given)


def test_a_backward_says_what_is_wrong() -> None:
    run = SMALL.forward()
    for name, shape, symbols in (
        ("d_output", (4, 3, 4), r"\(T, B, H\) = \(4, 3, 5\)"),
        ("d_weights", (4, 3), r"\(T, B, L\) = \(4, 3, 6\)"),
        ("d_contexts", (4, 3, 6), r"\(T, B, D\) = \(4, 3, 3\)"),
    ):
        with pytest.raises(ValueError, match=rf"^{name}: expected shape {symbols}, got"):
            backward(run, name, np.ones(shape))
    with pytest.raises(ValueError, match=r"^d_state\[0\]: expected shape \(B, H\) = \(3, 5\), got \(1, 5\)"):
        attention.backward(run, None, (np.ones((1, 5)), np.ones((3, 5))))
    with pytest.raises(TypeError, match=r"^run: expected what attention.forward returned, got Run"):
        attention.backward(rk.forward("gru", np.ones((1, 1, 1)), rk.init_params("gru", 1, 1, dtype="float64")))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^run: expected one made with training=True"):
        attention.backward(SMALL.forward(training=False))
    with pytest.raises(TypeError, match=r"^run: expected what forward returned, got AttendingRun"):
        rk.backward(run, None)  # type: ignore[arg-type]


def test_a_stepper_says_what_is_wrong() -> None:
    stepper = attention.Stepper("lstm", SMALL.features, SMALL.params)
    for x_t, error, message in (
        (np.ones((3, 3)), ValueError, r"x_t: expected shape \(B, I\) = \(3, 2\), got \(3, 3\)"),
        (np.ones((2, 2)), ValueError, r"x_t: expected B = 3, that of the features, got shape \(2, 2\)"),
        (np.array([0, 1, 2]), ValueError, r"x_t: expected tokens in \[0, 2\), got 2 at \[0, 2\]"),
        (np.ones((3, 2), "f4"), TypeError, "x_t: expected dtype float64"),
    ):
        with pytest.raises(error, match=f"^{message}"):
            stepper(x_t)
    with pytest.raises(ValueError, match=r"^state\[0\]: expected shape \(B, H\) = \(3, 5\)"):
        stepper.reset((np.ones((1, 5)), np.ones((1, 5))))
    assert not stepper.state[0].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"location": (1, 2)}, "location: expected 1 or 2 channels and an odd number of taps, got"),
        ({"location": (3, 3)}, "location: expected 1 or 2 channels"),
        ({"location": (1,)}, r"location: expected two integers \(C, K\), got 1"),
        ({"location": (1, 3), "scores": "dot"}, "location: expected None for dot scores"),
        (
            {"scores": "bilinear", "attention_size": 3},
            "attention_size: bilinear scores .* expected feature_size, 4, got 3",
        ),
        ({"feature_size": 0}, "feature_size: expected at least 1, got 0"),
        (
            {"attention_size": 2**31, "feature_size": 2**30},
            "attention_size: expected one whose weight_key can be addressed",
        ),
    ],
)
def test_shapes_that_cannot_be(change: dict[str, Any], message: str) -> None:
    sizes: dict[str, Any] = {"cell": "lstm", "input_size": 2, "feature_size": 4, "hidden_size": 5}
    with pytest.raises(ValueError, match=f"^{message}"):
        attention.parameter_shapes(**sizes | change)


def test_the_extension_refuses_packed_rows() -> None:
    from rnnkernels import _serve
    from rnnkernels._call import Call, Rows

    run = SMALL.forward()
    assert run._kept is not None
    call: Call = run._kept.call._replace(rows=Rows(np.array([0, 3]), None), x=np.ones((3, 1, 2)))
    with pytest.raises(ValueError, match=r"^schedule: expected places"):
        _serve.attend(
            call,
            run._kept.attention._replace(features=SMALL.features[:1], keys=run._kept.attention.keys[:1]),
            keep=False,
        )
