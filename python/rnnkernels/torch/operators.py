"""The kernels as operators of PyTorch: what torch.compile and torch.export see in the place of a call.

`rnnkernels::forward` and `rnnkernels::backward` have fake kernels, which say shapes without running, and a derivative.
Eager code does not pass through them (`autograd` does the same with less per call). What a forward keeps for its
backward is a tensor of bytes here; its size follows from the shapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, get_type_hints

import torch

from rnnkernels._asked import Asked
from rnnkernels._call import present
from rnnkernels.noise import Drawn
from rnnkernels.parameters import cell_info

from . import kernels
from .spec import Spec, make_spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Tensor: TypeAlias = torch.Tensor
Tensors: TypeAlias = list[torch.Tensor]

# ---- the schema -------------------------------------------------------------------------------------

# What is asked for is flat in a schema: the fields of `Asked`, then those of its noise but what x says.
_ASKED = tuple(name for name in Asked._fields if name != "noise")
_NOISE = tuple(name for name in Drawn._fields if name not in ("batch", "places"))
_NO_NOISE = Drawn(seed=None)

# A field's type in a schema. Arrays are tensors. So is a seed: a number would be a constant of a compiled graph.
_TYPES = {
    str: "str",
    bool: "bool",
    int: "int",
    float: "float",
    float | None: "float?",
    tuple[float, ...]: "float[]",
    Any: "Tensor?",
}


class Given(NamedTuple):
    """The tensors of a call."""

    names: list[str]  # of the weights
    x: Tensor
    weights: Tensors
    state: Tensors  # empty: zeros
    reset_state: Tensors
    term: Tensor | None

    @property
    def after_x(self) -> tuple[Tensor, ...]:
        """Everything that can be differentiated but x."""
        term = () if self.term is None else (self.term,)
        return (*self.weights, *self.state, *self.reset_state, *term)


def _schema() -> str:
    kinds = get_type_hints(Asked) | get_type_hints(Drawn)
    options = ", ".join(f"{_TYPES[kinds[name]]} {name}" for name in _ASKED + _NOISE)
    return f"{options}, str[] names, Tensor x, Tensor[] weights, Tensor[] state, Tensor[] reset_state, Tensor? term"


torch.library.define(
    "rnnkernels::forward",
    f"({_schema()}, bool keep) -> (Tensor output, Tensor[] final, Tensor[] sequences, Tensor reserve)",
    tags=torch.Tag.pt2_compliant_tag,
)
torch.library.define(
    "rnnkernels::backward",
    f"({_schema()}, Tensor output, Tensor reserve, Tensor d_output, Tensor[] d_final, Tensor[] d_sequences, "
    "bool need_x) -> (Tensor dx, Tensor[] d_weights, Tensor[] d_state, Tensor[] d_reset_state, Tensor d_term)",
    tags=torch.Tag.pt2_compliant_tag,
)

_COUNT = len(_ASKED + _NOISE)  # of the options, with which the arguments begin


def pack(asked: Asked) -> list[Any]:
    """Return what is asked for as the operators take it."""
    noise = _NO_NOISE if asked.noise is None else asked.noise
    flat = [*(getattr(asked, name) for name in _ASKED), *(getattr(noise, name) for name in _NOISE)]
    return [list(value) if isinstance(value, tuple) else value for value in flat]


def _unpack(flat: Sequence[Any]) -> Asked:
    values = dict(zip(_ASKED + _NOISE, flat, strict=True))
    noise = Drawn(**{name: values.pop(name) for name in _NOISE})
    return Asked(**values, noise=None if noise.seed is None else noise)


def _read(arguments: tuple[Any, ...]) -> tuple[Asked, Given, tuple[Any, ...]]:
    """Return what is asked for, the tensors, and what else an operator was given."""
    tensors = _COUNT + len(Given._fields)
    return _unpack(arguments[:_COUNT]), Given._make(arguments[_COUNT:tensors]), arguments[tensors:]


def _spec(asked: Asked, given: Given) -> Spec:
    present = (bool(given.state), bool(given.reset_state), given.term is not None)
    return make_spec(asked, tuple(given.names), present)


# ---- the operators ----------------------------------------------------------------------------------


def call(
    asked: Asked,
    x: Tensor,
    weights: Mapping[str, Tensor],
    state: Sequence[Tensor] | None,
    reset_state: Sequence[Tensor] | None,
    term: Tensor | None,
) -> tuple[Tensor, ...]:
    """Run a call through the operator: output, final states, the sequences of the states after h."""
    given = Given(list(weights), x, list(weights.values()), list(state or ()), list(reset_state or ()), term)
    # What an exported program keeps would depend on the machine that exported it; its backward runs the forward again.
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *given.after_x))
    keep = recorded and not torch.compiler.is_exporting()
    output, final, sequences, _ = torch.ops.rnnkernels.forward(*pack(asked), *given, keep)
    return (output, *final, *sequences)


@torch.library.impl("rnnkernels::forward", ("cpu", "cuda"))  # type: ignore[untyped-decorator]
def _forward(*arguments: Any) -> tuple[Tensor, Tensors, Tensors, Tensor]:
    asked, given, (keep,) = _read(arguments)
    done = kernels.forward(_spec(asked, given), given.x, given.after_x, keep and asked.direct)
    reserve = given.x.new_empty(0, dtype=torch.uint8)
    if done.kept is not None:
        reserve = kernels.bytes_of(done.kept.reserve)
    return done.output, list(done.final), list(done.sequences), reserve


@torch.library.register_fake("rnnkernels::forward")  # type: ignore[untyped-decorator]
def _forward_fake(*arguments: Any) -> tuple[Tensor, Tensors, Tensors, Tensor]:
    asked, given, (keep,) = _read(arguments)
    named = dict(zip(given.names, given.weights, strict=True))
    widths = _widths(asked.cell, named)
    steps, batch = given.x.shape[:2]
    like = given.weights[0]
    if asked.batch_sizes is None:
        rows, sequences = steps * batch, batch
    elif given.state:
        rows, sequences = steps, given.state[0].shape[0]
    else:
        # How many sequences there are stands in the data.
        rows, sequences = steps, torch.library.get_ctx().new_dynamic_size()
    output = like.new_empty(steps, batch, widths[0])
    final = [like.new_empty(sequences, width) for width in widths]
    later = [like.new_empty(steps, batch, width) for width in widths[1:]] if asked.all_states else []
    size: Any = 0
    if keep and asked.direct:  # else its backward runs it again
        keeps_units = asked.noise is not None and asked.noise.keeps_units
        per_row, behind = kernels.reserve_size(asked.cell, _hidden(asked.cell, named), like, keeps_units)
        size = per_row * rows + behind
    return output, final, later, like.new_empty(size, dtype=torch.uint8)


def _hidden(cell: str, weights: Mapping[str, Tensor]) -> int:
    return int(weights["weight_ih"].shape[0]) // int(cell_info(cell)["rows"][0])


def _widths(cell: str, weights: Mapping[str, Tensor]) -> tuple[int, ...]:
    hidden = _hidden(cell, weights)
    first = int(weights["weight_hr"].shape[0]) if "weight_hr" in weights else hidden
    return first, *[hidden] * (len(cell_info(cell)["states"]) - 1)


@torch.library.impl("rnnkernels::backward", ("cpu", "cuda"))  # type: ignore[untyped-decorator]
def _backward(*arguments: Any) -> tuple[Tensor, Tensors, Tensors, Tensors, Tensor]:
    asked, given, (output, reserve, d_output, d_final, d_sequences, need_x) = _read(arguments)
    spec, x, tensors = _spec(asked, given), given.x, given.after_x
    if asked.direct and reserve.numel() > 0:
        if reserve.data_ptr() % kernels.BEHIND != 0:  # someone moved it: a hook on saved tensors, say
            reserve = reserve.clone()
        kept = kernels.kept_again(spec, x, tensors, output, reserve)
    else:  # nothing was kept, or it is no row of bytes
        kept = present(kernels.forward(spec, x, tensors, True).kept, "what a forward keeps")
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
def _backward_fake(*arguments: Any) -> tuple[Tensor, Tensors, Tensors, Tensors, Tensor]:
    _, given, (output, *_, need_x) = _read(arguments)

    def like(tensor: Tensor) -> Tensor:
        return output.new_empty(tensor.shape)

    floating = given.x.dtype.is_floating_point
    return (
        like(given.x) if need_x and floating else output.new_empty(0),
        list(map(like, given.weights)),
        list(map(like, given.state)),
        list(map(like, given.reset_state)),
        output.new_empty(0) if given.term is None else like(given.term),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _, given, _ = _read(inputs)
    out, _, _, reserve = output
    at = {k: option for k, option in enumerate(inputs[:_COUNT]) if isinstance(option, torch.Tensor)}
    ctx.options = [None if k in at else option for k, option in enumerate(inputs[:_COUNT])]
    ctx.places = list(at)
    ctx.names = given.names
    ctx.counts = (len(given.weights), len(given.state), len(given.reset_state), int(given.term is not None))
    ctx.save_for_backward(given.x, *given.after_x, out, reserve, *at.values())


def _derivative(ctx: Any, d_output: Any, d_final: Any, d_sequences: Any, _: Any) -> Any:
    x, *saved = ctx.saved_tensors
    groups = []
    for count in ctx.counts:
        groups.append(saved[:count])
        del saved[:count]
    output, reserve, *tensors = saved
    options = list(ctx.options)
    for k, tensor in zip(ctx.places, tensors, strict=True):
        options[k] = tensor
    weights, state, reset_state, term = groups
    given = Given(ctx.names, x, weights, state, reset_state, term[0] if term else None)
    need_x = ctx.needs_input_grad[_COUNT + Given._fields.index("x")]
    dx, d_weights, d_state, d_reset, d_term = torch.ops.rnnkernels.backward(
        *options,
        *given,
        output,
        reserve,
        d_output,
        list(d_final),
        list(d_sequences),
        bool(need_x and x.is_floating_point()),
    )
    grads = (dx if need_x else None, list(d_weights), list(d_state), list(d_reset), d_term if term else None)
    # A list of numbers that is empty looks like one of no tensors, and wants as many gradients.
    return (*([] if option == [] else None for option in ctx.options), None, *grads, None)


torch.library.register_autograd("rnnkernels::forward", _derivative, setup_context=_setup)


def _no_derivative(ctx: Any, *_: Any) -> Any:
    raise NotImplementedError(
        "rnnkernels: gradients in a compiled or exported graph have no derivatives of their own: derive twice in eager "
        "mode"
    )


torch.library.register_autograd("rnnkernels::backward", _no_derivative)
