"""Every cell in PyTorch's own operations, a loop over the steps: slow, and differentiable as often as one likes.

What autograd takes where neither the fused backward nor a run of a cell's tangents (`duals`) has a derivative. The
steps are those of `rnnkernels.steps`; the rows of each step come from the same schedules as the kernels' (`rows`).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

from rnnkernels import steps
from rnnkernels.parameters import cell_info, parameter_shapes

from .rows import order_of
from .spec import Spec

Tensors = tuple[torch.Tensor, ...]
Given = tuple[torch.Tensor | None, ...]


MASKED = "rnnkernels: a run with masks (`Noise`) has reverse mode and first derivatives alone"


def _linear(a: Any, weight: Any, bias: Any) -> Any:
    if bias is None:
        return a @ weight
    return torch.addmm(bias, a, weight) if a.dim() == 2 else torch.nn.functional.linear(a, weight.T, bias)


def _maximum(a: Any, b: Any) -> Any:
    """Return the larger; where both are equal the gradient goes to b, as in the kernels, and NaN stays NaN."""
    return torch.where((a > b) | a.isnan(), a, b)


def _minimum(a: Any, b: Any) -> Any:
    return torch.where((a < b) | a.isnan(), a, b)


# By their names in a graph of equations. At a kink their derivatives are those of the kernels.
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "constant": lambda value, like: like.new_full((), value),
    "zeros": torch.zeros_like,
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "fma": lambda a, b, c: a * b + c,
    "maximum": _maximum,
    "minimum": _minimum,
    "abs": torch.abs,
    "sqrt": torch.sqrt,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "log_sigmoid": torch.nn.functional.logsigmoid,
    "erf": torch.erf,
    "relu": torch.relu,
    "where_gt": lambda a, b, yes, no: torch.where(a > b, yes, no),
    "where_ge": lambda a, b, yes, no: torch.where(a >= b, yes, no),
    "where_eq": lambda a, b, yes, no: torch.where(a == b, yes, no),
}

LIBRARY = steps.Library(
    linear=_linear,
    split=lambda a, count: a.chunk(count, dim=-1),
    join=lambda pieces: torch.cat(pieces, dim=-1),
    layer_norm=lambda a, gain, shift: torch.nn.functional.layer_norm(a, a.shape[-1:], gain, shift),
    operations=_OPERATIONS,
)


def before_the_loop(cell: str, x: Any, params: dict[str, Any]) -> tuple[Any, steps.Arrays]:
    """Return the input's product for all of x, and the weights as the steps take them."""
    matrices = transposed(params)
    return steps.input_part(LIBRARY, cell, x, matrices), steps.weights(LIBRARY, cell, matrices)


def with_settings(weights: steps.Arrays, asked: Any) -> steps.Arrays:
    """Return the weights that steps share with a cell's settings among them; `asked` has the settings."""
    return weights if asked.cell_clip is None else weights | {"cell_clip": asked.cell_clip}


