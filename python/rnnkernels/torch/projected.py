"""The tangents of a call whose h is projected, h = W_hr m, by a call of the cell without the projection.

m is the output of that cell, and what h gives to the gates, W_hh h, is (W_hh W_hr) m: one matrix made before the first
step. The h that a sequence starts from is no product of an m. It stands beside x in that one step, where W_hh
multiplies it. Not here: the tangents of the other cell (`duals`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from rnnkernels.parameters import cell_info

from .rows import order_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .rows import Order
    from .spec import Parts, Spec

Tensors = tuple[torch.Tensor, ...]
Given = tuple[torch.Tensor | None, ...]

_SUFFIX = "_projected"


def without(cell: str) -> str:
    """Return the cell without its projection; a cell that has none as it is."""
    return cell.removesuffix(_SUFFIX) if cell_info(cell)["projected"] else cell


def run(
    of_inner: Callable[[Spec, Tensors, Given], tuple[Tensors, Tensors]], spec: Spec, given: Tensors, tangents: Given
) -> tuple[Tensors, Tensors]:
    """Return a call's results and their tangents: output, final states, the sequences of the states after h.

    Parameters
    ----------
    of_inner
        What does this for a call of the cell without the projection.
    spec, given
        The call.
    tangents
        Of `given`, None where they are zero.
    """
    parts, of_tangents = spec.split(given[1:]), spec.split(tangents[1:])
    order = order_of(spec, given[0])
    inner = spec._replace(
        asked=spec.asked._replace(cell=without(spec.asked.cell)),
        names=tuple(name for name in spec.names if name != "weight_hr"),
    )
    matrix, moved = parts.weights["weight_hr"], of_tangents.weights["weight_hr"]  # (P, H)
    x, d_x = given[0], tangents[0]
    weights, d_weights = dict(parts.weights), dict(of_tangents.weights)
    if spec.states or spec.reset_states:
        (x, d_x), (weights["weight_ih"], d_weights["weight_ih"]) = _beside(order, x, d_x, parts, of_tangents)
    rows, d_rows = parts.weights["weight_hh"], of_tangents.weights["weight_hh"]  # (G·H, P)
    weights["weight_hh"] = rows @ matrix
    d_weights["weight_hh"] = _sum(_product(rows, moved), _product(d_rows, matrix))
    tensors = [weights[name] for name in inner.names]
    d_tensors = [d_weights[name] for name in inner.names]
    for state, d_state in ((parts.state, of_tangents.state), (parts.reset_state, of_tangents.reset_state)):
        if state is not None and d_state is not None:
            tensors += [state[0].new_zeros(len(state[0]), matrix.shape[1]), *state[1:]]
            d_tensors += [None, *d_state[1:]]
    if spec.term:
        tensors.append(parts.term)
        d_tensors.append(of_tangents.term)
    results, along = of_inner(inner, (x, *tensors), (d_x, *d_tensors))

    def project(m: torch.Tensor) -> torch.Tensor:
        return m @ matrix.T

    def d_project(m: torch.Tensor, d_m: torch.Tensor) -> torch.Tensor:
        return d_m @ matrix.T if moved is None else d_m @ matrix.T + m @ moved.T

    final, d_final = project(results[1]), d_project(results[1], along[1])
    if parts.state is not None and of_tangents.state is not None:
        first, d_first = parts.state[0], of_tangents.state[0]
        ran = _ran(order, len(first))
        final = torch.where(ran, final, first)
        d_final = torch.where(ran, d_final, torch.zeros_like(first) if d_first is None else d_first)
    return (project(results[0]), final, *results[2:]), (d_project(results[0], along[0]), d_final, *along[2:])


def _beside(order: Order, x: torch.Tensor, d_x: Any, parts: Parts, of_tangents: Parts) -> Any:
    """Return x and weight_ih, each with its tangent, where the h that sequences start from stands beside x."""
    weight, d_weight = parts.weights["weight_ih"], of_tangents.weights["weight_ih"]
    rows, d_rows = parts.weights["weight_hh"], of_tangents.weights["weight_hh"]
    if not x.is_floating_point():
        x = torch.nn.functional.one_hot(x, weight.shape[1]).to(weight.dtype)
    zero = torch.zeros_like(next(of[0] for of in (parts.state, parts.reset_state) if of is not None))
    found = []
    for side, each in ((x, parts), (d_x, of_tangents)):
        given = [None if of is None else of[0] for of in (each.state, each.reset_state)]
        initial, reset = ((zero if h is None else h,) for h in given)
        begun = order.begin(initial, reset, [zero.shape[1]], zero)[0][: len(order.first)]
        behind = x.new_zeros(x.shape[0] * x.shape[1], zero.shape[1]).index_copy(0, order.first, begun)
        behind = behind.reshape(*x.shape[:2], zero.shape[1])
        found.append(torch.cat((torch.zeros_like(x) if side is None else side, behind), -1))
    moved = [torch.zeros_like(w) if d is None else d for w, d in ((weight, d_weight), (rows, d_rows))]
    return found, (torch.cat((weight, rows), 1), torch.cat(moved, 1))


def _ran(order: Order, batch: int) -> torch.Tensor:
    """Return which rows have a step at all, (B, 1)."""
    if order.schedule is not None:
        return torch.from_numpy(order.schedule.last >= 0)[:, None]
    return torch.full((batch, 1), len(order.first) > 0)


def _product(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one @ other


def _sum(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else one + other
