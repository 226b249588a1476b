"""The functions of csrc/math/functions.h: their errors in ULP over a dense sample, as the table there states them.

And the errors of what cells from equations compose of them (softplus, silu, gelu, elu, softsign, hard_sigmoid).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from rnnkernels import _cpu

DTYPES = ["float32", "float64"]
LIMIT = {"float32": 87.0, "float64": 708.0}
# The table. The scalar set, which has no fused multiply-add, is allowed twice as much.
ULP = {"exp": 1.1, "expm1": 2.0, "sigmoid": 2.1, "tanh": 2.6, "log_sigmoid": 2.0, "log": 1.0, "erf": 3.0}


def _sigmoid(x: Any) -> Any:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def _log_sigmoid(x: Any) -> Any:
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def _erf(x: Any) -> Any:
    """Its series of positive terms, 2 / sqrt(pi) e^-x^2 (x + 2 x^3 / 3 + 4 x^5 / 15 + ...); beyond 6.5 it is 1."""
    x = np.clip(x, -6.5, 6.5)
    term = x * np.exp(-x * x) / np.sqrt(np.arctan(np.longdouble(1)))
    total = term.copy()
    for n in range(1, 140):
        term = term * (2 * x * x / (2 * n + 1))
        total += term
    return total


EXACT: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "log_sigmoid": _log_sigmoid,
    "log": np.log,
    "erf": _erf,
}


def sample(dtype: str, low: float, high: float, count: int = 1_000_003) -> Any:
    """Evenly spaced, evenly over the exponents, and the neighbours of the places where a method changes."""
    edges = np.array([0.0, np.log(2) / 2, np.sqrt(0.5), np.log(2), 1.0, np.sqrt(2), 4.0, 6.0, 9.0, 20.0, high])
    near = np.concatenate([edges * (1 + k * np.finfo(dtype).eps) for k in range(-3, 4)])
    tiny = np.geomspace(np.finfo(dtype).tiny * 4, high, count // 5)
    middle = np.linspace(-7, 7, count // 3)
    values = np.concatenate([np.linspace(low, high, count), near, -near, tiny, -tiny, middle])
    return values[(values >= low) & (values <= high)].astype(dtype)


def _sample_of(function: str, dtype: str) -> tuple[Any, Any]:
    """Numbers of the function's whole range, and its exact values there."""
    low, high = -LIMIT[dtype], LIMIT[dtype]
    if function == "log":
        low, high = float(np.finfo(dtype).tiny), float(np.finfo(dtype).max) / 2
    x = sample(dtype, low, high, 50_003 if function == "erf" else 1_000_003)
    return x, EXACT[function](x.astype(np.longdouble))


