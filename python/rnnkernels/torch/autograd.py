"""Gradients: the kernels as functions of PyTorch's autograd, with the transforms of `torch.func`.

First derivatives come from the fused backward. What else can be asked for (derivatives of gradients, forward mode) is
taken through `loops`, the same cell written in PyTorch's own operations. Not here: what `torch.compile` sees
(`operators`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rnnkernels._call import present

from . import kernels, loops
from .kernels import Kept
from .spec import Spec

Tensors = tuple[torch.Tensor, ...]

# Whether the backward at work was called with retain_graph.
_retains_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)


def recurrence(spec: Spec, x: torch.Tensor, tensors: Tensors) -> Tensors:
    """Run a call: output, final states and, where asked for, the sequences of the states after h."""
    recorded = torch.is_grad_enabled() and (x.requires_grad or any(t.requires_grad for t in tensors))
    if transforming():
        return _Recurrence.apply(spec, x, *tensors)[:-1]  # type: ignore[no-any-return]
    if recorded or torch.autograd.forward_ad._current_level >= 0:
        return _Recorded.apply(spec, x, *tensors)[:-1]  # type: ignore[no-any-return]
    return kernels.forward(spec, x, tensors, False).tensors


def transforming() -> bool:
    """Whether a transform of `torch.func` is at work."""
    return bool(torch._C._are_functorch_transforms_active())


class _Recurrence(torch.autograd.Function):  # type: ignore[misc]
    """(spec, x, *tensors) → (*outputs, what the backward needs)."""

    @staticmethod
    def forward(spec: Spec, x: torch.Tensor, *tensors: torch.Tensor) -> Any:
        done = kernels.forward(spec, x, tensors, True)
        return (*done.tensors, done.kept)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        spec, *given = inputs
        *results, kept = output
        ctx.set_materialize_grads(False)
        ctx.spec, ctx.kept, ctx.given = spec, kept, len(given)
        # Not the final states, which no derivative reads: their owner may change them in place. Only their shapes.
        ends = 1 + spec.state_count
        ctx.shapes = [s.shape for s in results[1:ends]]
        ctx.save_for_backward(*given, results[0], *results[ends:])
        ctx.save_for_forward(*given)

    @staticmethod
    def backward(ctx: Any, *d_results: Any) -> Any:
        saved = ctx.saved_tensors  # raises where one of them was changed in place
        given, output = saved[: ctx.given], saved[ctx.given]
        final = [output.new_empty(()).expand(shape) for shape in ctx.shapes]
        need_x = ctx.needs_input_grad[1]
        transformed = transforming()
        kept = ctx.kept if transformed else ctx.kept.following(given, output)
        if torch.is_grad_enabled() or transformed:
            results = (output, *final, *saved[ctx.given + 1 :])
            zeros = (output.new_zeros(r.shape) if d is None else d for d, r in zip(d_results, results, strict=False))
            grads = _Gradient.apply(ctx.spec, kept, need_x, len(given), *given, *zeros)
            return (None, grads[0] if need_x else None, *grads[1:])
        if any(d is not None and torch._C._functorch.is_legacy_batchedtensor(d) for d in d_results):
            return (None, *loops.gradient(ctx.spec, given, d_results[:-1]))  # of grad(..., is_grads_batched=True)
        count = ctx.spec.state_count
        found = kept.backward(d_results[0], d_results[1 : count + 1], d_results[count + 1 : -1], final, need_x)
        if not _retains_graph():
            ctx.kept = None  # as saved tensors are freed: who holds the loss does not hold this
        return (None, found.x, *found.tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        given = ctx.saved_tensors[: ctx.given]
        return (*loops.forward_derivative(ctx.spec, given, tangents[1:]), None)

    @staticmethod
    def vmap(info: Any, in_dims: Any, spec: Spec, x: torch.Tensor, *tensors: torch.Tensor) -> Any:
        dims = in_dims[1:]
        given = (x, *tensors)
        weights = slice(1, 1 + len(spec.names))
        if spec.asked.noise is not None:
            raise NotImplementedError("vmap: rnnkernels' masks (`Noise`) belong to rows, expected none")
        if all(d is None for d in dims[weights]) and spec.walk is None:
            results = _fold(info.batch_size, dims, spec, given)
        else:
            each = [_Recurrence.apply(spec, *_sample(given, dims, n))[:-1] for n in range(info.batch_size)]
            results = tuple(torch.stack(r) for r in zip(*each, strict=True))
        return (*results, None), (*[0] * len(results), None)


class _Recorded(torch.autograd.Function):  # type: ignore[misc]
    """`_Recurrence` where no transform is at work: PyTorch spends 20 µs less on a function of this older form."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        output = _Recurrence.forward(*given)
        _Recurrence.setup_context(ctx, given, output)
        return output

    backward = _Recurrence.backward
    jvp = _Recurrence.jvp


