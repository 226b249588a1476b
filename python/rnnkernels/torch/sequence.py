"""A sequence through one direction of a layer, and through layers on layers: what all classes here share.

`run` takes tensors to the kernels, through autograd, or through an operator where a compiler is tracing. `run_layers`
stacks layers as torch.nn does. Not here: arguments of users and their checks (`layers`, `recurrent`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from rnnkernels._arguments import check_products

from . import autocast, autograd, operators, transforms
from .spec import make_spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.nn.utils.rnn import PackedSequence

    from rnnkernels._asked import Asked

    Tensors = tuple[torch.Tensor, ...]


_HALVES = (torch.bfloat16, torch.float16)


class Result(NamedTuple):
    """What a direction gave."""

    output: torch.Tensor  # (T, B, H)
    final: Tensors  # each (B, H)
    sequences: Tensors  # the states after h, each (T, B, H), where they were asked for


def run(
    asked: Asked,
    x: torch.Tensor,
    weights: Mapping[str, torch.Tensor],
    state: Sequence[torch.Tensor] | None = None,
    reset_state: Sequence[torch.Tensor] | None = None,
    term: torch.Tensor | None = None,
    *,
    seen: bool = True,
) -> Result:
    """Run a sequence (T, B, I), tokens (T, B) or packed rows (N, 1, I) through one direction of a layer.

    `seen`: whether output and sequences are handed on to the user, who may change them in place before the backward.
    """
    dtype = weights["weight_ih"].dtype
    if asked.products != "full":
        check_products(asked.products, np.dtype(np.float64 if dtype == torch.float64 else np.float32))
    if dtype in _HALVES and not x.is_cuda:  # a GPU's kernels read and write halves
        return _in_float32(asked, x, weights, state, reset_state, term)
    tensors = (*weights.values(), *(state or ()), *(reset_state or ()), *(() if term is None else (term,)))
    if torch.jit.is_tracing():  # a trace would have this call's numbers
        raise NotImplementedError("torch.jit.trace: expected layers of PyTorch's; torch.export takes rnnkernels'")
    if (
        torch.compiler.is_compiling()
        or not (x.is_cpu or x.is_cuda)
        or not transforms.PLAIN.issuperset(map(type, (x, *tensors)))
    ):
        results = operators.call(asked, x, weights, state, reset_state, term, seen)
    else:
        names, present = tuple(weights), (state is not None, reset_state is not None, term is not None)
        if not (transforms.at_work() or transforms.watched()):
            results = autograd.recurrence(make_spec(asked, names, present, seen), x, tensors)
        elif transforms.recorded(x, tensors) and not transforms.functionalized():
            results = transforms.recurrence(asked, names, present, seen, x, tensors)
        else:
            results = operators.call(asked, x, weights, state, reset_state, term, seen)
    states = (len(results) - 1) // 2 + 1 if asked.all_states else len(results) - 1
    return Result(results[0], results[1 : states + 1], results[states + 1 :])


def step(
    asked: Asked, x: torch.Tensor, weights: Mapping[str, torch.Tensor], state: Any = None, term: Any = None
) -> Result:
    """Run one step (1, B, I), of which the caller takes the final states alone."""
    return run(asked, x, weights, state, None, term, seen=False)


def _in_float32(asked: Asked, x: Any, weights: Any, state: Any, reset_state: Any, term: Any) -> Result:
    """Half precision is storage: the arithmetic, and the states between steps, are float32's."""
    x, wide, *rest = (autocast.to(part, torch.float32) for part in (x, weights, state, reset_state, term))
    done = run(asked, x, wide, *rest, seen=False)
    return Result(*(autocast.to(part, weights["weight_ih"].dtype) for part in done))


def _has_values(tensor: torch.Tensor) -> bool:
    """Whether a tensor's values may be read: not where a compiler or a mode records what is done with them."""
    return not (torch.compiler.is_compiling() or transforms.watched()) and type(tensor) in transforms.PLAIN


def packed_batch(input: PackedSequence, state: Any) -> Any:
    """Return how many sequences a packed batch has; None where a call is traced and no shape says so.

    The number stands in a tensor, whose values are not known while tracing: `state`, or the order in which the
    sequences were sorted, has it among its sizes. The kernels compare them when they run.
    """
    if _has_values(input.batch_sizes):
        return int(input.batch_sizes[0])
    if input.sorted_indices is not None:
        return input.sorted_indices.shape[0]  # no int() here or below: that would make it a constant of the graph
    first = state[0] if isinstance(state, (tuple, list)) and state else state
    return first.shape[1] if isinstance(first, torch.Tensor) and first.dim() == 3 else None


def packed_rows_fit(input: PackedSequence) -> bool:
    """Whether a packed batch has as many rows as its batch sizes say, where these can be read."""
    return not _has_values(input.batch_sizes) or int(input.batch_sizes.sum()) == input.data.shape[0]


class Stacked(NamedTuple):
    """What layers on layers gave; L layers, D directions."""

    output: torch.Tensor  # (T, B, D·H)
    final: Tensors  # each (L·D, B, H)
    sequences: tuple[Tensors, ...]  # of each layer and direction: all states, h first, each (T, B, H)


def run_layers(
    asked: Asked,
    x: torch.Tensor,
    layers: Sequence[Mapping[str, torch.Tensor]],
    state: Sequence[torch.Tensor] | None,
    reset_state: Sequence[torch.Tensor] | None = None,
    terms: Sequence[torch.Tensor | None] | None = None,
    *,
    directions: int,
    dropout: float,
) -> Stacked:
    """Run layers on layers, `dropout` between them; of each state in `state` (L·D, B, H), of each layer a term."""
    finals: list[Tensors] = []
    sequences = []
    count = len(layers)
    for k, weights in enumerate(layers):
        if k % directions == 0:
            outputs: list[torch.Tensor] = []
        mine = asked if k == 0 else asked._replace(reverse=k % directions == 1)
        if mine.noise is not None:
            mine = mine._replace(noise=mine.noise._replace(layer=mine.noise.layer + k))
        done = run(
            mine,
            x,
            weights,
            None if state is None else tuple(s[k] for s in state),
            None if reset_state is None else tuple(s[k] for s in reset_state),
            None if terms is None else terms[k],
            seen=asked.all_states or (directions == 1 and k == count - 1),  # else joined, or read by the layer above
        )
        outputs.append(done.output)
        finals.append(done.final)
        if asked.all_states:
            sequences.append((done.output, *done.sequences))
        if k % directions == directions - 1:
            x = outputs[0] if directions == 1 else torch.cat(outputs, -1)
            if asked.all_states and directions == 1 and k < count - 1 and x.requires_grad:
                x = x.clone()  # the layer above reads its own: the user may change what is returned
            if dropout > 0 and k < count - 1:
                x = torch.nn.functional.dropout(x, dropout, True)
    if count == 1:
        return Stacked(x, tuple(s.unsqueeze(0) for s in finals[0]), tuple(sequences))
    return Stacked(x, tuple(torch.stack(s) for s in zip(*finals, strict=True)), tuple(sequences))
