"""The kernels as operators of PyTorch: what torch.compile and torch.export see in the place of a call.

`rnnkernels::forward` and `rnnkernels::backward` have fake kernels, which say shapes without running, and a derivative.
Eager code does not pass through them (`autograd` does the same with less per call). What a forward keeps for its
backward is a tensor of bytes here; its size follows from the shapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from rnnkernels.parameters import cell_info

from . import kernels
from .options import Options, make_spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Tensor: TypeAlias = torch.Tensor
Tensors: TypeAlias = list[torch.Tensor]

# What says how a call runs: the same in both operators, in this order.
_OPTIONS = (
    "str cell, str[] names, bool reverse, Tensor? batch_sizes, Tensor? lengths, Tensor? resets, float[] zoneout, "
    "float recurrent_dropout, bool per_step, float weight_dropout, Tensor? seed, int layer, bool expected, "
    "float? cell_clip, bool all_states, str memory"
)
_TENSORS = "Tensor x, Tensor[] weights, Tensor[] state, Tensor[] reset_state, Tensor? term"
_COUNT = 16  # of the options

torch.library.define(
    "rnnkernels::forward",
    f"({_OPTIONS}, {_TENSORS}, bool keep) -> (Tensor output, Tensor[] final, Tensor[] sequences, Tensor reserve)",
    tags=torch.Tag.pt2_compliant_tag,
)
torch.library.define(
    "rnnkernels::backward",
    f"({_OPTIONS}, {_TENSORS}, Tensor output, Tensor reserve, Tensor d_output, Tensor[] d_final, Tensor[] d_sequences, "
    "bool need_x) -> (Tensor dx, Tensor[] d_weights, Tensor[] d_state, Tensor[] d_reset_state, Tensor d_term)",
    tags=torch.Tag.pt2_compliant_tag,
)


def call(
    options: Options,
    x: Tensor,
    weights: Mapping[str, Tensor],
    state: Sequence[Tensor] | None,
    reset_state: Sequence[Tensor] | None,
    term: Tensor | None,
) -> tuple[Tensor, ...]:
    """Run a call through the operator: output, final states, the sequences of the states after h."""
    tensors = (x, *weights.values(), *(state or ()), *(reset_state or ()), *(() if term is None else (term,)))
    # What an exported program keeps would depend on the machine that exported it; its backward runs the forward again.
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in tensors) and not torch.compiler.is_exporting()
    output, final, sequences, _ = torch.ops.rnnkernels.forward(
        options.cell,
        list(weights),
        *options[1:5],
        list(options.zoneout),
        *options[6:],
        x,
        list(weights.values()),
        list(state or ()),
        list(reset_state or ()),
        term,
        keep,
    )
    return (output, *final, *sequences)


def _options(cell: str, names: list[str], *rest: Any) -> tuple[Options, tuple[str, ...]]:
    return Options._make((cell, *rest[:4], tuple(rest[4]), *rest[5:])), tuple(names)


def _spec(given: tuple[Any, ...]) -> tuple[kernels.Spec, Tensor, tuple[Tensor, ...]]:
    """Return the call, x and the tensors after it, of an operator's arguments."""
    options, names = _options(*given[:_COUNT])
    x, weights, state, reset_state, term = given[_COUNT : _COUNT + 5]
    tensors = (*weights, *state, *reset_state, *(() if term is None else (term,)))
    return make_spec(options, names, (bool(state), bool(reset_state), term is not None)), x, tensors


@torch.library.impl("rnnkernels::forward", ("cpu", "cuda"))  # type: ignore[untyped-decorator]
def _forward(*given: Any) -> tuple[Tensor, Tensors, Tensors, Tensor]:
    spec, x, tensors = _spec(given)
    keep = given[_COUNT + 5]
    done = kernels.forward(spec, x, tensors, keep and spec.direct)
    reserve = x.new_empty(0, dtype=torch.uint8)
    if done.kept is not None:
        reserve = kernels.bytes_of(done.kept.reserve)
    return done.output, list(done.final), list(done.sequences), reserve


@torch.library.register_fake("rnnkernels::forward")  # type: ignore[untyped-decorator]
def _forward_fake(*given: Any) -> tuple[Tensor, Tensors, Tensors, Tensor]:
    options, names = _options(*given[:_COUNT])
    x, weights, state, _, _, keep = given[_COUNT:]
    named = dict(zip(names, weights, strict=True))
    widths = _widths(options.cell, named)
    steps, batch = x.shape[:2]
    like = weights[0]
    if options.batch_sizes is None:
        rows, sequences = steps * batch, batch
    elif state:
        rows, sequences = steps, state[0].shape[0]
    else:
        # How many sequences there are stands in the data.
        rows, sequences = steps, torch.library.get_ctx().new_dynamic_size()
    output = like.new_empty(steps, batch, widths[0])
    final = [like.new_empty(sequences, width) for width in widths]
    later = [like.new_empty(steps, batch, width) for width in widths[1:]] if options.all_states else []
    size: Any = 0
    if keep and _direct(options):
        zones = options.seed is not None and any(rate > 0 for rate in options.zoneout)
        per_row, behind = kernels.reserve_size(options.cell, _hidden(options.cell, named), like, zones)
        size = per_row * rows + behind
    return output, final, later, like.new_empty(size, dtype=torch.uint8)


