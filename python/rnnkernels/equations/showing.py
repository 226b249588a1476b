"""A cell's description, as `print` shows it: gates, states, shapes, what is kept, the step and its derived backward.

What is written are the simplified equations, in the variables of the cell's function. An apostrophe marks the states
after the step, a d in front a gradient.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .adjoint import Dependence, derive
from .evaluating import reached
from .graph import LEAVES
from .keeping import find_kept
from .operations import ATOM, OPERATIONS, SIGN, SUM, TERM
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
    step = list(writer.forward())
    about = equations.doc.partition("\n")[0]
    comes = " and ".join(f"d{state}'" for state in equations.states)
    return "\n".join(
        [
            f"cell {equations.name:s}" + (f": {about}" if about else ""),
            "",
            *_tables(equations),
            f"keeps     {', '.join(map(writer.text, kept)) or 'nothing'}",
            "",
            "step",
            *(f"    {line}" for line in step),
            "",
            f"backward, of {comes}",
            *(f"    {line}" for line in writer.backward()),
        ]
    )


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
    yield f"shapes    {', '.join(f'{name} {shape}' for name, shape in _shapes(equations).items())}"


def _shapes(equations: Equations) -> dict[str, str]:
    """Return the shapes of a layer's parameters, in I inputs and H units."""

    def rows(count: int) -> str:
        return "H" if count == 1 else f"{count}·H"

    of_x, of_h, own = len(equations.inputs), len(equations.rows), len(equations.weights)
    shapes = {"weight_ih": f"({rows(of_x)}, {'H' if equations.direct else 'I'})"}
    if of_h:
        shapes["weight_hh"] = f"({rows(of_h)}, {'H' if equations.heads == 1 else f'H/{equations.heads}'})"
    shapes["bias_ih"] = f"({rows(of_x)},)"
    if of_h:
        shapes["bias_hh"] = f"({rows(of_h)},)"
    for product in equations.products:
        if len(product.operands) > 1:
            shapes["weight_gg"] = f"({rows(len(product.gates))}, {rows(len(product.operands))})"
    if own:
        shapes["weight_diagonal"] = f"({rows(own)},)"
    return shapes


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
        if node.operation == "fma":
            return self._sum(*node.arguments)
        if operation is not None:
            pairs = zip(node.arguments, operation.needs[: operation.arity], strict=True)
            return operation.text.format(*(self.text(argument, needs) for argument, needs in pairs))
        return self._leaf(node)

    def _sum(self, a: Node, b: Node, c: Node) -> str:
        """Return a b + c, with a minus where a or c is negative."""
        if self._is_negated(c):
            return f"{self.text(a, TERM)} * {self.text(b, SIGN)} - {self.text(c.arguments[0], TERM)}"
        if self._is_negated(a):
            return f"{self.text(c)} - {self.text(a.arguments[0], TERM)} * {self.text(b, SIGN)}"
        return f"{self.text(a, TERM)} * {self.text(b, SIGN)} + {self.text(c, TERM)}"

    def _is_negated(self, node: Node) -> bool:
        return node.operation == "neg" and node not in self.names

    def _leaf(self, node: Node) -> str:
        attribute = node.attribute
        if isinstance(attribute, float):
            return f"{attribute:g}"
        if node.operation in ("product", "d_operand") and isinstance(attribute, tuple):
            number, of = attribute
            if node.operation == "product":
                return f"{self.products[number]}.{of}"
            return f"d({self.text(self.equations.products[number].operands[of])})"
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
        product = self.equations.products[number]
        heads = [] if product.heads == 1 else [f"heads={product.heads}"]
        return ", ".join([*map(self.text, product.operands), *heads])

    def backward(self) -> Iterator[str]:
        """Yield the equations of a step's gradients."""
        called = self._results()
        known = set(self.forward_nodes)
        nodes = [node for node in reached(called) if node not in known]
        for node, names in called.items():
            if node not in known and node.operation not in LEAVES:
                self.names[node] = names[0]
        self._name_shared(nodes, (), set())
        is_late = Dependence(node for node in nodes if node.operation == "d_operand")
        named = [node for node in nodes if node in self.names]
        for node in named:
            if not is_late(node):
                yield self._equation(node, called)
        yield from self._through()
        for node in named:
            if is_late(node):
                yield self._equation(node, called)
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

    def _equation(self, node: Node, called: dict[Node, list[str]]) -> str:
        return f"{' = '.join(called.get(node, [self.names[node]]))} = {self.written(node)}"

    def _through(self) -> Iterator[str]:
        """Yield how the gradient of a gated product's operand comes of those of its gates."""
        for number, product in enumerate(self.equations.products):
            if product.kind == "gated":
                yield f"d({self.text(product.operands[0])}) = {self._transposed(number)}"

    def _transposed(self, number: int) -> str:
        product = self.equations.products[number]
        weight = "weight_hh" if len(product.operands) == 1 else "weight_gg"
        return f"{weight}[{' '.join(product.gates)}]ᵀ d{self.products[number]}"

    def _added(self) -> Iterator[str]:
        """Yield what the products of states add to the states' gradients."""
        for number, product in enumerate(self.equations.products):
            if product.kind == "hidden":
                yield f"d{self.equations.states[0]} += {self._transposed(number)}"
            elif product.kind == "feedback":
                operands = ", ".join(f"d({self.text(operand)})" for operand in product.operands)
                yield f"{operands} = {self._transposed(number)}"
        for state, node in self.gradients.fed_back.items():
            yield f"d{self.equations.states[state]} += {self._without_own(node)}"
        for step, node in self.gradients.fed_steps.items():
            yield f"d{step} += {self.text(node)}"

    def _without_own(self, node: Node) -> str:
        """Return a sum without what came to the state itself, its last part."""
        if node.operation == "fma" and node.arguments[2].operation == "d_new":
            a, b, _ = node.arguments
            return f"{self.text(a, TERM)} * {self.text(b, SIGN)}"
        rest = [part for part in node.arguments if part.operation != "d_new"]
        return self.text(rest[0]) if node.operation == "add" and len(rest) == 1 else self.text(node)
