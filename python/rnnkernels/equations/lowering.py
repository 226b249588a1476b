"""Equations to what the kernels run: gradient slots, what is kept, and a program for each phase of a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

from .adjoint import Dependence, d_new, d_operand, derive
from .keeping import find_kept, find_second_half, gated_product
from .program import GateRow, Lowered, WeightRow
from .readers import read_by_sigmoids
from .scheduling import schedule
from .selecting import demanded, select
from .simplify import simplified

if TYPE_CHECKING:
    from .adjoint import Backward
    from .graph import Equations, Node
    from .keeping import Kept
    from .program import Operand, Program

Results: TypeAlias = "list[tuple[Operand, Node]]"
Have: TypeAlias = "dict[Node, Operand]"

MOST_SLOTS = MOST_KEPT = 64
_INITIALS = {None: "drawn", 0.0: "zero", 1.0: "one"}


class _Slots:
    """The gradient slots: whose they are, and what each holds in the end."""

    def __init__(self, equations: Equations, backward: Backward) -> None:
        zero = equations.graph.constant(0.0)
        self.contents: list[Node | None] = []  # None: of no gate, for what crosses from half to half
        self.gates: list[GateRow] = []
        self.weights: list[WeightRow] = []
        kinds = {
            gate: (product.kind, number) for number, product in enumerate(equations.products) for gate in product.gates
        }
        direct = backward.direct or zero
        waits_for_direct = equations.direct
        taken: dict[str, set[int]] = {}  # by product, that of x among them: one never has a slot twice
        for gate in equations.gates:
            feeds, operand, dx, du = "none", "none", -1, -1
            if gate in equations.inputs:
                feeds, dx = "projected", self.share(backward.inputs[gate] or zero, taken.setdefault("input", set()))
            if gate in kinds:
                operand, number = kinds[gate]
                gradient = backward.products[number][gate] or zero
                du = self.share(gradient, taken.setdefault(operand, set()))
                if feeds == "none" and waits_for_direct and gradient is direct:
                    feeds, dx, waits_for_direct = "direct", du, False
            self.gates.append(GateRow(gate, feeds, operand, dx, du))
        if waits_for_direct:
            name = "x" if "x" not in equations.gates else "x itself"
            self.gates.append(GateRow(name, "direct", "none", self.share(direct, set()), -1))
        for weight, initial in zip(equations.weights, equations.initial, strict=True):
            self.weights.append(WeightRow(weight, _INITIALS[initial], self.add(backward.weights[weight] or zero)))

    def add(self, node: Node | None) -> int:
        """Add a slot and return its number."""
        self.contents.append(node)
        return len(self.contents) - 1

    def share(self, node: Node, taken: set[int]) -> int:
        """Return a slot of this gradient that is not among `taken`, and take it."""
        slots = (slot for slot, content in enumerate(self.contents) if content is node and slot not in taken)
        slot = next(slots, None)
        if slot is None:
            slot = self.add(node)
        taken.add(slot)
        return slot

    def results(self) -> Results:
        """Return where each gradient is left."""
        return [(("slot", slot), node) for slot, node in enumerate(self.contents) if node is not None]


class _Lowering:
    """The phases of a cell, one after another."""

    def __init__(self, equations: Equations, backward: Backward, kept: Kept) -> None:
        self.equations, self.backward, self.kept = equations, backward, kept
        self.graph = equations.graph
        self.slots = _Slots(equations, backward)
        self.constants: dict[str, int] = {}
        self.programs: dict[str, Program] = {}
        self.saved: Have = {node: ("saved", number) for number, node in enumerate(kept.nodes)}

    def phase(self, name: str, results: Results, *sources: Have) -> None:
        """Make the program of a phase, of what it leaves and what it finds."""
        have = {node: operand for source in reversed(sources) for node, operand in source.items()}
        selected = select([node for _, node in results], have)
        self.programs[name] = schedule(selected, results, have, self.constant)

    def constant(self, node: Node) -> Operand:
        """Return where a number stands."""
        return "constant", self.constants.setdefault(repr(node.attribute), len(self.constants))

    def leaves(self, operation: str, operand: str, attributes: Iterable[object]) -> Have:
        """Return leaves of one kind and where they stand, in order."""
        return {
            self.graph.node(operation, attribute=attribute): (operand, number)
            for number, attribute in enumerate(attributes)
        }

    def product(self, kind: str, operand: str) -> Have:
        """Return the gates of the product of a kind and where they stand."""
        for number, product in enumerate(self.equations.products):
            if product.kind == kind:
                gates = [gate for gate in self.equations.gates if gate in product.gates]
                return self.leaves("product", operand, [(number, gate) for gate in gates])
        return {}

    def find_common(self) -> Have:
        """Return what every half finds."""
        equations = self.equations
        return {
            **self.leaves("weight", "weight", equations.weights),
            **self.leaves("step", "step", equations.steps),
            **self.leaves("state", "state", range(len(equations.states))),
        }

    def lower_forward(self) -> None:
        """Make the forward, or its halves."""
        equations = self.equations
        inputs = [gate for gate in equations.gates if gate in equations.inputs]
        common = {
            **self.find_common(),
            **self.leaves("input", "input", inputs),
            **self.leaves("direct", "direct", [None]),
        }
        first = {**self.product("hidden", "hidden"), **self.product("feedback", "fed")}
        new: Results = [(("new", state), node) for state, node in enumerate(equations.new)]
        keep: Results = [(operand, node) for node, operand in self.saved.items()]
        number = gated_product(equations)
        if number is None:
            self.phase("forward", keep + new, common, first)
            return
        early: Results = [(operand, node) for operand, node in keep if node in self.kept.first_half]
        late: Results = [(operand, node) for operand, node in keep if node not in self.kept.first_half]
        self.phase("forward", [*early, (("made", 0), equations.products[number].operands[0])], common, first)
        found = {node: operand for operand, node in early}
        self.phase("forward_state", late + new, common, self.product("gated", "gated"), found)

    def lower_backward(self) -> None:
        """Make the backward, or its halves."""
        equations, graph, backward = self.equations, self.graph, self.backward
        states = range(len(equations.states))
        zero = graph.constant(0.0)
        results = self.slots.results()
        results += [(("d_state", state), backward.states[state] or zero) for state in states]
        results += [(("d_step", step), backward.steps[name] or zero) for step, name in enumerate(equations.steps)]
        common = {**self.find_common(), **self.saved}
        new: Have = {node: ("new", state) for state, node in enumerate(equations.new) if node.operation != "constant"}
        first = {**new, **self.leaves("d_new", "d_new", states)}
        number = gated_product(equations)
        if number is None:
            self.phase("backward", results, common, first)
            return
        operand_gradient = d_operand(graph, number)
        late = Dependence([operand_gradient])
        early_results = [(operand, node) for operand, node in results if not late(node)]
        late_results = [(operand, node) for operand, node in results if late(node)]
        second: Have = {**common, operand_gradient: ("d_made", 0)}
        carried = self.carry(early_results, late_results, second, late)
        for place, (operand, node) in enumerate(late_results):
            if operand[0] == "d_state" and operand not in carried.values():
                # What the kernels add to dL/d(the state) between the halves has to stay: that of kept units.
                between = graph.node("d_new", attribute=("between the halves", operand[1]))
                second[between] = operand
                early_results.append((operand, zero))
                late_results[place] = operand, graph.node("add", node, between)
        early_results += [(operand, node) for node, operand in carried.items() if (operand, node) not in early_results]
        late_results.append((("made", 0), equations.products[number].operands[0]))
        self.phase("backward", early_results, common, first)
        self.phase("backward_gates", late_results, second, carried)

    def carry(self, early: Results, late: Results, second: Have, is_late: Dependence) -> Have:
        """Return what the second half of a backward reads of the first, and where it stands between them."""
        is_early = Dependence(d_new(self.graph, state) for state in range(len(self.equations.states)))
        nodes = demanded([node for _, node in late], second)
        makes = find_second_half(nodes, is_late, is_early)
        crossing = [node for node in nodes if node not in makes and any(node in other.arguments for other in makes)]
        left = {node: operand for operand, node in reversed(early) if operand[0] == "slot"}
        carried = {node: left[node] for node in crossing if node in left}
        uses = Counter(argument for node in makes for argument in node.arguments)
        uses.update(node for _, node in late)
        for operand, node in late:
            if operand[0] == "d_state":
                part = next((each for each in crossing if each not in carried and _is_summand(each, node, uses)), None)
                if part is not None:
                    carried[part] = operand
        # Where a result of the second half will stand, a value may wait.
        free = [operand for operand, _ in late if operand[0] == "slot"]
        for node in crossing:
            if node not in carried:
                carried[node] = free.pop(0) if free else ("slot", self.slots.add(None))
        return carried

    def lower_feedback(self) -> None:
        """Make what is fed back to the next step, and its backward."""
        equations, graph = self.equations, self.graph
        states = range(len(equations.states))
        for number, product in enumerate(equations.products):
            if product.kind == "feedback":
                found = {**self.leaves("state", "new", states), **self.leaves("step", "step", equations.steps)}
                made: Results = [(("vector", vector), node) for vector, node in enumerate(product.operands)]
                self.phase("feedback", made, found)
                vectors = [(number, vector) for vector in range(len(product.operands))]
                gradients = {
                    **self.leaves("d_operand", "d_vector", vectors),
                    **{d_new(graph, state): ("d_new", state) for state in states},
                }
                zeroth = {} if self.backward.fed_back else {0: d_new(graph, 0)}  # nothing varies with a state
                fed_back = self.backward.fed_back | zeroth
                back: Results = [(("d_new", state), node) for state, node in fed_back.items()]
                back += [
                    (("d_step", equations.steps.index(step)), node) for step, node in self.backward.fed_steps.items()
                ]
                self.phase("feedback_backward", back, found, gradients)


def _is_summand(part: Node, whole: Node, uses: Counter[Node]) -> bool:
    """Whether `whole` is `part` and something else: what is added to the one is then added to the other, only."""
    waiting = [whole]
    while waiting:
        node = waiting.pop()
        if uses[node] != 1:
            continue
        if node is part:
            return True
        if node.operation == "add":
            waiting += node.arguments
        elif node.operation == "fma":
            waiting.append(node.arguments[2])
        elif node.operation == "sub":
            waiting.append(node.arguments[0])
    return False


def _check_count(equations: Equations, what: str, count: int, most: int) -> None:
    if count > most:
        raise ValueError(f"{equations.name}: expected at most {most} {what}, got {count}")


def lower(equations: Equations) -> Lowered:
    """Return a cell as the kernels take it.

    Parameters
    ----------
    equations
        As traced; what is returned holds them simplified.

    Returns
    -------
    Lowered
        The tables of gates and weights, the counts and the programs.

    Raises
    ------
    ValueError
        If no gate reads x through a weight, or the cell has more gradients or keeps more values than the kernels have
        room for.
    """
    if not equations.inputs:
        raise ValueError(f"{equations.name}: expected a gate that reads x through a weight, as x.g does, got none")
    equations = simplified(equations)
    backward = derive(equations)
    kept = find_kept(equations, backward)
    lowering = _Lowering(equations, backward, kept)
    lowering.lower_forward()
    lowering.lower_backward()
    lowering.lower_feedback()
    slots = len(lowering.slots.contents)
    _check_count(equations, "gradient slots", slots, MOST_SLOTS)
    _check_count(equations, "values kept for the backward", len(kept.nodes), MOST_KEPT)
    return Lowered(
        name=equations.name,
        states=equations.states,
        gates=tuple(lowering.slots.gates),
        weights=tuple(lowering.slots.weights),
        steps=equations.steps,
        saved=len(kept.nodes),
        slots=slots,
        vectors=sum(len(product.operands) for product in equations.products if product.kind == "feedback"),
        heads=equations.heads,
        sigmoids=read_by_sigmoids(equations),
        constants=tuple(map(float, lowering.constants)),
        programs=lowering.programs,
        equations=equations,
        backward=backward,
        kept=kept,
    )
