"""The attending recurrence as operators of PyTorch: `rnnkernels::attend`, `rnnkernels::attend_backward`.

What torch.compile, torch.export and dispatch modes see in the place of a call, as `operators` for the plain recurrence:
with fake kernels, a derivative, and counts of floating-point operations. What a forward keeps is a tensor of bytes;
of a batch with lengths or resets, whose size the data say, nothing: its backward runs the forward again.
"""

from __future__ import annotations

from typing import Any, get_type_hints

import torch
from torch.utils.flop_counter import register_flop_formula

from rnnkernels._call import present
from rnnkernels.noise import Drawn

from . import attention_kernels as kernels
from .attention_call import OPTIONS, Attended, Attending, Given, Layout, Tensors, flatten, restore
from .kernels import BEHIND, bytes_of, reserve_of
from .operators import _TYPES, _hidden, _untraced, _widths

# What is asked for is flat in a schema: the fields of `Attending`, then those of its noise that nothing else says.
_ASKED = tuple(name for name in Attending._fields if name != "noise")
_NOISE = tuple(name for name in Drawn._fields if name not in ("seed", "layer", "first_step", "batch", "places"))
_NO_NOISE = Drawn()
_KINDS = get_type_hints(Attending) | get_type_hints(Drawn)
_OPTIONS = tuple(name for name in OPTIONS if name != "places")  # those are the loop's
_SCHEMA = (
    ", ".join(f"{_TYPES[_KINDS[name]]} {name}" for name in _ASKED + _NOISE)
    + ", str[] names, Tensor x, Tensor features, Tensor? keys, Tensor[] weights, Tensor[]? state, Tensor[]? reset_state"
    + "".join(f", Tensor? {name}" for name in _OPTIONS)
)
_COUNT = _SCHEMA.count(",") + 1
_FIRST = len(_ASKED + _NOISE) + 1  # where the tensors begin

torch.library.define(
    "rnnkernels::attend",
    f"({_SCHEMA}, bool keep) -> (Tensor output, Tensor[] final, Tensor weights, Tensor contexts, Tensor places, "
    "Tensor last_location, Tensor reserve)",
    tags=torch.Tag.pt2_compliant_tag,
)
torch.library.define(
    "rnnkernels::attend_backward",
    f"({_SCHEMA}, Tensor output, Tensor alpha, Tensor contexts, Tensor places, Tensor reserve, Tensor d_output, "
    "Tensor[] d_final, Tensor d_alpha, Tensor d_contexts, bool need_x) -> (Tensor d_x, Tensor d_features, "
    "Tensor d_keys, Tensor[] d_weights, Tensor[] d_state, Tensor[] d_reset_state)",
    tags=torch.Tag.pt2_compliant_tag,
)


def _pack(asked: Attending, given: Given) -> list[Any]:
    """Return a call as the operators take it."""
    state, reset = (list(s) if s else None for s in (given.state, given.reset_state))
    weights = list(given.weights.values())
    noise = asked.noise or _NO_NOISE
    flat = [*(getattr(asked, name) for name in _ASKED), *(getattr(noise, name) for name in _NOISE)]
    flat = [list(value) if isinstance(value, tuple) else value for value in flat]
    options = (getattr(given, name) for name in _OPTIONS)
    return [*flat, list(given.weights), given.x, given.features, given.keys, weights, state, reset, *options]


def _read(arguments: tuple[Any, ...]) -> tuple[Attending, Given, tuple[Any, ...]]:
    """Return what is asked for, the tensors, and what else an operator was given."""
    values = dict(zip(_ASKED + _NOISE, arguments[: _FIRST - 1], strict=True))
    names, x, features, keys, weights, state, reset, *options = arguments[_FIRST - 1 : _COUNT]
    named = dict(zip(names, weights, strict=True))
    states = (tuple(s) if s else None for s in (state, reset))
    given = Given(x, features, keys, named, *states, **dict(zip(_OPTIONS, options, strict=True)))
    noise = Drawn(None, **{name: values.pop(name) for name in _NOISE})
    return Attending(**values, noise=None if given.noise_seed is None else noise), given, arguments[_COUNT:]


# ---- calls -------------------------------------------------------------------------------------------


def call(asked: Attending, given: Given) -> Attended:
    """Run a call through the operator."""
    _, tensors = flatten(asked, given)
    # What an exported program keeps would depend on the machine that exported it; its backward runs the forward again.
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return forward(asked, given, recorded and not torch.compiler.is_exporting())[0]