def errors(found: Any, exact: Any) -> Any:
    """In units in the last place of the exact value."""
    assert found.shape == exact.shape
    ulp = np.spacing(np.abs(exact).astype(found.dtype)).astype(np.longdouble)
    return np.abs(found.astype(np.longdouble) - exact) / ulp


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", sorted(EXACT))
def test_ulp(function: str, dtype: str, isa: str) -> None:
    x, exact = _sample_of(function, dtype)
    worst = float(np.max(errors(_cpu.evaluate(function, x), exact)))
    assert worst <= ULP[function] * (2 if isa == "scalar" else 1)
    assert worst > 0.4  # no method is exact: the sample and the measure are alive


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_of_denormals(dtype: str, isa: str) -> None:
    tiny = np.finfo(dtype).tiny
    x = np.concatenate([np.geomspace(tiny * np.finfo(dtype).eps, tiny, 10_001), [np.finfo(dtype).max]]).astype(dtype)
    worst = float(np.max(errors(_cpu.evaluate("log", x), np.log(x.astype(np.longdouble)))))
    assert worst <= ULP["log"] * (2 if isa == "scalar" else 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sqrt_is_rounded_once(dtype: str, isa: str) -> None:
    x = np.abs(sample(dtype, -LIMIT[dtype], LIMIT[dtype]))
    np.testing.assert_array_equal(_cpu.evaluate("sqrt", x), np.sqrt(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_ends_of_the_range(dtype: str, isa: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0], dtype)
    exp, sigmoid, tanh, log_sigmoid = (_cpu.evaluate(name, x) for name in ("exp", "sigmoid", "tanh", "log_sigmoid"))
    assert np.isnan([exp[0], sigmoid[0], tanh[0], log_sigmoid[0]]).all()
    assert np.isfinite(exp[1:]).all()
    assert exp[5] == 1
    np.testing.assert_array_equal(tanh[1:], [1, -1, 1, -1, 0])
    np.testing.assert_allclose(sigmoid[1:], [1, 0, 1, 0, 0.5], atol=1e-37)
    np.testing.assert_allclose(log_sigmoid[1:], [0, -np.inf, 0, x[4], -np.log(2)], rtol=3e-7, atol=1e-37)
    expm1, log, erf, sqrt = (_cpu.evaluate(name, x) for name in ("expm1", "log", "erf", "sqrt"))
    assert np.isnan([expm1[0], log[0], erf[0], sqrt[0]]).all()
    np.testing.assert_array_equal(expm1[1:], [exp[1], -1, exp[3], -1, 0])
    np.testing.assert_allclose(log[1:], [np.inf, np.nan, np.log(1e30), np.nan, -np.inf], rtol=3e-7)
    np.testing.assert_array_equal(erf[1:], [1, -1, 1, -1, 0])
    np.testing.assert_array_equal(sqrt[1:], [np.inf, np.nan, np.sqrt(x[3]), np.nan, 0])
    signs = np.array([-0.0, 0.0], dtype)
    np.testing.assert_array_equal(np.signbit(_cpu.evaluate("erf", signs)), [True, False])
    np.testing.assert_array_equal(_cpu.evaluate("log", signs), [-np.inf, -np.inf])


# ---- what cells from equations compose


class Composite(NamedTuple):
    """A function of these as a cell evaluates it, and its largest error."""

    found: Callable[[Any], Any]
    exact: Callable[[Any], Any]
    low: tuple[float, float]  # the least x, in float32 and in float64
    unit: str  # of the error: "ulp" of the exact value; "x", |x| eps, where 1 + erf cancels; "one", eps
    error: float


def _gelu(x: Any) -> Any:
    return x.dtype.type(0.5) * x * (1 + _cpu.evaluate("erf", x / x.dtype.type(np.sqrt(2))))


def _exact_gelu(x: Any) -> Any:
    return x / 2 * (1 + _erf(x / np.sqrt(np.longdouble(2))))


def _gelu_tanh(x: Any) -> Any:
    of = x.dtype.type
    return of(0.5) * x * (1 + _cpu.evaluate("tanh", of(np.sqrt(2 / np.pi)) * (x + of(0.044715) * x * x * x)))


def _exact_gelu_tanh(x: Any) -> Any:
    scale = np.sqrt(np.longdouble(2) / (4 * np.arctan(np.longdouble(1))))
    return x / 2 * (1 + np.tanh(scale * (x + np.longdouble("0.044715") * x**3)))


def _hard_sigmoid(x: Any) -> Any:
    of = x.dtype.type
    return np.clip(of(1 / 6) * x + of(0.5), of(0), of(1))


EVERYWHERE, OF_EXP = (-708.0, -708.0), (-87.0, -708.0)
COMPOSITES = {
    "softplus": Composite(
        lambda x: -_cpu.evaluate("log_sigmoid", -x), lambda x: -_log_sigmoid(-x), OF_EXP, "ulp", ULP["log_sigmoid"]
    ),
    "silu": Composite(lambda x: x * _cpu.evaluate("sigmoid", x), lambda x: x * _sigmoid(x), OF_EXP, "ulp", 2.3),
    "elu": Composite(
        lambda x: np.where(x > 0, x, _cpu.evaluate("expm1", x)),
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        EVERYWHERE,
        "ulp",
        ULP["expm1"],
    ),
    "softsign": Composite(lambda x: x / (1 + np.abs(x)), lambda x: x / (1 + np.abs(x)), EVERYWHERE, "ulp", 1.5),
    "gelu of x > 0": Composite(_gelu, _exact_gelu, (0.0, 0.0), "ulp", 2.0),
    "gelu": Composite(_gelu, _exact_gelu, EVERYWHERE, "x", 1.0),
    "gelu by tanh": Composite(_gelu_tanh, _exact_gelu_tanh, EVERYWHERE, "x", 1.0),
    "hard_sigmoid": Composite(
        _hard_sigmoid, lambda x: np.clip(x / 6 + np.longdouble(0.5), 0, 1), EVERYWHERE, "one", 0.5
    ),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(COMPOSITES))
def test_composites(name: str, dtype: str, isa: str) -> None:
    composite = COMPOSITES[name]
    x = sample(dtype, composite.low[DTYPES.index(dtype)], LIMIT[dtype], 50_003)
    exact = composite.exact(x.astype(np.longdouble))
    found = composite.found(x)
    assert found.dtype == x.dtype
    if composite.unit == "ulp":
        error = errors(found, exact)
    else:
        size = np.maximum(np.abs(x), np.finfo(dtype).tiny) if composite.unit == "x" else 1
        error = np.abs(found.astype(np.longdouble) - exact) / (np.finfo(dtype).eps * size)
    worst = float(np.max(error))
    assert worst <= composite.error * (2 if isa == "scalar" else 1)
    assert worst > 0.2


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_length(dtype: str, isa: str) -> None:
    """Tails shorter than a vector give what full vectors give."""
    x = np.linspace(-3, 3, 40).astype(dtype)
    whole = _cpu.evaluate("tanh", x)
    for count in range(40):
        np.testing.assert_array_equal(_cpu.evaluate("tanh", x[:count]), whole[:count])


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="exp, sigmoid, tanh, log_sigmoid, expm1, log, erf or sqrt, got 'sin'"):
        _cpu.evaluate("sin", np.zeros(3))
    with pytest.raises(TypeError, match="x: expected dtype"):
        _cpu.evaluate("exp", np.zeros(3, np.int32))
