"""A cell's description, as `print` shows it: gates, states, shapes, what is kept, the step and its derived backward.

What is written are the simplified equations, in the variables of the cell's function. An apostrophe marks the states
after the step, a d in front a gradient.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .adjoint import derive
from .evaluating import reached
from .graph import LEAVES
from .keeping import find_kept
from .operations import ATOM, OPERATIONS, SIGN, SUM
from .simplify import simplified

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .adjoint import Backward
    from .graph import Equations, Node

WIDTH = 72  # of an expression: what is wider gets names for its parts


def description(equations: Equations) -> str:
    """Return what a person wants to know of a cell."""
    simple = simplified(equations)
    backward = derive(simple)
    kept = find_kept(simple, backward).nodes
    writer = _Writer(simple, backward, kept)
    forward = list(writer.forward())
    shown_kept = ", ".join(writer.text(node) for node in kept) or "nothing"
    parts = [
        f"cell {equations.name:s}",
        *(f"    {line}".rstrip() for line in equations.doc.splitlines()[:1]),
        *_tables(equations),
        f"keeps     {shown_kept}: {_count(len(kept), 'value')} of a unit in a step, for the backward",
        "",
        "step",
        *(f"    {line}" for line in forward),
        "",
        "backward",
        *(f"    {line}" for line in writer.backward()),
    ]
    return "\n".join(parts)


def _tables(equations: Equations) -> Iterator[str]:
    """Yield the lines on states, gates, weights, settings and shapes."""
    first, *others = equations.states
    yield f"states    {', '.join([f'{first} (the output)', *others])}"
    yield f"gates     {' '.join(equations.gates)}"
    if equations.weights:
        starts = dict(zip(equations.weights, equations.initial, strict=True))
        yield "weights   " + ", ".join(
            f"w.{name}" + ("" if value is None else f" (at first {value:g})") for name, value in starts.items()
        )
    if equations.steps:
        yield f"per step  {', '.join(f'{name} (T, B, H)' for name in equations.steps)}"
    if equations.settings:
        yield f"settings  {', '.join(f'{name} = {value!r}' for name, value in equations.settings)}"
    shapes = {"weight_ih": f"({len(equations.inputs)}·H, {'H' if equations.direct else 'I'})"}
    rows = len(equations.rows)
    if rows:
        shapes["weight_hh"] = f"({rows}·H, H)"
    shapes["bias_ih"] = f"({len(equations.inputs)}·H,)"
    if rows:
        shapes["bias_hh"] = f"({rows}·H,)"
    for product in equations.products:
        if len(product.operands) > 1:
            shapes["weight_gg"] = f"({len(product.gates)}·H, {len(product.operands)}·H)"
    if equations.weights:
        shapes["weight_diagonal"] = f"({len(equations.weights)}·H,)"
    yield f"shapes    {', '.join(f'{name} {shape}' for name, shape in shapes.items())}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


class _Writer:
    """Writes nodes as expressions: one that has a name by its name, another by its operation."""

    def __init__(self, equations: Equations, backward: Backward, kept: Iterable[Node]) -> None:
        self.equations, self.gradients = equations, backward
        forward = [*equations.new, *(operand for product in equations.products for operand in product.operands)]
        self.forward_nodes = reached(forward)
        variables = dict(equations.names)
        self.names = {
            node: variables[node.number]
            for node in self.forward_nodes
            if node.number in variables and node.operation not in LEAVES
        }
        taken = {*self.names.values(), *equations.states, *equations.steps, "x", "w"}
        self.products = self._name_products(taken)
        self.states = [f"{state}'" for state in equations.states]
        for state, node in zip(self.states, equations.new, strict=True):
            if node.operation not in LEAVES:
                self.names.setdefault(node, state)
        self.temporaries = (name for k in range(1, 1000) if (name := f"t{k}") not in taken)
        self._name_shared(self.forward_nodes, forward, set(kept))

    def _name_products(self, taken: set[str]) -> list[str]:
        names = [name for name in ("u", "v", "q", "u_1", "u_2", "u_3", "u_4") if name not in taken]
        return names[: len(self.equations.products)]

    def _name_shared(self, nodes: Iterable[Node], roots: Iterable[Node], named: set[Node]) -> None:
        """Give names to nodes that are read more than once, to those that are wanted, and to parts of wide ones."""
        uses = Counter(argument for node in nodes for argument in node.arguments)
        uses.update(roots)
        for node in nodes:
            if node in self.names or node.operation in LEAVES:
                continue
            wide = len(self.written(node)) > WIDTH
            if uses[node] > 1 or node in named or wide:
                self.names[node] = next(self.temporaries)

    # ---- expressions -----------------------------------------------------------------------------

    def text(self, node: Node, binds: int = SUM) -> str:
        """Return a node's name, or its expression, in parentheses where it binds more loosely than `binds`."""
        if node in self.names:
            return self.names[node]
        written = self.written(node)
        loose = self._binds(node) < binds
        return f"({written})" if loose else written

    @staticmethod
    def _binds(node: Node) -> int:
        if node.operation in OPERATIONS:
            return OPERATIONS[node.operation].binds
        return SIGN if node.operation == "constant" and str(node.attribute).startswith("-") else ATOM

    def written(self, node: Node) -> str:
        """Return a node's expression, in names of its parts."""
        operation = OPERATIONS.get(node.operation)
        if operation is not None:
            pairs = zip(node.arguments, operation.needs[: operation.arity], strict=True)
            return operation.text.format(*(self.text(argument, needs) for argument, needs in pairs))
        return self._leaf(node)

    def _leaf(self, node: Node) -> str:
        attribute = node.attribute
        if node.operation == "constant":
            return f"{attribute:g}" if float(f"{attribute:g}") == attribute else repr(attribute)
        if node.operation in ("product", "d_operand") and isinstance(attribute, tuple):
            number, of = attribute
            if node.operation == "product":
                return f"{self.products[number]}.{of}"
            operand = self.equations.products[number].operands[of]
            name = self.text(operand)
            return f"d{name}" if name.isidentifier() else f"d({name})"
        if isinstance(attribute, int):
            name = self.equations.states[attribute]
            return {"state": name, "new": f"{name}'", "d_new": f"d{name}'"}.get(node.operation, str(node))
        return {"input": f"x.{attribute}", "weight": f"w.{attribute}", "step": f"{attribute}"}.get(node.operation, "x")

    # ---- equations -------------------------------------------------------------------------------

    def forward(self) -> Iterator[str]:
        """Yield the equations of a step."""
        told: set[int] = set()
        for node in self.forward_nodes:
            if node.operation == "product" and isinstance(node.attribute, tuple) and node.attribute[0] not in told:
                number = node.attribute[0]
                told.add(number)
                yield f"{self.products[number]} = product({self._operands(number)})"
            if node in self.names:
                yield f"{self.names[node]} = {self.written(node)}"
        for state, node in zip(self.states, self.equations.new, strict=True):
            if self.names.get(node) != state:
                yield f"{state} = {self.text(node)}"

    def _operands(self, number: int) -> str:
        return ", ".join(self.text(operand) for operand in self.equations.products[number].operands)

    def backward(self) -> Iterator[str]:
        """Yield the equations of a step's gradients."""
        called = self._results()
        known = set(self.forward_nodes)
        nodes = [node for node in reached(called) if node not in known]
        for node, names in called.items():
            if node not in known and node.operation not in LEAVES:
                self.names[node] = names[0]
        self._name_shared(nodes, (), set())
        for node in nodes:
            if node in self.names:
                yield f"{' = '.join(called.get(node, [self.names[node]]))} = {self.written(node)}"
        for node, names in called.items():
            if node in known or node.operation in LEAVES:
                yield f"{' = '.join(names)} = {self.text(node)}"
        yield from self._added()

    def _results(self) -> dict[Node, list[str]]:
        """Return what each gradient is called; one that is the gradient of several has several names."""
        groups: list[tuple[str, dict[str, Node | None]]] = [("dx.", self.gradients.inputs)]
        groups += [(f"d{name}.", of) for name, of in zip(self.products, self.gradients.products, strict=True)]
        groups += [("dw.", self.gradients.weights), ("d", self.gradients.steps), ("d", {"x": self.gradients.direct})]
        groups += [("d", dict(zip(self.equations.states, self.gradients.states, strict=True)))]
        called: dict[Node, list[str]] = {}
        for prefix, group in groups:
            for name, node in group.items():
                if node is not None:
                    called.setdefault(node, []).append(f"{prefix}{name}")
        return called

    def _added(self) -> Iterator[str]:
        """Yield what the products add to the states' gradients."""
        for number, product in enumerate(self.equations.products):
            weight = "weight_hh" if len(product.operands) == 1 else "weight_gg"
            through = f"{weight}[{' '.join(product.gates)}]ᵀ d{self.products[number]}"
            if product.kind == "hidden":
                yield f"d{self.equations.states[0]} += {through}"
                continue
            operands = ", ".join(f"d({self.text(operand)})" for operand in product.operands)
            yield f"{operands} = {through}"
        for state, node in self.gradients.fed_back.items():
            yield f"d{self.equations.states[state]} += {self.text(node)}"
