"""What a cell's function computes with: values and conditions. Each operator writes a node into the `Recording`.

Not here: functions of values (`functions`), x, u and w (`names`), what has no meaning in a cell (`refusing`), and how a
function is called (`tracing`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np

from rnnkernels._scalars import as_number

from .places import at_here, refused
from .refusing import NAMES, SUMS, SYNONYMS, Traced, kind_of

if TYPE_CHECKING:
    from .graph import Node
    from .recording import Recording

Number: TypeAlias = "Value | float"


class Value(Traced):
    """One value of one unit of one row in one step: + − * / and comparisons, and the functions of `functions`."""

    __slots__ = ("_node",)

    _node: Node

    def __init__(self, recording: Recording, node: Node) -> None:
        self._recording, self._node = recording, node

    def _use(self) -> str:
        return "is one"

    def _said(self) -> str:
        name = self._recording.names.get(self._node.number)
        return f"a value ({name})" if name else "a value"

    def __repr__(self) -> str:
        return f"<{self._said()} of {self._recording.name}>"

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # a library asks what this is
            raise AttributeError(name)
        if name in SUMS - {"max", "min"}:
            raise refused(f"{name} goes over the units, and a value is that of one unit", kind=AttributeError)
        own = SYNONYMS.get(name, name)
        instead = f": use rk.{own}(value)" if own in NAMES else ""
        raise refused(f"{self._said()} has no {name}{instead}", kind=AttributeError)

    def __add__(self, other: Number) -> Value:
        return binary("add", self, other, "+")

    def __radd__(self, other: Number) -> Value:
        if type(other) is int and other == 0:  # where sum() begins
            return self
        return binary("add", other, self, "+")

    def __sub__(self, other: Number) -> Value:
        return binary("sub", self, other, "-")

    def __rsub__(self, other: Number) -> Value:
        return binary("sub", other, self, "-")

    def __mul__(self, other: Number) -> Value:
        return binary("mul", self, other, "*")

    def __rmul__(self, other: Number) -> Value:
        return binary("mul", other, self, "*")

    def __truediv__(self, other: Number) -> Value:
        return binary("div", self, other, "/")

    def __rtruediv__(self, other: Number) -> Value:
        return binary("div", other, self, "/")

    def __pow__(self, power: int) -> Value:
        if isinstance(power, (Value, bool)) or power not in (2, 3, 4):
            raise refused("powers of a value are 2, 3 and 4; rk.exp(p * rk.log(a)) is a to the power of p")
        square = self * self
        return square if power == 2 else square * self if power == 3 else square * square

    def __rpow__(self, base: object) -> NoReturn:
        raise refused("a power with a value in the exponent: rk.exp(p * math.log(a)) is a to the power of p")

    def __neg__(self) -> Value:
        return made("neg", self)

    def __pos__(self) -> Value:
        return self

    def __abs__(self) -> Value:
        return made("abs", self)

    def __lt__(self, other: Number) -> Condition:
        return compared("where_gt", other, self, "<")

    def __le__(self, other: Number) -> Condition:
        return compared("where_ge", other, self, "<=")

    def __gt__(self, other: Number) -> Condition:
        return compared("where_gt", self, other, ">")

    def __ge__(self, other: Number) -> Condition:
        return compared("where_ge", self, other, ">=")

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return compared("where_eq", self, other, "==")

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return ~compared("where_eq", self, other, "!=")

    __hash__ = object.__hash__


class PerStep(Value):
    """Annotates a parameter of a cell's function: an input of every step that acts element by element, (T, B, H).

    See Also
    --------
    rnnkernels.cell : what the parameters of a cell's function are.
    """

    __slots__ = ()


class Condition(Traced):
    """A comparison of values, for `rnnkernels.where`; ``&``, ``|`` and ``~`` join and turn them."""

    __slots__ = ("_parts",)

    _parts: tuple[Any, ...]  # ("where_gt", a, b), ("and", c, d), ("or", c, d) or ("not", c): nodes a b, conditions c d

    def __init__(self, recording: Recording, *parts: Any) -> None:
        self._recording, self._parts = recording, parts

    def _said(self) -> str:
        return "a condition"

    def _use(self) -> str:
        return "is no value: rk.where(condition, 1.0, 0.0) makes one of it"

    def __and__(self, other: Condition) -> Condition:
        return Condition(self._recording, "and", self, self._other(other, "&"))

    def __or__(self, other: Condition) -> Condition:
        return Condition(self._recording, "or", self, self._other(other, "|"))

    def __invert__(self) -> Condition:
        return Condition(self._recording, "not", self)

    def _other(self, other: object, sign: str) -> Condition:
        if not isinstance(other, Condition):
            raise refused(f"{sign}: expected a condition on either side, got {kind_of(other)}; put comparisons in ( )")
        same_trace(self._recording, other)
        return other

    def _arithmetic(self, *_: object) -> NoReturn:
        raise refused(f"{self._said()} {self._use()}")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _arithmetic
    __neg__ = __abs__ = __pow__ = __rpow__ = __lt__ = __le__ = __gt__ = __ge__ = _arithmetic

    def choose(self, yes: Node, no: Node) -> Node:
        """Return the node that is `yes` where the condition holds, and `no` where it does not or meets NaN."""
        operation, first, *second = self._parts
        if operation == "not":
            return first.choose(no, yes)  # type: ignore[no-any-return]
        if operation == "and":
            return first.choose(second[0].choose(yes, no), no)  # type: ignore[no-any-return]
        if operation == "or":
            return first.choose(yes, second[0].choose(yes, no))  # type: ignore[no-any-return]
        return self._recording.node(operation, first, second[0], yes, no)


def same_trace(recording: Recording, value: Traced) -> None:
    """Raise where a value was kept from another function's trace, or from an earlier one of this."""
    if value._recording is not recording or not recording.is_open:
        raise refused(
            f"a value of another trace ({value._recording.name}): values live while their function runs, "
            f"and only in it",
            kind=ValueError,
        )


