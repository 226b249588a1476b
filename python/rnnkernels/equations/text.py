"""Equations as plain data that JSON holds, for checkpoints and pickles, and back: a text is traced as a function is.

No code is stored and none is run. What a text says is checked by the rules of a trace, so a changed file is refused.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from rnnkernels._scalars import shown

from .functions import MOST_HEADS
from .operations import OPERATIONS
from .recording import Recording, below
from .tracing import MOST_STATES, Signature, finished

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .graph import Equations, Node

FORMAT = 1
FORMAT_WITH_HEADS = 2  # who knows nothing of heads would read such a text as a cell of one
LONGEST_NAME = 200
_LINE = "the cell's text"
_FIELDS = frozenset(
    ("format", "name", "doc", "states", "steps", "weights", "settings", "products", "nodes", "new", "variables")
)


def to_json(equations: Equations) -> dict[str, Any]:
    """Return equations as a dict of texts, numbers and lists: nothing of them but their lines is lost.

    ``"nodes"``: operation, numbers of its arguments, attribute; those that nothing reads are left out.
    """
    operands = [operand for product in equations.products for operand in product.operands]
    kept = below((*equations.new, *operands))
    number = {node.number: k for k, node in enumerate(kept)}
    return {
        **_format(equations.heads),
        "name": str.__str__(equations.name),
        "doc": equations.doc,
        "states": list(equations.states),
        "steps": list(equations.steps),
        "weights": dict(zip(equations.weights, equations.initial, strict=True)),
        "settings": {name: _as_text(value) for name, value in equations.settings},
        "products": [[number[node.number] for node in product.operands] for product in equations.products],
        "nodes": [
            [node.operation, [number[argument.number] for argument in node.arguments], _as_text(node.attribute)]
            for node in kept
        ],
        "new": [number[node.number] for node in equations.new],
        "variables": {name: number[of] for of, name in equations.names if of in number},
    }


def _format(heads: int) -> dict[str, int]:
    """Return the fields by which a text with heads differs from one without."""
    return {"format": FORMAT} if heads == 1 else {"format": FORMAT_WITH_HEADS, "heads": heads}


def dumps(equations: Equations) -> str:
    """Return equations as one line of JSON."""
    return json.dumps(to_json(equations), allow_nan=False)


def loads(line: str) -> Equations:
    """Return the equations of such a line, or raise as `from_json` does."""
    return from_json(json.loads(line))


def meaning(equations: Equations) -> str:
    """Return a text that two cells share if, and only if, they compute the same by the same operations."""
    text = to_json(equations)
    return json.dumps({key: text[key] for key in sorted(text.keys() - {"name", "doc", "variables"})})


def _as_text(attribute: Any) -> Any:
    """Return an attribute as JSON has it, which has no infinities."""
    if isinstance(attribute, float) and not math.isfinite(attribute):
        return repr(attribute)
    return list(attribute) if isinstance(attribute, tuple) else attribute


def from_json(text: Mapping[str, Any]) -> Equations:
    """Return the equations that `to_json` made a text of.

    Raises
    ------
    TypeError, ValueError
        If it is no such text.
    """
    if not isinstance(text, dict):
        raise TypeError(f"equations: expected a dict, as to_json makes it, got {shown(text)}")
    if text.get("format") not in (FORMAT, FORMAT_WITH_HEADS):
        raise ValueError(f"equations: expected format {FORMAT} or {FORMAT_WITH_HEADS}, got {shown(text.get('format'))}")
    if missing := sorted(_FIELDS - set(text)):
        raise ValueError(f"equations: expected {', '.join(sorted(_FIELDS))}; {', '.join(missing)} missing")
    name, doc = _text("name", text["name"]), _text("doc", text["doc"])
    check_name("equations['name']", name)
    states, steps = _names("states", text["states"]), _names("steps", text["steps"])
    if not 0 < len(states) <= MOST_STATES:
        raise ValueError(f"equations['states']: expected 1 to {MOST_STATES}, got {len(states)}")
    settings = {each: _number(f"settings[{each!r}]", value) for each, value in _dict("settings", text).items()}
    weights = _dict("weights", text)
    for each, value in weights.items():
        if value not in (None, 0.0, 1.0) or isinstance(value, bool):
            raise ValueError(f"equations['weights'][{each!r}]: expected 0, 1 or None, got {shown(value)}")
    recording = Recording(name, line=_LINE)
    heads = _heads(text)
    nodes = _nodes(text, recording, states, steps, heads)
    new = tuple(_at("new", k, nodes) for k in _list("new", text["new"]))
    if len(new) != len(states):
        raise ValueError(f"equations['new']: expected {len(states)} states, got {len(new)}")
    for variable, k in _dict("variables", text).items():
        recording.names.setdefault(_at("variables", k, nodes).number, variable)
    recording.is_open = False
    # The weights' order is that of the text: an equal one was made by a function.
    if set(recording.weights) != set(weights):
        raise ValueError(f"equations['weights']: expected {', '.join(recording.weights)}, got {', '.join(weights)}")
    signature = Signature(_LINE, states, steps, bool(weights), (*states, *steps), settings)
    initial = tuple(None if weights[each] is None else float(weights[each]) for each in recording.weights)
    found = finished(recording, signature, new, initial, settings, doc)
    if found.heads != heads:
        raise ValueError(f"equations['heads']: expected none where weight_hh has no rows, got {heads}")
    return found


def check_name(what: str, name: str) -> None:
    """Raise ValueError where a text is no name of a cell: an identifier, perhaps with its settings in parentheses."""
    base, opened, rest = name.partition("(")
    whole = base.isidentifier() and (not opened or rest.endswith(")")) and name.isprintable()
    if not whole or len(name) > LONGEST_NAME:
        raise ValueError(f"{what}: expected a name as Python's functions have, got {shown(name)}")


def _heads(text: Mapping[str, Any]) -> int:
    """Return the heads of a text's products: 1 of one that was made before there were any."""
    heads = text.get("heads", 1)
    least = 1 if text["format"] == FORMAT else 2
    if type(heads) is not int or not least <= heads <= (1 if least == 1 else MOST_HEADS):
        wanted = "none in format 1" if least == 1 else "an integer of at least 2"
        raise ValueError(f"equations['heads']: expected {wanted}, got {shown(heads)}")
    return heads


