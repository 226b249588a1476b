"""A cell's equations as a step in the calls of an array library, as `rnnkernels.steps` has those of built-in cells.

Not here: the calls (`rnnkernels.steps.Library`), and the loop over the steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
        return tuple(_filled(o, values[node.number], before) for node, before in zip(equations.new, state, strict=True))

    return step


def nodes_of(equations: Equations) -> list[Node]:
    """Return all nodes of a cell's forward, arguments first."""
    operands = [operand for product in equations.products for operand in product.operands]
    return reached([*equations.new, *operands])


def evaluator(equations: Equations) -> Callable[[Any, Any, Any, State, dict[str, Any]], dict[int, Any]]:
    """Return what `step_of` does with its arguments, up to the value of every node, by its number."""
    nodes = nodes_of(equations)

    def values_of(o: Any, x: Any, part: Any, state: State, w: dict[str, Any]) -> dict[int, Any]:
        size = state[0].shape[-1]
        values: dict[int, Any] = {}

        def multiplied(number: int) -> dict[str, Any]:
            product = equations.products[number]
            vectors = tuple(_filled(o, values[operand.number], state[0]) for operand in product.operands)
            vector = vectors[0] if len(vectors) == 1 else o.join(vectors)
            of = "vectors" if len(vectors) > 1 else product.kind
            rows = o.linear(vector, w[of], w.get(f"bias {of}"))
            return dict(zip(product.gates, o.split(rows, len(product.gates)), strict=True))

        inputs = dict(zip(equations.inputs, o.split(part, len(equations.inputs)), strict=True))
        weights = dict(zip(equations.weights, w.get("diagonal", ()), strict=True))
        products: dict[int, dict[str, Any]] = {}
        behind = 0 if x is None else x.shape[-1] - len(equations.steps) * size  # where the inputs of every step begin

        def leaf(operation: str, attribute: Any) -> Any:
            if operation == "constant":
                return o.operations["constant"](attribute, state[0])
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