def transposed(params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with matrices (in, out), as views."""
    return {name: value.T if value.dim() == 2 else value for name, value in params.items()}


def check(spec: Spec) -> None:
    """Raise NotImplementedError where a call has no loop."""
    noise = spec.asked.noise
    if noise is not None and noise.masks and not noise.expected:
        raise NotImplementedError(MASKED)


def run(spec: Spec, x: torch.Tensor, tensors: Tensors) -> Tensors:
    """Run a call: output, final states, the sequences of the states after h; as `kernels.forward` has them."""
    check(spec)
    asked, order = spec.asked, order_of(spec, x)
    step = steps.step_of(asked.cell)
    parts = spec.split(tensors)
    params = with_biases(asked.cell, parts.weights)
    widths = steps.state_widths(asked.cell, transposed(params))
    begun = order.begin(parts.state, parts.reset_state, widths, params["weight_ih"])
    term = order.of_sequences(parts.term)
    rows = order.gather(x)
    if not rows.is_floating_point():
        rows = torch.nn.functional.one_hot(rows, params["weight_ih"].shape[1]).to(params["weight_ih"].dtype)
    part, weights = before_the_loop(asked.cell, rows, params)
    weights = with_settings(weights, asked)
    made: list[tuple[torch.Tensor, ...]] = []  # the states after each step, of its rows
    ended: list[tuple[torch.Tensor, ...]] = []  # those of the sequences that end, the last ones first
    now = begun
    for first, last in pairwise(order.starts.tolist()):
        if last - first < len(now[0]):
            ended.append(tuple(s[last - first :] for s in now))
            now = tuple(s[: last - first] for s in now)
        inside = part[first:last] if term is None else part[first:last] + term[: last - first]
        after = step(LIBRARY, rows[first:last], inside, now, weights)
        now = after if asked.noise is None else asked.noise.mixed(now, after)
        made.append(now)
    final = tuple(torch.cat(s) for s in zip(now, *ended[::-1], strict=True))

    def sequence(k: int) -> torch.Tensor:
        all_rows = torch.cat([s[k] for s in made]) if made else part.new_zeros(0, widths[k])
        return order.scatter(all_rows)

    later = tuple(sequence(k) for k in range(1, len(widths))) if asked.all_states else ()
    return (sequence(0), *order.end(final, parts.state), *later)


def with_biases(cell: str, weights: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with biases of zeros where there are none."""
    found = dict(weights)
    weight_ih = weights["weight_ih"]
    hidden = weight_ih.shape[0] // cell_info(cell)["rows"][0]
    projection = weights["weight_hr"].shape[0] if "weight_hr" in weights else None
    for name, shape in parameter_shapes(cell, weight_ih.shape[1], hidden, proj_size=projection).items():
        if name not in found:
            found[name] = weight_ih.new_zeros(shape)
    if "bias_hh" not in found:
        found["bias_hh"] = weight_ih.new_zeros(())
    return found


# ---- derivatives -------------------------------------------------------------------------------------


def gradient(spec: Spec, given: Tensors, d_results: Given) -> Given:
    """Return dL/dinputs, in operations of PyTorch alone."""
    with torch.enable_grad():
        inputs = tuple(t.detach().requires_grad_(t.is_floating_point()) for t in given)
        results = run(spec, inputs[0], inputs[1:])
        known = [(r, d) for r, d in zip(results, d_results, strict=True) if d is not None]
        wanted = [t for t in inputs if t.requires_grad]
        found = list(torch.autograd.grad([r for r, _ in known], wanted, [d for _, d in known]))
    return tuple(found.pop(0) if t.requires_grad else None for t in inputs)


def forward_derivative(spec: Spec, given: Tensors, tangents: Given) -> Tensors:
    """Return the tangents of the outputs."""
    inputs, function = _function(spec, given)
    return push(function, inputs, tangents[-len(inputs) :])


def second_derivative(spec: Spec, given: Tensors, d_results: Tensors, dd: Given) -> Given:
    """Return the gradient of (inputs, dL/doutputs) ↦ dL/dinputs, for dL'/d(dL/dinputs) = dd."""
    inputs, gradient_of = _gradient_function(spec, given)
    v = filled(inputs, dd[-len(inputs) :])
    found = torch.func.vjp(gradient_of, *inputs, *d_results)[1](v)
    return (*[None] * (len(given) - len(inputs)), *found)


def forward_second_derivative(spec: Spec, given: Tensors, d_results: Tensors, tangents: Given) -> Tensors:
    """Return the tangents of (inputs, dL/doutputs) ↦ dL/dinputs, of tokens an empty one."""
    inputs, gradient_of = _gradient_function(spec, given)
    tokens = len(given) - len(inputs)
    found = push(gradient_of, (*inputs, *d_results), tangents[tokens:])
    return (*[d_results[0].new_empty(0)] * tokens, *found)


def _function(spec: Spec, given: Tensors) -> tuple[Tensors, Callable[..., Tensors]]:
    """Return the inputs that can be differentiated (all but tokens), and the call as a function of them."""
    if given[0].is_floating_point():
        return given, lambda *inputs: run(spec, inputs[0], inputs[1:])
    return given[1:], lambda *inputs: run(spec, given[0], inputs)


def _gradient_function(spec: Spec, given: Tensors) -> tuple[Tensors, Callable[..., Tensors]]:
    """Return the inputs, and (inputs, dL/doutputs) ↦ dL/dinputs."""
    inputs, function = _function(spec, given)

    def gradient_of(*tensors: torch.Tensor) -> Tensors:
        found: Tensors = torch.func.vjp(function, *tensors[: len(inputs)])[1](tensors[len(inputs) :])
        return found

    return inputs, gradient_of


def push(function: Callable[..., Tensors], inputs: Tensors, tangents: Given) -> Tensors:
    """Return J v, as the transpose of u ↦ Jᵀ u: reverse mode twice, as forward mode may be what calls."""
    outputs, transpose = torch.func.vjp(function, *inputs)
    _, twice = torch.func.vjp(lambda *u: transpose(u), *map(torch.zeros_like, outputs))
    found: Tensors = twice(filled(inputs, tangents))
    return found


def filled(like: Tensors, given: Given) -> Tensors:
    """Return `given` with zeros for what is missing, or empty because it was not needed."""
    return tuple(
        torch.zeros_like(t) if d is None or d.shape != t.shape else d for t, d in zip(like, given, strict=True)
    )
