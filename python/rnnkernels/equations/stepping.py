"""A cell's equations as a step in the calls of an array library, as `rnnkernels.steps` has those of built-in cells.

Not here: the calls (`rnnkernels.steps.Library`), and the loop over the steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import blocks
from .evaluating import reached

if TYPE_CHECKING:
    from collections.abc import Callable

    from .graph import Equations, Node

    State = tuple[Any, ...]


def step_of(equations: Equations) -> Callable[[Any, Any, Any, State, dict[str, Any]], State]:
    """Return (library, x, the input's part, state, weights) → state.

    The library's `operations` are what nodes are computed by. All nodes are computed in their order in the graph, in
    which a product's rows stand behind its operands.
    """
    values_of = evaluator(equations)

    def step(o: Any, x: Any, part: Any, state: State, w: dict[str, Any]) -> State:
        values = values_of(o, x, part, state, w)
        return tuple(_filled(o, values[node.number], state[-1]) for node in equations.new)  # h may have another width

    return step


def nodes_of(equations: Equations) -> list[Node]:
    """Return all nodes of a cell's forward, arguments first."""
    operands = [operand for product in equations.products for operand in product.operands]
    return reached([*equations.new, *operands])


def evaluator(equations: Equations) -> Callable[[Any, Any, Any, State, dict[str, Any]], dict[int, Any]]:
    """Return what `step_of` does with its arguments, up to the value of every node, by its number.

    Leaves that stand in a sum of all gates (`_merged`) have no values of their own.
    """
    nodes = nodes_of(equations)
    merged = _merged(equations, nodes)
    hidden = {leaf for node in merged for leaf in node.arguments}  # in sums alone

    def values_of(o: Any, x: Any, part: Any, state: State, w: dict[str, Any]) -> dict[int, Any]:
        size = state[0].shape[-1]
        values: dict[int, Any] = {}

        def multiplied(number: int) -> dict[str, Any]:
            product = equations.products[number]
            vectors = tuple(_filled(o, values[operand.number], state[0]) for operand in product.operands)
            vector = vectors[0] if len(vectors) == 1 else o.join(vectors)
            of = "vectors" if len(vectors) > 1 else product.kind
            bias = w.get(f"bias {of}")
            if product.heads == 1:
                rows = o.linear(vector, w[of], bias)
            else:
                rows = blocks.multiply(vector, w[of])
                rows = rows if bias is None else o.operations["add"](rows, bias)
            return dict(zip(product.gates, o.split(rows, len(product.gates)), strict=True))

        weights = dict(zip(equations.weights, w.get("diagonal", ()), strict=True))
        if merged:
            rows = o.linear(state[0], w["hidden"], w["bias hidden"])
            sums = o.split(o.operations["add"](part, rows), len(merged))
            values |= {node.number: value for node, value in zip(merged, sums, strict=True)}
        inputs = {} if merged else dict(zip(equations.inputs, o.split(part, len(equations.inputs)), strict=True))
        known = w.get("constants", {})
        products: dict[int, dict[str, Any]] = {}
        behind = 0 if x is None else x.shape[-1] - len(equations.steps) * size  # where the inputs of every step begin

        def leaf(operation: str, attribute: Any) -> Any:
            if operation == "constant":
                shown = repr(attribute)  # 0.0 and -0.0 are equal
                return known[shown] if shown in known else o.operations["constant"](attribute, state[0])
            if operation == "state":
                return state[attribute]
            if operation == "input":
                return inputs[attribute]
            if operation == "weight":
                return weights[attribute]
            if operation == "direct":
                return x[..., :size]
            if operation == "step":
                first = behind + equations.steps.index(attribute) * size
                return x[..., first : first + size]
            number, gate = attribute
            if number not in products:
                products[number] = multiplied(number)
            return products[number][gate]

        for node in nodes:
            if node.number in values or node in hidden:
                continue
            if node.arguments:
                made_of = (values[argument.number] for argument in node.arguments)
                values[node.number] = o.operations[node.operation](*made_of)
            else:
                values[node.number] = leaf(node.operation, node.attribute)
        return values

    return values_of


def _filled(o: Any, value: Any, like: Any) -> Any:
    """Return a value of every row and unit: that of a constant or a weight has no rows yet."""
    return value if value.shape == like.shape else o.operations["add"](value, o.operations["zeros"](like))


def _merged(equations: Equations, nodes: list[Node]) -> list[Node]:
    """Return the sums of x's rows and h's, gate by gate, of a cell that reads nothing else of either; else none.

    They are one sum of all gates, as one writes them by hand.
    """
    sums: dict[str, Node] = {}
    for node in nodes:
        kinds = [argument.operation for argument in node.arguments]
        if "input" not in kinds and "product" not in kinds:
            continue
        if node.operation != "add" or kinds != ["input", "product"]:
            return []
        gate = str(node.arguments[0].attribute)
        if node.arguments[1].attribute != (0, gate):
            return []
        sums[gate] = node
    products, inputs = equations.products, equations.inputs
    alone = [(product.kind, product.gates, product.heads) for product in products] == [("hidden", inputs, 1)]
    alone = alone and sums.keys() == set(inputs)
    returned = any(node.operation in ("input", "product") for node in equations.new)
    return [sums[gate] for gate in inputs] if alone and not returned else []
