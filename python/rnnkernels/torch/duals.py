"""Derivatives that the fused backward has not, from the kernels: of a call by a run of states and their tangents.

Of a cell of one product that is a call of its dual (`rnnkernels.equations.tangent`), which runs the cell's states and
their tangents at once; of any other a call of its linear cell behind its own (`linear`). A forward is J v, its backward
the derivative of the cell's backward: forward mode is one forward, a gradient of a gradient one forward and one
backward. What is differentiated further goes the same way: the call of a dual is a call like any other.

Not here: calls whose cell has neither, or masks, or tensors on a GPU; `loops` takes those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from rnnkernels.equations.cell import Cell
from rnnkernels.equations.derived import Derived, Variant, derived
from rnnkernels.parameters import cell_info

from . import operators, projected
from .loops import filled

if TYPE_CHECKING:
    from collections.abc import Callable

    from .spec import Spec

Tensors = tuple[torch.Tensor, ...]
Given = tuple[torch.Tensor | None, ...]


def serves(spec: Spec, given: Tensors) -> bool:
    """Whether a call's derivatives come from here."""
    return given[0].device.type == "cpu" and _derived(spec) is not None


def _derived(spec: Spec) -> Derived | None:
    """Return what derives a call's cell; of one whose h is projected, what derives the cell without."""
    asked = spec.asked
    if asked.noise is not None and asked.noise.masks and not asked.noise.expected:
        return None
    return derived(Variant(projected.without(asked.cell), *asked.of_a_step))


class Duals:
    """The derivatives, of calls that `serves` names; `recurrence` runs a call (`transforms.recurrence`)."""

    def __init__(self, recurrence: Callable[..., Tensors]) -> None:
        self._recurrence = recurrence

    def forward_derivative(self, spec: Spec, given: Tensors, tangents: Given) -> Tensors:
        """Return the tangents of the outputs."""
        return self._run(spec, given, _known(given, tangents))[1]

    def second_derivative(self, spec: Spec, given: Tensors, d_results: Tensors, dd: Given) -> Given:
        """Return the gradient of (inputs, dL/doutputs) ↦ dL/dinputs, for dL'/d(dL/dinputs) = dd."""
        tokens, inputs = _inputs(given)
        v = _known(given, dd)
        along, pull = torch.func.vjp(lambda *at: self._run(spec, (*tokens, *at), v)[1], *inputs)
        return (*[None] * len(tokens), *pull(d_results), *along)

    def forward_second_derivative(self, spec: Spec, given: Tensors, d_results: Tensors, tangents: Given) -> Tensors:
        """Return the tangents of (inputs, dL/doutputs) ↦ dL/dinputs, of tokens an empty one."""
        tokens, inputs = _inputs(given)
        v = _known(given, tangents[: len(given)])
        _, pull = torch.func.vjp(lambda *at: self._run(spec, (*tokens, *at), v), *inputs)
        d_along = filled(d_results, tangents[len(given) :])
        return (*[d_results[0].new_empty(0)] * len(tokens), *pull((d_along, d_results)))

    def _run(self, spec: Spec, given: Tensors, tangents: Given) -> tuple[Tensors, Tensors]:
        """Return a call's results and their tangents: output, final states, the sequences of the states after h."""
        made = _derived(spec)
        if made is None:
            raise ValueError(f"cell: expected one that has a dual or a linear cell, got {spec.asked.cell:s}")
        if cell_info(spec.asked.cell)["projected"]:
            return projected.run(self._run, spec, given, tangents)
        if isinstance(made, Cell):
            return self._run_dual(made, spec, given, (tangents[0], *filled(given[1:], tangents[1:])))
        from . import linear  # noqa: PLC0415 - with it what makes linear cells, which most programs never ask for

        return linear.run(self._recurrence, made, spec, given, tangents)

    def _run_dual(self, cell: Cell, spec: Spec, given: Tensors, tangents: Given) -> tuple[Tensors, Tensors]:
        asked, count = spec.asked, spec.state_count
        x, wide = _dual_x(asked.cell, given, tangents[0], spec.names)
        parts, of_tangents = spec.split(given[1:]), spec.split(tangents[1:])
        weights = [_dual_weight(name, parts.weights[name], of_tangents.weights[name], wide) for name in spec.names]
        tensors = [*weights, *(parts.state or ()), *(of_tangents.state or ())]
        tensors += [*(parts.reset_state or ()), *(of_tangents.reset_state or ())]
        if spec.term:
            tensors.append(torch.cat((parts.term, of_tangents.term), -1))
        of_dual = operators.with_tensors(spec).with_equations(cell)._replace(all_states=True, memory="all")
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


def _known(given: Tensors, tangents: Given) -> Given:
    """Return the tangents of a call's tensors, None where they are zero: not given, or empty as not needed."""
    return tuple(
        None if d is None or d.shape != t.shape or not t.is_floating_point() else d
        for t, d in zip(given, tangents, strict=True)
    )


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