class _Gradient(torch.autograd.Function):  # type: ignore[misc]
    """(spec, kept, need x, number of inputs, *inputs, *dL/doutputs) → dL/dinputs.

    Of x there is a gradient only if it is needed, else an empty tensor. `kept` may be None: the forward is run again.
    """

    @staticmethod
    def forward(spec: Spec, kept: Kept | None, need_x: bool, count: int, *tensors: torch.Tensor) -> Any:
        (x, *rest), d_results = tensors[:count], tensors[count:]
        if kept is None:
            kept = present(kernels.forward(spec, x, tuple(rest), True).kept, "what a forward keeps")
        ends = 1 + spec.state_count
        found = kept.backward(d_results[0], d_results[1:ends], d_results[ends:], d_results[1:ends], need_x)
        return (x.new_empty(0) if found.x is None else found.x, *found.tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004
        spec, _, need_x, count, *tensors = inputs
        ctx.spec, ctx.need_x, ctx.count = spec, need_x, count
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *dd: Any) -> Any:
        saved = ctx.saved_tensors
        given, d_results = saved[: ctx.count], saved[ctx.count :]
        found = loops.second_derivative(ctx.spec, given, d_results, dd)
        return (None, None, None, None, *found)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        saved = ctx.saved_tensors
        found = loops.forward_second_derivative(ctx.spec, saved[: ctx.count], saved[ctx.count :], tangents[4:])
        return (found[0] if ctx.need_x else found[0].new_empty(0), *found[1:])

    @staticmethod
    def vmap(info: Any, in_dims: Any, spec: Spec, kept: Any, need_x: bool, count: int, *tensors: torch.Tensor) -> Any:  # noqa: ARG004
        # Each sample has parameter gradients of its own, which a fused backward sums: so one after another.
        dims = in_dims[4:]
        each = [_Gradient.apply(spec, None, need_x, count, *_sample(tensors, dims, n)) for n in range(info.batch_size)]
        results = tuple(torch.stack(r) for r in zip(*each, strict=True))
        return results, (0,) * len(results)


def _sample(tensors: tuple[torch.Tensor, ...], dims: tuple[int | None, ...], n: int) -> Tensors:
    return tuple(t if d is None else t.select(d, n) for t, d in zip(tensors, dims, strict=True))


def _fold(count: int, dims: tuple[int | None, ...], spec: Spec, given: Tensors) -> Tensors:
    """Run all samples as rows of one batch: (N samples, T, B, I) as (T, N·B, I)."""
    names = len(spec.names)

    def fold(tensor: torch.Tensor, dim: int | None, axis: int) -> torch.Tensor:
        """Put the samples before `axis`, where the rows are, and join the two."""
        samples = tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        return samples.movedim(0, axis).flatten(axis, axis + 1)

    def tile(rows: Any, axis: int) -> Any:
        return None if rows is None else np.concatenate([rows] * count, axis)

    x = fold(given[0], dims[0], 1)
    rest = [fold(t, d, 0) for t, d in zip(given[1 + names :], dims[1 + names :], strict=True)]
    asked = spec.asked
    wide = spec._replace(asked=asked._replace(lengths=tile(asked.lengths, 0), resets=tile(asked.resets, 1)))
    results = _Recurrence.apply(wide, x, *given[1 : 1 + names], *rest)[:-1]

    def unfold(tensor: torch.Tensor, axis: int) -> torch.Tensor:
        return tensor.unflatten(axis, (count, tensor.shape[axis] // count)).movedim(axis, 0)

    ends = 1 + spec.state_count
    return (
        unfold(results[0], 1),
        *(unfold(r, 0) for r in results[1:ends]),
        *(unfold(r, 1) for r in results[ends:]),
    )