def _nodes(
    text: Mapping[str, Any], recording: Recording, states: tuple[str, ...], steps: tuple[str, ...], heads: int
) -> list[Node]:
    """Record the nodes of a text, in its order: an operation's arguments stand before it, and a product's operands."""
    products = [_list(f"products[{k}]", each) for k, each in enumerate(_list("products", text["products"]))]
    nodes: list[Node] = []
    for k, entry in enumerate(_list("nodes", text["nodes"])):
        what = f"nodes[{k}]"
        operation, numbers, attribute = _three(what, entry)
        arguments = [_at(what, number, nodes) for number in _list(what, numbers)]
        known = OPERATIONS.get(operation)
        if known is not None:
            if len(arguments) != known.arity or attribute is not None:
                raise ValueError(
                    f"equations[{what!r}]: expected {known.arity} arguments of {operation}, got {entry!r:.60}"
                )
            nodes.append(recording.node(operation, *arguments))
            continue
        node = None if arguments else _leaf(operation, attribute, recording, states, steps)
        if operation == "product" and isinstance(attribute, list) and len(attribute) == 2 and not arguments:
            product, gate = attribute
            if not isinstance(product, int) or not 0 <= product < len(products) or not _is_name(gate):
                raise ValueError(f"equations[{what!r}]: expected a product's number and a gate, got {entry!r:.60}")
            while len(recording.products) <= product:
                made = products[len(recording.products)]
                before = len(recording.products)
                recording.multiply(tuple(_at("products", number, nodes) for number in made), heads)
                if len(recording.products) == before:
                    raise ValueError("equations['products']: expected products of different operands")
            node = recording.row(product, gate)
        if node is None:
            raise ValueError(f"equations[{what!r}]: expected an operation or a leaf, got {entry!r:.60}")
        nodes.append(node)
    if len(recording.products) != len(products):
        raise ValueError("equations['products']: expected products whose gates are read")
    return nodes


def _leaf(
    operation: str, attribute: Any, recording: Recording, states: tuple[str, ...], steps: tuple[str, ...]
) -> Node | None:
    """Return a leaf that is no product's row; None where it is none."""
    if operation == "constant" and not isinstance(attribute, bool):
        return recording.node("constant", attribute=_number("nodes", attribute))
    if operation == "state" and type(attribute) is int and 0 <= attribute < len(states):
        return recording.node("state", attribute=attribute)
    if operation == "step" and attribute in steps:
        return recording.node("step", attribute=attribute)
    if operation == "direct" and attribute is None:
        return recording.itself()
    if operation == "input" and _is_name(attribute):
        return recording.input(attribute)
    return recording.weight(attribute) if operation == "weight" and _is_name(attribute) else None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier() and len(value) <= LONGEST_NAME


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"equations[{what!r}]: expected a string, got {shown(value)}")
    return value


def _list(what: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"equations[{what!r}]: expected a list, got {shown(value)}")
    return value


def _dict(what: str, text: Mapping[str, Any]) -> dict[str, Any]:
    value = text[what]
    if not isinstance(value, dict) or not all(map(_is_name, value)):
        raise TypeError(f"equations[{what!r}]: expected a dict with names, got {shown(value)}")
    return value


def _names(what: str, value: Any) -> tuple[str, ...]:
    names = _list(what, value)
    if not all(map(_is_name, names)) or len(set(names)) != len(names):
        raise ValueError(f"equations[{what!r}]: expected different names, got {names!r:.60}")
    return tuple(names)


def _number(what: str, value: Any) -> float:
    if value in ("inf", "-inf") or type(value) is float or (type(value) is int and abs(value) < 2**63):
        number = float(value)
        if not math.isnan(number):
            return number
    raise ValueError(f"equations[{what!r}]: expected a number, got {shown(value)}")


def _three(what: str, entry: Any) -> tuple[str, Any, Any]:
    if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[0], str):
        raise ValueError(f"equations[{what!r}]: expected operation, arguments, attribute, got {entry!r:.60}")
    return entry[0], entry[1], entry[2]


def _at(what: str, number: Any, nodes: list[Node]) -> Node:
    if type(number) is not int or not 0 <= number < len(nodes):
        raise ValueError(f"equations[{what!r}]: expected the number of a node before it, got {shown(number)}")
    return nodes[number]