def operand(recording: Recording, value: object) -> Node | str:
    """Return the node of a value or of a number; for anything else what it is, for an error."""
    if isinstance(value, Value):
        same_trace(recording, value)
        return value._node
    if isinstance(value, Traced):
        return f"{value._said()}, which {value._use()}"
    if isinstance(value, (bool, np.bool_)):
        return kind_of(value)
    try:
        number = as_number("", value)
    except (TypeError, ValueError):
        return kind_of(value)
    return "nan" if math.isnan(number) else recording.node("constant", attribute=number)


def binary(operation: str, a: object, b: object, sign: str) -> Value:
    """Return the value of an operator; one of `a` and `b` is a value."""
    recording, nodes = _both(a, b, sign)
    return Value(recording, recording.node(operation, *nodes))


def compared(operation: str, a: object, b: object, sign: str) -> Condition:
    """Return the condition of a comparison; one of `a` and `b` is a value."""
    recording, nodes = _both(a, b, sign)
    return Condition(recording, operation, *nodes)


def _both(a: object, b: object, sign: str) -> tuple[Recording, list[Node]]:
    recording = next(each._recording for each in (a, b) if isinstance(each, Value))
    nodes = []
    for each in (a, b):
        node = operand(recording, each)
        if isinstance(node, str):
            raise refused(f"{sign}: expected a value of the cell or a number on either side, got {node}")
        nodes.append(node)
    return recording, nodes


def made(operation: str, value: Value) -> Value:
    """Return the value of an operation on one."""
    same_trace(value._recording, value)
    return Value(value._recording, value._recording.node(operation, value._node))


def arguments(**given: object) -> tuple[Recording, list[Node]]:
    """Return the nodes of a function's arguments, of which one at least is a value; an error names the argument."""
    recording = next((each._recording for each in given.values() if isinstance(each, Value)), None)
    if recording is None:
        name, value = next(iter(given.items()))
        node: Node | str = kind_of(value)
        if isinstance(value, Traced):
            node = operand(value._recording, value)
        raise TypeError(f"{name}: expected a value of the cell, got {node}{at_here()}")
    nodes = []
    for name, each in given.items():
        node = operand(recording, each)
        if isinstance(node, str):
            raise TypeError(f"{name}: expected a value of the cell or a number, got {node}{at_here()}")
        nodes.append(node)
    return recording, nodes
