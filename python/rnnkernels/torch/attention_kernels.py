"""The attending recurrence on the kernels, on PyTorch tensors: what `attention_autograd` and the operators run.

As `kernels` for the plain recurrence: tensors are read where they lie, results are fresh, no gradients are recorded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from rnnkernels import _cpu
from rnnkernels._arguments import as_layer, as_settings
from rnnkernels._asked import Asked
from rnnkernels._call import present
from rnnkernels.parameters import NAMES as OF_CELL
from rnnkernels.parameters import cell_info, state_widths
from rnnkernels.schedule import Like, Schedule, begin

from .attention_call import NAMES, Attended, Attending, Given, Layout, Tensors, restore
from .kernels import BEHIND, array

if TYPE_CHECKING:
    from collections.abc import Sequence

_profiler = torch.autograd.profiler  # where it is on, calls have a name in it


def attends(cell: str) -> bool:
    """Whether the kernels have a cell's attending recurrence: its h is no product, and no gate takes x itself."""
    info = cell_info(cell)
    return not (info["projected"] or info["direct"])


def check_mask(mask: torch.Tensor | None) -> None:
    """Raise ValueError where a row of a mask (B, L) has no place to look at."""
    if mask is not None and not bool(mask.any(1).all()):
        row = int((~mask.any(1)).nonzero()[0])
        raise ValueError(f"mask: expected at least one place to look at in each row, got none in row {row}")


def forward(asked: Attending, given: Given, keep: bool) -> tuple[Attended, _cpu.Reserve | None]:
    """Run a call; `keep` what its backward needs beside results and tensors.

    Raises
    ------
    TypeError, ValueError
        If tensors do not fit.
    """
    if _profiler._is_profiler_enabled:
        with torch.profiler.record_function(f"rnnkernels.attend.{asked.cell}"):
            return _forward(asked, given, keep)
    return _forward(asked, given, keep)


def _forward(asked: Attending, given: Given, keep: bool) -> tuple[Attended, _cpu.Reserve | None]:
    check_mask(given.mask)
    call = _make_call(asked, given)
    output, final, reserve, _, attended = _cpu.forward(
        *call[:4], keep, call.rows, settings=call.settings, attention=call.attention
    )
    ended = final if call.schedule is None else call.schedule.end(final, call.initial)
    weights, contexts, places, location = (None if part is None else torch.from_numpy(part) for part in attended)
    result = torch.from_numpy(output)
    return Attended(result, tuple(map(torch.from_numpy, ended)), weights, contexts, places, location), reserve


def backward(
    layout: Layout,
    tensors: Tensors,
    attended: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None],
    reserve: _cpu.Reserve,
    d_output: torch.Tensor | None,
    d_final: Sequence[torch.Tensor | None],
    d_attended: tuple[torch.Tensor | None, torch.Tensor | None],
    need_x: bool,
) -> list[torch.Tensor | None]:
    """Return the gradients of the tensors that can be differentiated, of x None where it is not needed.

    `attended`: output, weights, contexts, places of the forward; `d_attended`: of weights and contexts.
    """
    if _profiler._is_profiler_enabled:
        with torch.profiler.record_function(f"rnnkernels.attend.{layout.asked.cell} backward"):
            return _backward(layout, tensors, attended, reserve, d_output, d_final, d_attended, need_x)
    return _backward(layout, tensors, attended, reserve, d_output, d_final, d_attended, need_x)


