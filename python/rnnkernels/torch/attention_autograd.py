"""Who runs a call of the attending recurrence: the kernels through autograd, an operator, or the loop.

First derivatives come from the fused backward. What else can be asked for (derivatives of gradients, forward mode,
`vmap`) is taken through `attention_loop`. Not here: the operators (`attention_operators`), which a compiler and a
dispatch mode see in the place of a call.
"""

from __future__ import annotations

from typing import Any

import torch

from . import attention_kernels as kernels
from . import attention_loop as loop
from . import attention_operators as operators
from . import transforms
from .attention_call import Attended, Attending, Given, Layout, Tensors, flatten, restore
from .autograd import _retains_graph

Kept = Any  # a reserve, or its bytes in a tensor where an operator ran


def attend(asked: Attending, given: Given) -> Attended:
    """Run a call."""
    if torch.jit.is_tracing():  # a trace would have this call's numbers
        raise NotImplementedError("torch.jit.trace: expected layers of PyTorch's; torch.export takes rnnkernels'")
    layout, tensors = flatten(asked, given)
    if (
        torch.compiler.is_compiling()
        or not (given.x.is_cpu or given.x.is_cuda)
        or not transforms.PLAIN.issuperset(map(type, tensors))
    ):
        return operators.call(asked, given)
    transformed = transforms.at_work()
    if not transformed and not transforms.recorded(given.x, tensors):
        return operators.call(asked, given) if transforms.watched() else kernels.forward(asked, given, False)[0]
    if transformed and transforms.functionalized():
        return operators.call(asked, given)
    results = list(_Attend.apply(layout, *tensors)[:-1])
    places = results.pop() if asked.hard else None
    output, *final, weights, contexts = results
    return Attended(output, tuple(final), weights, contexts, places, None)


class _Attend(torch.autograd.Function):  # type: ignore[misc]
    """(layout, *tensors) → (output, *final states, weights, contexts, places of hard attention, what is kept)."""

    @staticmethod
    def forward(layout: Layout, *tensors: torch.Tensor) -> Any:
        done, kept = _forward(layout, tensors)
        places = () if done.places is None else (done.places,)
        return (done.output, *done.final, done.weights, done.contexts, *places, kept)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        layout, *tensors = inputs
        *results, kept = output
        places = (results.pop(),) if layout.asked.hard else ()
        ctx.mark_non_differentiable(*places)
        ctx.set_materialize_grads(False)
        ctx.layout, ctx.kept = layout, kept
        ctx.shapes = [r.shape for r in results]
        # Who changes one of these in place before the backward is told so by PyTorch.
        ctx.save_for_backward(*tensors, results[0], *results[-2:], *places)
        ctx.save_for_forward(*tensors, *places)

    @staticmethod
    def backward(ctx: Any, *d_all: Any) -> Any:
        saved = [torch._C._functorch.unwrap_if_dead(tensor) for tensor in ctx.saved_tensors]
        layout: Layout = ctx.layout
        places = saved.pop() if layout.asked.hard else None
        *tensors, output, weights, contexts = saved
        d_results = d_all[: len(ctx.shapes)]
        need_x = ctx.needs_input_grad[1]
        # Of grad(..., is_grads_batched=True):
        batched = any(d is not None and torch._C._functorch.is_legacy_batchedtensor(d) for d in d_results)
        if batched or torch.is_grad_enabled() or transforms.at_work():
            like = tensors[1]
            filled = [like.new_zeros(s) if d is None else d for d, s in zip(d_results, ctx.shapes, strict=True)]
            looped, given = _with_places(layout, tensors, places)
            found = (output.detach(), weights.detach(), contexts.detach(), places)
            grads = (
                loop.gradient(looped, given, filled)
                if batched
                else _Gradient.apply(looped, ctx.kept, found, need_x, *given, *filled)
            )
        else:
            found = (output, weights, contexts, places)
            grads = _backward(layout, tuple(tensors), found, ctx.kept, d_results, need_x)
            if not _retains_graph():
                ctx.kept = None  # as saved tensors are freed: who holds the loss does not hold this
        return (None, grads[0] if need_x else None, *grads[1:], *[None] * len(layout.options))

    @staticmethod
    def jvp(ctx: Any, _: Any, *tangents: Any) -> Any:
        layout, tensors = ctx.layout, ctx.saved_tensors
        places = None
        if layout.asked.hard:
            *tensors, places = tensors
        looped, given = _with_places(layout, tensors, places)
        found = loop.forward_derivative(looped, given, tangents)
        return (*found, *[None] * layout.asked.hard, None)

    @staticmethod
    def vmap(info: Any, in_dims: Any, layout: Layout, *tensors: Any) -> Any:  # noqa: ARG004
        if layout.asked.noise is not None and not layout.asked.noise.expected:
            raise NotImplementedError("vmap: rnnkernels' masks (`Noise`) belong to rows, expected none")
        if layout.asked.hard:
            raise NotImplementedError("vmap: what hard attention draws belongs to rows, expected soft attention")
        results = torch.vmap(lambda *given: loop.results(layout, given), in_dims[1:])(*tensors)
        return (*results, None), (*[0] * len(results), None)


