"""Derivatives that the fused backward has not, from the kernels: of a call of one cell by a call of its dual.

A dual (`rnnkernels.equations.tangent`) runs a cell's states and their tangents. Its forward is J v, its backward the
derivative of the cell's backward: forward mode is one forward, a gradient of a gradient one forward and one backward.
What is differentiated further goes the same way: the call of a dual is a call like any other.

Not here: calls that have no dual, or masks, or tensors on a GPU; `loops` takes those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from rnnkernels.equations.cell import dual_of
from rnnkernels.parameters import cell_info

from . import operators
from .loops import filled

if TYPE_CHECKING:
    from collections.abc import Callable

    from .spec import Spec

Tensors = tuple[torch.Tensor, ...]
Given = tuple[torch.Tensor | None, ...]


def serves(spec: Spec, given: Tensors) -> bool:
    """Whether a call's derivatives come from here."""
    asked = spec.asked
    set_to = [getattr(asked, name) for name in cell_info(asked.cell)["settings"]]
    plain = asked.noise is None and set_to.count(None) == len(set_to) and given[0].device.type == "cpu"
    return plain and dual_of(asked.cell) is not None


class Duals:
    """The derivatives, of calls that `serves` names; `recurrence` runs a call (`transforms.recurrence`)."""

    def __init__(self, recurrence: Callable[..., Tensors]) -> None:
        self._recurrence = recurrence

    def forward_derivative(self, spec: Spec, given: Tensors, tangents: Given) -> Tensors:
        """Return the tangents of the outputs."""
        return self._run(spec, given, _of_inputs(given, tangents))[1]

    def second_derivative(self, spec: Spec, given: Tensors, d_results: Tensors, dd: Given) -> Given:
        """Return the gradient of (inputs, dL/doutputs) ↦ dL/dinputs, for dL'/d(dL/dinputs) = dd."""
        tokens, inputs = _inputs(given)
        v = _of_inputs(given, dd)
        along, pull = torch.func.vjp(lambda *at: self._run(spec, (*tokens, *at), v)[1], *inputs)
        return (*[None] * len(tokens), *pull(d_results), *along)

    def forward_second_derivative(self, spec: Spec, given: Tensors, d_results: Tensors, tangents: Given) -> Tensors:
        """Return the tangents of (inputs, dL/doutputs) ↦ dL/dinputs, of tokens an empty one."""
        tokens, inputs = _inputs(given)
        v = _of_inputs(given, tangents[: len(given)])
        _, pull = torch.func.vjp(lambda *at: self._run(spec, (*tokens, *at), v), *inputs)
        d_along = filled(d_results, tangents[len(given) :])
        return (*[d_results[0].new_empty(0)] * len(tokens), *pull((d_along, d_results)))

    def _run(self, spec: Spec, given: Tensors, tangents: Given) -> tuple[Tensors, Tensors]:
        """Return a call's results and their tangents: output, final states, the sequences of the states after h."""
        asked, count = spec.asked, spec.state_count
        cell = dual_of(asked.cell)
        if cell is None:
            raise ValueError(f"cell: expected one that has a dual, got {asked.cell:s}")
        x, wide = _dual_x(asked.cell, given, tangents[0], spec.names)
        parts, of_tangents = spec.split(given[1:]), spec.split(tangents[1:])
        weights = [_dual_weight(name, parts.weights[name], of_tangents.weights[name], wide) for name in spec.names]
        tensors = [*weights, *(parts.state or ()), *(of_tangents.state or ())]
        tensors += [*(parts.reset_state or ()), *(of_tangents.reset_state or ())]
        if spec.term:
            tensors.append(torch.cat((parts.term, of_tangents.term), -1))
        of_dual = operators.with_tensors(spec)._replace(cell=cell[:], all_states=True, memory="all")
        present = (spec.states, spec.reset_states, spec.term)
        output, *states = self._recurrence(of_dual, spec.names, present, True, x, tuple(tensors))
        final, later = states[: 2 * count], states[2 * count :]
        shown = count - 1 if asked.all_states else 0
        results = (output, *final[:count], *later[:shown])
        return results, (later[count - 1], *final[count:], *later[count : count + shown])


def _inputs(given: Tensors) -> tuple[Tensors, Tensors]:
    """Return x if it is tokens, and what can be differentiated."""
    count = 0 if given[0].is_floating_point() else 1
    return given[:count], given[count:]


def _of_inputs(given: Tensors, tangents: Given) -> Given:
    """Return the tangents of a call's tensors: zeros where none are given; None of tokens, and of an x without."""
    x = tangents[0]
    shown = None if x is None or x.shape != given[0].shape or not given[0].is_floating_point() else x
    return (shown, *filled(given[1:], tangents[1:]))


def _dual_x(cell: str, given: Tensors, tangent: Any, names: tuple[str, ...]) -> tuple[torch.Tensor, bool]:
    """Return x of the dual, and whether x' is in it: not if it is 0, or x is tokens."""
    x = given[0]
    info = cell_info(cell)
    if tangent is None and not info["elements"] and not info["direct"]:
        return x, False
    tangent = torch.zeros_like(x) if tangent is None else tangent
    width = given[1 + names.index("weight_ih")].shape[1]
    pieces = [t[..., :width] for t in (x, tangent)]
    for t in (x, tangent):
        pieces += [t[..., :width]] if info["direct"] else []
        pieces += [t[..., width:]]
    return torch.cat(pieces, -1), True


def _dual_weight(name: str, weight: torch.Tensor, tangent: Any, wide: bool) -> torch.Tensor:
    """Return a parameter of the dual; `wide`: x' stands beside x."""
    if name == "weight_ih" and wide:
        nothing = torch.zeros_like(weight)
        return torch.cat((torch.cat((weight, nothing), 1), torch.cat((tangent, weight), 1)))
    if name == "weight_hh":
        return torch.cat((weight, tangent, weight))
    if name == "bias_hh":
        return torch.cat((weight, tangent, torch.zeros_like(weight)))
    return torch.cat((weight, tangent))
