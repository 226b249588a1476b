"""What the operations compute: against Python's own mathematics, far out, of NaN, and near the real axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rnnkernels.equations.evaluating import evaluate, reached
from rnnkernels.equations.graph import LEAVES, Graph
from rnnkernels.equations.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

MATHS: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "fma": lambda a, b, c: a * b + c,
    "maximum": max,
    "minimum": min,
    "abs": abs,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "expm1": math.expm1,
    "log": math.log,
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    "tanh": math.tanh,
    "log_sigmoid": lambda a: -math.log1p(math.exp(-a)),
    "erf": math.erf,
    "relu": lambda a: max(a, 0.0),
    "where_gt": lambda a, b, yes, no: yes if a > b else no,
    "where_ge": lambda a, b, yes, no: yes if a >= b else no,
    "where_eq": lambda a, b, yes, no: yes if a == b else no,
}


def test_all_operations_are_here() -> None:
    assert set(MATHS) == set(OPERATIONS)
    assert not LEAVES.intersection(OPERATIONS)


@pytest.mark.parametrize("name", MATHS)
def test_values(name: str) -> None:
    operation = OPERATIONS[name]
    draw = np.random.default_rng(0)
    low = 0.01 if name in ("log", "sqrt") else -3.0
    arrays = [draw.uniform(low, 3.0, 50).round(1) if name.startswith("where") else draw.uniform(low, 3.0, 50)]
    arrays += [draw.uniform(-3.0, 3.0, 50) for _ in range(operation.arity - 1)]
    if name.startswith("where"):
        arrays[1] = arrays[1].round(1)
        arrays[1][::5] = arrays[0][::5]
    expected = [MATHS[name](*(float(array[point]) for array in arrays)) for point in range(50)]
    np.testing.assert_allclose(operation.compute(*arrays), expected, rtol=1e-14, atol=1e-16)
    complex_values = operation.compute(*(array.astype(complex) for array in arrays))
    np.testing.assert_allclose(complex_values, expected, rtol=1e-14, atol=1e-16)
    single = operation.compute(*(array.astype(np.float32) for array in arrays))
    assert single.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("sigmoid", -800.0, 0.0),
        ("sigmoid", 800.0, 1.0),
        ("log_sigmoid", -800.0, -800.0),
        ("log_sigmoid", 800.0, 0.0),
        ("log_sigmoid", 40.0, -math.exp(-40.0)),
        ("tanh", -800.0, -1.0),
        ("erf", 30.0, 1.0),
    ],
)
def test_far_out(name: str, argument: float, expected: float) -> None:
    with np.errstate(over="raise", invalid="raise"):
        np.testing.assert_allclose(OPERATIONS[name].compute(np.array([argument])), [expected], rtol=1e-15)
        of_complex = OPERATIONS[name].compute(np.array([argument], complex))
    np.testing.assert_allclose(of_complex, [expected], rtol=1e-15, atol=1e-16)  # NumPy's complex log1p cancels


@pytest.mark.parametrize("name", ["maximum", "minimum", "relu"])
def test_nan_stays(name: str) -> None:
    operation = OPERATIONS[name]
    for place in range(operation.arity):
        for dtype in (float, complex):
            arguments = [np.array([math.nan if at == place else 1.0], dtype) for at in range(operation.arity)]
            assert np.isnan(operation.compute(*arguments)).all(), (place, dtype)


def test_evaluating_keeps_the_dtype_of_the_leaves() -> None:
    graph = Graph()
    h = graph.node("state", attribute=0)
    node = graph.node("where_gt", h, graph.constant(0.0), graph.constant(0.1), graph.constant(-0.1))
    for dtype in (np.float32, np.float64):
        (value,) = evaluate([node], {("state", 0): np.array([-1.0, 1.0], dtype)})
        assert value.dtype == dtype
        np.testing.assert_array_equal(value, np.array([-0.1, 0.1], dtype))
    with pytest.raises(KeyError, match="state"):
        evaluate([node], {})


def test_what_nodes_are_made_of() -> None:
    graph = Graph()
    a, b = graph.node("state", attribute=0), graph.node("state", attribute=1)
    total = graph.node("add", a, b)
    graph.node("neg", b)
    assert reached([graph.node("mul", total, a)]) == [a, b, total, graph.node("mul", total, a)]
