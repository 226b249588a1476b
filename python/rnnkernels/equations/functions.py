"""The functions that a cell's equations are written in: of values, each one operation of the graph.

``+ − * /``, negation, ``abs()``, comparisons and small powers are Python's operators (`values`). What each operation
computes and its derivative are in `operations`. Functions of several operations are in `composites`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rnnkernels._scalars import as_number, shown

from .names import Inputs, Names, Rows
from .places import at_here
from .refusing import kind_of
from .values import Condition, Value, arguments, operand, same_trace

if TYPE_CHECKING:
    from .values import Number

__all__ = [
    "abs",
    "direct",
    "erf",
    "exp",
    "expm1",
    "fma",
    "log",
    "log_sigmoid",
    "maximum",
    "minimum",
    "product",
    "relu",
    "sigmoid",
    "sqrt",
    "tanh",
    "where",
]

MOST_HEADS = 2**20


# ---- products ------------------------------------------------------------------------------------


def product(operand: Value, *more: Value, heads: float = 1) -> Rows:
    """Return a recurrent product: ``u = rk.product(h)``, of which u.i, u.f, ... are the rows of ``weight_hh``.

    Parameters
    ----------
    operand : value
        The first state; or any element-wise expression of states and of `rnnkernels.PerStep` inputs; or an expression
        of another product's gates, ``rk.product(r * h)``, which is then computed after them. A step has at most one
        product of each of these three kinds.
    *more : value
        Further vectors beside `operand`, each an expression of states: their gates have weights of their own,
        ``weight_gg`` (Gf·H, F·H).
    heads : int, default 1
        Into how many heads the units are cut. Each sees its own units of the operand alone, as the weights are
        block-diagonal: ``weight_hh`` is (Gh·H, H / heads), whose row g·H + j multiplies the units of the head that j is
        in. H is then a multiple of `heads`. One number for all products of a cell, which may be a setting; products of
        several vectors have one head.

    Returns
    -------
    rows
        Its attributes are values; a name belongs to one product, and to ``x`` as well where that has it too.

    Raises
    ------
    TypeError, ValueError
        If an operand is no value of the cell, or the cell has such a product already; if it is a third product in a
        chain; if `heads` is no integer of at least 1, or another product's are others. The line is named.
    """
    count = _as_heads(heads)
    nodes = []
    recording = None
    for name, each in (("operand", operand), *((f"more[{k}]", each) for k, each in enumerate(more))):
        if not isinstance(each, Value):
            of_gates = "; a product is of its gates, as rk.product(u.r * h)" if isinstance(each, Names) else ""
            raise TypeError(f"{name}: expected a value of the cell, got {kind_of(each)}{of_gates}{at_here()}")
        recording = recording or each._recording
        same_trace(recording, each)
        nodes.append(each._node)
    if recording is None:
        raise TypeError("operand: expected a value of the cell")
    return Rows(recording, recording.multiply(tuple(nodes), count))


def _as_heads(heads: object) -> int:
    """Return a number of heads: an integer, or the float of one, as settings are."""
    try:
        number = as_number("heads", None if isinstance(heads, (bool, np.bool_)) else heads)
    except (TypeError, ValueError):
        raise TypeError(f"heads: expected an integer, got {kind_of(heads)}{at_here()}") from None
    if not (1 <= number <= MOST_HEADS and number.is_integer()):
        raise ValueError(f"heads: expected an integer from 1 to {MOST_HEADS}, got {shown(heads)}{at_here()}")
    return int(number)


def direct(x: Inputs) -> Value:
    """Return x itself, without weights: the cell's input is then as wide as its states, I = H.

    Parameters
    ----------
    x : the function's first parameter

    Returns
    -------
    value

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if not isinstance(x, Inputs):
        raise TypeError(f"x: expected the first parameter of a cell's function, got {kind_of(x)}{at_here()}")
    same_trace(x._recording, x)
    return Value(x._recording, x._recording.itself())


# ---- operations ----------------------------------------------------------------------------------


def _unary(operation: str, value: object) -> Value:
    recording, nodes = arguments(value=value)
    return Value(recording, recording.node(operation, *nodes))


def exp(value: Value) -> Value:
    """Return e to the power of a value.

    Parameters
    ----------
    value : value

    Raises
    ------
    TypeError
        If it is no value of the cell; the line is named.
    """
    return _unary("exp", value)


def expm1(value: Value) -> Value:
    """Return exp(value) - 1, exact near 0.

    Parameters
    ----------
    value : value

    Raises
    ------
    TypeError
        If it is no value of the cell; the line is named.
    """
    return _unary("expm1", value)


