"""The tangents of a call by two runs of the kernels: the call itself, and its cell's linear cell.

The first run gives the states after every step. What a step's tangents are multiplied by, and what the tangents of
inputs and parameters add to them, is then computed for all steps at once, in operations of PyTorch; the second run
takes the tangents from step to step (`rnnkernels.equations.linear`). All three can be differentiated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from rnnkernels.equations import blocks
from rnnkernels.equations.linear import AT_REST

from . import operators
from .loops import LIBRARY
from .rows import order_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rnnkernels._asked import Asked
    from rnnkernels.equations.derived import LinearCell
    from rnnkernels.equations.graph import Equations, Node
    from rnnkernels.equations.linear import Linear

    from .spec import Spec

Tensors = tuple[torch.Tensor, ...]
Given = tuple[torch.Tensor | None, ...]


def run(
    recurrence: Callable[..., Tensors], made: LinearCell, spec: Spec, given: Tensors, tangents: Given
) -> tuple[Tensors, Tensors]:
    """Return a call's results and their tangents: output, final states, the sequences of the states after h.

    Parameters
    ----------
    recurrence
        What runs a call (`transforms.recurrence`).
    made
        Of the call's cell.
    spec, given
        The call.
    tangents
        Of `given`, None where they are zero.
    """
    asked, count, x = spec.asked, spec.state_count, given[0]
    parts, of_tangents = spec.split(given[1:]), spec.split(tangents[1:])
    whole = operators.with_tensors(spec)._replace(all_states=True, memory="all")
    final, sequences, shown = _run_showing(recurrence, made, whole, spec, given)
    output = sequences[0]

    order, width = order_of(spec, x), output.shape[-1]
    begun = order.begin(parts.state, parts.reset_state, [width] * count, output)
    before = tuple(order.before(b, order.gather(s)) for b, s in zip(begun, sequences, strict=True))
    known, moving = (
        _Side(
            None if rows is None else order.gather(rows),
            each.weights,
            None if each.term is None else order.of_rows(order.of_sequences(each.term)),
        )
        for rows, each in ((x, parts), (tangents[0], of_tangents))
    )
    values = dict(zip((*made.of.new, *made.of.shown), map(order.gather, (*sequences, *shown)), strict=False))
    d_x = tangents[0]
    of_x_alone = d_x is not None and _none((*of_tangents.weights.values(), of_tangents.term))
    fed = made.fed if of_x_alone else None
    steps = _Steps(made.of, before, known, moving, width)
    inputs = [value.expand(len(before[0]), width) for value in steps.results(values, fed is not None)]
    cell = made.cell if fed is None else fed
    split = len(cell.equations.steps)
    columns = inputs[split:]
    as_they_are = torch.eye(len(columns) * width, dtype=output.dtype)
    if fed is not None and d_x is not None:
        weight = parts.weights["weight_ih"]
        x_linear = torch.cat((d_x, *map(order.scatter, (*columns, *inputs[:split]))), -1)
        weights = {"weight_ih": torch.block_diag(weight, as_they_are) if columns else weight}
    else:
        columns = columns or [output.new_zeros(len(before[0]), 1)]
        x_linear = order.scatter(torch.cat((*columns, *inputs[:split]), -1))
        weights = {"weight_ih": as_they_are if len(as_they_are) > 0 else output.new_zeros(width, 1)}
    weights |= _weights(made.of.cell, cell.equations, parts.weights, width)
    given_states = [
        torch.zeros_like(s) if d is None else d
        for of, of_tangent in ((parts.state, of_tangents.state), (parts.reset_state, of_tangents.reset_state))
        for s, d in zip(of or (), of_tangent or (), strict=True)
    ]
    of_linear = whole.with_equations(cell)
    here = (spec.states, spec.reset_states, False)
    moved, *rest = recurrence(of_linear, tuple(weights), here, False, x_linear, (*weights.values(), *given_states))
    later = slice(1, count if asked.all_states else 1)
    ends, along = tuple(rest[:count]), (moved, *rest[count:])
    return (output, *final, *sequences[later]), (moved, *ends, *along[later])


def _run_showing(
    recurrence: Callable[..., Tensors], made: LinearCell, whole: Asked, spec: Spec, given: Tensors
) -> tuple[Tensors, Tensors, Tensors]:
    """Run a call itself: final states, the sequences of all states, and those of what its cell can show."""
    count, parts = spec.state_count, spec.split(given[1:])
    present, tensors = (spec.states, spec.reset_states, spec.term), given[1:]
    more = len(made.of.shown) if made.showing is not None else 0
    if made.showing is not None:
        whole = whole.with_equations(made.showing)
        begun = [(*of, *[torch.zeros_like(of[0])] * more) for of in (parts.state, parts.reset_state) if of is not None]
        term = () if parts.term is None else (parts.term,)
        tensors = (*parts.weights.values(), *(s for of in begun for s in of), *term)
    output, *rest = recurrence(whole, spec.names, present, False, given[0], tensors)
    states = (output, *rest[count + more :])
    return tuple(rest[:count]), states[:count], states[count:]


def _none(tangents: tuple[Any, ...]) -> bool:
    return all(tangent is None for tangent in tangents)


def _weights(of: Equations, to: Equations, weights: dict[str, Any], width: int) -> dict[str, torch.Tensor]:
    """Return the parameters that a linear cell has of the first cell's."""
    found: dict[str, Any] = {name: weights[name] for name in ("weight_hh", "weight_gg") if name in weights}
    if to.weights:
        places = [of.weights.index(weight) for weight in to.weights]
        found["weight_diagonal"] = torch.cat([_piece(weights["weight_diagonal"], k, width) for k in places])
    return found