class _Gradient(torch.autograd.Function):  # type: ignore[misc]
    """(layout, kept, what a forward found, *tensors, *dL/dresults) → dL/d(tensors that can be differentiated)."""

    @staticmethod
    def forward(layout: Layout, kept: Kept, found: Any, need_x: bool, *arguments: torch.Tensor) -> Any:
        tensors, d_results = _parts(layout, arguments)
        plain = _without_places(layout)
        of_call = tensors[: plain.differentiable + len(plain.options)]
        if kept is None:  # what a transform kept of many samples
            kept = _forward(plain, of_call)[1]
        grads = _backward(plain, of_call, found, kept, d_results, need_x)
        return tuple(d_results[0].new_empty(0) if grad is None else grad for grad in grads)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004
        layout, _, _, need_x, *arguments = inputs
        ctx.layout, ctx.need_x = layout, need_x
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*arguments)
        ctx.save_for_forward(*arguments)

    @staticmethod
    def backward(ctx: Any, *dd: Any) -> Any:
        tensors, d_results = _parts(ctx.layout, ctx.saved_tensors)
        return (None, None, None, None, *loop.second_derivative(ctx.layout, tensors, d_results, dd))

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        tensors, d_results = _parts(ctx.layout, ctx.saved_tensors)
        given, d_tangents = _parts(ctx.layout, tangents[4:])
        found = loop.forward_second_derivative(ctx.layout, tensors, d_results, given, d_tangents)
        return (found[0] if ctx.need_x else found[0].new_empty(0), *found[1:])

    @staticmethod
    def vmap(info: Any, in_dims: Any, layout: Layout, _: Kept, found: Any, need_x: bool, *arguments: Any) -> Any:  # noqa: ARG004
        def gradient(*one: torch.Tensor) -> Any:
            return loop.gradient(layout, *_parts(layout, one))

        results = torch.vmap(gradient, in_dims[4:])(*arguments)
        return results, (0,) * len(results)


def _parts(layout: Layout, arguments: Any) -> tuple[Any, Any]:
    count = layout.differentiable + len(layout.options)
    return tuple(arguments[:count]), tuple(arguments[count:])


def _with_places(layout: Layout, tensors: Any, places: torch.Tensor | None) -> tuple[Layout, Tensors]:
    """Return a call that takes the places that were drawn: the loop draws none."""
    if places is None:
        return layout, tuple(tensors)
    return layout._replace(options=(*layout.options, "places")), (*tensors, places)


def _without_places(layout: Layout) -> Layout:
    return layout._replace(options=tuple(name for name in layout.options if name != "places"))


def _forward(layout: Layout, tensors: Tensors) -> tuple[Attended, Kept]:
    """Run a call on tensors that no transform wraps, and keep what its backward needs."""
    given = restore(layout, tensors)
    if transforms.watched():
        return operators.forward(layout.asked, given, True)
    return kernels.forward(layout.asked, given, True)


def _backward(layout: Layout, tensors: Tensors, found: Any, kept: Kept, d_results: Any, need_x: bool) -> Any:
    d_output, *d_final, d_weights, d_contexts = d_results
    if transforms.watched() or isinstance(kept, torch.Tensor):
        return operators.backward(layout, tensors, found, kept, d_output, d_final, (d_weights, d_contexts), need_x)
    return kernels.backward(layout, tensors, found, kept, d_output, d_final, (d_weights, d_contexts), need_x)
