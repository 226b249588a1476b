"""Calls that something looks into: transforms of `torch.func`, and dispatch modes (`make_fx`, counters, recorders).

A transform meets the functions here, which have a rule for each. Where the tensors are plain at last and a mode is
active, the registered operators run (`operators`), which the mode sees; else the kernels do. Options that are tensors
stay tensors until then, so a transform may map them. Not here: what eager calls take, which is shorter (`autograd`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from . import duals, kernels, loops, operators
from .spec import Options, Spec, make_spec, take_options, with_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rnnkernels._asked import Asked

Tensors = tuple[torch.Tensor, ...]
Kept = Any  # a `kernels.Kept` or an `operators.Kept`

PLAIN = {torch.Tensor, torch.nn.Parameter}  # and no subclass, which stands for something else

_FIRST = 1 + len(Options._fields)  # where x stands among the arguments of the functions below

at_work = torch._C._are_functorch_transforms_active  # whether a transform is
_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._is_torch_function_mode_enabled


def watched() -> bool:
    """Whether a mode is active that is to see this call."""
    return _modes() > 0 or (_function_modes() and _sees_functions())


def _sees_functions() -> bool:
    """Whether a mode for functions is active, other than that of `torch.set_default_device`."""
    stack = torch.overrides._get_current_function_mode_stack()
    return any(type(mode) is not torch.utils._device.DeviceContext for mode in stack)


def functionalized() -> bool:
    """Whether `torch.func.functionalize` is at work, which has no rule for functions of autograd."""
    stack = torch._C._functorch.get_interpreter_stack() or []
    return any(level.key() == torch._C._functorch.TransformType.Functionalize for level in stack)


def recorded(x: torch.Tensor, tensors: Tensors) -> bool:
    """Whether derivatives of a call may be asked for."""
    return (
        (torch.is_grad_enabled() and (x.requires_grad or any(t.requires_grad for t in tensors)))
        or torch.autograd.forward_ad._current_level >= 0
        or at_work()
    )


def recurrence(
    asked: Asked,
    names: tuple[str, ...],
    present: tuple[bool, bool, bool],
    seen: bool,
    x: torch.Tensor,
    tensors: Tensors,
) -> Tensors:
    """Run a call: output, final states and, where asked for, the sequences of the states after h."""
    rest, options = take_options(asked)
    return _Recurrence.apply(Spec(rest, names, *present, seen=seen), *options, x, *tensors)[:-1]  # type: ignore[no-any-return]


DUALS = duals.Duals(recurrence)


def backward(kept: Kept, given: Tensors, d_results: Any, shapes: Any, need_x: bool) -> kernels.Backward:
    """Return the gradients of a call, by the operator where a mode is to see it; `shapes` of the final states."""
    found = kept.following(given)
    if watched():
        found = operators.kept_of(found, given)
    ends = 1 + len(shapes)
    done: kernels.Backward = found.backward(d_results[0], d_results[1:ends], d_results[ends:], shapes, need_x)
    return done


def gradient(ctx: Any, options: Options, given: Tensors, d_results: Any, need_x: bool) -> Any:
    """Return the gradients of a call as results that have derivatives, of x and the tensors after it."""
    like = given[1]
    zeros = (like.new_zeros(shape) if d is None else d for d, shape in zip(d_results, ctx.shapes, strict=True))
    grads = _Gradient.apply(ctx.spec, ctx.kept, need_x, len(given), *options, *given, *zeros)
    return (grads[0] if need_x else None, *grads[1:])


def forward_derivative(spec: Spec, given: Tensors, tangents: Any) -> Tensors:
    """Return the tangents of a call's results."""
    found: Tensors = _through(spec, given).forward_derivative(spec, given, tangents)
    return found


def _through(spec: Spec, given: Tensors) -> Any:
    """Return what has the derivatives of a call that the fused backward has not."""
    return DUALS if duals.serves(spec, given) else loops


