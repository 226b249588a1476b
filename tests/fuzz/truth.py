"""What a case must give: the reference's cells in float64, and slopes by complex steps. No kernel is used here.

The cells (own_cells.py has those from equations) and the masks are `rnnkernels.reference`'s; here is what is around
them: lengths, resets, reversed time and terms, as a loop over the steps of all rows at once, each row's in its own
order. Every array may have leading axes: many directions in one run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels.reference import STEP
from rnnkernels.reference.masks import Masks

from .own_cells import step_of

if TYPE_CHECKING:
    from .cases import Array, Case, State

Arrays = dict[str, Any]


def arrays_of(case: Case) -> Arrays:
    """All that may be differentiated, by name, with zeros for states that were not given."""
    batch = case.sizes[1]
    zeros = tuple(np.zeros((batch, width)) for width in case.widths)
    found: Arrays = dict(case.params)
    if not case.tokens:
        found["x"] = np.where(_runs(case)[:, :, None], case.x, 0.0)
    found |= {f"state{k}": s for k, s in enumerate(case.state or zeros)}
    if case.ragged:
        found |= {f"reset{k}": s for k, s in enumerate(case.reset_state or zeros)}
    if case.term is not None:
        found["term"] = case.term
    return found


@dataclass
class Truth:
    """What a run must give."""

    sequences: State  # the states after every step, h first, each (..., T, B, H); zeros beyond a row's length
    final: State  # each (..., B, H)


def run(case: Case, arrays: Arrays, expected: bool, moved: tuple[Array, ...] | None = None) -> Truth:
    """Run the case on these arrays.

    `expected`: with the masks' expectation. `moved`: what is added to each state after each row's k-th step, each
    (..., T, 1, H).
    """
    steps, batch, inputs, _ = case.sizes
    cell = step_of(case.cell)
    count = len(case.widths)
    noise = case.noise
    masks = None if noise is None else Masks(noise, batch, list(case.widths))
    drawn = noise is not None and not expected and not noise.expected
    p = _namespace(case, arrays, masks if drawn else None)
    x = np.eye(inputs)[case.x] if case.tokens else arrays["x"]
    state: State = tuple(arrays[f"state{k}"] for k in range(count))
    time, runs = _order(case)
    rows = np.arange(batch)
    made_of = None if masks is None else cache(lambda t: [masks.recurrent(t), *masks.kept(t)])
    each: list[tuple[Array, State]] = []
    for k in range(steps):
        t = time[k]  # (B,): of each row
        if case.resets is not None:
            cut = (case.resets[t, rows] & runs[k])[:, None]
            state = tuple(np.where(cut, arrays[f"reset{i}"], s) for i, s in enumerate(state))
        if masks is None:
            after = cell(x[..., t, rows, :], state, p)
        elif drawn:
            p.mask, *kept = _gather(made_of, t, steps, rows)
            made = cell(x[..., t, rows, :], state, p)
            after = tuple(np.where(d, s, n) for d, s, n in zip(kept, state, made, strict=True))
        else:
            made = cell(x[..., t, rows, :], state, p)
            after = tuple(d * s + (1 - d) * n for d, s, n in zip(masks.rates, state, made, strict=True))
        if moved is not None:
            after = tuple(n + by[..., k, :, :] for n, by in zip(after, moved, strict=True))
        alive = runs[k][:, None]
        each.append((t, tuple(np.where(alive, n, 0.0) for n in after)))
        state = tuple(np.where(alive, n, s) for n, s in zip(after, state, strict=True))
    return Truth(tuple(_sequence(case, each, state[i], i) for i in range(count)), state)


def slopes(case: Case, arrays: Arrays, directions: Arrays, expected: bool) -> tuple[Truth, Array]:
    """Run the case, and return the slopes of its loss along directions too: real parts, (...,) of the leading axes."""
    shifted = {
        name: value + 1j * STEP * directions[name] if name in directions else value for name, value in arrays.items()
    }
    found = run(case, shifted, expected)
    real = Truth(tuple(s.real for s in found.sequences), tuple(s.real for s in found.final))
    return real, _losses(case, found).sum(-1).imag / STEP


def norms(case: Case, arrays: Arrays) -> tuple[Array, ...]:
    """Norms of the loss's gradient with respect to each state after every step, each (T, B)."""
    steps, batch = case.sizes[:2]
    time, runs = _order(case)
    width = sum(case.widths)
    count = steps * width
    units = np.eye(count).reshape(count, steps, 1, width) * 1j * STEP
    ends = np.cumsum(case.widths)
    found = run(case, arrays, False, tuple(np.split(units, ends[:-1], axis=-1)))
    slopes_of_all = np.broadcast_to(_losses(case, found).imag / STEP, (count, batch)).reshape(steps, width, batch)
    made = []
    for slopes_of_one in np.split(slopes_of_all, ends[:-1], axis=1):
        norm = np.zeros((steps, batch))
        norm[time, np.arange(batch)] = np.where(runs, np.sqrt((slopes_of_one**2).sum(1)), 0.0)
        made.append(norm)
    return tuple(made)


