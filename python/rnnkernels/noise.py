"""Random masks of a training run: zoneout, recurrent dropout and weight dropout, as `Noise`.

This module says what is random; the masks are made in the kernels (csrc/cpu/masks.h), from a counter, so that a seed
gives the same masks for any number of threads and a backward makes again what its forward had.
`rnnkernels.reference.masks` makes the same masks in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ._scalars import as_integer, as_number, shown
from .parameters import cell_info


class Drawn(NamedTuple):
    """A `Noise` for one cell, as the extension takes it (csrc/recurrence/problem.h: Noise).

    A call that is still being described has no `batch` yet, and in PyTorch a tensor as its `seed`.
    """

    seed: Any = 0
    layer: int = 0
    expected: bool = False  # the masks' expectation
    per_step: bool = False
    first_step: int = 0
    batch: int = 0  # rows, or sequences of a packed batch
    places: Any = None  # (N,) of int64: where each row of a packed batch stands in the padded batch (T, B)
    zoneout: tuple[float, ...] = ()  # of each state
    recurrent_dropout: float = 0.0
    weight_dropout: float = 0.0

    @property
    def keeps_units(self) -> bool:
        """Whether units of some state may keep their value: the cell's own states are then kept beside the mixed."""
        return any(rate > 0 for rate in self.zoneout)

    @property
    def masks(self) -> bool:
        """Whether any rate is above 0."""
        return self.keeps_units or self.recurrent_dropout > 0 or self.weight_dropout > 0

    @property
    def rates_of_states(self) -> tuple[float, ...]:
        """The rates of zoneout, none where all are 0."""
        return self.zoneout if self.keeps_units else ()

    def mixed(self, before: Sequence[Any], after: Sequence[Any]) -> tuple[Any, ...]:
        """Return the states after a step under the masks' expectation; `before` it, and `after` it without masks."""
        return tuple(rate * old + (1 - rate) * new for rate, old, new in zip(self.zoneout, before, after, strict=True))

    def settled(self, cell: str) -> Drawn:
        """Return it with a number as its seed, and a rate for each state."""
        rates = tuple(self.zoneout) or (0.0,) * len(cell_info(cell)["states"])
        return self._replace(seed=int(self.seed) & (2**64 - 1), zoneout=rates)


@cache
def zonable_states(cell: str) -> tuple[bool, ...]:
    """Return for each state of a cell whether its units can keep their value from the step before.

    A projected h cannot: it is a product, with no value to keep. The states of a cell with a normaliser n cannot, but
    for h: they are one value in parts, c over n, which masks of their own would tear apart.
    """
    return tuple(cell_info(cell)["zoned"])


