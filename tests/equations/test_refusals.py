"""What no cell can do is refused in words, with the line of the user's source."""
# ruff: noqa: ARG005 - all bodies are called alike

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

import rnnkernels as rk
from rnnkernels.equations import recording, tracing
from rnnkernels.equations.tracing import trace
from rnnkernels.equations.values import PerStep

KEPT: list[Any] = []
NOTHING: Any = None
TWO: Any = 2.0
ARRAY: Any = np.ones(2)


def refusal(function: Any, **options: Any) -> str:
    """The error of a function's trace."""
    with pytest.raises((TypeError, ValueError, AttributeError)) as caught:
        trace(function, "cell", **options)
    return str(caught.value)


def of_line(body: Any) -> str:
    """The error of ``body(x, u, h)`` in a cell, without its place: that it has the line's own is seen here."""

    def cell(x: Any, h: Any) -> Any:
        u = rk.product(h)
        return body(x, u, h) + u.n + x.n

    text = refusal(cell)
    line = body.__code__.co_firstlineno
    assert f"test_refusals.py:{line}" in text, text
    assert "\n    " in text, text  # the line itself
    return re.sub(r" ?\(?test_refusals\.py:\d+\)?:? ?", "", text.partition("\n")[0])


FLOW = (
    "a condition: Python asks here whether it is true (if, while, and, or, not, min, max, a < b < c), which differs "
    "from unit to unit: rk.where chooses, & | ~ join conditions, rk.maximum and rk.minimum compare"
)
PARTS = "a value has no parts to go through: units and rows are the kernels', and sums over them"
NUMBER = (
    "a value is no number while the equations are written down: float(), int() and the functions of math take numbers, "
    "rk.exp and the others take values"
)
X = "x has a value for each gate, x.i, x.f, ..., and is none; rk.direct(x) is x itself, without weights"
OPERATORS = "a value has no //, %, @, <<, >> and no divmod: rk.product(h) is the recurrent product"