class _Side:
    """What a step reads beside its states, of all rows: values, or tangents of which some are None."""

    def __init__(self, x: Any, weights: dict[str, Any], term: Any) -> None:
        self.x, self.weights, self.term = x, weights, term


class _Steps:
    """All steps at once, at states that are known: what the linear cell reads."""

    def __init__(self, of: Linear, before: Tensors, known: _Side, moving: _Side, width: int) -> None:
        self.of, self.cell, self.before, self.width = of, of.cell, before, width
        self.known, self.moving = known, moving
        self.inputs = known.weights["weight_ih"].shape[1]
        self.values: dict[Node, Any] = {}  # None of a tangent that is zero
        self.rows: dict[tuple[int, bool], Any] = {}

    def results(self, known: dict[Node, torch.Tensor], fed: bool) -> Tensors:
        """Return what the linear cell reads, each of shape (N, H), (H,) or (); some values are known."""
        values, zero = self.values, self.before[0].new_zeros(())
        values.update(known)
        for node in self.of.nodes(known, fed):
            is_tangent = node in self.of.tangents
            values[node] = self.computed(node, is_tangent) if node.arguments else self.leaf(node, is_tangent)
        read = self.of.fed_coefficients if fed else (*self.of.coefficients, *self.of.added)
        wanted = (values[node] for node in read)
        return tuple(zero if value is None else value for value in wanted)

    def computed(self, node: Node, is_tangent: bool) -> Any:
        """Return the value of an operation; tangents that are zero are left out of sums, and make no others."""
        arguments = [self.values[argument] for argument in node.arguments]
        if is_tangent and any(value is None for value in arguments):
            if all(self.values[a] is None for a in node.arguments if a in self.of.tangents):
                return None
            if node.operation == "add":
                return next(a for a in arguments if a is not None)
            zero = self.before[0].new_zeros(())
            arguments = [zero if a is None else a for a in arguments]
        return LIBRARY.operations[node.operation](*arguments)

    def leaf(self, node: Node, is_tangent: bool) -> Any:
        """Return the value of a leaf, or its tangent."""
        operation, attribute = node.operation, cast("Any", node.attribute)
        if is_tangent and isinstance(attribute, tuple) and attribute[0] == AT_REST:
            attribute = attribute[1]
        side = self.moving if is_tangent else self.known
        if operation == "constant":
            return LIBRARY.operations["constant"](attribute, self.before[0])
        if operation == "state":
            return self.before[attribute]
        if operation == "input":
            return _piece(self.part(is_tangent), self.cell.inputs.index(attribute), self.width)
        if operation == "product":
            number, gate = attribute
            return _piece(self.row(number, is_tangent), self.cell.products[number].gates.index(gate), self.width)
        if operation == "weight":
            return _piece(side.weights["weight_diagonal"], self.cell.weights.index(attribute), self.width)
        if side.x is None:
            return None
        if operation == "direct":
            return side.x[..., : self.inputs]
        return _piece(side.x[..., self.inputs :], self.cell.steps.index(attribute), self.width)

    def part(self, is_tangent: bool) -> Any:
        """Return what x gives to the gates that it feeds, (N, G·H), or the tangent of that."""
        if (-1, is_tangent) not in self.rows:
            x, moved = (None if s.x is None else self.fed(s.x) for s in (self.known, self.moving))
            sums = self.linear((x, moved), "weight_ih", "bias_ih", None, 1, is_tangent)
            self.rows[-1, is_tangent] = _sum(sums, (self.moving if is_tangent else self.known).term)
        return self.rows[-1, is_tangent]

    def fed(self, x: torch.Tensor) -> torch.Tensor:
        """Return x without the inputs of every step; tokens as they are."""
        return x[..., : self.inputs] if x.is_floating_point() else x

    def row(self, number: int, is_tangent: bool) -> Any:
        """Return a product's rows (N, G·H), or their tangent at states that stand still."""
        if (number, is_tangent) not in self.rows:
            product = self.cell.products[number]
            values, moved = zip(*self.of.operands[number], strict=True)
            vector = self.joined(values), self.joined(moved) if is_tangent else None
            several = len(values) > 1
            name, bias, gates = ("weight_gg", None, None) if several else ("weight_hh", "bias_hh", product.gates)
            self.rows[number, is_tangent] = self.linear(vector, name, bias, gates, product.heads, is_tangent)
        return self.rows[number, is_tangent]

    def joined(self, vectors: tuple[Node, ...]) -> Any:
        """Return vectors side by side, (N, V·H); None where all are zero, as tangents may be."""
        found = [None if v.operation == "constant" and v.attribute == 0.0 else self.values[v] for v in vectors]
        if all(value is None for value in found):
            return None
        zero = self.before[0].new_zeros(())
        filled = [(zero if value is None else value).expand_as(self.before[0]) for value in found]
        return filled[0] if len(filled) == 1 else torch.cat(filled, -1)

    def linear(self, vector: Any, name: str, bias: str | None, gates: Any, heads: int, is_tangent: bool) -> Any:
        """Return W v + b, or its tangent W' v + W v' + b'; the rows of `gates` alone, None: all."""
        sides = (self.known, self.moving)
        weight, weight_moved = (self.chosen(s.weights.get(name), gates) for s in sides)
        of_bias = self.chosen(sides[is_tangent].weights.get(bias), gates) if bias else None
        if not is_tangent:
            return _sum(_multiply(weight, vector[0], heads), of_bias)
        return _sum(_sum(_multiply(weight_moved, vector[0], heads), _multiply(weight, vector[1], heads)), of_bias)

    def chosen(self, weight: Any, gates: Any) -> Any:
        """Return the rows of weight_hh or bias_hh that belong to some gates; of a matrix that is not there None."""
        own = self.cell.rows
        if weight is None or gates is None or gates == own:
            return weight
        places = [own.index(gate) for gate in gates]
        if places == list(range(places[0], places[-1] + 1)):
            return weight[places[0] * self.width : (places[-1] + 1) * self.width]
        return torch.cat([weight[k * self.width : (k + 1) * self.width] for k in places])


def _piece(tensor: Any, place: int, width: int) -> Any:
    return None if tensor is None else tensor[..., place * width : (place + 1) * width]


def _sum(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else one + other


def _multiply(weight: Any, vector: Any, heads: int) -> Any:
    """Return W v of rows (N, ·), or of tokens; None where either is None."""
    if weight is None or vector is None:
        return None
    if not vector.is_floating_point():
        return weight.T[vector]
    return vector @ weight.T if heads == 1 else blocks.multiply(vector, blocks.blocks_of(weight.T, heads))