def _direct(options: Options) -> bool:
    """Whether a forward keeps bytes; else its backward runs it again (kernels.Spec.direct)."""
    packed = options.batch_sizes is not None
    ordered = (not options.reverse or packed) and options.lengths is None and options.resets is None
    return options.memory == "all" and ordered


def _hidden(cell: str, weights: Mapping[str, Tensor]) -> int:
    return int(weights["weight_ih"].shape[0]) // int(cell_info(cell)["rows"][0])


def _widths(cell: str, weights: Mapping[str, Tensor]) -> tuple[int, ...]:
    hidden = _hidden(cell, weights)
    first = int(weights["weight_hr"].shape[0]) if "weight_hr" in weights else hidden
    return first, *[hidden] * (len(cell_info(cell)["states"]) - 1)


@torch.library.impl("rnnkernels::backward", ("cpu", "cuda"))  # type: ignore[untyped-decorator]
def _backward(*given: Any) -> tuple[Tensor, Tensors, Tensors, Tensors, Tensor]:
    spec, x, tensors = _spec(given)
    output, reserve, d_output, d_final, d_sequences, need_x = given[_COUNT + 5 :]
    if spec.direct and reserve.numel() > 0:
        if reserve.data_ptr() % kernels.BEHIND != 0:  # someone moved it: a hook on saved tensors, say
            reserve = reserve.clone()
        kept = kernels.kept_again(spec, x, tensors, output, reserve)
    else:  # nothing was kept, or it is no row of bytes
        again = kernels.forward(spec, x, tensors, True).kept
        assert again is not None
        kept = again
    found = kept.backward(d_output, d_final, d_sequences, d_final, need_x)
    parts = spec.split(found.tensors)
    return (
        x.new_empty(0, dtype=output.dtype) if found.x is None else found.x,
        list(parts.weights.values()),
        list(parts.state or ()),
        list(parts.reset_state or ()),
        output.new_empty(0) if parts.term is None else parts.term,
    )


@torch.library.register_fake("rnnkernels::backward")  # type: ignore[untyped-decorator]
def _backward_fake(*given: Any) -> tuple[Tensor, Tensors, Tensors, Tensors, Tensor]:
    x, weights, state, reset_state, term = given[_COUNT : _COUNT + 5]
    output, need_x = given[_COUNT + 5], given[-1]

    def like(tensor: Tensor) -> Tensor:
        return output.new_empty(tensor.shape)

    floating = x.dtype.is_floating_point
    return (
        like(x) if need_x and floating else output.new_empty(0),
        list(map(like, weights)),
        list(map(like, state)),
        list(map(like, reset_state)),
        output.new_empty(0) if term is None else like(term),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, weights, state, reset_state, term, _ = inputs[_COUNT:]
    out, final, sequences, reserve = output
    tensors = [x, *weights, *state, *reset_state, *([] if term is None else [term])]
    at = {k: option for k, option in enumerate(inputs[:_COUNT]) if isinstance(option, torch.Tensor)}
    ctx.options = [None if k in at else option for k, option in enumerate(inputs[:_COUNT])]
    ctx.places = list(at)
    ctx.counts = (len(weights), len(state), len(reset_state), term is not None, len(final), len(sequences))
    ctx.save_for_backward(*tensors, out, reserve, *at.values())


def _derivative(ctx: Any, d_output: Any, d_final: Any, d_sequences: Any, _: Any) -> Any:
    weights, states, resets, has_term, _, _ = ctx.counts
    saved = list(ctx.saved_tensors)
    x = saved.pop(0)
    groups = []
    for count in (weights, states, resets, int(has_term)):
        groups.append(saved[:count])
        del saved[:count]
    output, reserve, *options = saved
    arguments = list(ctx.options)
    for k, option in zip(ctx.places, options, strict=True):
        arguments[k] = option
    need_x = ctx.needs_input_grad[_COUNT]
    dx, d_weights, d_state, d_reset, d_term = torch.ops.rnnkernels.backward(
        *arguments,
        x,
        *groups[:3],
        groups[3][0] if has_term else None,
        output,
        reserve,
        d_output,
        list(d_final),
        list(d_sequences),
        bool(need_x and x.is_floating_point()),
    )
    grads = (dx if need_x else None, list(d_weights), list(d_state), list(d_reset), d_term if has_term else None)
    # A list of numbers that is empty looks like one of no tensors, and wants as many gradients.
    return (*([] if option == [] else None for option in ctx.options), *grads, None)


torch.library.register_autograd("rnnkernels::forward", _derivative, setup_context=_setup)


def _no_derivative(ctx: Any, *_: Any) -> Any:
    raise NotImplementedError(
        "rnnkernels: gradients in a compiled or exported graph have no derivatives of their own: derive twice in eager "
        "mode"
    )


torch.library.register_autograd("rnnkernels::backward", _no_derivative)
