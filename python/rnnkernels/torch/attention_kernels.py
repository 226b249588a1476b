"""The attending recurrence on the kernels, on PyTorch tensors: what `attention_autograd` and the operators run.

As `kernels` for the plain recurrence: tensors are read where they lie, results are fresh, no gradients are recorded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from rnnkernels import _cpu, _serve, cuda
from rnnkernels._arguments import as_layer
from rnnkernels._arrays import frame_of
from rnnkernels._asked import Asked
from rnnkernels._call import Ahead, Attention, Call, present
from rnnkernels.parameters import state_widths
from rnnkernels.schedule import Begun, Like, Schedule, begin

from . import kernels
from .attention_call import NAMES, Attended, Attending, Given, Layout, Tensors, restore
from .kernels import _tensor, _tensors, array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rnnkernels.noise import Drawn

_profiler = torch.autograd.profiler  # where it is on, calls have a name in it


def check_mask(mask: torch.Tensor | None) -> None:
    """Raise ValueError where a row of a mask (B, L) has no place to look at. A GPU is not asked, nor waited for."""
    if mask is not None and not kernels._on_gpu(mask) and not bool(mask.any(1).all()):
        row = int((~mask.any(1)).nonzero()[0])
        raise ValueError(f"mask: expected at least one place to look at in each row, got none in row {row}")


def forward(asked: Attending, given: Given, keep: bool) -> tuple[Attended, Any]:
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


def _forward(asked: Attending, given: Given, keep: bool) -> tuple[Attended, Any]:
    check_mask(given.mask)
    made = _make_call(asked, given)
    (output, final, reserve, _), (weights, contexts, places, location) = _serve.attend(made.call, made.attention, keep)
    ended = final if made.schedule is None else made.schedule.end(final, made.initial)
    found = Attended(
        _tensor(output),
        _tensors(ended),
        _tensor(weights),
        _tensor(contexts),
        None if places is None else _tensor(places),
        None if location is None else _tensor(location),
    )
    return found, reserve


def backward(
    layout: Layout,
    tensors: Tensors,
    attended: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None],
    reserve: Any,
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
    reserve: Any,
    d_output: Any,
    d_final: Any,
    d_attended: Any,
    need_x: bool,
) -> list[torch.Tensor | None]:
    # The call is made again: sharded training gathers weights anew, at another place, for a backward.
    made = _make_call(layout.asked, restore(layout, tensors))
    d_state = None
    if any(d is not None for d in d_final):
        output = attended[0]
        d_state = tuple(
            array(output.new_zeros(output.shape[1], width) if d is None else d)
            for d, width in zip(d_final, made.widths, strict=True)
        )
    schedule = made.schedule
    ended = d_state if schedule is None else schedule.end_gradient(d_state)
    output, weights, contexts = map(array, attended[:3])
    places, d_weights, d_contexts = (None if part is None else array(part) for part in (attended[3], *d_attended))
    found, d = _serve.attend_back(
        made.call,
        made.attention,
        output,
        reserve,
        Ahead(None if d_output is None else array(d_output), ended),
        (weights, contexts, places),
        (d_weights, d_contexts),
        need_x and tensors[0].is_floating_point(),
    )
    of_features = [d.features, d.keys] if layout.keys else [d.features + d.keys]  # else the keys are the features
    grads: list[Any] = [found.x, *of_features]
    grads += [found.params[name] if name in found.params else getattr(d, name) for name in layout.names]
    d_begun: tuple[Any, ...] = found.state
    d_reset: tuple[Any, ...] = ()
    if schedule is not None:
        d_begun, d_reset = schedule.begin_gradient(d_begun, d_state)
    grads += d_begun if layout.state else ()
    grads += d_reset if layout.reset_state else ()
    return [
        None if grad is None else _tensor(grad).view(tensor.shape) for grad, tensor in zip(grads, tensors, strict=False)
    ]


class _Made(NamedTuple):
    """A call of a backend, and what puts its rows in order."""

    call: Call
    attention: Attention
    schedule: Schedule | None  # None: dense
    initial: tuple[Any, ...] | None  # each (B, H)
    widths: tuple[int, ...]  # units of each state


def _make_call(asked: Attending, given: Given) -> _Made:
    weights = {name: array(weight) for name, weight in given.weights.items()}
    layer = as_layer(asked.cell, {name: weight for name, weight in weights.items() if name not in NAMES})
    x = array(given.x)
    initial, reset = (None if s is None else tuple(map(array, s)) for s in (given.state, given.reset_state))
    widths = state_widths(asked.cell, layer.weight_ih, layer.weight_hh)
    begun = Begun(None, initial, None)
    if given.ragged:
        lengths, resets = _on_host("lengths", given.lengths), _on_host("resets", given.resets)
        weight = layer.weight_ih
        like = Like(widths, len(weight), weight.dtype, frame_of(weight))
        begun = begin(Asked(asked.cell, lengths=lengths, resets=resets), x, initial, reset, None, like)
    noise = None if asked.noise is None else _settled(asked, given)
    call = Call(asked.cell, x, layer, begun.state, begun.rows, None, noise, asked.settings)
    return _Made(call, _attention(asked, given, weights), begun.schedule, initial, widths)


def _settled(asked: Attending, given: Given) -> Drawn:
    """Return the masks as a backend takes them."""
    noise, seed = present(asked.noise, "noise"), present(given.noise_seed, "a seed")
    return noise._replace(seed=seed, first_step=asked.first_step, batch=given.x.shape[1]).settled(asked.cell)


def _on_host(name: str, tensor: torch.Tensor | None) -> Any:
    """Return what says which rows are run as NumPy's array, or raise where to read it would be to wait for a GPU."""
    if tensor is not None and tensor.device.type != "cpu":
        raise TypeError(
            f"{name}: expected a tensor on the CPU, where the steps are planned, got one on {tensor.device}"
        )
    return None if tensor is None else tensor.numpy()


def _attention(asked: Attending, given: Given, weights: dict[str, Any]) -> Attention:
    """Return what a backend takes; `weights` as arrays."""
    features = array(given.features)
    keys = features if given.keys is None else array(given.keys)
    dot = given.keys is not None and "score" not in weights
    of_attention: dict[str, Any] = {name: weights.get(name) for name in NAMES}
    if of_attention["weight_beta"] is not None:
        of_attention["weight_beta"] = of_attention["weight_beta"][0]
    hard: tuple[int | None, int] | None = None
    if asked.hard:
        seed = None if asked.greedy else int(present(given.seed, "a seed")) & (2**64 - 1)
        hard = (seed, asked.first_step)
    return Attention(
        keys,
        features,
        None if given.mask is None else array(given.mask.to(given.features.dtype)),
        **of_attention,
        location=None if given.location is None else array(given.location),
        scale=1.0 / math.sqrt(keys.shape[2]) if dot else 1.0,
        hard=hard,
    )


def reserve_size(asked: Attending, hidden: int, attention: int, like: torch.Tensor) -> tuple[int, int]:
    """Return the bytes of a reserve for each row of a step, and behind them all; `attention`: A, `like`: a weight."""
    module, owner = (cuda.extension.load(), 0) if kernels._on_gpu(like) else (_cpu, kernels.BEHIND)
    zones = asked.noise is not None and asked.noise.keeps_units
    of_row, behind = module.attending_reserve_size(asked.cell, hidden, str(like.dtype)[6:], zones, attention)
    return of_row, behind + owner
