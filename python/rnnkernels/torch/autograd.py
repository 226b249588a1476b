"""Gradients of eager calls: the kernels as a function of PyTorch's autograd.

First derivatives come from the fused backward. What else can be asked for (derivatives of gradients, forward mode)
comes from the kernels again, by runs of the cell's tangents (`duals`), or from `loops`, the cell in PyTorch's own
operations. Not here: calls inside a transform of `torch.func` or under a dispatch mode (`transforms`), and what
`torch.compile` sees (`operators`).
"""

from __future__ import annotations

from typing import Any

import torch

from . import kernels, loops, transforms
from .spec import Options, Spec

Tensors = tuple[torch.Tensor, ...]

# Whether the backward at work was called with retain_graph.
_retains_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)

_NO_OPTIONS = Options(None, None, None, None)  # they stand in the spec


def recurrence(spec: Spec, x: torch.Tensor, tensors: Tensors) -> Tensors:
    """Run a call: output, final states and, where asked for, the sequences of the states after h."""
    recorded = torch.is_grad_enabled() and (x.requires_grad or any(t.requires_grad for t in tensors))
    if recorded or torch.autograd.forward_ad._current_level >= 0:
        return _Recurrence.apply(spec, x, *tensors)  # type: ignore[no-any-return]
    return kernels.forward(spec, x, tensors, False).tensors


class _Recurrence(torch.autograd.Function):  # type: ignore[misc]
    """(spec, x, *tensors) → outputs. In this older form PyTorch spends 20 µs less than on `transforms`' function."""

    @staticmethod
    def forward(ctx: Any, spec: Spec, *given: torch.Tensor) -> Any:
        done = kernels.forward(spec, given[0], given[1:], True)
        results = done.tensors
        ctx.set_materialize_grads(False)
        ctx.spec, ctx.kept = spec, done.kept
        # The results' shapes and nothing more: no derivative reads them, so their owner may change them in place.
        ctx.shapes = [r.shape for r in results]
        ctx.save_for_backward(*given)
        if torch.autograd.forward_ad._current_level >= 0:
            ctx.save_for_forward(*given)
        return results

    @staticmethod
    def backward(ctx: Any, *d_results: Any) -> Any:
        given = ctx.saved_tensors  # raises where one of them was changed in place
        need_x = ctx.needs_input_grad[1]
        if torch.is_grad_enabled() or transforms.at_work():
            return (None, *transforms.gradient(ctx, _NO_OPTIONS, given, d_results, need_x))
        if any(d is not None and torch._C._functorch.is_legacy_batchedtensor(d) for d in d_results):
            return (None, *loops.gradient(ctx.spec, given, d_results))  # of grad(..., is_grads_batched=True)
        found = transforms.backward(ctx.kept, given, d_results, ctx.shapes[1 : ctx.spec.state_count + 1], need_x)
        if not _retains_graph():
            ctx.kept = None  # as saved tensors are freed: who holds the loss does not hold this
        return (None, found.x, *found.tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        loops.check(ctx.spec)
        return transforms.forward_derivative(ctx.spec, ctx.saved_tensors, tangents[1:])