def forward(asked: Attending, given: Given, keep: bool) -> tuple[Attended, torch.Tensor]:
    """Run a call through the operator; return what it keeps, too."""
    output, final, weights, contexts, places, location, reserve = torch.ops.rnnkernels.attend(
        *_pack(asked, given), keep
    )
    seen = location if "weight_location" in given.weights and not given.ragged else None
    drawn = places if asked.hard else None
    return Attended(output, tuple(final), weights, contexts, drawn, seen), reserve


def backward(
    layout: Layout,
    tensors: Tensors,
    found: tuple[Any, ...],
    kept: Any,
    d_output: torch.Tensor | None,
    d_final: Any,
    d_attended: tuple[torch.Tensor | None, torch.Tensor | None],
    need_x: bool,
) -> list[torch.Tensor | None]:
    """Return the gradients of the tensors that can be differentiated, of x None where it is not needed."""
    given = restore(layout, tensors)
    output, alpha, contexts, places = found
    reserve = kept if isinstance(kept, torch.Tensor) else bytes_of(kept)
    widths = _widths(layout.asked.cell, given.weights)
    filled = [
        output.new_zeros(output.shape[1], width) if d is None else d for d, width in zip(d_final, widths, strict=True)
    ]
    d_alpha, d_contexts = (
        torch.zeros_like(part) if d is None else d for part, d in zip((alpha, contexts), d_attended, strict=True)
    )
    d_x, d_features, d_keys, *lists = torch.ops.rnnkernels.attend_backward(
        *_pack(layout.asked, given),
        output,
        alpha,
        contexts,
        _nothing_of_int64(output) if places is None else places,
        reserve,
        torch.zeros_like(output) if d_output is None else d_output,
        filled,
        d_alpha,
        d_contexts,
        need_x and given.x.is_floating_point(),
    )
    keys = [d_keys] if layout.keys else []
    of_x = d_x if need_x and given.x.is_floating_point() else None
    return [of_x, d_features, *keys, *(d for of_list in lists for d in of_list)]


def _nothing_of_int64(like: torch.Tensor) -> torch.Tensor:
    return like.new_empty(0, dtype=torch.int64)


# ---- the operators ----------------------------------------------------------------------------------


@torch.library.impl("rnnkernels::attend", ("cpu", "cuda"))  # type: ignore[untyped-decorator]
@_untraced
def _forward(*arguments: Any) -> Any:
    asked, given, (keep,) = _read(arguments)
    done, reserve = kernels.forward(asked, given, keep and not given.ragged)
    like = done.output
    kept = like.new_empty(0, dtype=torch.uint8) if reserve is None else bytes_of(reserve)
    places = _nothing_of_int64(like) if done.places is None else done.places
    location = like.new_empty(0) if done.location is None else done.location
    return done.output, list(done.final), done.weights, done.contexts, places, location, kept


@torch.library.register_fake("rnnkernels::attend")  # type: ignore[untyped-decorator]
def _forward_fake(*arguments: Any) -> Any:
    asked, given, (keep,) = _read(arguments)
    steps, batch = given.x.shape[:2]
    _, count, width = given.features.shape
    like = given.features
    widths = _widths(asked.cell, given.weights)
    places = like.new_empty((steps, batch) if asked.hard else 0, dtype=torch.int64)
    location = like.new_empty(0)
    if "weight_location" in given.weights and not given.ragged:
        location = like.new_empty(batch, given.weights["weight_location"].shape[1], count)
    size: Any = 0
    if keep and not given.ragged:
        units = int(given.weights["weight_query"].shape[0])
        per_row, behind = kernels.reserve_size(asked, _hidden(asked.cell, given.weights), units, like)
        size = per_row * steps * batch + behind
    return (
        like.new_empty(steps, batch, widths[0]),
        [like.new_empty(batch, units) for units in widths],
        like.new_empty(steps, batch, count),
        like.new_empty(steps, batch, width),
        places,
        location,
        like.new_empty(size, dtype=torch.uint8),
    )


@torch.library.impl("rnnkernels::attend_backward", ("cpu", "cuda"))  # type: ignore[untyped-decorator]
@_untraced
def _backward(*arguments: Any) -> Any:
    asked, given, (output, alpha, contexts, places, kept, d_output, d_final, d_alpha, d_contexts, need_x) = _read(
        arguments
    )
    if kept.numel() > 0:
        # Someone may have moved it: a hook on saved tensors, say.
        moved = kept.data_ptr() % BEHIND != 0
        reserve = reserve_of(kept.clone() if moved else kept)
    else:  # the same places are drawn again, by the same seed
        reserve = present(kernels.forward(asked, given, True)[1], "what a forward keeps")
    layout, tensors = flatten(asked, given)
    found = (output, alpha, contexts, places if asked.hard else None)
    grads = kernels.backward(layout, tensors, found, reserve, d_output, d_final, (d_alpha, d_contexts), need_x)
    d_x, d_features, *rest = grads
    d_keys = rest.pop(0) if layout.keys else output.new_empty(0)
    lists = []
    for count in (len(layout.names), layout.state, layout.reset_state):
        lists.append(rest[:count])
        del rest[:count]
    return output.new_empty(0) if d_x is None else d_x, d_features, d_keys, *lists