@dataclass(frozen=True)
class Noise:
    """Random masks for `rnnkernels.forward`: what regularises a recurrent layer in training.

    In training each mask is drawn; with ``training=False`` its expectation takes its place, as the papers do: zoneout
    mixes the two states by its rate, both dropouts leave everything as it is (what they kept was scaled up).

    Parameters
    ----------
    seed : int
        In [0, 2⁶⁴). The same seed gives the same masks, for any number of threads, whatever else is in the batch, and
        on every instruction set. Give every training step another one.
    zoneout : float or sequence of float, one for each state
        In [0, 1): the probability with which a unit of a state keeps its value from the step before,
        s' = d s + (1 - d) s̃, with a mask for each state and step (Krueger et al., arXiv 1606.01305). One number holds
        for every state of the cell: for an LSTM give (rate of h, rate of c).
    recurrent_dropout : float
        In [0, 1): the probability with which a unit is dropped from what the recurrent weights multiply, W_hh (m h),
        the others being divided by 1 - rate. Gates that multiply the gated state (r h) or what is fed back see it
        under the same mask.
    per_step : bool, default False
        False: a row has one mask for all of its steps (Gal & Ghahramani, arXiv 1512.05287, "variational"). True: one
        for each step.
    weight_dropout : float
        In [0, 1): the probability with which an element of the recurrent weights (``weight_hh``, ``weight_gg``) is
        dropped for the whole call, the others being divided by 1 - rate: DropConnect (Wan et al. 2013) as in AWD-LSTM
        (Merity et al., arXiv 1708.02182).
    layer : int, default 0
        In [0, 2²⁴): layers with the same seed have different masks.
    first_step : int, default 0
        The number of the call's first step: a sequence that is run in several calls has the masks of one call.
    expected : bool, default False
        Take the masks' expectation in training too: for gradients of a network as it is evaluated.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is said here.

    Notes
    -----
    Masks are made by Philox4x32-10 (Salmon et al. 2011) from the seed and a counter of unit, step, row and layer.
    """

    seed: int
    zoneout: float | Sequence[float] = 0.0
    recurrent_dropout: float = 0.0
    per_step: bool = False
    weight_dropout: float = 0.0
    layer: int = 0
    first_step: int = 0
    expected: bool = False

    def __post_init__(self) -> None:
        """Check everything that can be checked without a cell."""
        for name, bound in (("seed", 2**64), ("layer", 2**24), ("first_step", 2**31)):
            number = as_integer(name, getattr(self, name), -math.inf, math.inf)
            if not 0 <= number < bound:
                raise ValueError(
                    f"{name}: expected an integer in [0, 2**{bound.bit_length() - 1}), got {shown(number)}"
                )
        for name in ("per_step", "expected"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise TypeError(f"{name}: expected a bool, got {shown(getattr(self, name))}")
        for name, rate in (
            *(("zoneout", rate) for rate in self._zoneout),
            ("recurrent_dropout", self.recurrent_dropout),
            ("weight_dropout", self.weight_dropout),
        ):
            check_rate(name, rate)

    def after(self, steps: int) -> Noise:
        """Return the noise of a call that begins `steps` steps later.

        Raises
        ------
        TypeError, ValueError
            If `steps` is no integer, or no step has that number.
        """
        steps = as_integer("steps", steps, -self.first_step, 2**31 - 1 - self.first_step)
        return replace(self, first_step=self.first_step + steps)

    @property
    def masks(self) -> bool:
        """Whether any rate is above 0."""
        return any(rate > 0 for rate in (*self._zoneout, self.recurrent_dropout, self.weight_dropout))

    @property
    def _one_for_all(self) -> bool:
        """Whether zoneout is one number, for every state."""
        if isinstance(self.zoneout, np.ndarray):
            return self.zoneout.ndim == 0
        return isinstance(self.zoneout, str) or not isinstance(self.zoneout, Sequence)

    @property
    def _zoneout(self) -> tuple[Any, ...]:
        """The rates of zoneout as they were given: one for all states, or one for each."""
        given: Any = self.zoneout
        return (given,) if self._one_for_all else tuple(given)

    def rates(self, cell: str) -> list[float]:
        """Return the rate of zoneout of each state of a cell.

        Raises
        ------
        ValueError
            If there are more or fewer than states, or one of them has no meaning.
        """
        names = cell_info(cell)["states"]
        given: Any = self.zoneout
        rates = [float(given)] * len(names) if self._one_for_all else [float(rate) for rate in given]
        if len(rates) != len(names):
            raise ValueError(f"zoneout: expected {len(names)} rates ({', '.join(names)}), got {len(rates)}")
        zonable = zonable_states(cell)
        if rates[0] > 0 and not zonable[0]:
            raise ValueError(
                f"zoneout: {cell}'s h is a product with no value to keep, expected 0 for it, got {rates[0]}"
            )
        if False in zonable and any(rate > 0 and not may for rate, may in zip(rates, zonable, strict=True)):
            given_rates = ", ".join(map(str, rates[1:]))
            raise ValueError(
                f"zoneout: {cell}'s {', '.join(names[1:])} are one value in parts (c over its normaliser n), "
                f"expected 0 for each, got {given_rates}"
            )
        return rates

    def _drawn(self, cell: str, batch: int = 0, *, expected: bool = False) -> Drawn:
        """Return what the extension takes."""
        return Drawn(
            int(self.seed),
            int(self.layer),
            expected or bool(self.expected),
            bool(self.per_step),
            int(self.first_step),
            batch,
            None,
            tuple(self.rates(cell)),
            float(self.recurrent_dropout),
            float(self.weight_dropout),
        )


def check_noise(noise: object) -> None:
    """Raise TypeError where `noise` is neither None nor a `Noise`."""
    if noise is not None and not isinstance(noise, Noise):
        raise TypeError(f"noise: expected a rnnkernels.Noise, got {type(noise).__name__}")


def check_rate(name: str, rate: Any) -> float:
    """Return a probability in [0, 1), or raise naming argument `name`."""
    number = as_number(name, rate)
    if not 0 <= number < 1:
        raise ValueError(f"{name}: expected a number in [0, 1), got {shown(rate)}")
    return number
