"""The attending recurrence in PyTorch's own operations, a loop over the steps: slow, and differentiable at will.

What a user writes where there is no kernel: keys and the input's product are made once, the rest step by step, of all
rows at once. A row that has ended keeps its state; a row that is reset takes another. The cells' steps are those of
`rnnkernels.steps`. What autograd takes where the fused backward has no derivative, as `loops` of the plain recurrence.
Not here: checks of arguments (`attention`), who runs a call (`attention_autograd`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import conv1d, linear

from rnnkernels import steps
from rnnkernels._call import present
from rnnkernels.parameters import cell_info
from rnnkernels.reference.masks import philox

from . import loops
from .attention_call import NAMES, Attended, Attending, Given, Layout, Tensors, restore
from .loops import LIBRARY, transposed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def run(asked: Attending, given: Given) -> Attended:
    """Run a call."""
    if asked.noise is not None and not asked.noise.expected:
        raise NotImplementedError(loops.MASKED)
    x = given.x
    count, batch = x.shape[:2]
    # The kernels read these two on the host.
    lengths, resets = (None if t is None else t.to(x.device) for t in (given.lengths, given.resets))
    look = _Look(asked, given)
    cell_step = _CellStep(asked, given, look.features.shape[-1])
    beginning = given.state or cell_step.zeros(batch)
    fresh = given.reset_state or cell_step.zeros(batch)
    now, seen = beginning, look.start(given.location)
    nothing = look.start(None)
    drawn = _uniforms(asked, given)

    outputs, weights, contexts, places = [], [], [], []
    for t in range(count):
        before, before_seen = now, seen
        if resets is not None:
            reset = resets[t]
            now = _choose(reset, fresh, now)
            seen = None if seen is None else _pick(reset, nothing, seen)
        place = None if given.places is None else given.places[t]
        alpha, context, place, seen = look(now[0], seen, None if drawn is None else drawn[t], place)
        now = cell_step(t, context, now)
        output = now[0]
        if lengths is not None:
            runs = lengths > t
            now = _choose(runs, now, before)
            seen = None if seen is None else _pick(runs, seen, before_seen)
            output, alpha, context = (_pick(runs, part, torch.zeros_like(part)) for part in (output, alpha, context))
            place = None if place is None else torch.where(runs, place, -1)
        outputs.append(output)
        weights.append(alpha)
        contexts.append(context)
        places.append(place)

    size = look.features.shape

    def stacked(of_steps: list[torch.Tensor], width: int) -> torch.Tensor:
        return torch.stack(of_steps) if of_steps else look.features.new_zeros(0, batch, width)

    chosen = None
    if asked.hard:
        chosen = torch.stack(places) if places else x.new_zeros((0, batch), dtype=torch.int64)
    return Attended(
        stacked(outputs, cell_step.widths[0]),
        tuple(now),
        stacked(weights, size[1]),
        stacked(contexts, size[2]),
        chosen,
        seen,
    )


def _pick(condition: torch.Tensor, one: Any, other: Any) -> torch.Tensor:
    """Return each row (B, ...) of the one or the other, by a condition (B,)."""
    return torch.where(condition.view(-1, *[1] * (one.dim() - 1)), one, other)


def _choose(condition: torch.Tensor, one: Tensors, other: Tensors) -> Tensors:
    return tuple(_pick(condition, a, b) for a, b in zip(one, other, strict=True))


class _Look:
    """One look at the features: (state, what the looks before saw) → weights, context, place."""

    def __init__(self, asked: Attending, given: Given) -> None:
        self.features = given.features
        self.keys = given.features if given.keys is None else given.keys
        self.hard = asked.hard
        self.weights = given.weights
        self.forbidden = None if given.mask is None else ~given.mask
        self.dot = given.keys is not None and "score" not in given.weights
        self.rows = torch.arange(len(given.features), device=given.features.device)

    def start(self, location: torch.Tensor | None) -> torch.Tensor | None:
        """Return what location-aware scores see before the first step (B, C, L); None for other scores."""
        weight = self.weights.get("weight_location")
        if weight is None or location is not None:
            return location
        batch, places, _ = self.features.shape
        return self.features.new_zeros(batch, weight.shape[1], places)

    def _scores(self, h: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
        """Return e (B, L)."""
        w = self.weights
        query = linear(h, w["weight_query"], w.get("bias_query"))
        if "score" not in w:
            scores = torch.bmm(self.keys, query.unsqueeze(2)).squeeze(2)
            return scores / math.sqrt(query.shape[1]) if self.dot else scores
        sums = self.keys + query.unsqueeze(1)
        if seen is not None:
            weight = w["weight_location"]  # (A, C, K)
            sums = sums + conv1d(seen, weight, padding=weight.shape[2] // 2).transpose(1, 2)
        return torch.tanh(sums) @ w["score"]

    def __call__(
        self, h: torch.Tensor, seen: torch.Tensor | None, uniform: torch.Tensor | None, place: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Return weights (B, L), context (B, D), place (B,) of hard attention, what the next look sees (B, C, L)."""
        scores = self._scores(h, seen)
        if self.forbidden is None:
            alpha = torch.softmax(scores, 1)
        else:  # nor does a gradient of their weights reach anything
            alpha = torch.softmax(scores.masked_fill(self.forbidden, -math.inf), 1).masked_fill(self.forbidden, 0.0)
        if self.hard:
            if place is None:
                place = alpha.detach().argmax(1) if uniform is None else _draw(alpha.detach(), uniform)
            else:
                place = place.clamp(min=0)
            context = self.features[self.rows, place]
        else:
            context = torch.bmm(alpha.unsqueeze(1), self.features).squeeze(1)
        if "weight_beta" in self.weights:
            beta = torch.sigmoid(linear(h, self.weights["weight_beta"], self.weights.get("bias_beta")))  # (B, 1)
            context = beta * context
        if seen is not None:
            sums = [seen[:, 1] + alpha] if seen.shape[1] == 2 else []
            seen = torch.stack([alpha, *sums], 1)
        return alpha, context, place, seen


