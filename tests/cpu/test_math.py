"""The functions of csrc/math/functions.h: their errors in ULP over a dense sample, as the table there states them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnnkernels import _cpu

LIMIT = {"float32": 87.0, "float64": 708.0}
# The table. The scalar set, which has no fused multiply-add, is allowed twice as much.
ULP = {"exp": 1.1, "sigmoid": 2.1, "tanh": 2.6, "log_sigmoid": 2.0}


def _sigmoid(x: Any) -> Any:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def _log_sigmoid(x: Any) -> Any:
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


EXACT: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "log_sigmoid": _log_sigmoid,
}


def sample(dtype: str, low: float, high: float) -> Any:
    """Evenly spaced, evenly over the exponents, and the neighbours of the places where a method changes."""
    edges = np.array([0.0, np.log(2) / 2, np.log(2), 1.0, 9.0, 20.0, high])
    near = np.concatenate([edges * (1 + k * np.finfo(dtype).eps) for k in range(-3, 4)])
    tiny = np.geomspace(np.finfo(dtype).tiny * 4, high, 200_001)
    values = np.concatenate([np.linspace(low, high, 1_000_003), near, -near, tiny, -tiny])
    return values[(values >= low) & (values <= high)].astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", sorted(EXACT))
def test_ulp(function: str, dtype: str, isa: str) -> None:
    limit = LIMIT[dtype]
    x = sample(dtype, -limit, limit)
    found = _cpu.evaluate(function, x)
    exact = EXACT[function](x.astype(np.longdouble))
    ulp = np.spacing(np.abs(exact).astype(dtype)).astype(np.longdouble)
    worst = float(np.max(np.abs(found.astype(np.longdouble) - exact) / ulp))
    assert worst <= ULP[function] * (2 if isa == "scalar" else 1)
    assert worst > 0.4  # no method is exact: the sample and the measure are alive


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ends_of_the_range(dtype: str, isa: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0], dtype)
    exp, sigmoid, tanh, log_sigmoid = (_cpu.evaluate(name, x) for name in ("exp", "sigmoid", "tanh", "log_sigmoid"))
    assert np.isnan([exp[0], sigmoid[0], tanh[0], log_sigmoid[0]]).all()
    assert np.isfinite(exp[1:]).all()
    assert exp[5] == 1
    np.testing.assert_array_equal(tanh[1:], [1, -1, 1, -1, 0])
    np.testing.assert_allclose(sigmoid[1:], [1, 0, 1, 0, 0.5], atol=1e-37)
    np.testing.assert_allclose(log_sigmoid[1:], [0, -np.inf, 0, x[4], -np.log(2)], rtol=3e-7, atol=1e-37)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_length(dtype: str, isa: str) -> None:
    """Tails shorter than a vector give what full vectors give."""
    x = np.linspace(-3, 3, 40).astype(dtype)
    whole = _cpu.evaluate("tanh", x)
    for count in range(40):
        np.testing.assert_array_equal(_cpu.evaluate("tanh", x[:count]), whole[:count])


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="exp, sigmoid, tanh or log_sigmoid, got 'sin'"):
        _cpu.evaluate("sin", np.zeros(3))
    with pytest.raises(TypeError, match="x: expected dtype"):
        _cpu.evaluate("exp", np.zeros(3, np.int32))
