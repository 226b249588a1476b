"""From a cell's function to its `Equations`: the function is called once, with values that write down what it does.

Trace, do not parse: the function may call others, loop over numbers and lists, and keep what it likes in variables.
Not here: what the values do (`values`), and what comes of the equations (`adjoint`, `lowering`).
"""

from __future__ import annotations

import dis
import inspect
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rnnkernels._scalars import as_number, check_mapping, shown

from .graph import Equations, Product
from .names import Inputs, Weights
from .places import Line, refused
from .recording import Recording, below
from .refusing import kind_of
from .values import PerStep, Value, same_trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .graph import Node

MOST_GATES = 16
MOST_STATES = 8
_WEIGHTS = "w"


@dataclass(frozen=True)
class Signature:
    """What the parameters of a cell's function are."""

    line: str  # of its def
    states: tuple[str, ...]
    steps: tuple[str, ...]
    has_weights: bool
    order: tuple[str, ...]  # of all behind x
    settings: dict[str, float]  # with their defaults


def signature(function: Callable[..., Any]) -> Signature:
    """Return what the parameters of a cell's function are.

    Raises
    ------
    TypeError, ValueError
        If they are not x, the states, perhaps w, then keyword-only numbers.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        raise TypeError(f"function: expected a function written in Python, got {shown(function)}")
    line = Line.of_function(code)
    states: list[str] = []
    steps: list[str] = []
    order: list[str] = []
    settings: dict[str, float] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise refused(f"parameter *{name}: a cell's states and settings have a name each", line)
        has_default = parameter.default is not parameter.empty
        if parameter.kind is parameter.KEYWORD_ONLY:
            if not has_default:
                raise refused(f"setting {name}: expected a default, a number: *, {name}=1.0", line)
            settings[name] = _setting(name, parameter.default, line)
            continue
        if has_default:
            raise refused(f"parameter {name}: a state has no default; settings stand behind a *: *, {name}=1.0", line)
        order.append(name)
        if len(order) > 1 and name != _WEIGHTS:
            (steps if _is_per_step(parameter.annotation) else states).append(name)
    if not states or order[0] == _WEIGHTS:
        raise refused(
            f"expected the parameters x, then the states, the first of which is the output, then perhaps w; "
            f"got {', '.join(order) or 'none'}",
            line,
        )
    if len(states) > MOST_STATES:
        raise refused(f"expected at most {MOST_STATES} states, got {len(states)}", line, ValueError)
    return Signature(line, tuple(states), tuple(steps), _WEIGHTS in order, tuple(order[1:]), settings)


def _setting(name: str, value: object, line: str) -> float:
    try:
        number = as_number("", value)
    except (TypeError, ValueError):
        raise refused(f"setting {name}: expected a number as its default, got {shown(value)}", line) from None
    if math.isnan(number):
        raise refused(f"setting {name}: expected a number, got nan", line, ValueError)
    return number


def _is_per_step(annotation: object) -> bool:
    """Whether a parameter is annotated `PerStep`, by the class or, where annotations are texts, by its name."""
    return annotation is PerStep or (isinstance(annotation, str) and annotation.split(".")[-1].strip() == "PerStep")


def trace(
    function: Callable[..., Any],
    name: str,
    initial: Mapping[str, float | None] | None = None,
    settings: Mapping[str, float] | None = None,
) -> Equations:
    """Call a cell's function once and return what it does.

    Parameters
    ----------
    function : callable
        Of x, the states, perhaps w, and keyword-only settings.
    name : str
        Of the cell.
    initial : mapping of str to float, optional
        What weights are before training: 0 or 1; of those that are not named, drawn.
    settings : mapping of str to float, optional
        Numbers for settings in the place of their defaults.

    Raises
    ------
    TypeError, ValueError
        If the function is none of a cell; the line is named.
    """
    parameters = signature(function)
    numbers = parameters.settings | dict(settings or {})
    recording = Recording(name, function.__code__)
    graph, line = recording.graph, parameters.line
    given: dict[str, Any] = {}
    for parameter in parameters.order:
        if parameter in parameters.states:
            number = parameters.states.index(parameter)
            given[parameter] = Value(recording, graph.node("state", attribute=number, line=line))
        elif parameter in parameters.steps:
            given[parameter] = PerStep(recording, graph.node("step", attribute=parameter, line=line))
        else:
            given[parameter] = Weights(recording)
    recording.remember(given)
    try:
        returned = function(Inputs(recording), *given.values(), **numbers)
        new = _new_states(returned, parameters, recording, partial(_return_line, function, parameters.line))
    finally:
        recording.is_open = False
    doc = inspect.cleandoc(function.__doc__ or "")
    return finished(recording, parameters, new, _initial(initial, recording.weights), numbers, doc)


def finished(
    recording: Recording,
    parameters: Signature,
    new: tuple[Node, ...],
    initial: tuple[float | None, ...],
    numbers: Mapping[str, float],
    doc: str,
) -> Equations:
    """Return the equations of a recording, or raise where something in it is of no use."""
    _check_used(new, parameters, recording)
    return Equations(
        name=recording.name,
        states=parameters.states,
        gates=tuple(recording.gates),
        inputs=tuple(gate for gate in recording.gates if gate in recording.inputs),
        direct=recording.direct is not None,
        products=_products(recording),
        weights=tuple(recording.weights),
        initial=initial,
        steps=parameters.steps,
        new=new,
        graph=recording.graph,
        settings=tuple(numbers.items()),
        doc=doc,
        names=tuple(recording.names.items()),
    )


def _return_line(function: Callable[..., Any], line: str) -> str:
    """Return the line of a function's ``return`` where it has one, or that of its ``def``."""
    found = set()
    number = function.__code__.co_firstlineno
    for instruction in dis.get_instructions(function.__code__):
        number = instruction.starts_line if type(instruction.starts_line) is int else _line_number(instruction, number)
        if instruction.opname.startswith("RETURN_") and "GENERATOR" not in instruction.opname:
            found.add(number)
    return Line(function.__code__.co_filename, found.pop()) if len(found) == 1 else line