class _Recurrence(torch.autograd.Function):  # type: ignore[misc]
    """(spec, *options, x, *tensors) → (*outputs, what the backward needs); the spec's options are empty."""

    @staticmethod
    def forward(spec: Spec, *arguments: Any) -> Any:
        options, given = _parts(arguments)
        done = _forward(spec, options, given)
        return (*done.tensors, done.kept)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        spec, *arguments = inputs
        *results, kept = output
        ctx.set_materialize_grads(False)
        ctx.spec, ctx.kept = spec, kept
        ctx.shapes = [r.shape for r in results]
        _save(ctx, arguments)

    @staticmethod
    def backward(ctx: Any, *d_results: Any) -> Any:
        options, given = _saved(ctx)
        nothing = (None,) * _FIRST
        need_x = ctx.needs_input_grad[_FIRST]
        if torch.is_grad_enabled() or at_work():
            return (*nothing, *gradient(ctx, options, given, d_results[:-1], need_x))
        if any(d is not None and torch._C._functorch.is_legacy_batchedtensor(d) for d in d_results):
            return (*nothing, *loops.gradient(_looped(ctx.spec, options), given, d_results[:-1]))
        kept = _forward(ctx.spec, options, given).kept if ctx.kept is None else ctx.kept
        found = backward(kept, given, d_results[:-1], ctx.shapes[1 : ctx.spec.state_count + 1], need_x)
        return (*nothing, found.x, *found.tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        options, given = _saved(ctx)
        _check_nested(given)
        return (*forward_derivative(_looped(ctx.spec, options), given, tangents[_FIRST:]), None)

    @staticmethod
    def vmap(info: Any, in_dims: Any, spec: Spec, *arguments: Any) -> Any:
        dims = in_dims[1:]
        noise = spec.asked.noise
        if noise is not None and not noise.expected:
            raise NotImplementedError("vmap: rnnkernels' masks (`Noise`) belong to rows, expected none")
        options, _ = _parts(arguments)
        weights = slice(_FIRST, _FIRST + len(spec.names))
        if all(d is None for d in dims[weights]) and options.batch_sizes is None:
            results = _fold(info.batch_size, dims, spec, arguments)
        else:
            each = [_Recurrence.apply(spec, *_sample(arguments, dims, n))[:-1] for n in range(info.batch_size)]
            results = tuple(torch.stack(r) for r in zip(*each, strict=True))
        return (*results, None), (*[0] * len(results), None)


class _Gradient(torch.autograd.Function):  # type: ignore[misc]
    """(spec, kept, need x, number of inputs, *options, *inputs, *dL/doutputs) → dL/dinputs.

    Of x there is a gradient only if it is needed, else an empty tensor. `kept` may be None: the forward is run again.
    """

    @staticmethod
    def forward(spec: Spec, kept: Kept | None, need_x: bool, count: int, *arguments: Any) -> Any:
        options, tensors = _parts(arguments)
        given, d_results = tensors[:count], tensors[count:]
        if kept is None:
            kept = _forward(spec, options, given).kept
        shapes = [d.shape for d in d_results[1 : 1 + spec.state_count]]
        found = backward(kept, given, d_results, shapes, need_x)
        return (d_results[0].new_empty(0) if found.x is None else found.x, *found.tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004
        spec, _, need_x, count, *arguments = inputs
        ctx.spec, ctx.need_x, ctx.count = spec, need_x, count
        ctx.set_materialize_grads(False)
        _save(ctx, arguments)

    @staticmethod
    def backward(ctx: Any, *dd: Any) -> Any:
        options, saved = _saved(ctx)
        given, d_results = saved[: ctx.count], saved[ctx.count :]
        spec = _looped(ctx.spec, options)
        found = _through(spec, given).second_derivative(spec, given, d_results, dd[-ctx.count :])
        return (*[None] * (3 + _FIRST), *found)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        options, saved = _saved(ctx)
        _check_nested(saved)
        spec = _looped(ctx.spec, options)
        given, d_results = saved[: ctx.count], saved[ctx.count :]
        found = _through(spec, given).forward_second_derivative(spec, given, d_results, tangents[3 + _FIRST :])
        return (found[0] if ctx.need_x else found[0].new_empty(0), *found[1:])

    @staticmethod
    def vmap(info: Any, in_dims: Any, spec: Spec, kept: Any, need_x: bool, count: int, *arguments: Any) -> Any:  # noqa: ARG004
        # Each sample has parameter gradients of its own, which a fused backward sums: so one after another.
        dims = in_dims[4:]
        samples = range(info.batch_size)
        each = [_Gradient.apply(spec, None, need_x, count, *_sample(arguments, dims, n)) for n in samples]
        results = tuple(torch.stack(r) for r in zip(*each, strict=True))
        return results, (0,) * len(results)


# ---- arguments ---------------------------------------------------------------------------------------


def _parts(arguments: Sequence[Any]) -> tuple[Options, Tensors]:
    count = len(Options._fields)
    return Options._make(arguments[:count]), tuple(arguments[count:])


def _save(ctx: Any, arguments: Sequence[Any]) -> None:
    """Save options and tensors, of which the options may be None."""
    ctx.places = [k for k, tensor in enumerate(arguments) if tensor is not None]
    ctx.count_of_arguments = len(arguments)
    tensors = [arguments[k] for k in ctx.places]
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


def _saved(ctx: Any) -> tuple[Options, Tensors]:
    """Return them. A transform that has ended leaves its wrappers around them: `vjp`'s pullback runs after it."""
    arguments: list[Any] = [None] * ctx.count_of_arguments
    for k, tensor in zip(ctx.places, ctx.saved_tensors, strict=True):
        arguments[k] = torch._C._functorch.unwrap_if_dead(tensor)
    return _parts(arguments)


def _forward(spec: Spec, options: Options, given: Tensors) -> Any:
    """Run a call on tensors that no transform wraps, and keep what its backward needs."""
    x, *tensors = given
    if watched() or not PLAIN.issuperset(map(type, given)):
        return operators.forward(spec, with_options(spec.asked, options), x, tensors)
    return kernels.forward(_settled(spec, options), x, tuple(tensors), True)


def _settled(spec: Spec, options: Options) -> Spec:
    """Return the spec with the options' values in it, as `kernels` and `loops` take it."""
    if options.count(None) == len(options):
        return spec
    values = Options(
        *(None if t is None else _plain(name, t) for name, t in zip(Options._fields, options, strict=True))
    )
    if spec.asked.noise is not None and spec.asked.noise.expected:
        values = values._replace(seed=0)  # nothing is drawn, and a tracer's tensors have no numbers
    present = (spec.states, spec.reset_states, spec.term)
    with torch._C._DisableFuncTorch():  # else numpy(), which detaches, gives a wrapper again
        return make_spec(with_options(spec.asked, values), spec.names, present, spec.seen)


def _looped(spec: Spec, options: Options) -> Spec:
    """Return the spec as `loops` takes it; raise where that has no such call, before a value is read."""
    loops.check(spec)
    return _settled(spec, options)


def _check_nested(given: Tensors) -> None:
    """Raise where another forward mode is outside of one: PyTorch drops its tangents in the function of an operator."""
    functorch = torch._C._functorch
    forward = functorch.TransformType.Jvp
    outer = {at.level() for at in functorch.get_interpreter_stack() or () if at.key() == forward}
    if len(outer) < 2:
        return
    outer.remove(max(outer))
    for tensor in given:
        inner = tensor
        while functorch.is_functorch_wrapped_tensor(inner):
            if functorch.maybe_get_level(inner) in outer:
                raise NotImplementedError(
                    "rnnkernels.torch: forward mode of forward mode would lose tangents in PyTorch; expected one of "
                    "the two to be reverse mode, as in torch.func.hessian: jacfwd(jacrev(f))"
                )
            inner = functorch.get_unwrapped(inner)


def _plain(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return an option without the wrappers of transforms."""
    functorch = torch._C._functorch
    tensor = functorch.unwrap_if_dead(tensor)
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            raise NotImplementedError(
                f"{name}: expected the same for every sample, where vmap maps forward-mode or second derivatives"
            )
        tensor = functorch.get_unwrapped(tensor)
    return tensor


def _sample(tensors: Sequence[Any], dims: Sequence[int | None], n: int) -> tuple[Any, ...]:
    return tuple(t if d is None else t.select(d, n) for t, d in zip(tensors, dims, strict=True))


def _fold(count: int, dims: Sequence[int | None], spec: Spec, arguments: Sequence[Any]) -> Tensors:
    """Run all samples as rows of one batch: (N samples, T, B, I) as (T, N·B, I)."""
    weights = range(_FIRST, _FIRST + len(spec.names))
    # Where the rows are, among the axes of one sample: those of x and of resets come after the steps.
    after_steps = {_FIRST - 1, Options._fields.index("resets")}

    def fold(k: int) -> Any:
        """Put the samples before the axis of the rows, and join the two."""
        tensor, dim, axis = arguments[k], dims[k], int(k in after_steps)
        if tensor is None or k in weights or k == Options._fields.index("seed"):
            return tensor
        samples = tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        return samples.movedim(0, axis).flatten(axis, axis + 1)

    results = _Recurrence.apply(spec, *map(fold, range(len(arguments))))[:-1]

    def unfold(tensor: torch.Tensor, axis: int) -> torch.Tensor:
        return tensor.unflatten(axis, (count, tensor.shape[axis] // count)).movedim(axis, 0)

    ends = 1 + spec.state_count
    return (
        unfold(results[0], 1),
        *(unfold(r, 0) for r in results[1:ends]),
        *(unfold(r, 1) for r in results[ends:]),
    )