def log(value: Value) -> Value:
    """Return the natural logarithm: -inf at 0, NaN below.

    Parameters
    ----------
    value : value

    Raises
    ------
    TypeError
        If it is no value of the cell; the line is named.
    """
    return _unary("log", value)


def sqrt(value: Value) -> Value:
    """Return the square root: NaN below 0.

    Parameters
    ----------
    value : value

    Raises
    ------
    TypeError
        If it is no value of the cell; the line is named.
    """
    return _unary("sqrt", value)


def sigmoid(value: Value) -> Value:
    """Return 1 / (1 + exp(-value)).

    Parameters
    ----------
    value : value

    Raises
    ------
    TypeError
        If it is no value of the cell; the line is named.
    """
    return _unary("sigmoid", value)


def tanh(value: Value) -> Value:
    """Return the hyperbolic tangent.

    Parameters
    ----------
    value : value

    Raises
    ------
    TypeError
        If it is no value of the cell; the line is named.
    """
    return _unary("tanh", value)


def log_sigmoid(value: Value) -> Value:
    """Return log(sigmoid(value)), finite wherever the value is.

    Parameters
    ----------
    value : value

    Raises
    ------
    TypeError
        If it is no value of the cell; the line is named.
    """
    return _unary("log_sigmoid", value)


def erf(value: Value) -> Value:
    """Return the error function.

    Parameters
    ----------
    value : value

    Raises
    ------
    TypeError
        If it is no value of the cell; the line is named.
    """
    return _unary("erf", value)


def relu(value: Value) -> Value:
    """Return the greater of a value and 0; its slope at 0 is 0.

    Parameters
    ----------
    value : value

    Raises
    ------
    TypeError
        If it is no value of the cell; the line is named.
    """
    return _unary("relu", value)


def abs(value: Value) -> Value:
    """Return the absolute value; its slope at 0 is 0.

    Parameters
    ----------
    value : value

    Raises
    ------
    TypeError
        If it is no value of the cell; the line is named.
    """
    return _unary("abs", value)


def fma(a: Number, b: Number, c: Number) -> Value:
    """Return a * b + c, rounded once.

    Parameters
    ----------
    a, b, c : value or float
        One at least is a value. ``a * b + c`` becomes this by itself where nothing else reads the product.

    Raises
    ------
    TypeError
        If one is neither a value of the cell nor a number; the line is named.
    """
    recording, nodes = arguments(a=a, b=b, c=c)
    return Value(recording, recording.node("fma", *nodes))


def maximum(a: Number, b: Number) -> Value:
    """Return the greater of two; NaN where one is NaN.

    Parameters
    ----------
    a, b : value or float
        One at least is a value. Where they are equal the gradient goes to `b`.

    Raises
    ------
    TypeError
        If one is neither a value of the cell nor a number; the line is named.
    """
    recording, nodes = arguments(a=a, b=b)
    return Value(recording, recording.node("maximum", *nodes))


def minimum(a: Number, b: Number) -> Value:
    """Return the smaller of two; NaN where one is NaN.

    Parameters
    ----------
    a, b : value or float
        One at least is a value. Where they are equal the gradient goes to `b`.

    Raises
    ------
    TypeError
        If one is neither a value of the cell nor a number; the line is named.
    """
    recording, nodes = arguments(a=a, b=b)
    return Value(recording, recording.node("minimum", *nodes))


def where(condition: Condition | bool, yes: Number, no: Number) -> Value:
    """Return one of two, by a comparison: ``rk.where(c > 1.0, c, 0.0)``.

    Both are computed. The gradient goes to the one that is taken.

    Parameters
    ----------
    condition : condition or bool
        A comparison of values, or several joined by ``&``, ``|``, ``~``. Comparisons with NaN are false, but for
        ``!=``. A flag, of settings say, takes one side for all.
    yes, no : value or float
        What to return where the condition holds, and where it does not.

    Raises
    ------
    TypeError
        If one is neither a value of the cell nor a number; the line is named.
    """
    if isinstance(condition, Condition):
        recording = condition._recording
        same_trace(recording, condition)
        nodes = []
        for name, each in (("yes", yes), ("no", no)):
            node = operand(recording, each)
            if isinstance(node, str):
                raise TypeError(f"{name}: expected a value of the cell or a number, got {node}{at_here()}")
            nodes.append(node)
        return Value(recording, condition.choose(*nodes))
    if condition is not True and condition is not False:
        raise TypeError(f"condition: expected a comparison of values, as c > 1.0, got {kind_of(condition)}{at_here()}")
    recording, nodes = arguments(yes=yes, no=no)
    return Value(recording, nodes[0] if condition else nodes[1])