class _CellStep:
    """The cell's step t on (x_t, context); x's product is made for all steps before the first."""

    def __init__(self, asked: Attending, given: Given, features: int) -> None:
        cell = self.cell = asked.cell
        x = given.x
        params = loops.with_biases(cell, {name: w for name, w in given.weights.items() if name not in NAMES})
        inputs = params["weight_ih"].shape[1] - features
        if not x.is_floating_point():
            x = torch.nn.functional.one_hot(x, inputs).to(params["weight_ih"].dtype)
        matrices = transposed(params)
        self.widths = steps.state_widths(cell, matrices)
        self.step = steps.step_of(cell)
        self.weights = loops.with_settings(steps.weights(LIBRARY, cell, matrices), asked)
        of_x, self.of_context = matrices["weight_ih"].split([inputs, features])
        self.normalised = cell_info(cell)["normalisation"] != "none"
        self.gain, self.shift = None, None
        if self.normalised:  # the sum over the whole row is, so x's part of it cannot be before it is known
            self.part = x @ of_x
            self.gain, self.shift = matrices["weight_diagonal"][: self.part.shape[-1]], matrices["bias_ih"]
        else:
            self.part = steps.input_part(LIBRARY, cell, x, {**matrices, "weight_ih": of_x})
        self.inputs = inputs
        self.x = x if cell_info(cell)["direct"] or cell_info(cell)["elements"] else None
        self.like = params["weight_ih"]
        self.noise = None if asked.noise is None or not asked.noise.keeps_units else asked.noise

    def zeros(self, batch: int) -> Tensors:
        """Return states of zeros."""
        return tuple(self.like.new_zeros(batch, width) for width in self.widths)

    def __call__(self, t: int, context: torch.Tensor, state: Tensors) -> Tensors:
        part = torch.addmm(self.part[t], context, self.of_context)
        if self.normalised:
            part = LIBRARY.layer_norm(part, self.gain, self.shift)
        whole = None
        if self.x is not None:  # for gates that take x itself, and element-wise inputs, which stand behind it
            x = self.x[t]
            whole = torch.cat((x[:, : self.inputs], context, x[:, self.inputs :]), 1)
        made = tuple(self.step(LIBRARY, whole, part, state, self.weights))
        return made if self.noise is None else self.noise.mixed(state, made)


# ---- hard attention ----------------------------------------------------------------------------------

_STREAM = 7  # of the random numbers that draw places: csrc/recurrence/masks.h


