"""The attending recurrence a second time: a cell whose input is x and a context, an average that its state asks for.

NumPy, forward only, written from the papers; gradients are complex steps, as in `rnnkernels.reference`, whose cells
take the steps. Each row of the batch runs by itself, in the order of its own steps. In step t, with h = h_{t-1} and
a_i = features[b, i]:

    q = W_q h + b_q
    e_i = v . tanh(W_k a_i + q)          additive (Bahdanau, Cho & Bengio 2015): `score` is v
    e_i = q . a_i                        bilinear (Luong, Pham & Manning 2015, "general"): no `weight_key`
    e_i = q . W_k a_i / sqrt(A)          dot (Vaswani et al. 2017): `weight_key` without `score`
    alpha = softmax(e) over the places that the mask allows
    context = sum_i alpha_i a_i          soft; of a place s that was drawn, hard: a_s (Xu et al. 2015)
    context is multiplied by sigmoid(w_beta . h + b_beta) where there is a `weight_beta` (Xu et al. 2015)

`weight_location` (Chorowski et al. 2015) adds in additive scores, inside the tanh, its convolution over the places with
the alpha of the step before and, of two channels, with the sum of all alphas before (Shen et al. 2018).

Not here: how a place is drawn; hard attention is given the places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnnkernels._scalars import as_flag
from rnnkernels.noise import check_noise
from rnnkernels.parameters import NAMES

from . import BLOCK_BYTES, STEP, _namespace, _Product, _Steps
from .arguments import as_input, as_parameters, as_positive, as_states, exact, find_cell, state_widths
from .cells import Array, State, sigmoid, tanh

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from rnnkernels.noise import Noise

__all__ = ["Attended", "Gradients", "attend", "forward", "gradients"]

ATTENTION = ("weight_query", "bias_query", "weight_key", "score", "weight_beta", "bias_beta", "weight_location")


class Attended(NamedTuple):
    """What `forward` gives; zeros in steps that a row does not have."""

    output: Array  # (..., T, B, H)
    state: State  # each (..., B, H), after each row's last step
    weights: Array  # (..., T, B, L)
    contexts: Array  # (..., T, B, D)


class Gradients(NamedTuple):
    """What `gradients` gives."""

    x: Array | None  # (T, B, I); None for tokens
    features: Array  # (B, L, D)
    params: dict[str, Array]
    state: State  # each (B, H)
    reset_state: State  # each (B, H)


def forward(
    cell: str,
    x: npt.ArrayLike,
    features: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None = None,
    *,
    mask: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    reset_state: Sequence[npt.ArrayLike] | None = None,
    reverse: bool = False,
    noise: Noise | None = None,
    cell_clip: float = np.inf,
    training: bool = True,
    places: npt.ArrayLike | None = None,
) -> Attended:
    """Run a cell over a sequence, in every step on x and on what its state asks of the features.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.reference.cells`.
    x : array_like, (..., T, B, I) of floats or complex numbers, or (T, B) of integer tokens
    features : array_like, (..., B, L, D)
    params : mapping of str to array_like
        The cell's, weight_ih (..., G*H, I + D), and of the attention weight_query (..., A, H) and, or not, bias_query
        (..., A), weight_key (..., A, D), score (..., A), weight_beta (..., 1, H), bias_beta (..., 1), weight_location
        (..., A, C, K). Which of them are there says how the scores are made.
    state, reset_state : sequence of array_like, (..., B, H), optional
        Before the first step, and after a reset; zeros by default.
    mask : array_like of bool, (B, L), optional
        The places that a row may look at; all by default.
    lengths : array_like of int, (B,), optional
        Steps of each row; T each by default.
    resets : array_like of bool, (T, B), optional
        Before which steps a row's state is replaced by its `reset_state`, and the weights of earlier steps forgotten.
    reverse : bool
        Each row runs from its last step to its first.
    noise, cell_clip, training
        As in `rnnkernels.reference.forward`.
    places : array_like of int, (T, B), optional
        Hard attention: the place that was drawn in each step.

    Returns
    -------
    Attended
        float64, or complex128 when anything that came in was complex.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is said here; what parameters of wrong shapes are, their products say.
    """
    arrays = _arrays(cell, x, features, params, state, reset_state)
    return _call(cell, arrays, mask, lengths, resets, places, reverse, noise, cell_clip, training).run(arrays)


def gradients(
    cell: str,
    x: npt.ArrayLike,
    features: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None,
    d_output: npt.ArrayLike | None,
    d_state: Sequence[npt.ArrayLike] | None = None,
    *,
    d_weights: npt.ArrayLike | None = None,
    d_contexts: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    reset_state: Sequence[npt.ArrayLike] | None = None,
    reverse: bool = False,
    noise: Noise | None = None,
    cell_clip: float = np.inf,
    places: npt.ArrayLike | None = None,
) -> Gradients:
    """Gradients of f = sum(d * what it belongs to) over output, state, weights and contexts, by complex steps.

    Every number takes a step of its own; rows of the batch do not see each other, so one run moves the same place of
    every row. With hard attention the drawn places stay as they are: f depends on alpha through the weights alone.

    Parameters
    ----------
    cell, features, params, state, mask, lengths, resets, reset_state, reverse, noise, cell_clip, places
        As for `forward`, real, without leading axes.
    x : array_like, (T, B, I) of floats or (T, B) of integer tokens
    d_output : array_like, (T, B, H), or None
    d_state : sequence of array_like, (B, H), optional
    d_weights : array_like, (T, B, L), optional
    d_contexts : array_like, (T, B, D), optional
        None of any of them: zeros.

    Returns
    -------
    Gradients

    Raises
    ------
    TypeError, ValueError
        An argument is not what is said here.
    """
    arrays = _arrays(cell, x, features, params, state, reset_state)
    call = _call(cell, arrays, mask, lengths, resets, places, reverse, noise, cell_clip, training=True)
    tokens = np.asarray(x).dtype.kind in "iu"
    steps, batch = arrays["x"].shape[:2]
    states = range(len(find_cell(cell).states))
    widths = [arrays[f"state{k}"].shape[-1] for k in states]
    sizes = {"output": widths[0], "weights": arrays["features"].shape[1], "contexts": arrays["features"].shape[2]}
    given = {"output": d_output, "weights": d_weights, "contexts": d_contexts}
    ahead = {
        name: exact(f"d_{name}", given[name], (steps, batch, size))
        for name, size in sizes.items()
        if given[name] is not None
    }
    d_final = as_states("d_state", d_state, find_cell(cell).states, batch, widths)

    def slopes(name: str, unit: Array) -> Array:
        """Im f / h of each row (P, B), where the array `name` is moved by `unit` (P, ...)."""
        found = call.run(arrays | {name: arrays[name] + unit})
        parts = [(d * getattr(found, what)).sum((-1, -3)) for what, d in ahead.items()]
        parts += [(d * s).sum(-1) for d, s in zip(d_final, found.state, strict=True)]
        return np.asarray(sum(parts).imag / STEP)

    grads = {}
    for name, array in arrays.items():
        axis = None if name in params else 1 if name == "x" else 0  # of the batch
        one_row = array.shape if axis is None else (*array.shape[:axis], 1, *array.shape[axis + 1 :])
        moved = [] if name == "x" and tokens else [slopes(name, unit) for unit in _units(one_row, arrays)]
        slope = np.concatenate([np.zeros((0, batch)), *moved])  # (a row's numbers, B)
        if axis is None:
            grads[name] = slope.sum(-1).reshape(array.shape)
        elif moved:
            grads[name] = np.moveaxis(slope.reshape(*array.shape[:axis], *array.shape[axis + 1 :], batch), -1, axis)
        else:
            grads[name] = np.zeros(array.shape)
    d_initial, d_reset = (tuple(grads[f"{name}{k}"] for k in states) for name in ("state", "reset_state"))
    d_params = {name: grads[name] for name in params}
    return Gradients(None if tokens else grads["x"], grads["features"], d_params, d_initial, d_reset)


# --- one step of the attention --------------------------------------------------------------------


def attend(
    h: Array, features: Array, keys: Array, location: Array, mask: Array, a: Mapping[str, Array], place: Array | None
) -> tuple[Array, Array]:
    """Return the weights (..., B, L) and the context (..., B, D) that a state h asks for.

    `features` (..., B, L, D), `keys` (..., B, L, A), `location` (..., B, 2, L): alpha of the step before, and the sum
    of all before; `mask` (B, L); `a` holds the parameters of the attention; `place` (B,) where one was drawn.
    """
    query = _affine(h, a["weight_query"], a.get("bias_query"))[..., None, :]  # (..., B, 1, A)
    if "score" in a:
        inside = keys + query
        if "weight_location" in a:
            inside = inside + _convolved(location, a["weight_location"])
        scores = (a["score"][..., None, None, :] * tanh(inside)).sum(-1)
    else:
        scores = (query * keys).sum(-1)
        if "weight_key" in a:
            scores = scores / np.sqrt(keys.shape[-1])
    largest = np.where(mask, scores.real, -np.inf).max(-1, keepdims=True)  # of the real parts: a constant
    powers = np.where(mask, np.exp(np.where(mask, scores - largest, 0.0)), 0.0)
    alpha = powers / powers.sum(-1, keepdims=True)
    average = np.where(mask[..., None], alpha[..., None] * features, 0.0).sum(-2)
    context = average if place is None else features[..., np.arange(len(place)), place, :]
    if "weight_beta" in a:
        context = sigmoid(_affine(h, a["weight_beta"], a.get("bias_beta"))) * context
    return alpha, context


def _affine(h: Array, weight: Array, bias: Array | None) -> Array:
    """(..., B, K) by a weight (..., R, K) to (..., B, R)."""
    product = _Product(weight)(h)
    return product if bias is None else np.asarray(product + bias[..., None, :])


def _keys(features: Array, a: Mapping[str, Array]) -> Array:
    """W_k a_i, (..., B, L, A), or the features themselves."""
    if "weight_key" not in a:
        return features
    return np.asarray(features @ np.swapaxes(a["weight_key"], -1, -2)[..., None, :, :])


def _convolved(location: Array, weight: Array) -> Array:
    """Sum over c and k of weight[a, c, k] * location[c, i + k - K // 2], beyond the ends 0: (..., B, L, A)."""
    channels, width = weight.shape[-2:]
    count = location.shape[-1]
    beyond = np.zeros((*location.shape[:-1], width // 2))
    padded = np.concatenate([beyond, location, beyond], axis=-1)
    total: Any = 0.0
    for c in range(channels):
        for k in range(width):
            total = total + padded[..., c, k : k + count, None] * weight[..., None, None, :, c, k]
    return np.asarray(total)


# --- a whole call ---------------------------------------------------------------------------------


class _Call(NamedTuple):
    """What of a call is no number that a derivative is taken of."""

    cell: str
    mask: Array  # (B, L)
    lengths: Array  # (B,)
    resets: Array  # (T, B)
    places: Array | None  # (T, B)
    reverse: bool
    noise: Noise | None
    cell_clip: float
    training: bool

    def run(self, arrays: Mapping[str, Array]) -> Attended:
        """Run row after row."""
        (steps, batch), features = self.resets.shape, arrays["features"]
        initial, reset = (_states(self.cell, arrays, name) for name in ("state", "reset_state"))
        take = _Steps(find_cell(self.cell).step, self.noise, initial, training=self.training)
        own = {name: value for name, value in arrays.items() if name in NAMES}
        p = _namespace(take.weights(own), clip=self.cell_clip)
        a = {name: value for name, value in arrays.items() if name in ATTENTION}
        keys = _keys(features, a)

        lead = np.broadcast_shapes(*(value.shape[: value.ndim - _axes(name)] for name, value in arrays.items()))
        kind = np.result_type(*arrays.values())

        def made(*shape: int) -> Array:
            return np.zeros((*lead, *shape), kind)

        output, weights = made(steps, batch, initial[0].shape[-1]), made(steps, batch, features.shape[-2])
        contexts = made(steps, batch, features.shape[-1])
        final = tuple(made(batch, s.shape[-1]) for s in initial)
        for b in range(batch):
            row = slice(b, b + 1)
            if take.masks is not None:
                take.masks.rows = np.array([[b]])
            location = nothing_yet = np.zeros((1, 2, features.shape[-2]))
            states = tuple(s[..., row, :] for s in initial)
            for t in range(self.lengths[b])[:: -1 if self.reverse else 1]:
                if self.resets[t, b]:
                    states, location = tuple(s[..., row, :] for s in reset), nothing_yet
                place = None if self.places is None else self.places[t, row]
                seen = features[..., row, :, :], keys[..., row, :, :], location, self.mask[row]
                alpha, context = attend(states[0], *seen, a, place)
                states = take(t, _joined(arrays["x"][..., t, row, :], context), states, p)
                location = np.stack([alpha, location[..., 1, :] + alpha], axis=-2)
                for whole, of_step in ((output, states[0]), (weights, alpha), (contexts, context)):
                    whole[..., t, row, :] = of_step
            for whole, s in zip(final, states, strict=True):
                whole[..., row, :] = s
        return Attended(output, final, weights, contexts)


def _states(cell: str, arrays: Mapping[str, Array], name: str) -> State:
    return tuple(arrays[f"{name}{k}"] for k in range(len(find_cell(cell).states)))


def _axes(name: str) -> int:
    """Axes of an array without those of several copies."""
    if name in ("x", "features", "weight_location"):
        return 3
    return 1 if name in ("score", "weight_diagonal") or name.startswith("bias_") else 2


def _joined(x: Array, context: Array) -> Array:
    """(x, context) side by side."""
    lead = np.broadcast_shapes(x.shape[:-1], context.shape[:-1])
    return np.concatenate([np.broadcast_to(part, (*lead, part.shape[-1])) for part in (x, context)], axis=-1)


def _units(shape: tuple[int, ...], arrays: Mapping[str, Array]) -> Iterator[Array]:
    """Yield the shifts i*h*e_j (P, *shape) of every number of an array, in blocks under BLOCK_BYTES."""
    count = int(np.prod(shape))
    keys = arrays["features"].size * max(1, len(arrays["weight_query"]))
    block = max(1, BLOCK_BYTES // (16 * max(keys, *(array.size for array in arrays.values()))))
    for start in range(0, count, block):
        yield 1j * STEP * np.eye(count)[start : start + block].reshape(-1, *shape)


# --- arguments ------------------------------------------------------------------------------------


def _arrays(cell: str, x: Any, features: Any, params: Any, state: Any, reset_state: Any) -> dict[str, Array]:
    """Return every array that a derivative can be taken of, by its name."""
    names = find_cell(cell).states
    a = as_parameters(cell, params)
    missing = [name for name in ("weight_query",) if name not in a]
    unknown = sorted(set(a) - {*NAMES, *ATTENTION})
    if missing or unknown:
        raise ValueError(f"params: expected weight_query and names that are known, got {', '.join(map(str, a))}")
    places = exact("features", features)
    size = a["weight_ih"].shape[-1] - places.shape[-1] if places.ndim >= 3 else -1
    if size < 0:
        raise ValueError(f"features: expected shape (..., B, L, D), D within weight_ih, got {places.shape}")
    vectors = as_input(x, size)
    batch = vectors.shape[-2]
    if places.shape[-3] != batch:
        raise ValueError(f"features: expected shape (..., B = {batch}, L, D), got {places.shape}")
    widths = state_widths(cell, a)
    found = {"x": vectors, "features": places, **a}
    for name, given in (("state", state), ("reset_state", reset_state)):
        found |= {f"{name}{k}": s for k, s in enumerate(as_states(name, given, names, batch, widths))}
    return found


def _call(
    cell: str,
    arrays: Mapping[str, Array],
    mask: Any,
    lengths: Any,
    resets: Any,
    places: Any,
    reverse: Any,
    noise: Noise | None,
    cell_clip: Any,
    training: Any,
) -> _Call:
    """Return the rest of a call; what is left out has its default."""
    (steps, batch), count = arrays["x"].shape[-3:-1], arrays["features"].shape[-2]
    check_noise(noise)
    allowed = _of("mask", mask, "b", np.ones((batch, count), bool))
    if batch and not allowed.any(-1).all():
        raise ValueError("mask: expected a place in every row that may be looked at")
    return _Call(
        cell,
        allowed,
        _of("lengths", lengths, "iu", np.full(batch, steps)),
        _of("resets", resets, "b", np.zeros((steps, batch), bool)),
        None if places is None else _of("places", places, "iu", np.zeros((steps, batch), int)),
        as_flag("reverse", reverse),
        noise,
        as_positive("cell_clip", cell_clip),
        as_flag("training", training),
    )


def _of(name: str, value: Any, kinds: str, default: Array) -> Array:
    """Return an array of the default's shape, or the default."""
    array = default if value is None else np.asarray(value)
    if array.dtype.kind not in kinds or array.shape != default.shape:
        raise ValueError(
            f"{name}: expected shape {default.shape} of {default.dtype}, got {array.shape} of {array.dtype}"
        )
    return array
