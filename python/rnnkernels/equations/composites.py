"""Functions of several operations: each is made of `functions`, as its docstring says and in that order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rnnkernels._scalars import as_choice

from .functions import abs, erf, expm1, fma, log_sigmoid, maximum, minimum, sigmoid, tanh, where
from .places import at_here
from .values import Value, arguments

if TYPE_CHECKING:
    from .values import Number

__all__ = [
    "clip",
    "elu",
    "gelu",
    "hard_sigmoid",
    "silu",
    "softplus",
    "softsign",
]


def _value(value: object) -> Value:
    """Return a value that is one, or raise naming the argument `value`."""
    recording, (node,) = arguments(value=value)
    return Value(recording, node)


def clip(value: Value, low: Number, high: Number) -> Value:
    """Return minimum(maximum(value, low), high); the slope at both limits is 0.

    Parameters
    ----------
    value : value
    low, high : float or value

    Raises
    ------
    TypeError
        If one is neither a value of the cell nor a number; the line is named.
    ValueError
        If `low` is above `high`.
    """
    _, (_, low_node, high_node) = arguments(value=value, low=low, high=high)
    if low_node.operation == high_node.operation == "constant" and float(low) > float(high):
        raise ValueError(f"low: expected at most high, {high}, got {low}{at_here()}")
    return minimum(maximum(value, low), high)


def softplus(value: Value) -> Value:
    """Return log(1 + exp(value)), as -log_sigmoid(-value): finite wherever the value is.

    Parameters
    ----------
    value : value

    Raises
    ------
    TypeError
        If it is no value of the cell; the line is named.
    """
    return -log_sigmoid(-_value(value))


def silu(value: Value) -> Value:
    """Return value * sigmoid(value).

    Parameters
    ----------
    value : value

    Raises
    ------
    TypeError
        If it is no value of the cell; the line is named.
    """
    return value * sigmoid(value)


def softsign(value: Value) -> Value:
    """Return value / (1 + abs(value)).

    Parameters
    ----------
    value : value

    Raises
    ------
    TypeError
        If it is no value of the cell; the line is named.
    """
    magnitude = abs(value)
    return value / (1.0 + magnitude)


def hard_sigmoid(value: Value, slope: Number = 1.0 / 6.0, offset: Number = 0.5) -> Value:
    """Return minimum(maximum(slope * value + offset, 0), 1); the slope at both limits is 0.

    Parameters
    ----------
    value : value
    slope : float or value, default 1/6
        PyTorch's and ONNX's HardSwish have 1/6, Keras before version 3 and ONNX's HardSigmoid 0.2.
    offset : float or value, default 0.5

    Raises
    ------
    TypeError
        If one is neither a value of the cell nor a number; the line is named.
    """
    arguments(value=value, slope=slope, offset=offset)
    return minimum(maximum(slope * value + offset, 0.0), 1.0)


def elu(value: Value, alpha: Number = 1.0) -> Value:
    """Return the value where it is above 0, alpha * (exp(value) - 1) elsewhere.

    Parameters
    ----------
    value : value
    alpha : float or value, default 1

    Raises
    ------
    TypeError
        If one is neither a value of the cell nor a number; the line is named.
    """
    arguments(value=value, alpha=alpha)
    # Above 0 the exponential is that of 0: its gradient, which is not taken, is no 0 times infinity.
    return where(value > 0.0, value, alpha * expm1(minimum(0.0, value)))


def gelu(value: Value, approximate: str = "none") -> Value:
    """Return value * Φ(value), Φ the normal distribution.

    Parameters
    ----------
    value : value
    approximate : {"none", "tanh"}
        ``"none"``: 0.5 value (1 + erf(value / √2)). ``"tanh"``: 0.5 value (1 + tanh(√(2/π) (value + 0.044715 value³))).

    Raises
    ------
    TypeError, ValueError
        If `value` is no value of the cell, or `approximate` neither of the two.
    """
    kind = as_choice("approximate", approximate, ("none", "tanh"))
    half = 0.5 * _value(value)
    if kind == "none":
        return half * (1.0 + erf(value * math.sqrt(0.5)))
    cubic = fma(0.044715 * value, value * value, value)
    return half * (1.0 + tanh(math.sqrt(2.0 / math.pi) * cubic))