@torch.library.register_fake("rnnkernels::attend_backward")  # type: ignore[untyped-decorator]
def _backward_fake(*arguments: Any) -> Any:
    _, given, (output, *_, need_x) = _read(arguments)

    def like(tensor: torch.Tensor) -> torch.Tensor:
        return output.new_empty(tensor.shape)

    return (
        like(given.x) if need_x else output.new_empty(0),
        like(given.features),
        output.new_empty(0) if given.keys is None else like(given.keys),
        list(map(like, given.weights.values())),
        list(map(like, given.state or ())),
        list(map(like, given.reset_state or ())),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    asked, given, _ = _read(inputs)
    out, _, alpha, contexts, places, _, reserve = output
    layout, tensors = flatten(asked, given)
    ctx.layout = layout
    ctx.options = [[] if option == [] else None for option in inputs[: _FIRST - 1]]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, out, alpha, contexts, places, reserve)


def _derivative(ctx: Any, d_output: Any, d_final: Any, d_alpha: Any, d_contexts: Any, *_: Any) -> Any:
    layout: Layout = ctx.layout
    *tensors, output, alpha, contexts, places, reserve = ctx.saved_tensors
    found = (output, alpha, contexts, places if layout.asked.hard else None)
    need_x = ctx.needs_input_grad[_FIRST]
    grads = backward(layout, tuple(tensors), found, reserve, d_output, d_final, (d_alpha, d_contexts), bool(need_x))
    d_x, d_features, *rest = grads
    d_keys = rest.pop(0) if layout.keys else None
    lists = []
    for count in (len(layout.names), layout.state, layout.reset_state):
        lists.append(list(rest[:count]) or None)
        del rest[:count]
    # A list of numbers that is empty looks like one of no tensors, and wants as many gradients.
    return (*ctx.options, None, d_x, d_features, d_keys, *lists, *[None] * (len(_OPTIONS) + 1))


torch.library.register_autograd("rnnkernels::attend", _derivative, setup_context=_setup)


def _no_derivative(ctx: Any, *_: Any) -> Any:
    raise NotImplementedError(
        "rnnkernels: gradients in a compiled or exported graph have no derivatives of their own: derive twice in eager "
        "mode"
    )


torch.library.register_autograd("rnnkernels::attend_backward", _no_derivative)


# ---- counted ----------------------------------------------------------------------------------------


def _flops(arguments: tuple[Any, ...]) -> tuple[int, int]:
    """Return the floating-point operations of the product with x and of all others.

    Counted as PyTorch counts: two for each element of a matrix and row of a step. Scores and contexts are products with
    keys and features.
    """
    asked, given, _ = _read(arguments)
    rows = given.x.shape[0] * given.x.shape[1]
    _, count, width = given.features.shape
    inputs = given.weights["weight_ih"].shape[1] - width
    of_x = given.weights["weight_ih"].shape[0] * inputs * given.x.is_floating_point()
    matrices = sum(w.numel() for name, w in given.weights.items() if w.dim() == 2) - (
        given.weights["weight_ih"].shape[0] * inputs
    )
    matrices += count * given.weights["weight_query"].shape[0] + count * width * (not asked.hard)
    if "weight_location" in given.weights:
        matrices += count * given.weights["weight_location"].numel()
    return 2 * rows * of_x, 2 * rows * matrices


@register_flop_formula(torch.ops.rnnkernels.attend, get_raw=True)  # type: ignore[untyped-decorator]
def _flops_of_forward(*arguments: Any, out_val: Any = None) -> int:  # noqa: ARG001
    return sum(_flops(arguments))


@register_flop_formula(torch.ops.rnnkernels.attend_backward, get_raw=True)  # type: ignore[untyped-decorator]
def _flops_of_backward(*arguments: Any, out_val: Any = None) -> int:  # noqa: ARG001
    _, given, (*_, need_x) = _read(arguments)
    of_x, others = _flops(arguments)
    again = of_x + others if given.ragged else 0
    return again + of_x * (1 + bool(need_x)) + 2 * others
