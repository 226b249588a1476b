"""What a prepared model does, one step after the other: other operators, a recurrent node, a branch, a loop.

A step takes its inputs from a list of values, of which each name of the model has a place, and puts its results there.
Steps are never changed by a run: several threads may run them at the same time. Not here: how a model becomes steps
(split.py), and what runs other operators (engines.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels._asked import Asked
from rnnkernels._call import present

from .nodes import SCALES, WEIGHTS, Attributes
from .operators import COMPUTED, Given, layers_of, results, states_of
from .quantized import check_floats, shapes_of
from .weights import check_shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rnnkernels.parameters import Array

    Step = Callable[[list[Any]], None]
    Places = Sequence[int | None]  # of results; None: nobody wants it


class Others:
    """Operators that are not ours, run together by an engine.

    Parameters
    ----------
    call : callable
        Of the names of results and of the inputs by name, as `onnxruntime.InferenceSession.run`.
    takes : mapping of str to int
        The inputs' places.
    gives : mapping of str to int
        Likewise of the results.
    """

    def __init__(self, call: Callable[..., Any], takes: Mapping[str, int], gives: Mapping[str, int]) -> None:
        self._call = call
        self._takes = list(takes.items())
        self._names, self._places = list(gives), list(gives.values())

    def __call__(self, values: list[Any]) -> None:
        """Do the step."""
        found = self._call(self._names, {name: values[place] for name, place in self._takes})
        for place, value in zip(self._places, found, strict=True):
            values[place] = value


class Recurrent:
    """A recurrent node with constant weights, which are packed here.

    Parameters
    ----------
    settings : Attributes
    weights : mapping of str to (ndarray or None)
        By the names of `WEIGHTS`, of a DynamicQuantizeLSTM those of `SCALES` too.
    takes : sequence of (int or None)
        The places of X, sequence_lens, initial_h and initial_c.
    gives : sequence of (int or None)
        Those of Y, Y_h and Y_c.

    Raises
    ------
    UnsupportedError
        If the node asks for one cell more than a process may have.
    TypeError, ValueError
        By the input's name, if the weights do not fit together.
    """

    def __init__(self, settings: Attributes, weights: Mapping[str, Array | None], takes: Places, gives: Places) -> None:
        self._dynamic = SCALES[0] in weights
        like = {**weights, **shapes_of(settings, weights)} if self._dynamic else weights
        self._weights = {name: _outline(like[name]) for name in WEIGHTS}
        check_shapes(settings, self._weights)
        self._settings = settings
        self._layers = layers_of(settings, weights)
        self._asked = [
            Asked(layer.cell, reverse) for layer, reverse in zip(self._layers, settings.reverse, strict=True)
        ]
        W, R = present(self._weights["W"], "W"), present(self._weights["R"], "R")
        self._dtype = W.dtype
        self._sizes = W.shape[2], R.shape[2]
        self._direct = settings.layout == 0 and self._dtype in COMPUTED
        self._takes, self._gives = list(takes), list(gives)

    def __call__(self, values: list[Any]) -> None:
        """Do the step."""
        X: Any
        X, lengths, h, c = (None if place is None else values[place] for place in self._takes)
        if self._direct and lengths is None and self._fits(X, h, c):
            found: Sequence[Array] = self._run(X, h, c)
        else:
            given = Given(X, lengths, h, c)
            if self._dynamic:
                check_floats(given._asdict())
            check_shapes(self._settings, {**self._weights, **given._asdict()})
            found = results(self._settings, self._layers, given)
        _put(values, self._gives, found)

    def _fits(self, X: Array, h: Array | None, c: Array | None) -> bool:
        """Whether the kernels can read the arrays as they are, and nothing is to be said against their shapes."""
        inputs, hidden = self._sizes
        if X.ndim != 3 or X.shape[2] != inputs or X.dtype != self._dtype or not _readable(X):
            return False
        shape = (len(self._layers), X.shape[1], hidden)
        return self._fits_state(h, shape) and self._fits_state(c, shape)

    def _fits_state(self, array: Array | None, shape: tuple[int, ...]) -> bool:
        return array is None or (array.shape == shape and array.dtype == self._dtype and _readable(array))

    def _run(self, X: Array, h: Array | None, c: Array | None) -> list[Array]:
        """Return what `results` does."""
        runs = []
        for at, (layer, asked) in enumerate(zip(self._layers, self._asked, strict=True)):
            state = states_of(self._settings.operator, h, c, at)
            if asked.reverse:
                runs.append(layer._run(asked, X, state, None, None, None))
            else:  # what `_run` does where there are no rows to put in order
                runs.append(layer._layer.forward(X, state, None, None, None))
        if len(runs) == 1:
            ((output, end),) = runs
            return [output[:, None], *[each[None] for each in end]]
        return [
            np.stack([output for output, _ in runs], 1),
            *map(np.stack, zip(*(end for _, end in runs), strict=True)),
        ]


class Embedded:
    """A recurrent node whose X is rows of a table, picked by tokens: the table is multiplied by W here, once.

    Parameters
    ----------
    settings : Attributes
    weights : mapping of str to (ndarray or None)
        By the names of `WEIGHTS`.
    table : ndarray, (V, I)
    takes : sequence of (int or None)
        The places of the tokens, sequence_lens, initial_h and initial_c.
    gives : sequence of (int or None)
        Those of Y, Y_h and Y_c.
    turned : bool
        Whether the tokens are (B, T) where the node's layout is 0, or (T, B) where it is 1.
    """

    def __init__(
        self,
        settings: Attributes,
        weights: Mapping[str, Array | None],
        table: Array,
        takes: Places,
        gives: Places,
        turned: bool,
    ) -> None:
        check_shapes(settings, weights)
        self._weights = {name: _outline(weights[name]) for name in WEIGHTS}
        multiplied = {**weights, "W": np.ascontiguousarray(present(weights["W"], "W") @ table.T)}  # (D, gates*H, V)
        self._layers = layers_of(settings, multiplied, tokens=True)
        self._settings, self._turned = settings, turned
        self._row = np.broadcast_to(np.zeros((), table.dtype), table.shape[1:])
        self._most = len(table)
        self._takes, self._gives = list(takes), list(gives)

    def __call__(self, values: list[Any]) -> None:
        """Do the step."""
        found, *others = [None if place is None else values[place] for place in self._takes]
        given = present(found, "tokens")
        tokens = given.T if self._turned else given
        outside = tokens.size and not (-self._most <= tokens.min() and tokens.max() < self._most)
        if outside:
            raise ValueError(
                f"Gather: expected indices from {-self._most} to {self._most - 1}, got {tokens.min()} to {tokens.max()}"
            )
        x = np.broadcast_to(self._row, (*tokens.shape, len(self._row)))
        check_shapes(self._settings, {**self._weights, **Given(x, *others)._asdict()})
        _put(values, self._gives, results(self._settings, self._layers, Given(tokens % self._most, *others)))


def _readable(array: Array) -> bool:
    flags = array.flags
    return flags.c_contiguous and flags.aligned


def _outline(array: Array | None) -> Array | None:
    """Return an array of a shape and a dtype without memory of its own."""
    return None if array is None else np.broadcast_to(np.zeros((), array.dtype), array.shape)


@dataclass(frozen=True)
class Body:
    """A graph of a branch or a loop: its steps, and the places of its results and, of a loop, its inputs."""

    steps: Sequence[Step]
    gives: Sequence[int]
    takes: Sequence[int] = ()

    def run(self, values: list[Any]) -> list[Any]:
        """Return the results."""
        for step in self.steps:
            step(values)
        return [values[place] for place in self.gives]


class Branch:
    """An If whose branches have recurrent nodes."""

    def __init__(self, condition: int, branches: tuple[Body, Body], gives: Places) -> None:
        self._condition, self._branches, self._gives = condition, branches, list(gives)

    def __call__(self, values: list[Any]) -> None:
        """Do the step."""
        chosen = self._branches[0 if _flag("cond", values[self._condition]) else 1]
        _put(values, self._gives, chosen.run(values))


class Repeat:
    """A Loop whose body has recurrent nodes.

    Parameters
    ----------
    most, condition : int or None
        The places of M and cond.
    initial : sequence of int
        Those of the values that the body changes, before the first round.
    body : Body
    gives : sequence of (int or None)
        Of these values after the last round, then of what is put together from all rounds.
    empty : sequence of (ndarray or None)
        What is put together from no rounds; None where that is not known.
    """

    def __init__(
        self,
        most: int | None,
        condition: int | None,
        initial: Sequence[int],
        body: Body,
        gives: Places,
        empty: Sequence[Array | None],
    ) -> None:
        self._most, self._condition, self._initial = most, condition, list(initial)
        self._body, self._gives, self._empty = body, list(gives), list(empty)

    def __call__(self, values: list[Any]) -> None:
        """Do the step."""
        most = None if self._most is None else int(_one("M", values[self._most]))
        going = self._condition is None or _flag("cond", values[self._condition])
        changed = [values[place] for place in self._initial]
        kept: list[list[Any]] = [[] for _ in self._empty]
        counter, condition, *places = self._body.takes
        at = 0
        while going and (most is None or at < most):
            values[counter], values[condition] = np.array(at, np.int64), np.array(True)
            for place, value in zip(places, changed, strict=True):
                values[place] = value
            again, *found = self._body.run(values)
            changed = found[: len(changed)]
            for each, value in zip(kept, found[len(changed) :], strict=True):
                each.append(value)
            going = _flag("cond", again)
            at += 1
        together = [np.stack(each) if each else _none(empty) for each, empty in zip(kept, self._empty, strict=True)]
        _put(values, self._gives, [*changed, *together])


def _put(values: list[Any], places: Places, found: Sequence[Any]) -> None:
    for place, value in zip(places, found, strict=False):
        if place is not None:
            values[place] = value


def _one(name: str, value: Any) -> Any:
    array = np.asarray(value)
    if array.size != 1:
        raise ValueError(f"{name}: expected one value, got shape {array.shape}")
    return array.item()


def _flag(name: str, value: Any) -> bool:
    return bool(_one(name, value))


def _none(empty: Array | None) -> Array:
    if empty is None:
        raise ValueError("Loop: expected a round, or a result whose type and shape the model says, got neither")
    return empty
