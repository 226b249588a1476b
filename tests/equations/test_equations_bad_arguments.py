"""Every function that a cell is written with refuses what no argument can be, by its name: support/bad_values."""

from __future__ import annotations

from bad_values import bad_argument_tests, row

import rnnkernels as rk
from rnnkernels.equations.names import Inputs
from rnnkernels.equations.recording import Recording
from rnnkernels.equations.values import Value

RECORDING = Recording("rows")  # stays open
X = Inputs(RECORDING)
H = Value(RECORDING, RECORDING.graph.node("state", attribute=0))


UNARY = (
    *(rk.abs, rk.erf, rk.exp, rk.expm1, rk.log, rk.log_sigmoid, rk.relu),
    *(rk.sigmoid, rk.silu, rk.softplus, rk.softsign, rk.sqrt, rk.tanh),
)
NUMBER = {"a": "negative", "b": "negative", "c": "negative"}

ROWS = [
    *(row(function.__name__, function, value=H) for function in UNARY),
    row("clip", rk.clip, {"low": "negative", "high": "negative"}, value=H, low=-1.0, high=1.0),
    row("elu", rk.elu, {"alpha": "negative"}, value=H, alpha=1.0),
    row("gelu", rk.gelu, value=H, approximate="tanh"),
    row(
        "hard_sigmoid", rk.hard_sigmoid, dict.fromkeys(("slope", "offset"), "negative"), value=H, slope=0.2, offset=0.5
    ),
    row("fma", rk.fma, NUMBER, a=H, b=H, c=H),
    row("maximum", rk.maximum, {"a": "negative", "b": "negative"}, a=H, b=H),
    row("minimum", rk.minimum, {"a": "negative", "b": "negative"}, a=H, b=H),
    row("where", rk.where, {"yes": "negative", "no": "negative"}, condition=H > 0.0, yes=H, no=H),
    row("product", rk.product, operand=H, heads=2),
    row("direct", rk.direct, x=X),
    # Without a function: a row that runs would leave a cell behind, which other tests would see.
    row(
        "cell",
        rk.cell,
        {"function": "none", "name": "none text", "initial": "none"},
        function=None,
        name="a",
        initial={},
    ),
]

test_the_call_of_each_row_runs, test_a_bad_argument_is_named, test_an_odd_argument_is_named_or_served = (
    bad_argument_tests(ROWS)
)