def _line_number(instruction: Any, before: int) -> int:
    """Return an instruction's line: from Python 3.13 on it has one, before that it is that of the one before."""
    number = getattr(instruction, "line_number", None)
    return before if number is None else int(number)


def _new_states(
    returned: object, parameters: Signature, recording: Recording, line: Callable[[], str]
) -> tuple[Node, ...]:
    """Return the nodes of the states that a function returned, one of each; `line` is where it returned them."""
    wanted = ", ".join(parameters.states)
    count = len(parameters.states)
    values = tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)
    if len(values) != count or returned is None:
        got = "None" if returned is None else f"{len(values)}"
        raise refused(
            f"expected {count} new state{'' if count == 1 else 's'} returned, in the order of the parameters "
            f"({wanted}), got {got}",
            line(),
        )
    nodes = []
    for state, value in zip(parameters.states, values, strict=True):
        if not isinstance(value, Value):
            raise refused(f"new state {state}: expected a value of the cell, got {kind_of(value)}", line())
        same_trace(recording, value)
        nodes.append(value._node)
    return tuple(nodes)


def _check_used(new: tuple[Node, ...], parameters: Signature, recording: Recording) -> None:
    """Raise where the states after the step depend on nothing that a parameter, gate or weight stands for."""
    used = {(leaf.operation, leaf.attribute) for leaf in _leaves(new, recording)}
    line = parameters.line
    for number, state in enumerate(parameters.states):
        # The first is the output: a step need not read the one before.
        if number and ("state", number) not in used:
            raise refused(f"state {state!r} is not used: no new state depends on it", line, ValueError)
    for step in parameters.steps:
        if ("step", step) not in used:
            raise refused(f"input {step!r} of every step is not used: no new state depends on it", line, ValueError)
    if parameters.has_weights and not recording.weights:
        raise refused(f"{_WEIGHTS} is not used: a weight is made where {_WEIGHTS}.name is read first", line, ValueError)
    rows = ((("product", (product, gate)), gate, at) for gate, (product, at) in recording.rows.items())
    for kind, leaves in (
        ("gate", ((("input", gate), f"x.{gate}", at) for gate, at in recording.inputs.items())),
        ("gate", rows),
        ("weight", ((("weight", name), f"w.{name}", at) for name, at in recording.weights.items())),
    ):
        for leaf, shown_as, at in leaves:
            if leaf not in used:
                raise refused(f"{kind} {shown_as} is not used: no new state depends on it", at, ValueError)
    for number, product in enumerate(recording.products):
        if number not in {of for of, _ in recording.rows.values()}:
            raise refused(
                "a product of which no gate is read: u = rk.product(h), then u.i, u.f, ...", product.line, ValueError
            )
    if recording.direct is not None and ("direct", None) not in used:
        raise refused("rk.direct(x) is not used: no new state depends on it", recording.direct, ValueError)
    if not recording.inputs:
        raise refused("x has no gate: expected at least one that weight_ih feeds, as x.i", line, ValueError)
    if len(recording.gates) > MOST_GATES:
        raise refused(f"expected at most {MOST_GATES} gates, got {len(recording.gates)}", line, ValueError)


def _leaves(new: tuple[Node, ...], recording: Recording) -> Iterable[Node]:
    """Return the leaves that the new states depend on, by way of products as well."""
    found: dict[int, Node] = {}
    waiting = list(new)
    while waiting:
        for node in below(waiting):
            found[node.number] = node
        read = {leaf.attribute[0] for leaf in found.values() if isinstance(leaf.attribute, tuple)}
        waiting = [node for k in read for node in recording.products[k].operands if node.number not in found]
    return found.values()


def _products(recording: Recording) -> tuple[Product, ...]:
    """Return the products; a product's gates stand in the order of all gates."""
    return tuple(
        Product(
            product.operands,
            tuple(gate for gate in recording.gates if recording.rows.get(gate, (-1, ""))[0] == number),
            product.kind,
            product.heads,
        )
        for number, product in enumerate(recording.products)
    )


def _initial(initial: Mapping[str, float | None] | None, weights: Mapping[str, str]) -> tuple[float | None, ...]:
    """Return what each weight is before training."""
    if initial is None:
        return (None,) * len(weights)
    check_mapping("initial", initial, "names of weights to 0, 1 or None")
    if unknown := [name for name in initial if name not in weights]:
        there = f"one of the cell's weights, {', '.join(weights)}" if weights else "none: the cell has no weights"
        raise ValueError(f"initial: expected {there}, got {shown(unknown[0])}")
    numbers: list[float | None] = []
    for name in weights:
        value = initial.get(name)
        number = None if value is None else as_number(f"initial[{name!r}]", value)
        if number not in (None, 0.0, 1.0):
            raise ValueError(f"initial[{name!r}]: expected 0, 1 or None, which is drawn, got {shown(value)}")
        numbers.append(number)
    return tuple(numbers)
