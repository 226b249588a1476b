"""What each unit of a character model does while it reads a text: h of every layer, and tanh(c) where there is a c."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rnnkernels.charlm.checks import check_kind
from rnnkernels.charlm.model import CharModel
from rnnkernels.parameters import cell_info

__all__ = ["Activations", "Unit", "activations"]

Array = npt.NDArray[Any]

AT_ONCE = 1024  # characters: the kernels' own arrays stay small beside those that are kept


class Unit(NamedTuple):
    """Whose value it is: unit `number` of the state `state` (``"h"`` or ``"c"``) of a layer, both counted from 0."""

    layer: int
    state: str
    number: int

    def __str__(self) -> str:
        return f"layer {self.layer} {self.state}[{self.number}]"


class Activations(NamedTuple):
    """Values of all units after each character: `values` (T, N) and the N `units` that they are of."""

    values: Array
    units: tuple[Unit, ...]


def activations(model: CharModel, text: str) -> Activations:
    """Read a text, and note every unit's value after each character.

    Parameters
    ----------
    model : CharModel
        Starts from the zero state.
    text : str
        T characters, at least one; those that the model does not know are read as its unknown token.

    Returns
    -------
    Activations
        Values in the model's dtype. Of a cell with a state c, such as the LSTM, tanh(c) as well as h; of the sLSTM
        c/n, the mean that its h is made of.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what is said here, or the model's parameters are not finite.
    """
    check_kind("model", model, CharModel, "a CharModel")
    check_kind("text", text, str, "a str")
    if not text:
        raise ValueError("text: expected at least one character, got an empty text")
    tokens = model.vocabulary.encode(text)
    names = cell_info(model.stack.cell)["states"]
    units = [
        Unit(layer, state, k)
        for layer in range(model.stack.num_layers)
        for state in ("h", "c")
        if state in names
        for k in range(model.stack.hidden_size)
    ]
    values = np.empty((len(text), len(units)), model.stack.dtype)
    state = None
    for start in range(0, len(text), AT_ONCE):
        piece = model.place.put(tokens[start : start + AT_ONCE, None])  # (T, 1)
        run = model.stack.forward(piece, state, training=False, all_states=True)
        noted = [array for states in run.states or () for array in _shown(model, names, states)]
        values[start : start + AT_ONCE] = np.concatenate(noted, axis=1)
        state = run.state
    if not np.isfinite(values).all():
        raise ValueError("model: expected finite parameters, got activations that are not")
    return Activations(values, tuple(units))


def _shown(model: CharModel, names: tuple[str, ...], states: tuple[Any, ...]) -> list[Array]:
    """Return what is shown of a layer's states, each (T, H)."""
    arrays = {name: model.place.host(state)[:, 0] for name, state in zip(names, states, strict=True)}
    if "c" not in arrays:
        return [arrays["h"]]
    return [arrays["h"], arrays["c"] / arrays["n"] if "n" in arrays else np.tanh(arrays["c"])]
