"""What the operations of a cell's equations compute, their derivatives, and how they are written.

An operation has the same name in a graph and in a program of the kernels. Every function here takes NumPy arrays,
real or complex. Complex ones hold near the real axis, as a complex step wants: comparisons look at the real part.

Derivative rules are written in terms of an operation's output where that is possible: the output is what a forward has
at hand. At a kink:

========================  ==============================================================
``maximum``, ``minimum``  where both arguments are equal, the gradient goes to the second
``abs``, ``relu``         0 at 0
``where_…``               a condition has no gradient
========================  ==============================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from .graph import Node

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
# The gradients of the arguments from that of the output, None where there is none: (build, d, y, *arguments).
Derivative: TypeAlias = "Callable[..., tuple[Node | None, ...]]"


class Build(Protocol):
    """What makes a rule's nodes: `rnnkernels.equations.simplify.Builder`.

    Attributes
    ----------
    clipped
        For a node inside of a clip, what says the same of its bounds: the clip's own output.
    """

    clipped: dict[Node, Node]

    def __call__(self, operation: str, *arguments: Node) -> Node:
        """Return the node of an operation."""
        ...

    def constant(self, value: float) -> Node:
        """Return the node of a number."""
        ...

    def value(self, node: Node) -> float:
        """Return the number of a constant."""
        ...


# How tightly what is written binds, loosest first.
SUM, TERM, SIGN, ATOM = range(4)


@dataclass(frozen=True)
class Operation:
    """An operation.

    Attributes
    ----------
    name
        In a graph and in a program.
    arity
        Count of arguments.
    compute
        The value, of NumPy arrays.
    derivative
        The gradients of the arguments, as nodes: ``derivative(build, d, y, *arguments)``, with d the gradient of y.
    text
        How it is written, a format of the arguments' texts.
    binds
        How tightly `text` binds.
    needs
        How tightly each argument's text has to bind to stand without parentheses.
    dear
        Whether computing it again costs more than reading it.
    """

    name: str
    arity: int
    compute: Callable[..., Array]
    derivative: Derivative
    text: str
    binds: int = ATOM
    needs: tuple[int, ...] = (SUM, SUM, SUM, SUM)
    dear: bool = False


# --- functions that NumPy lacks, or lacks for complex numbers ---


def _real(x: Array) -> Array:
    return np.real(x)


def _choose(condition: Array, yes: Array, no: Array) -> Array:
    chosen: Array = np.where(condition, yes, no)
    return chosen


def _maximum(a: Array, b: Array) -> Array:
    return _choose((_real(a) > _real(b)) | np.isnan(a), a, b)


def _minimum(a: Array, b: Array) -> Array:
    return _choose((_real(a) < _real(b)) | np.isnan(a), a, b)


def _absolute(x: Array) -> Array:
    return np.abs(x) if not np.iscomplexobj(x) else _choose(_real(x) < 0, -x, x)


def _sigmoid(x: Array) -> Array:
    e = np.exp(-_absolute(x))
    value: Array = _choose(_real(x) >= 0, np.ones_like(e), e) / (1 + e)
    return value


def _log_sigmoid(x: Array) -> Array:
    value: Array = _minimum(x, np.zeros_like(x)) - np.log1p(np.exp(-_absolute(x)))
    return value


_real_erf = np.frompyfunc(math.erf, 1, 1)
_ERF_SLOPE = 2 / math.sqrt(math.pi)


def _erf(x: Array) -> Array:
    real = _real(x)
    value: Array = np.asarray(_real_erf(real), dtype=real.dtype)
    # Its series to first order about the real axis.
    return value + 1j * np.imag(x) * _ERF_SLOPE * np.exp(-real * real) if np.iscomplexobj(x) else value


def _relu(x: Array) -> Array:
    return _maximum(x, np.zeros_like(x))


def _fma(a: Array, b: Array, c: Array) -> Array:
    value: Array = a * b + c
    return value


def _where_gt(a: Array, b: Array, yes: Array, no: Array) -> Array:
    return _choose(_real(a) > _real(b), yes, no)


def _where_ge(a: Array, b: Array, yes: Array, no: Array) -> Array:
    return _choose(_real(a) >= _real(b), yes, no)


def _where_eq(a: Array, b: Array, yes: Array, no: Array) -> Array:
    return _choose(_real(a) == _real(b), yes, no)


# --- derivatives ---

Gradients: TypeAlias = "tuple[Node | None, ...]"


def _d_add(_: Build, d: Node, *__: Node) -> Gradients:
    return d, d


def _d_sub(build: Build, d: Node, *_: Node) -> Gradients:
    return d, build("neg", d)


def _d_mul(build: Build, d: Node, _: Node, a: Node, b: Node) -> Gradients:
    return build("mul", d, b), build("mul", d, a)


def _d_div(build: Build, d: Node, y: Node, _: Node, b: Node) -> Gradients:
    quotient = build("div", d, b)
    return quotient, build("neg", build("mul", quotient, y))


def _d_neg(build: Build, d: Node, *_: Node) -> Gradients:
    return (build("neg", d),)


def _d_fma(build: Build, d: Node, _: Node, a: Node, b: Node, __: Node) -> Gradients:
    return build("mul", d, b), build("mul", d, a), d


def _d_extreme(name: str) -> Derivative:
    """Return the rule of maximum or minimum."""

    def rule(build: Build, d: Node, y: Node, a: Node, b: Node) -> Gradients:
        # y > b says what a > b says, and of two clips in a row the outer one's output says it for the inner one.
        shown = build.clipped.get(y, y) if b.operation == "constant" else a
        if b.operation == "constant" and a.operation in ("maximum", "minimum") and a.operation != name:
            low, high = (b, a.arguments[1]) if name == "maximum" else (a.arguments[1], b)
            if high.operation == low.operation == "constant" and build.value(low) < build.value(high):
                build.clipped[a] = shown
        zero = build.constant(0.0)
        large, small = (shown, b) if name == "maximum" else (b, shown)
        return build("where_gt", large, small, d, zero), build("where_gt", large, small, zero, d)

    return rule


def _d_abs(build: Build, d: Node, _: Node, a: Node) -> Gradients:
    zero = build.constant(0.0)
    return (build("where_gt", a, zero, d, build("where_gt", zero, a, build("neg", d), zero)),)


def _d_sqrt(build: Build, d: Node, y: Node, _: Node) -> Gradients:
    return (build("div", build("mul", d, build.constant(0.5)), y),)


def _d_exp(build: Build, d: Node, y: Node, _: Node) -> Gradients:
    return (build("mul", d, y),)


def _d_expm1(build: Build, d: Node, y: Node, _: Node) -> Gradients:
    return (build("fma", d, y, d),)


def _d_log(build: Build, d: Node, _: Node, a: Node) -> Gradients:
    return (build("div", d, a),)


def _d_sigmoid(build: Build, d: Node, y: Node, _: Node) -> Gradients:
    return (build("mul", d, build("mul", y, build("sub", build.constant(1.0), y))),)


def _d_tanh(build: Build, d: Node, y: Node, _: Node) -> Gradients:
    return (build("mul", d, build("fma", build("neg", y), y, build.constant(1.0))),)


def _d_log_sigmoid(build: Build, d: Node, y: Node, _: Node) -> Gradients:
    # 1 - e^y, without the cancellation where y is small.
    return (build("neg", build("mul", d, build("expm1", y))),)


def _d_erf(build: Build, d: Node, _: Node, a: Node) -> Gradients:
    density = build("exp", build("neg", build("mul", a, a)))
    return (build("mul", d, build("mul", density, build.constant(_ERF_SLOPE))),)


def _d_relu(build: Build, d: Node, y: Node, _: Node) -> Gradients:
    zero = build.constant(0.0)
    return (build("where_gt", y, zero, d, zero),)


def _d_where(name: str) -> Derivative:
    """Return the rule of a choice."""

    def rule(build: Build, d: Node, _: Node, a: Node, b: Node, __: Node, ___: Node) -> Gradients:
        zero = build.constant(0.0)
        return None, None, build(name, a, b, d, zero), build(name, a, b, zero, d)

    return rule


_ALL = (
    Operation("add", 2, np.add, _d_add, "{0} + {1}", SUM, (SUM, TERM)),
    Operation("sub", 2, np.subtract, _d_sub, "{0} - {1}", SUM, (SUM, TERM)),
    Operation("mul", 2, np.multiply, _d_mul, "{0} * {1}", TERM, (TERM, SIGN)),
    Operation("div", 2, np.divide, _d_div, "{0} / {1}", TERM, (TERM, SIGN), dear=True),
    Operation("neg", 1, np.negative, _d_neg, "-{0}", SIGN, (ATOM,)),
    Operation("fma", 3, _fma, _d_fma, "{0} * {1} + {2}", SUM, (TERM, SIGN, TERM)),
    Operation("maximum", 2, _maximum, _d_extreme("maximum"), "maximum({0}, {1})"),
    Operation("minimum", 2, _minimum, _d_extreme("minimum"), "minimum({0}, {1})"),
    Operation("abs", 1, _absolute, _d_abs, "abs({0})"),
    Operation("sqrt", 1, np.sqrt, _d_sqrt, "sqrt({0})", dear=True),
    Operation("exp", 1, np.exp, _d_exp, "exp({0})", dear=True),
    Operation("expm1", 1, np.expm1, _d_expm1, "expm1({0})", dear=True),
    Operation("log", 1, np.log, _d_log, "log({0})", dear=True),
    Operation("sigmoid", 1, _sigmoid, _d_sigmoid, "sigmoid({0})", dear=True),
    Operation("tanh", 1, np.tanh, _d_tanh, "tanh({0})", dear=True),
    Operation("log_sigmoid", 1, _log_sigmoid, _d_log_sigmoid, "log_sigmoid({0})", dear=True),
    Operation("erf", 1, _erf, _d_erf, "erf({0})", dear=True),
    Operation("relu", 1, _relu, _d_relu, "relu({0})"),
    Operation("where_gt", 4, _where_gt, _d_where("where_gt"), "where({0} > {1}, {2}, {3})"),
    Operation("where_ge", 4, _where_ge, _d_where("where_ge"), "where({0} >= {1}, {2}, {3})"),
    Operation("where_eq", 4, _where_eq, _d_where("where_eq"), "where({0} == {1}, {2}, {3})"),
)

OPERATIONS: Mapping[str, Operation] = MappingProxyType({operation.name: operation for operation in _ALL})