def _backward(
    layout: Layout,
    tensors: Tensors,
    attended: tuple[Any, ...],
    reserve: _cpu.Reserve,
    d_output: Any,
    d_final: Any,
    d_attended: Any,
    need_x: bool,
) -> list[torch.Tensor | None]:
    # The call is made again: sharded training gathers weights anew, at another place, for a backward.
    call = _make_call(layout.asked, restore(layout, tensors))
    d_state = None
    if any(d is not None for d in d_final):
        batch = attended[0].shape[1]
        zeros = (np.zeros((batch, width), call.layer.weight_ih.dtype) for width in call.widths)
        d_state = tuple(z if d is None else array(d) for z, d in zip(zeros, d_final, strict=True))
    output, *found = (None if part is None else array(part) for part in attended)
    ahead = d_state if call.schedule is None else call.schedule.end_gradient(d_state)
    d_x, d_layer, d_begun, _, _, d_attention = _cpu.backward(
        *call[:4],
        output,
        reserve,
        None if d_output is None else array(d_output),
        ahead,
        need_x and tensors[0].is_floating_point(),
        call.rows,
        settings=call.settings,
        attention=call.attention,
        attended=tuple(found),
        d_attended=tuple(None if d is None else array(d) for d in d_attended),
    )
    d_keys, d_features, *of_attention = d_attention
    named = dict(zip(OF_CELL, d_layer, strict=True)) | dict(zip(NAMES, of_attention, strict=True))
    grads = [d_x, d_features]
    if layout.keys:
        grads.append(d_keys)
    else:  # the keys are the features
        d_features += d_keys
    grads += [present(named[name], f"a gradient of {name}") for name in layout.names]
    d_reset: Any = ()
    if call.schedule is not None:
        d_begun, d_reset = call.schedule.begin_gradient(d_begun, d_state)
    grads += d_begun if layout.state else ()
    grads += d_reset if layout.reset_state else ()
    return [
        None if grad is None else torch.from_numpy(grad).view(tensor.shape)
        for grad, tensor in zip(grads, tensors, strict=False)
    ]


class _Call(NamedTuple):
    """A call of the extension."""

    cell: str
    x: Any
    layer: Any
    state: tuple[Any, ...] | None  # of a ragged batch that of its sequences
    rows: Any
    settings: tuple[float, ...]
    attention: tuple[Any, ...]
    schedule: Schedule | None
    initial: tuple[Any, ...] | None
    widths: tuple[int, ...]


def _make_call(asked: Attending, given: Given) -> _Call:
    weights = {name: array(weight) for name, weight in given.weights.items()}
    layer = as_layer(asked.cell, {name: weight for name, weight in weights.items() if name not in NAMES})
    x = array(given.x)
    initial, reset = (None if s is None else tuple(map(array, s)) for s in (given.state, given.reset_state))
    widths = state_widths(asked.cell, layer.weight_ih, layer.weight_hh)
    begun, schedule, rows = initial, None, None
    if given.ragged:
        lengths, resets = (None if t is None else t.numpy() for t in (given.lengths, given.resets))
        options = Asked(asked.cell, lengths=lengths, resets=resets)
        like = Like(widths, len(layer.weight_ih), layer.weight_ih.dtype)
        schedule, begun, _ = start = begin(options, x, initial, reset, None, like)
        rows = start.rows
    features = array(given.features)
    keys = features if given.keys is None else array(given.keys)
    dot = given.keys is not None and "score" not in weights
    gate = weights.get("weight_beta")
    attention = (
        keys,
        features,
        None if given.mask is None else array(given.mask.to(given.features.dtype)),
        weights["weight_query"],
        weights.get("bias_query"),
        weights.get("score"),
        None if gate is None else gate[0],
        weights.get("bias_beta"),
        weights.get("weight_location"),
        None if given.location is None else array(given.location),
        1.0 / math.sqrt(keys.shape[2]) if dot else 1.0,
        (int(present(given.seed, "a seed")) & (2**64 - 1), asked.first_step) if asked.hard else None,
    )
    settings = () if asked.cell_clip is None else as_settings(asked.cell, asked.cell_clip)
    return _Call(asked.cell, x, layer, begun, rows, settings, attention, schedule, initial, widths)


def reserve_size(cell: str, hidden: int, attention: int, like: torch.Tensor) -> tuple[int, int]:
    """Return the bytes of a reserve for each row of a step, and behind them all; `attention`: A, `like`: a weight."""
    of_cell = _cpu.reserve_size(cell, hidden, str(like.dtype)[6:], False)
    query = (attention + 15) // 16 * 16  # csrc/recurrence/attention.h: query_row
    return of_cell + query * like.element_size(), BEHIND
