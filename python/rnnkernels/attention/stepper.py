"""One step of the attending recurrence at a time, for decoding: `Stepper`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels import _serve
from rnnkernels._alone import Alone
from rnnkernels._arguments import as_settings, as_states, as_step, fits_rows, of_step, settled
from rnnkernels._arrays import frame_of
from rnnkernels._call import Call
from rnnkernels.noise import check_noise
from rnnkernels.parameters import cell_info
from rnnkernels.schedule import check_states

from .arguments import take

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from rnnkernels.noise import Noise
    from rnnkernels.parameters import Array

State = tuple[Any, ...]


class Stepper:
    """A layer with its features and its states: call it with one step's input after another.

    The keys are made once. Stepping through a sequence gives the bits that `forward` gives for the whole of it, drawn
    places too. The parameters are not copied. One thread at a time may use it; a copy goes on by itself from the
    states of the moment.

    Parameters
    ----------
    cell, features, params, mask, cell_clip, hard
        As in `forward`; the draws of one seed go on from step to step. "greedy" for decoding.
    noise : Noise, optional
        Its expectation is taken.
    state : sequence of array_like, each (B, H), optional
        The states to start from. Default: zeros.

    Attributes
    ----------
    state : tuple of ndarray, each (B, H)
        The states after the last step, h first.
    weights : ndarray, (B, L)
        α of the last step; zeros before the first.
    context : ndarray, (B, D)
        What the cell saw beside x_t in the last step; zeros before the first.
    place : ndarray of int64, (B,), or None
        What hard attention drew, or took, in the last step; -1 before the first.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As `forward`.
    """

    state: State
    weights: Array
    context: Array
    place: npt.NDArray[np.int64] | None

    def __init__(
        self,
        cell: str,
        features: npt.ArrayLike,
        params: Mapping[str, npt.ArrayLike],
        state: Sequence[npt.ArrayLike] | None = None,
        *,
        mask: npt.ArrayLike | None = None,
        cell_clip: float | None = None,
        hard: int | str | None = None,
        noise: Noise | None = None,
    ) -> None:
        check_noise(noise)
        cell, cell_clip = settled(cell, cell_clip)
        self._given = take(cell, features, params, mask, as_settings(cell, cell_clip), hard)
        self._noise = None if noise is None else noise._drawn(cell, self._given.batch, expected=True)
        self._alone = Alone()
        self.reset(state)

    def reset(self, state: Sequence[npt.ArrayLike] | None = None) -> None:
        """Begin again: from other states, at step 0, with nothing looked at yet.

        Parameters
        ----------
        state : sequence of array_like, each (B, H), optional
            Default: zeros.

        Raises
        ------
        TypeError, ValueError
            If they do not fit; nothing is changed then.
        """
        given, batch = self._given, self._given.batch
        frame, dtype = frame_of(given.attention.features), given.attention.features.dtype
        widths, names = given.widths, cell_info(given.cell)["states"]
        initial = as_states("state", state, names, given.kind, partial(fits_rows, widths, batch))
        check_states("state", initial, batch, widths)
        begun = initial or tuple(frame.zeros((batch, width), dtype) for width in widths)
        with self._alone:
            self.state = tuple(frame.copy(s) for s in begun)
            places, size = given.attention.features.shape[1:]
            self.weights, self.context = (frame.zeros((batch, n), dtype) for n in (places, size))
            self.place = None if given.attention.hard is None else frame.from_host(np.full(batch, -1))
            self._location: Array | None = None
            self._steps = 0

    def __call__(self, x_t: npt.ArrayLike) -> Array:
        """Take one step.

        Parameters
        ----------
        x_t : array_like, (B, I) of the parameters' dtype, or (B,) of integers

        Returns
        -------
        ndarray, (B, H)
            h after the step: ``state[0]``.

        Raises
        ------
        TypeError, ValueError
            If the dtype or the shape does not fit, or a token is out of range. The states are then as before.
        RuntimeError
            If another thread is in a step of this stepper.
        """
        given = self._given
        inputs = as_step(x_t, given.kind, (given.row,))
        if inputs.shape[1] != given.batch:
            raise ValueError(f"x_t: expected B = {given.batch}, that of the features, got shape {inputs.shape[1:]}")
        with self._alone:
            hard = given.attention.hard
            attention = given.attention._replace(location=self._location, hard=hard and (hard[0], self._steps))
            call = Call(given.cell, inputs, given.layer, self.state, None, None, self._noise, given.settings)
            try:
                (_, state, _, _), attended = _serve.attend(call, attention, keep=False)
            except (TypeError, ValueError) as error:
                raise of_step(error) from None
            self.state, self._location = state, attended.location
            self.weights, self.context = attended.weights[0], attended.contexts[0]
            self.place = None if attended.places is None else attended.places[0]
            self._steps += 1
            h: Array = state[0]
        return h

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_alone"}  # a copy's is its own

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _alone=Alone())

    def __repr__(self) -> str:
        batch, places, size = self._given.attention.features.shape
        sizes = f"B={batch}, H={self.state[0].shape[1]}, L={places}, D={size}"
        return f"attention.Stepper({self._given.cell!r}, {sizes}, {self._steps} steps)"
