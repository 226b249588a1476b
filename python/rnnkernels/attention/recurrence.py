"""The attending recurrence over whole sequences: `forward` and `backward`.

The product of all keys is made here, once a call; the steps are the backend's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnnkernels import _serve
from rnnkernels._arguments import as_settings, as_states, fits_rows, kind_of_array, settled
from rnnkernels._arrays import frame_of
from rnnkernels._asked import Asked
from rnnkernels._call import Ahead, Attention, Call
from rnnkernels._scalars import as_flag
from rnnkernels.memory import check_memory
from rnnkernels.noise import check_noise
from rnnkernels.parameters import cell_info
from rnnkernels.run import GradientsOfAll, Ran, gradients, of_sequences
from rnnkernels.schedule import Like, begin, check_reset_state, check_states

from .arguments import as_sequence, as_steps, product, take

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from rnnkernels.noise import Noise
    from rnnkernels.parameters import Array, Params
    from rnnkernels.schedule import Schedule

    Places = npt.NDArray[np.int64]

State = tuple[Any, ...]


class _Kept(NamedTuple):
    """What a run keeps for its backward."""

    call: Call
    attention: Attention
    params: Params  # of the attention
    reserve: Any  # of the backend that ran it
    schedule: Schedule | None  # None: dense

    @property
    def nbytes(self) -> int:
        """Memory of the reserve."""
        size: int = self.reserve.nbytes
        return size


@dataclass(frozen=True, eq=False)
class AttendingRun(Ran[_Kept]):
    """A forward pass of an attending recurrence: its results, and what its backward needs.

    It refers to the arrays it was called with and does not copy them, as `rnnkernels.Run`. It can be copied and
    pickled.

    Attributes
    ----------
    output, state, cell
        As of `rnnkernels.Run`.
    weights : ndarray, (T, B, L)
        α of every step: not negative, 0 where the mask forbids, and they sum to 1.
    contexts : ndarray, (T, B, D)
        What the cell saw beside x.
    places : ndarray of int64, (T, B), or None
        The places that hard attention drew, or took.

    Notes
    -----
    In steps that a row does not have everything is 0, and `places` -1.
    """

    weights: Array
    contexts: Array
    places: Places | None = None

    def __repr__(self) -> str:
        steps, batch, hidden = self.output.shape
        sizes = f"T={steps}, B={batch}, H={hidden}, L={self.weights.shape[2]}, D={self.contexts.shape[2]}"
        hard = "" if self.places is None else ", hard"
        return f"AttendingRun(cell={self.cell!r}, {sizes}{hard}, reserve_bytes={self.reserve_bytes})"


@dataclass(frozen=True, eq=False, repr=False)
class AttendingGradients(GradientsOfAll):
    """What `backward` found.

    Attributes
    ----------
    x, params, state, reset_state
        As of `rnnkernels.Gradients`.
    features : ndarray, (B, L, D)
        dL/dfeatures.
    """

    features: Array = field(kw_only=True)


def forward(
    cell: str,
    x: npt.ArrayLike,
    features: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    training: bool = True,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    reset_state: Sequence[npt.ArrayLike] | None = None,
    reverse: bool = False,
    noise: Noise | None = None,
    cell_clip: float | None = None,
    hard: int | str | None = None,
    memory: str = "all",
) -> AttendingRun:
    """Run one layer over a sequence, in every step on x and on what its state asks of the features.

    `rnnkernels.attention` has the equations of a step, and docs/attention.md an example.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells`, but for those that add x itself to a gate or project h.
    x : array_like, (T, B, I) of the parameters' dtype, or (T, B) of integers
        Vectors, or tokens in [0, I). I may be 0.
    features : array_like, (B, L, D)
        What each row looks at: L places of D numbers.
    params : mapping of str to array_like
        See `parameter_shapes`; which of the attention's are there says what is done. ``score``: additive scores;
        ``weight_key`` without it: dot; neither: bilinear. ``weight_beta``: gated. ``weight_location``: scores see where
        they looked before.
    state : sequence of array_like, each (B, H), optional
        The states before the first step, h first, one per state of the cell. Default: zeros.
    mask : array_like of bool, (B, L), optional
        True where a place may be looked at, which in each row is one at least; what stands at the others is not read.
        Default: everywhere.
    training : bool, default True
        Keep what `backward` needs. False keeps nothing; the results are the same, bit for bit.
    lengths : array_like of int, (B,), optional
        Steps of each row, 0 to T, in any order. Default: T each.
    resets : array_like of bool, (T, B), optional
        Before which steps a row's state is replaced; where it looked before is forgotten, too.
    reset_state : sequence of array_like, each (B, H), optional
        What it is replaced by. Default: zeros.
    reverse : bool, default False
        Run from each row's last step to its first; what belongs to step t is still at [t].
    noise : Noise, optional
        Random masks inside the recurrence, as in `rnnkernels.forward`.
    cell_clip : float, optional
        For the cells that have it: c is kept in [-cell_clip, cell_clip].
    hard : int or "greedy", optional
        A seed in [0, 2⁶⁴): draw one place from α in each step, and take its features for the context. The same seed
        draws the same numbers, for any number of threads, whatever else is in the batch: give every call another one.
        "greedy": take the likeliest place, the first of several, for decoding. Default: the average of all.
    memory : {"all"}
        What a training run keeps: everything. `rnnkernels.forward` has other choices, which this has not yet.

    Returns
    -------
    AttendingRun
        With ``output`` (T, B, H), ``state``, ``weights`` (T, B, L), ``contexts`` (T, B, D) and ``places``.

    Raises
    ------
    TypeError
        If an array has another dtype than the parameters, or is no array of numbers.
    ValueError
        If the cell is unknown, a parameter is missing or unknown, a shape does not fit, a token is out of range, or
        a row has no place to look at. The message names the argument, what was expected and what came.

    Notes
    -----
    The output and the states are those of `rnnkernels.forward` on x and ``contexts`` side by side, bit for bit. A row's
    results do not depend on what else is in the batch, nor on the number of threads.
    """
    training, reverse = as_flag("training", training), as_flag("reverse", reverse)
    check_noise(noise)
    if check_memory(memory) != "all":
        raise ValueError(f"memory: expected 'all', the only choice of an attending recurrence yet, got {memory!r}")
    cell, cell_clip = settled(cell, cell_clip)
    given = take(cell, features, params, mask, as_settings(cell, cell_clip), hard)
    inputs = as_steps(x, given)
    names, widths, batch = cell_info(cell)["states"], given.widths, given.batch
    fits = partial(fits_rows, widths, batch)
    initial = as_states("state", state, names, given.kind, fits)
    reset = as_states("reset_state", reset_state, names, given.kind, fits)
    check_reset_state(reset, resets)
    check_states("state", initial, batch, widths)
    check_states("reset_state", reset, batch, widths)
    drawn = None if noise is None else noise._drawn(cell, batch, expected=not training)
    asked = Asked(cell, reverse, None, lengths, resets, drawn, cell_clip)
    weight = given.layer.weight_ih
    begun = begin(asked, inputs, initial, reset, None, Like(widths, len(weight), weight.dtype, frame_of(weight)))
    call = Call(cell, inputs, given.layer, begun.state, begun.rows, None, drawn, given.settings)
    (output, final, reserve, _), attended = _serve.attend(call, given.attention, training)
    ended = final if begun.schedule is None else begun.schedule.end(final, initial)
    kept = None if reserve is None else _Kept(call, given.attention, given.params, reserve, begun.schedule)
    return AttendingRun(output, ended, cell, attended.weights, attended.contexts, attended.places, _kept=kept)


def backward(
    run: AttendingRun,
    d_output: npt.ArrayLike | None = None,
    d_state: Sequence[npt.ArrayLike] | None = None,
    *,
    d_weights: npt.ArrayLike | None = None,
    d_contexts: npt.ArrayLike | None = None,
) -> AttendingGradients:
    """Backpropagate through a run, over all of its steps.

    Parameters
    ----------
    run : AttendingRun
        Of `forward` with ``training=True``. It is not used up: it may be differentiated again.
    d_output : array_like, (T, B, H), optional
        dL/d(run.output). Default of each: zeros.
    d_state : sequence of array_like, each (B, H), optional
        dL/d(run.state), one per state of the cell.
    d_weights : array_like, (T, B, L), optional
        dL/d(run.weights): of a penalty on them, or what REINFORCE says of hard attention, (dL/d log p) / α_s at the
        place s that was drawn, 0 at the others.
    d_contexts : array_like, (T, B, D), optional
        dL/d(run.contexts), of a loss that reads them.

    Returns
    -------
    AttendingGradients
        dL/dx, dL/dfeatures, dL/dparameters, dL/d(initial state).

    Raises
    ------
    TypeError
        If `run` is no AttendingRun or an array has another dtype.
    ValueError
        If the run was made for inference, or a shape does not fit.
    """
    if not isinstance(run, AttendingRun):
        raise TypeError(f"run: expected what attention.forward returned, got {type(run).__name__}")
    kept = run._kept
    if kept is None:
        raise ValueError("run: expected one made with training=True, got one made for inference")
    kind = kind_of_array("run.output", run.output)
    widths, batch = tuple(s.shape[1] for s in run.state), run.output.shape[1]
    names = cell_info(run.cell)["states"]
    of_state = as_states("d_state", d_state, names, kind, partial(fits_rows, widths, batch))
    check_states("d_state", of_state, batch, widths)
    ahead = Ahead(as_sequence("d_output", d_output, "(T, B, H)", run.output.shape, kind), of_state)
    d_attended = (
        as_sequence("d_weights", d_weights, "(T, B, L)", run.weights.shape, kind),
        as_sequence("d_contexts", d_contexts, "(T, B, D)", run.contexts.shape, kind),
    )
    ended = ahead if kept.schedule is None else of_sequences(ahead, kept.schedule, widths)
    attended = (run.weights, run.contexts, run.places)
    found, d = _serve.attend_back(kept.call, kept.attention, run.output, kept.reserve, ended, attended, d_attended)
    grads = gradients(found, kept.schedule, ahead, norms=False)
    of_attention = {
        "weight_query": d.weight_query,
        "bias_query": d.bias_query,
        "score": d.score,
        "weight_beta": None if d.weight_beta is None else d.weight_beta[None],
        "bias_beta": d.bias_beta,
        "weight_location": d.weight_location,
    }
    key = kept.params.get("weight_key")
    if key is None:  # the keys are the features
        d_features = d.features + d.keys
    else:
        places, mask = kept.attention.features, kept.attention.mask
        if mask is not None:  # what stands where nobody looks may be anything, NaN too
            places = frame_of(places).copy(places)
            places[mask == 0] = 0
        d_features = d.features + product(d.keys, key)
        of_attention["weight_key"] = d.keys.reshape(-1, len(key)).T @ places.reshape(-1, places.shape[2])
    params = grads.params | {name: value for name in kept.params if (value := of_attention[name]) is not None}
    return AttendingGradients(grads.x, params, grads.state, grads.reset_state, features=d_features)
