"""The kernels as operators of PyTorch: what torch.compile and torch.export see in the place of a call.

`rnnkernels::forward` and `rnnkernels::backward` have fake kernels, which say shapes without running, a derivative, and
formulas for PyTorch's counter of floating-point operations. Eager code does not pass through them (`autograd` does the
same with less per call) unless a dispatch mode is to see them (`transforms`). What a forward keeps for its backward is
a tensor of bytes here; its size follows from the shapes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, get_type_hints

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.flop_counter import register_flop_formula

from rnnkernels._asked import Asked
from rnnkernels._call import present
from rnnkernels.noise import Drawn
from rnnkernels.parameters import cell_info

from . import kernels
from .spec import Options, Spec, make_spec, with_options

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
    state: Tensors | None  # None or empty: zeros
    reset_state: Tensors | None
    term: Tensor | None

    @property
    def after_x(self) -> tuple[Tensor, ...]:
        """Everything that can be differentiated but x."""
        term = () if self.term is None else (self.term,)
        return (*self.weights, *(self.state or ()), *(self.reset_state or ()), *term)


def _schema() -> str:
    kinds = get_type_hints(Asked) | get_type_hints(Drawn)
    options = ", ".join(f"{_TYPES[kinds[name]]} {name}" for name in _ASKED + _NOISE)
    return f"{options}, str[] names, Tensor x, Tensor[] weights, Tensor[]? state, Tensor[]? reset_state, Tensor? term"


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
    seen: bool = True,
) -> tuple[Tensor, ...]:
    """Run a call through the operator: output, final states, the sequences of the states after h."""
    # Where there are none AOTInductor would pass None for an empty list, too.
    begun, replaced = (list(given) if given else None for given in (state, reset_state))
    given = Given(list(weights), x, list(weights.values()), begun, replaced, term)
    # What an exported program keeps would depend on the machine that exported it; its backward runs the forward again.
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *given.after_x))
    keep = recorded and not torch.compiler.is_exporting()
    output, final, sequences, _ = torch.ops.rnnkernels.forward(*pack(asked), *given, keep)
    if keep and seen:
        output, sequences = _apart(asked, output, sequences)
    return (output, *final, *sequences)


def _apart(asked: Asked, output: Tensor, sequences: Tensors) -> tuple[Tensor, Tensors]:
    """Return results that may be changed in place: the derivative reads those that the operator gave."""
    return output.clone(), sequences if asked.memory == "all" else [s.clone() for s in sequences]


class Kept:
    """What a forward through the operator keeps for its backward, which is an operator, too.

    Attributes
    ----------
    asked : Asked
        Its options tensors, as the operators take them.
    """

    def __init__(self, spec: Spec, asked: Asked, given: Sequence[Tensor], output: Tensor, reserve: Tensor) -> None:
        self.asked = asked
        self._spec, self._given, self._output, self._reserve = spec, given, output, reserve

    def following(self, given: Sequence[Tensor]) -> Kept:
        """Return this for tensors of the call that lie elsewhere by now."""
        return Kept(self._spec, self.asked, given, self._output, self._reserve)

    def backward(
        self,
        d_output: Tensor | None,
        d_final: Sequence[Tensor | None],
        d_sequences: Sequence[Tensor | None],
        shapes: Sequence[Sequence[int]],
        need_x: bool,
    ) -> kernels.Backward:
        """Return the gradients; `shapes` of the final states."""
        output = self._output
        given = _given(self._spec, self._given)
        later = [output.shape[:2] + tuple(shape[1:]) for shape in shapes[1:]]
        d_x, *lists, d_term = torch.ops.rnnkernels.backward(
            *pack(self.asked),
            *given,
            output,
            self._reserve,
            output.new_zeros(output.shape) if d_output is None else d_output,
            _filled(d_final, shapes, output),
            _filled(d_sequences, later, output),
            need_x and given.x.is_floating_point(),
        )
        tensors = [d for of_list in lists for d in of_list]
        return kernels.Backward(d_x if need_x else None, (*tensors, *([] if given.term is None else [d_term])))


class Forward(NamedTuple):
    """What a forward gave."""

    tensors: tuple[Tensor, ...]  # output, final states, the sequences of the states after h
    kept: Kept


def forward(spec: Spec, asked: Asked, x: Tensor, tensors: Sequence[Tensor]) -> Forward:
    """Run a call of which nothing is recorded through the operator, and keep what its backward needs."""
    given = (x, *tensors)
    output, final, sequences, reserve = torch.ops.rnnkernels.forward(*pack(asked), *_given(spec, given), True)
    kept = Kept(spec, asked, given, output, reserve)
    if spec.seen:
        output, sequences = _apart(asked, output, sequences)
    return Forward((output, *final, *sequences), kept)


def kept_of(kept: Any, given: Sequence[Tensor]) -> Kept:
    """Return what a forward of the kernels kept as if the operator had run it: a mode is to see its backward."""
    if isinstance(kept, Kept):
        return kept
    spec, (x, *tensors) = kept.spec, given
    if kept.reserve is not None:
        output, reserve = kernels.output_of(kept), kernels.bytes_of(kept.reserve)
    else:  # the operator runs the forward again, and reads no output
        weights = spec.split(tensors).weights
        output = tensors[0].new_empty((*x.shape[:2], _widths(spec.asked.cell, weights)[0]))
        reserve = x.new_empty(0, dtype=torch.uint8)
    return Kept(spec, with_tensors(spec), given, output, reserve)


def with_tensors(spec: Spec) -> Asked:
    """Return what is asked for with its options as tensors again."""
    asked, walk = spec.asked, spec.walk
    seed = 0 if asked.noise is None else asked.noise.seed
    options = Options(
        None if walk is None else torch.from_numpy(np.diff(walk.starts)),
        None if asked.lengths is None else torch.from_numpy(asked.lengths),
        None if asked.resets is None else torch.from_numpy(asked.resets),
        None if asked.noise is None else torch.tensor(seed - (seed >> 63 << 64)),  # of int64
    )
    return with_options(asked, options)


def _given(spec: Spec, given: Sequence[Tensor]) -> Given:
    x, *tensors = given
    parts = spec.split(tensors)
    state, reset_state = (None if of is None else list(of) for of in (parts.state, parts.reset_state))
    return Given(list(spec.names), x, list(parts.weights.values()), state, reset_state, parts.term)


def _filled(given: Sequence[Tensor | None], shapes: Sequence[Any], like: Tensor) -> Tensors:
    """Return tensors with zeros for those that are missing; none where none are given."""
    return [like.new_zeros(shape) if d is None else d for d, shape in zip(given, shapes, strict=False)]


def _untraced(function: Any) -> Any:
    """Keep Dynamo out of what an operator runs: between two graphs it would trace that, and warn of what it finds."""
    disabled: list[Any] = []

    def run(*arguments: Any) -> Any:
        if "torch._dynamo" not in sys.modules:  # nothing has been compiled, and importing it takes seconds
            return function(*arguments)
        if not disabled:
            disabled.append(torch._dynamo.disable(function))
        return disabled[0](*arguments)

    return run


@torch.library.impl("rnnkernels::forward", ("cpu", "cuda"))  # type: ignore[untyped-decorator]
@_untraced
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
    like = next(w for w in given.weights if w.is_floating_point())  # of integers their scales
    if asked.batch_sizes is None:
        rows, sequences = steps * batch, batch
    elif given.state:
        rows, sequences = steps, given.state[0].shape[0]
    elif given.term is not None:
        rows, sequences = steps, given.term.shape[0]
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
@_untraced
def _backward(*arguments: Any) -> tuple[Tensor, Tensors, Tensors, Tensors, Tensor]:
    asked, given, (output, reserve, d_output, d_final, d_sequences, need_x) = _read(arguments)
    spec, x, tensors = _spec(asked, given), given.x, given.after_x
    if asked.direct and reserve.numel() > 0:
        if reserve.data_ptr() % kernels.BEHIND != 0:  # someone moved it: a hook on saved tensors, say
            reserve = reserve.clone()
        kept = kernels.kept_again(spec, x, tensors, output, reserve)
    else:  # nothing was kept, or it is no row of bytes
        kept = present(kernels.forward(spec, x, tensors, True).kept, "what a forward keeps")
    found = kept.backward(d_output, d_final, d_sequences, [d.shape for d in d_final], need_x)
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
        list(map(like, given.state or ())),
        list(map(like, given.reset_state or ())),
        output.new_empty(0) if given.term is None else like(given.term),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _, given, _ = _read(inputs)
    out, _, _, reserve = output
    at = {k: option for k, option in enumerate(inputs[:_COUNT]) if isinstance(option, torch.Tensor)}
    ctx.options = [None if k in at else option for k, option in enumerate(inputs[:_COUNT])]
    ctx.places = list(at)
    ctx.names = given.names
    ctx.nones = [tensors is None for tensors in (given.state, given.reset_state)]
    ctx.counts = (
        len(given.weights),
        len(given.state or ()),
        len(given.reset_state or ()),
        int(given.term is not None),
    )
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
    weights, *states, term = groups
    state, reset_state = (None if none else tensors for none, tensors in zip(ctx.nones, states, strict=True))
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
    of_states = (None if none else list(d) for none, d in zip(ctx.nones, (d_state, d_reset), strict=True))
    grads = (dx if need_x else None, list(d_weights), *of_states, d_term if term else None)
    # A list of numbers that is empty looks like one of no tensors, and wants as many gradients.
    return (*([] if option == [] else None for option in ctx.options), None, *grads, None)


torch.library.register_autograd("rnnkernels::forward", _derivative, setup_context=_setup)


def _no_derivative(ctx: Any, *_: Any) -> Any:
    raise NotImplementedError(
        "rnnkernels: gradients in a compiled or exported graph have no derivatives of their own: derive twice in eager "
        "mode"
    )


torch.library.register_autograd("rnnkernels::backward", _no_derivative)


# ---- counted ----------------------------------------------------------------------------------------


def _forward_flops(arguments: tuple[Any, ...]) -> tuple[int, int]:
    """Return the floating-point operations of the products with x and with what is fed back.

    Counted as PyTorch counts: two for each element of a matrix and row of a step, none for what is done element by
    element. Steps beyond a row's length are not run and not counted where the lengths' values are known.
    """
    asked, given, _ = _read(arguments)
    rows = given.x.shape[0] * given.x.shape[1]
    if asked.lengths is not None and not isinstance(asked.lengths, FakeTensor):
        rows = int(asked.lengths.sum())
    matrices = {name: w.numel() for name, w in zip(given.names, given.weights, strict=True) if w.dim() == 2}
    of_x = matrices.pop("weight_ih", 0) * given.x.is_floating_point()  # tokens are no product
    return 2 * rows * of_x, 2 * rows * sum(matrices.values())


@register_flop_formula(torch.ops.rnnkernels.forward, get_raw=True)  # type: ignore[untyped-decorator]
def _flops_of_forward(*arguments: Any, out_val: Any = None) -> int:  # noqa: ARG001
    return sum(_forward_flops(arguments))


@register_flop_formula(torch.ops.rnnkernels.backward, get_raw=True)  # type: ignore[untyped-decorator]
def _flops_of_backward(*arguments: Any, out_val: Any = None) -> int:  # noqa: ARG001
    asked, _, (_, reserve, *_, need_x) = _read(arguments)
    of_x, of_h = _forward_flops(arguments)
    # As eager calls do: they keep what the backward of a ragged call needs, where a reserve in bytes holds dense ones'.
    runs_again = asked.memory != "all" or (asked.direct and reserve.numel() == 0)
    again = of_x + of_h if runs_again else 0
    return again + of_x * (1 + bool(need_x)) + 2 * of_h