LINES: dict[str, tuple[Any, str]] = {
    "if": (lambda x, u, h: x.a if x.a > 0 else u.a, FLOW),
    "truth": (lambda x, u, h: x.a or u.a, FLOW.replace("condition", "value", 1)),
    "chain": (lambda x, u, h: 0 < x.a < 1, FLOW),
    "max": (lambda x, u, h: max(x.a, u.a), FLOW),
    "iteration": (lambda x, u, h: list(x.a), PARTS),
    "sum": (lambda x, u, h: sum(x.a), PARTS),
    "length": (lambda x, u, h: len(x.a), "a value has no length: units and rows are the kernels'"),
    "index": (lambda x, u, h: x.a[0], "a value has no parts by number: gates and weights have names, as x.i and w.i"),
    "gates by index": (lambda x, u, h: x[0], "x has no parts by number: gates and weights have names, as x.i and w.i"),
    "in": (lambda x, u, h: 3 in x.a, "a value has no parts to look among"),
    "math": (lambda x, u, h: math.exp(x.a), NUMBER),
    "float": (lambda x, u, h: float(x.a), NUMBER),
    "round": (lambda x, u, h: round(x.a), NUMBER),
    "NumPy": (
        lambda x, u, h: np.tanh(x.a),
        "NumPy's tanh takes arrays, and a cell's function computes with values: use rk.tanh",
    ),
    "NumPy's other name": (
        lambda x, u, h: np.fmax(x.a, 0.0),
        "NumPy's fmax takes arrays, and a cell's function computes with values: use rk.maximum",
    ),
    "NumPy without ours": (
        lambda x, u, h: np.arctan(x.a),
        "NumPy's arctan takes arrays, and a cell's function computes with values: use the functions of rk",
    ),
    "NumPy's where": (
        lambda x, u, h: np.where(x.a > 0, x.a, 0.0),
        "NumPy's where takes arrays, and a cell's function computes with values: use rk.where",
    ),
    "NumPy's sum": (
        lambda x, u, h: np.sum(x.a),
        "NumPy's sum goes over the units: a cell's equations are element-wise, rk.product alone is not",
    ),
    "array": (
        lambda x, u, h: np.asarray(x.a),
        "a value is no array: a cell's function is written for one unit of one row in one step",
    ),
    "array on the left": (
        lambda x, u, h: np.ones(3) * x.a,
        "an array beside a value: arrays have no place in a cell's function, numbers have",
    ),
    "array on the right": (
        lambda x, u, h: x.a * np.ones(3),
        "*: expected a value of the cell or a number on either side, got ndarray",
    ),
    "text": (
        lambda x, u, h: x.a + "b",
        "+: expected a value of the cell or a number on either side, got 'b'",
    ),
    "flag": (lambda x, u, h: x.a - True, "-: expected a value of the cell or a number on either side, got True"),
    "nan": (
        lambda x, u, h: x.a / math.nan,
        "/: expected a value of the cell or a number on either side, got nan",
    ),
    "complex": (
        lambda x, u, h: x.a < 1j,
        "<: expected a value of the cell or a number on either side, got 1j",
    ),
    "sum over units": (lambda x, u, h: x.a.sum(), "sum goes over the units, and a value is that of one unit"),
    "method": (lambda x, u, h: x.a.tanh(), "a value has no tanh: use rk.tanh(value)"),
    "attribute": (lambda x, u, h: x.a.shape, "a value has no shape"),
    "matrix": (lambda x, u, h: x.a @ h, OPERATORS),
    "remainder": (lambda x, u, h: 2 % x.a, OPERATORS),
    "power": (
        lambda x, u, h: x.a**0.5,
        "powers of a value are 2, 3 and 4; rk.exp(p * rk.log(a)) is a to the power of p",
    ),
    "exponent": (
        lambda x, u, h: 2.0**x.a,
        "a power with a value in the exponent: rk.exp(p * math.log(a)) is a to the power of p",
    ),
    "x": (lambda x, u, h: x + 1.0, X),
    "x on the right": (lambda x, u, h: 1.0 + x, X),
    "x beside a value": (
        lambda x, u, h: h * x,
        f"*: expected a value of the cell or a number on either side, got {X.replace('x has', 'x, which has')}",
    ),
    "u": (
        lambda x, u, h: -u,
        "a product has a value for each gate, u.i, u.f, ... after u = rk.product(h), and is none",
    ),
    "u called": (
        lambda x, u, h: u(h),
        "a product has a value for each gate, u.i, u.f, ... after u = rk.product(h), and is none",
    ),
    "written": (
        lambda x, u, h: setattr(x, "a", 1.0),
        "x is read, not written: keep values in variables",
    ),
    "underscore": (lambda x, u, h: x._a, "x has no _a: names begin with a letter"),
    "condition as value": (
        lambda x, u, h: (x.a > 0.0) * h,
        "a condition is no value: rk.where(condition, 1.0, 0.0) makes one of it",
    ),
    "condition beside": (
        lambda x, u, h: h * (x.a > 0.0),
        (
            "*: expected a value of the cell or a number on either side, got a condition, which is no value: "
            "rk.where(condition, 1.0, 0.0) makes one of it"
        ),
    ),
    "condition and value": (
        lambda x, u, h: (x.a > 0.0) & h,
        "&: expected a condition on either side, got a value (h); put comparisons in ( )",
    ),
    "function of x": (
        lambda x, u, h: rk.tanh(x),
        f"value: expected a value of the cell, got {X.replace('x has', 'x, which has')}",
    ),
    "function of a number": (lambda x, u, h: rk.exp(TWO), "value: expected a value of the cell, got 2.0"),
    "function of an array": (
        lambda x, u, h: rk.maximum(h, ARRAY),
        "b: expected a value of the cell or a number, got ndarray",
    ),
    "bounds": (lambda x, u, h: rk.clip(h, 1.0, -1.0), "low: expected at most high, -1.0, got 1.0"),
    "no condition": (
        lambda x, u, h: rk.where(h, 1.0, 0.0),
        "condition: expected a comparison of values, as c > 1.0, got a value (h)",
    ),
    "branch": (
        lambda x, u, h: rk.where(h > 0.0, NOTHING, 0.0),
        "yes: expected a value of the cell or a number, got None",
    ),
    "product of a number": (lambda x, u, h: rk.product(TWO), "operand: expected a value of the cell, got 2.0"),
    "product of a product": (
        lambda x, u, h: rk.product(u),
        "operand: expected a value of the cell, got a product; a product is of its gates, as rk.product(u.r * h)",
    ),
    "product of constants": (
        lambda x, u, h: rk.product(rk.where(True, 0.0, h)),
        "a product multiplies what the states make, and this operand is a number",
    ),
    "direct of a state": (
        lambda x, u, h: rk.direct(h),
        "x: expected the first parameter of a cell's function, got a value (h)",
    ),
    "third product": (
        lambda x, u, h: rk.product(rk.product(u.a * h).b * h).c,
        (
            "a third product in a chain: a step has a product, and one of what was made from its gates; "
            "this operand was made from the gates of the second"
        ),
    ),
    "heads of a part": (
        lambda x, u, h: rk.product(h, heads=1.5).b,
        "heads: expected an integer from 1 to 1048576, got 1.5",
    ),
    "no head": (lambda x, u, h: rk.product(h, heads=0).b, "heads: expected an integer from 1 to 1048576, got 0"),
    "more heads than units": (
        lambda x, u, h: rk.product(h, heads=math.inf).b,
        "heads: expected an integer from 1 to 1048576, got inf",
    ),
    "heads of a value": (lambda x, u, h: rk.product(h, heads=h).b, "heads: expected an integer, got a value (h)"),
    "heads of a flag": (lambda x, u, h: rk.product(h, heads=True).b, "heads: expected an integer, got True"),
    "heads of a text": (lambda x, u, h: rk.product(h, heads="2").b, "heads: expected an integer, got '2'"),  # type: ignore[arg-type]
    "other heads": (
        lambda x, u, h: rk.product(2.0 * h, heads=2).b,
        "a product of 2 heads beside one of 1 head: all rows of weight_hh are as long; the first is at",
    ),
    "other heads of the same operand": (
        lambda x, u, h: rk.product(h, heads=3).b,
        "a product of 3 heads beside one of 1 head: all rows of weight_hh are as long; the first is at",
    ),
    "heads of several vectors": (
        lambda x, u, h: rk.product(h, 2.0 * h, heads=2).b,
        (
            "heads beside a product of several vectors: its weights, weight_gg, have none, and all products of a cell "
            "have the same"
        ),
    ),
    "vectors of x": (
        lambda x, u, h: rk.product(h, x.a).b,
        (
            "a product of several vectors multiplies what is made of states (and rk.PerStep inputs) alone, "
            "element by element: not of x, weights or another product"
        ),
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_is_refused(name: str) -> None:
    body, expected = LINES[name]
    assert of_line(body) == expected


def test_functions_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    functions = "takes arrays, and a cell's function computes with values: use rk.tanh"
    assert of_line(lambda x, u, h: torch.tanh(x.a)) == f"PyTorch's tanh {functions}"
    assert of_line(lambda x, u, h: torch.ones(2) * x.a).endswith("a number on either side, got Tensor")
    assert of_line(lambda x, u, h: torch.sum(x.a)).startswith("PyTorch's sum goes over the units")


def test_functions_of_jax() -> None:
    jnp = pytest.importorskip("jax.numpy")
    with pytest.raises(TypeError, match="Value"):  # in JAX's words
        trace(lambda x, h: jnp.tanh(x.a), "cell")


# ---- products and gates --------------------------------------------------------------------------


def test_a_gate_of_two_products() -> None:
    def cell(x: Any, h: Any) -> Any:
        u, v = rk.product(h), rk.product(h * 2.0)
        return x.n + u.n + v.n

    line = cell.__code__.co_firstlineno + 2
    assert refusal(cell).partition("\n")[0] == (
        f"test_refusals.py:{line}: gate 'n' is a row of two products, and of the other one since "
        f"test_refusals.py:{line}: a gate used in two ways has no common row; give each product gates of its own"
    )


def test_a_second_product_of_a_kind() -> None:
    def of_states(x: Any, h: Any, c: Any) -> Any:
        a, b = rk.product(c), rk.product(h * 2.0)
        return x.n + a.n, b.m

    def of_gates(x: Any, h: Any) -> Any:
        u = rk.product(h)
        a = rk.product(u.r * h)
        b = rk.product(x.n * h)
        return a.n + b.m

    line = of_states.__code__.co_firstlineno
    assert refusal(of_states).partition("\n")[0] == (
        f"test_refusals.py:{line + 1}: a second product of an expression of states: a step has one such beside that of "
        f"h itself; the first is at test_refusals.py:{line + 1}"
    )
    line = of_gates.__code__.co_firstlineno
    assert refusal(of_gates).partition("\n")[0] == (
        f"test_refusals.py:{line + 3}: a second product of what was made from x, weights or another product's gates: "
        f"a step has one such; the first is at test_refusals.py:{line + 2}"
    )


def test_what_is_not_used() -> None:
    def gate(x: Any, h: Any) -> Any:
        x.a  # noqa: B018
        return x.n + h

    def row(x: Any, h: Any) -> Any:
        rk.product(h).a  # noqa: B018
        return x.n + h

    def product(x: Any, h: Any) -> Any:
        rk.product(h)
        return x.n + h

    def state(x: Any, h: Any, c: Any) -> Any:
        return x.n + h, h

    def weight(x: Any, h: Any, w: Any) -> Any:
        w.a  # noqa: B018
        return x.n + h

    def weights(x: Any, h: Any, w: Any) -> Any:
        return x.n + h

    def step(x: Any, h: Any, gamma: PerStep) -> Any:
        return x.n + h

    def direct(x: Any, h: Any) -> Any:
        rk.direct(x)
        return x.n + h

    def inputs(x: Any, h: Any) -> Any:
        return rk.direct(x) + rk.product(h).n

    for function, offset, what in (
        (gate, 1, "gate x.a is not used: no new state depends on it"),
        (row, 1, "gate a is not used: no new state depends on it"),
        (product, 1, "a product of which no gate is read: u = rk.product(h), then u.i, u.f, ..."),
        (state, 0, "state 'c' is not used: no new state depends on it"),
        (weight, 1, "weight w.a is not used: no new state depends on it"),
        (weights, 0, "w is not used: a weight is made where w.name is read first"),
        (step, 0, "input 'gamma' of every step is not used: no new state depends on it"),
        (direct, 1, "rk.direct(x) is not used: no new state depends on it"),
        (inputs, 0, "x has no gate: expected at least one that weight_ih feeds, as x.i"),
    ):
        line = function.__code__.co_firstlineno + offset
        assert refusal(function).partition("\n")[0] == f"test_refusals.py:{line}: {what}"


def test_the_output_need_not_be_fed_back() -> None:
    def cell(x: Any, h: Any, c: Any) -> Any:
        d = c + x.n
        return rk.tanh(d), d

    assert trace(cell, "cell").states == ("h", "c")


def test_limits() -> None:
    def gates(x: Any, h: Any) -> Any:
        return sum(getattr(x, f"g{k}") for k in range(17)) + h

    def nodes(x: Any, h: Any) -> Any:
        while True:
            h = h * x.n

    def states(x: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, i: Any) -> Any:
        return a, b, c, d, e, f, g, h, i

    assert "expected at most 16 gates, got 17" in refusal(gates)
    assert "more than 1000 operations in a step of cell" in refusal(nodes)
    assert "expected at most 8 states, got 9" in refusal(states)
    assert (tracing.MOST_GATES, tracing.MOST_STATES, recording.MOST_NODES) == (16, 8, 1000)


# ---- what is returned ----------------------------------------------------------------------------


def returned(value: Any) -> str:
    def cell(x: Any, h: Any, c: Any) -> Any:
        h + x.n
        return value(x, h, c)

    text = refusal(cell)
    place = f"test_refusals.py:{cell.__code__.co_firstlineno + 2}: "
    assert text.startswith(place), text
    return text.removeprefix(place).partition("\n")[0]


def test_what_is_returned() -> None:
    order = "expected 2 new states returned, in the order of the parameters (h, c), got "
    assert returned(lambda x, h, c: h) == f"{order}1"
    assert returned(lambda x, h, c: (h, c, h)) == f"{order}3"
    assert returned(lambda x, h, c: None) == f"{order}None"
    new = "expected a value of the cell, got "
    assert returned(lambda x, h, c: (h, 1.0)) == f"new state c: {new}1.0"
    assert returned(lambda x, h, c: (x, c)) == f"new state h: {new}x"
    assert returned(lambda x, h, c: (h > c, c)) == f"new state h: {new}a condition"
    assert returned(lambda x, h, c: np.ones((2, 3))).startswith(f"{order}1")


def test_values_of_another_trace() -> None:
    def keeps(x: Any, h: Any) -> Any:
        KEPT[:] = [h, x, h > 0.0]
        return x.n + h

    trace(keeps, "keeps")
    other = "a value of another trace (keeps): values live while their function runs, and only in it"
    for body in (
        lambda x, u, h: h + KEPT[0],
        lambda x, u, h: KEPT[0] * 2.0,
        lambda x, u, h: -KEPT[0],
        lambda x, u, h: rk.tanh(KEPT[0]),
        lambda x, u, h: KEPT[1].n,
        lambda x, u, h: rk.where(KEPT[2], h, 0.0),
        lambda x, u, h: rk.product(KEPT[0]),
    ):
        assert of_line(body) == other
    assert other in refusal(lambda x, h: KEPT[0])


# ---- parameters ----------------------------------------------------------------------------------


def test_parameters() -> None:
    def line(function: Any) -> str:
        return f"test_refusals.py:{function.__code__.co_firstlineno}: "

    def starred(x: Any, *h: Any) -> Any: ...
    def keywords(x: Any, h: Any, **options: Any) -> Any: ...
    def default(x: Any, h: Any = 1.0) -> Any: ...
    def setting(x: Any, h: Any, *, slope: Any) -> Any: ...
    def text(x: Any, h: Any, *, slope: Any = "a") -> Any: ...
    def nan(x: Any, h: Any, *, slope: Any = math.nan) -> Any: ...
    def no_state(x: Any, w: Any) -> Any: ...
    def no_x(w: Any, h: Any) -> Any: ...
    def none() -> Any: ...

    wanted = "expected the parameters x, then the states, the first of which is the output, then perhaps w; got "
    for function, what in (
        (starred, "parameter *h: a cell's states and settings have a name each"),
        (keywords, "parameter *options: a cell's states and settings have a name each"),
        (default, "parameter h: a state has no default; settings stand behind a *: *, h=1.0"),
        (setting, "setting slope: expected a default, a number: *, slope=1.0"),
        (text, "setting slope: expected a number as its default, got 'a'"),
        (nan, "setting slope: expected a number, got nan"),
        (no_state, f"{wanted}x, w"),
        (no_x, f"{wanted}w, h"),
        (none, f"{wanted}none"),
    ):
        assert refusal(function).partition("\n")[0] == line(function) + what


def test_initial_values_name_weights() -> None:
    def cell(x: Any, h: Any, w: Any) -> Any:
        return x.n + w.a * h + w.b

    def without(x: Any, h: Any) -> Any:
        return x.n + h

    assert trace(cell, "cell", {"b": 1}).initial == (None, 1.0)
    assert refusal(cell, initial={"c": 0.0}) == "initial: expected one of the cell's weights, a, b, got 'c'"
    assert refusal(cell, initial={"a": 0.5}) == "initial['a']: expected 0, 1 or None, which is drawn, got 0.5"
    assert refusal(cell, initial={"a": "b"}) == "initial['a']: expected a number, got 'b'"
    assert refusal(cell, initial=1.0) == "initial: expected a mapping of names of weights to 0, 1 or None, got 1.0"
    assert refusal(without, initial={"a": 0.0}) == "initial: expected none: the cell has no weights, got 'a'"


def test_a_function_that_is_none() -> None:
    assert refusal(int) == "function: expected a function written in Python, got the class int"
    assert refusal(3) == "function: expected a function written in Python, got 3"


def test_an_error_of_the_users_passes() -> None:
    def cell(x: Any, h: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trace(cell, "cell")
