"""Backpropagation through time: full, and truncated with (k1, k2).

What this is: three drivers over any model with ``forward`` and ``backward``, such as `Stack`.
What this is not: a training loop. A driver returns a loss and gradients; what is done with them,
and where the losses come from, is the caller's.

Truncated, every k1 steps the errors of the last k1 steps go back through the last k2 >= k1 steps:
Williams & Peng's BPTT(h; h') with h = k2 and h' = k1 (Neural Computation 2(4), 1990). The error of
a step so passes k2 - k1 earlier steps at least and k2 - 1 at most. The state is carried for ever.

            s              s + split = next s            e
    steps   |--- first run ---|------- second run -------|        e - s <= k2
    errors                           |---- last k1 ------|

For k2 > k1 the windows overlap: each is run forward again from the state carried at its start,
with the present parameters, as two chained runs, so that the state at the start of the next window
comes out where the first ends. Kept from window to window: that state and the input of the
overlap, which does not grow with the number of steps.

Rows may be of different lengths and be reset on the way: windows then see the lengths and the resets
of their own steps. `Readout.against` gives the loss function of an output layer that a driver takes.

Arrays are NumPy's, or a GPU's where the model's parameters are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ._arguments import PRODUCTS
from ._arrays import frame_of
from ._chunks import check_chunks, copy, join, recut
from ._described import described
from ._scalars import as_choice, as_integer, as_items, as_number, check_mapping, shown
from .memory import check_memory
from .schedule import check_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Array = npt.NDArray[Any]
Loss: TypeAlias = "Callable[[Array, int], tuple[float, Array, Mapping[str, Array]]]"
"""``loss(output, start) -> (value, d_output, grads)``, see `full_bptt`."""

__all__ = ["Loss", "Model", "Result", "full_bptt", "truncated_bptt", "windows"]


class Model(Protocol):
    """What the drivers need of a model; `Stack` has it."""

    def forward(self, x: Array, state: Any = None, *, training: bool = True) -> Any:
        """Run over x (T, B, ...) from `state`; the result has ``output`` (T, B, H) and ``state``.

        It may take `rng`, `lengths`, `resets`, `memory` and `products` as well: passed when the driver is given them.
        """

    def backward(self, run: Any, d_output: Array, d_state: Any = None) -> Any:
        """Differentiate; the result has ``params``, a dict of arrays, and ``state``."""


@dataclass(frozen=True)
class Result:
    """What a driver gives.

    Attributes
    ----------
    loss : float
        Sum of what the loss function returned. Of arrays of a GPU an array without axes, where it returned such: nobody
        has to wait for it.
    grads : dict of str to ndarray
        Of the model's parameters and of the loss function's own.
    state
        The model's state after the last step, to go on from.
    start : int
        The step at which the losses summed here begin; 0 for a whole sequence.
    d_initial_state
        The gradient with respect to the initial state, in the form of the model's states: what a decoder's loss says to
        its encoder. Truncated, it is of the windows that begin at step 0; None of a window that begins later.
    """

    loss: Any
    grads: dict[str, Array]
    state: Any
    start: int
    d_initial_state: Any = None

    def __repr__(self) -> str:
        return described(self)


def full_bptt(
    model: Model,
    x: Array,
    loss: Loss,
    state: Any = None,
    *,
    rng: np.random.Generator | None = None,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    memory: str = "all",
    products: str = "full",
) -> Result:
    """Loss and gradients of a whole sequence.

    Parameters
    ----------
    model : Model
        For example a `Stack`.
    x : ndarray, (T, B, I) of floats or (T, B) of tokens
    loss : callable
        ``loss(output, start) -> (value, d_output, grads)``: from the outputs (T', B, H) of the
        steps from `start` on, their loss, its gradient (T', B, H) with respect to them, and a dict
        of gradients of parameters of the loss function's own (an output layer; may be empty).
        `Readout.against` gives such a function.
    state
        The model's initial state.
    rng : numpy.random.Generator, optional
        Handed to ``model.forward``, for dropout.
    lengths : array_like of int, (B,), optional
        Steps of each row, 0 to T. Outputs beyond are zero, and what the loss says of them is not read: see the
        `lengths` of `Readout.loss_and_gradients`.
    resets : array_like of bool, (T, B), optional
        Before which steps a row's state is replaced by zeros, and no error passes.
    memory : {"all", "states", "replay"}
        What the model keeps for the backward; see `rnnkernels.forward`.
    products : {"full", "bfloat16"}
        What the model's products multiply, forward and backward; see `rnnkernels.forward`.

    Returns
    -------
    Result

    Raises
    ------
    TypeError, ValueError
        The loss function returned something else; or what the model raises.
    """
    _check(model, loss)
    _check_x(x)
    rows = check_rows(len(x), np.shape(x)[1], lengths, resets)
    asked = _Asked(rng, *rows, check_memory(memory), _check_products(products))
    result, _ = _window(model, x, state, len(x), len(x), loss, 0, asked)
    return result


def truncated_bptt(
    model: Model,
    x: Array,
    loss: Loss,
    *,
    k1: int,
    k2: int,
    state: Any = None,
    rng: np.random.Generator | None = None,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    memory: str = "all",
    products: str = "full",
) -> Result:
    """Loss and truncated gradient of a whole sequence, summed over its windows.

    The parameters stay the same in all windows, so that this is the estimate of `full_bptt`'s
    gradient that truncation gives; in training see `windows`.

    Parameters
    ----------
    model, x, state, rng, lengths, resets, memory, products
        As for `full_bptt`.
    loss : callable
        As for `full_bptt`; called once per window. It should be a sum over steps: a mean over the
        steps that it is given would weight a short last window more.
    k1, k2 : int
        Steps from one window to the next, and steps that errors go back; 1 <= k1 <= k2. With
        k2 >= T nothing is truncated: the result is `full_bptt`'s, bit for bit, in one pass.

    Returns
    -------
    Result

    Raises
    ------
    TypeError, ValueError
        As for `full_bptt`; k1 and k2 are no integers or out of their range.
    """
    _check(model, loss)
    _check_x(x)
    k1, k2 = _check_lengths(k1, k2)
    if k2 >= len(x):
        asked: dict[str, Any] = {"lengths": lengths, "resets": resets, "memory": memory, "products": products}
        return full_bptt(model, x, loss, state, rng=rng, **asked)
    length, cut = check_rows(len(x), np.shape(x)[1], lengths, resets)
    asked = {"lengths": length, "resets": None if cut is None else [cut], "memory": memory, "products": products}
    parts = windows(model, [x], loss, k1=k1, k2=k2, state=state, rng=rng, **asked)
    total = next(parts)  # there is one, as T > k2 >= 1
    for part in parts:
        d_initial = total.d_initial_state
        if part.d_initial_state is not None:
            d_initial = _add_states(d_initial, part.d_initial_state)
        total = Result(total.loss + part.loss, _add(total.grads, part.grads), part.state, 0, d_initial)
    return total


def windows(
    model: Model,
    chunks: Iterable[Array],
    loss: Loss,
    *,
    k1: int,
    k2: int,
    state: Any = None,
    rng: np.random.Generator | None = None,
    lengths: npt.ArrayLike | None = None,
    resets: Iterable[Array] | None = None,
    memory: str = "all",
    products: str = "full",
) -> Iterator[Result]:
    """Loss and gradients of every k1 steps of an endless sequence, one after the other.

    The parameters may be updated between two results (an optimiser's step in place): the next
    window uses the new ones. Memory is that of k2 steps and of a chunk, however long the sequence.

    Parameters
    ----------
    model, state, rng, memory, products
        As for `full_bptt`.
    chunks : iterable of ndarray, (T_i, B, I) of floats or (T_i, B) of tokens
        The sequence in pieces of any lengths, cut anew into windows of k1 steps; the last window
        is shorter when the lengths ask for it. A chunk must not be changed before the next one
        has been asked for.
    loss : callable
        As for `full_bptt`; called with the outputs of the window's last k1 steps and the number of
        the first of them, counted from the start of the sequence.
    k1, k2 : int
        Steps from one window to the next, and steps that errors go back; 1 <= k1 <= k2.
    lengths : array_like of int, (B,), optional
        Steps of each row, counted from the start of the sequence, at least 0.
    resets : iterable of ndarray of bool, (T_i, B), optional
        Those of the chunks, in pieces of the same lengths or of others.

    Yields
    ------
    Result
        Of one window. Its state is the one after its last step. For k2 > k1 windows overlap, and
        in training dropout draws new masks for steps that are run again.

    Raises
    ------
    TypeError, ValueError
        As for `full_bptt`; k1 and k2 are no integers or out of their range; chunks differ in B, I
        or dtype; there are fewer steps of resets than of chunks; the model is bidirectional.
    """
    # Here, not when the first result is asked for.
    _check(model, loss)
    check_chunks("chunks", chunks, "x")
    if resets is not None:
        check_chunks("resets", resets, "resets")
    asked = _Asked(rng, _row_lengths(lengths), None, check_memory(memory), _check_products(products))
    k1, k2 = _check_lengths(k1, k2)
    if getattr(model, "num_directions", 1) > 1:
        raise ValueError("model: expected one direction: the reverse one begins at a sequence's end, which never comes")
    return _windows(model, chunks, loss, k1, k2, state, resets, asked)


def _windows(
    model: Model,
    chunks: Iterable[Array],
    loss: Loss,
    k1: int,
    k2: int,
    state: Any,
    resets: Iterable[Array] | None,
    asked: _Asked,
) -> Iterator[Result]:
    overlap: Array | None = None  # steps s .. e of the window before that belong to the next one too
    cuts = None if resets is None else recut("resets", resets, k1)
    cut: Array | None = None  # the resets of a window's steps
    end = 0
    for piece in recut("chunks", chunks, k1):
        x = piece if overlap is None or not len(overlap) else join([overlap, piece])
        start, end = end, end + len(piece)
        begin = end - len(x)
        if cuts is not None:
            more = next(cuts, None)
            if more is None or len(more) < len(piece):
                raise ValueError(f"resets: expected as many steps as the chunks have, got fewer than {end}")
            cut = more[: len(piece)] if cut is None or not len(cut) else np.concatenate([cut, more[: len(piece)]])
        split = max(0, end + k1 - k2) - begin  # next s - this s
        result, state = _window(model, x, state, split, len(piece), loss, start, asked.of_window(begin, x, cut))
        overlap = copy(x[split:]) if split < len(x) else None  # a view would keep the chunk
        cut = None if cut is None else cut[split:].copy()
        del x, piece
        yield result
        del result  # else this frame keeps the gradients during the next window


def _window(
    model: Model,
    x: Array,
    state: Any,
    split: int,
    errors: int,
    loss: Loss,
    start: int,
    asked: _Asked,
) -> tuple[Result, Any]:
    """One window over x from `state`, with errors in its last `errors` steps, the first of which is `start`.

    Also returns the state after `split` steps: there the first run ends and the second begins.
    """
    parts = [part for part in (slice(split), slice(split, len(x))) if len(x[part])] or [slice(0)]
    runs: list[Any] = []
    for part in parts:
        before = runs[-1].state if runs else state
        runs.append(model.forward(x[part], before, training=True, **asked.options(part, len(x))))
    carried = runs[0].state if split else state

    outputs = [run.output for run in runs]
    output = outputs[-1] if len(outputs[-1]) >= errors else join(outputs)
    output = output[len(output) - errors :]  # (errors, B, H)
    value, d_errors, own = _returned(loss(output, start), output)
    d_output = d_errors
    if errors < len(x):
        d_output = frame_of(output).zeros((len(x), *output.shape[1:]), output.dtype)
        d_output[len(x) - errors :] = d_errors

    grads: dict[str, Array] = {}
    d_state: Any = None
    stop = len(x)
    for run in reversed(runs):
        begin = stop - len(run.output)
        back = model.backward(run, d_output[begin:stop], d_state)
        grads = _add(grads, back.params) if grads else dict(back.params)
        d_state, stop = back.state, begin
    if shared := sorted(grads.keys() & own.keys()):
        raise ValueError(f"loss: its gradients must not bear names of the model's parameters, got {', '.join(shared)}")
    d_initial = d_state if start + errors == len(x) else None  # else the window begins after step 0
    return Result(value, {**grads, **own}, runs[-1].state, start, d_initial), carried


class _Asked(NamedTuple):
    """What is asked of the model's forward over a window, or over the sequence that is yet to be cut into windows."""

    rng: np.random.Generator | None
    lengths: Array | None  # (B,), counted from the first step
    resets: Array | None  # (T, B)
    memory: str
    products: str

    def of_window(self, begin: int, x: Array, resets: Array | None) -> _Asked:
        """Return what is asked over the steps x (T, B, ...) that begin at step `begin`."""
        length = None if self.lengths is None else np.clip(self.lengths - begin, 0, len(x))
        length, cut = check_rows(len(x), x.shape[1], length, resets)
        return self._replace(lengths=length, resets=cut)

    def options(self, part: slice, steps: int) -> dict[str, Any]:
        """Return the keywords for a part of the window's steps; none for what asks nothing of it."""
        first, stop, _ = part.indices(steps)
        options: dict[str, Any] = {} if self.rng is None else {"rng": self.rng}
        if self.memory != "all":
            options["memory"] = self.memory
        if self.products != "full":
            options["products"] = self.products
        if self.lengths is not None and (self.lengths < stop).any():
            options["lengths"] = np.clip(self.lengths - first, 0, stop - first)
        if self.resets is not None and self.resets[part].any():
            options["resets"] = self.resets[part]
        return options


def _check_products(products: str) -> str:
    return as_choice("products", products, PRODUCTS)


def _add(one: Mapping[str, Array], two: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array + two[name] for name, array in one.items()}


def _add_states(one: Any, two: Any) -> Any:
    """Return the sum of two gradients of states: arrays, or tuples of such."""
    return tuple(map(_add_states, one, two)) if isinstance(one, (tuple, list)) else one + two


def _row_lengths(lengths: npt.ArrayLike | None) -> Array | None:
    """Return the lengths of rows whose steps are yet to come, or raise."""
    if lengths is None:
        return None
    try:
        found = np.asarray(lengths)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"lengths: expected integers, got {shown(lengths)}: {error}") from None
    if found.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected integers, got {found.dtype}")
    if found.ndim != 1 or (found.size and found.min() < 0):
        raise ValueError(f"lengths: expected (B,) of at least 0, got shape {found.shape}: {found!s:.60}")
    return found.astype(np.int64)


def _check(model: object, loss: object) -> None:
    """Raise TypeError where a driver is given something else than a model and a loss function."""
    if isinstance(model, type) or not all(callable(getattr(model, name, None)) for name in ("forward", "backward")):
        raise TypeError(f"model: expected one with forward and backward, such as a Stack, got {shown(model)}")
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"loss: expected a function of (output, start), got {shown(loss)}")


def _check_x(x: Any) -> None:
    """Raise TypeError or ValueError where x is no sequence; of which dtype it is, the model checks."""
    wanted = "x: expected an array (T, B, I) or (T, B), got"
    try:
        shape = () if isinstance(x, type) else np.shape(x)
    except ValueError:
        raise TypeError(f"{wanted} a {type(x).__name__} whose rows differ") from None
    if len(shape) < 2:
        raise TypeError(f"{wanted} {shown(x)}" + (f" of shape {tuple(shape)}" if hasattr(x, "shape") else ""))


def _check_lengths(k1: int, k2: int) -> tuple[int, int]:
    k1, k2 = as_integer("k1", k1, 1), as_integer("k2", k2, 1)
    if k2 < k1:
        raise ValueError(
            f"k2: expected at least k1 = {k1}, got {k2}: errors would go back through only {k2} of the {k1} steps "
            f"of their window, and the losses of the other {k1 - k2} would be dropped in silence"
        )
    return k1, k2


def _returned(found: Any, output: Array) -> tuple[Any, Array, Mapping[str, Array]]:
    """Return what a loss function returned, or raise where it is not (value, d_output, grads)."""
    wanted = "(value, d_output, grads)"
    items = as_items("loss", found, f"it to return {wanted}")
    if len(items) != 3:
        raise ValueError(f"loss: expected it to return {wanted}, got {len(items)} values")
    value, d_output, grads = items
    _check_like(d_output, output)
    check_mapping("loss", grads, "names to the gradients of its own parameters, {} where it has none")
    return as_number("loss", value) if isinstance(output, np.ndarray) else value, d_output, grads


def _check_like(d_output: Array, output: Array) -> None:
    if not isinstance(d_output, type(output)) or frame_of(d_output) is not frame_of(output):
        raise TypeError(f"loss: expected {_kind(output)} as the gradient, got {_kind(d_output)}")
    if d_output.shape != output.shape:
        raise ValueError(f"loss: expected a gradient of shape {output.shape}, got {d_output.shape}")
    if d_output.dtype != output.dtype:
        raise TypeError(f"loss: expected a gradient of dtype {output.dtype}, got {d_output.dtype}")


def _kind(array: object) -> str:
    if isinstance(array, np.ndarray):
        return "an array"
    device = frame_of(array).device
    return f"a {type(array).__name__}" + ("" if device is None else f" on GPU {device}")