# ---- pieces --------------------------------------------------------------------------------------


def _losses(case: Case, found: Truth) -> Array:
    """The part of each row in the loss, (..., B)."""
    loss: Any = np.zeros(case.sizes[1])
    runs = _runs(case)[:, :, None]
    gradients = [case.d_output, *(case.d_states or (None,) * len(case.widths))[1:]]
    for d, sequence in zip(gradients, found.sequences, strict=True):
        if d is not None:
            loss = loss + (np.where(runs, d, 0.0) * sequence).sum((-1, -3))
    for d, s in zip(case.d_state or (), found.final, strict=case.d_state is not None):
        loss = loss + (d * s).sum(-1)
    return np.asarray(loss)


def _runs(case: Case) -> Array:
    """Whether a row has a step, (T, B)."""
    steps, batch = case.sizes[:2]
    lengths = np.full(batch, steps) if case.lengths is None else case.lengths
    return np.asarray(np.arange(steps)[:, None] < lengths)


def _order(case: Case) -> tuple[Array, Array]:
    """The time of each row's k-th step, (T, B), what it does not run behind what it does; whether it runs, (T, B)."""
    steps, batch = case.sizes[:2]
    runs = _runs(case)
    time = np.broadcast_to(np.arange(steps)[:, None], (steps, batch))
    if case.reverse:
        lengths = np.full(batch, steps) if case.lengths is None else case.lengths
        time = np.where(runs, lengths - 1 - time, time)
    return time, runs


def _gather(made_of: Any, t: Array, steps: int, rows: Array) -> list[Array]:
    """Each row's masks (B, H) at its own time: of the recurrent products, then of each state."""
    if len(t) == 0 or (t == t[0]).all():
        return list(made_of(int(t[0]) if len(t) else 0))
    return [np.stack(parts)[t, rows] for parts in zip(*map(made_of, range(steps)), strict=True)]


def _sequence(case: Case, each: list[tuple[Array, State]], like: Array, i: int) -> Array:
    """Put a state's values after every step where they belong, (..., T, B, H)."""
    steps, batch = case.sizes[:2]
    lead = np.broadcast_shapes(*(after[i].shape[:-2] for _, after in each), like.shape[:-2])
    dtype = np.result_type(like, *(after[i] for _, after in each))
    made = np.zeros((*lead, steps, batch, like.shape[-1]), dtype)
    for t, after in each:
        made[..., t, np.arange(batch), :] = after[i]
    return made


def _namespace(case: Case, arrays: Arrays, masks: Masks | None) -> Any:
    """What a cell function reads: weights to call, biases and element-wise weights to add and multiply with."""
    p = SimpleNamespace(bias_ih=0.0, bias_hh=0.0, cell_clip=case.cell_clip or np.inf, mask=None)
    for name in case.params:
        value = arrays[name]
        if not name.startswith("weight_") or name == "weight_diagonal":
            setattr(p, name, value[..., None, :])
        else:
            recurrent = masks is not None and name in ("weight_hh", "weight_gg")
            if recurrent and masks is not None:
                value = value * masks.weight(name, value.shape[-2:])
            setattr(p, name, _Product(p, np.swapaxes(value, -1, -2), recurrent))
    if case.term is not None:
        p.bias_ih = p.bias_ih + arrays["term"]
    return p


class _Product:
    """What multiplies with a weight; `masked`: by p.mask, the step's."""

    def __init__(self, p: Any, transposed: Array, masked: bool) -> None:
        self._p, self._transposed, self._masked = p, transposed, masked

    def __call__(self, vector: Array, rows: slice = slice(None)) -> Array:
        return np.asarray(self._seen(vector) @ self._transposed[..., rows])

    def of_heads(self, vector: Array, rows: slice, heads: int) -> Array:
        """Return the product of a gate's rows, each of which multiplies its own head's units alone."""
        vector, size = self._seen(vector), (rows.stop - rows.start) // heads
        cuts = [slice(head * size, (head + 1) * size) for head in range(heads)]
        own = [self._transposed[..., rows.start + cut.start : rows.start + cut.stop] for cut in cuts]
        return np.concatenate([vector[..., cut] @ part for cut, part in zip(cuts, own, strict=True)], axis=-1)

    def _seen(self, vector: Array) -> Array:
        if not self._masked:
            return vector
        mask = self._p.mask
        return vector * (mask if vector.shape[-1] == mask.shape[-1] else _tiled(mask, vector.shape[-1]))


def _tiled(mask: Array, width: int) -> Array:
    return np.tile(mask, width // mask.shape[-1])