def _draw(alpha: torch.Tensor, uniform: Any) -> torch.Tensor:
    """Return the first place (B,) at which the sum of the weights exceeds a uniform number (B,) in [0, 1)."""
    found = (alpha.double().cumsum(1) <= uniform.unsqueeze(1)).sum(1)
    last = alpha.shape[1] - 1 - (alpha > 0).flip(1).int().argmax(1)  # where rounding keeps the sum below the number
    return torch.minimum(found, last)


def _uniforms(asked: Attending, given: Given) -> torch.Tensor | None:
    """Return a number for each step and row (T, B) in [0, 1); None where nothing is to be drawn."""
    if not asked.hard or asked.greedy or given.places is not None:
        return None
    seed = present(given.seed, "a seed")
    count, batch = given.x.shape[:2]
    step, row = np.arange(count)[:, None] + asked.first_step, np.arange(batch)[None, :]
    word = philox(int(seed) & (2**64 - 1), (0, step, row, _STREAM))[0]
    return torch.from_numpy(word / 2.0**32).to(given.features.device)


# ---- derivatives -------------------------------------------------------------------------------------


def results(layout: Layout, tensors: Tensors) -> Tensors:
    """Run a call: output, final states, weights, contexts, one after another."""
    done = run(layout.asked, restore(layout, tensors))
    return (done.output, *done.final, done.weights, done.contexts)


def forward_derivative(layout: Layout, tensors: Tensors, tangents: Sequence[Any]) -> Tensors:
    """Return the tangents of `results`."""
    inputs, function = _function(layout, tensors)
    return loops.push(function, inputs, _of_floats(layout, tensors, tangents))


def gradient(layout: Layout, tensors: Tensors, d_results: Sequence[torch.Tensor]) -> Tensors:
    """Return dL/d(each tensor that can be differentiated), in operations of PyTorch alone; of tokens an empty one."""
    inputs, function = _function(layout, tensors)
    found: Tensors = torch.func.vjp(function, *inputs)[1](tuple(d_results))
    return found if len(inputs) == layout.differentiable else (found[0].new_empty(0), *found)


def second_derivative(layout: Layout, tensors: Tensors, d_results: Tensors, dd: Sequence[Any]) -> tuple[Any, ...]:
    """Return the gradient of (tensors, dL/dresults) ↦ dL/dtensors, for dL'/d(dL/dtensors) = dd."""
    inputs, function = _function(layout, tensors)
    gradient_of = _gradient_of(function, len(inputs))
    v = loops.filled(inputs, _of_floats(layout, tensors, dd))
    found = torch.func.vjp(gradient_of, *inputs, *d_results)[1](v)
    tokens = [None] * (layout.differentiable - len(inputs))
    return (*tokens, *found[: len(inputs)], *[None] * len(layout.options), *found[len(inputs) :])


def forward_second_derivative(
    layout: Layout, tensors: Tensors, d_results: Tensors, tangents: Sequence[Any], d_tangents: Sequence[Any]
) -> Tensors:
    """Return the tangents of (tensors, dL/dresults) ↦ dL/dtensors, of tokens an empty one."""
    inputs, function = _function(layout, tensors)
    given = (*_of_floats(layout, tensors, tangents), *d_tangents)
    found = loops.push(_gradient_of(function, len(inputs)), (*inputs, *d_results), given)
    return found if len(inputs) == layout.differentiable else (found[0].new_empty(0), *found)


def _function(layout: Layout, tensors: Tensors) -> tuple[Tensors, Callable[..., Tensors]]:
    """Return the tensors that can be differentiated, all but tokens and options, and the call as a function of them."""
    inputs = tensors[: layout.differentiable]
    options = tensors[layout.differentiable :]
    if inputs[0].is_floating_point():
        return inputs, lambda *floats: results(layout, (*floats, *options))
    return inputs[1:], lambda *floats: results(layout, (inputs[0], *floats, *options))


def _gradient_of(function: Callable[..., Tensors], count: int) -> Callable[..., Tensors]:
    """Return (inputs, dL/dresults) ↦ dL/dinputs."""

    def gradient_of(*tensors: torch.Tensor) -> Tensors:
        found: Tensors = torch.func.vjp(function, *tensors[:count])[1](tensors[count:])
        return found

    return gradient_of


def _of_floats(layout: Layout, tensors: Tensors, given: Sequence[Any]) -> tuple[Any, ...]:
    """Return what belongs to the tensors that can be differentiated."""
    return tuple(given[0 if tensors[0].is_floating_point() else 1 : layout.differentiable])
