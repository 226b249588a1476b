"""The random masks a second time: NumPy, from the papers, to test the kernels' with.

Philox4x32-10 (Salmon, Moraes, Dror & Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011) maps a key of 64 bits
and a counter of four words to four random words. The key is the seed; a counter is (unit, step, row, stream), the
stream made of the layer and of what the words are for. A unit, or an element, is dropped or kept from before where its
word is below rate · 2³².
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from rnnkernels.noise import Noise

Array = npt.NDArray[Any]

# What a stream is for: the lowest byte of a counter's last word.
ZONEOUT, RECURRENT_STEP, RECURRENT_SEQUENCE, WEIGHT_HH, WEIGHT_GG, ELEMENTS = 0, 2, 3, 4, 5, 6


def philox(key: int, counter: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]) -> list[Array]:
    """Return the four words of each counter, as uint64 arrays of 32-bit values."""
    words = [np.asarray(c, np.uint64) for c in counter]
    c0, c1, c2, c3 = (np.broadcast_to(c, np.broadcast_shapes(*(w.shape for w in words))) for c in words)
    k0, k1, low = key & 0xFFFFFFFF, key >> 32, np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0),
            p1 & low,
            (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1),
            p0 & low,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


def below(word: Array, rate: float) -> Array:
    """Whether each word drops its unit."""
    return np.asarray(word < np.uint64(int(rate * 2**32)))


class Masks:
    """The masks of one call on a batch of B rows, for states of these widths, h first."""

    def __init__(self, noise: Noise, batch: int, widths: list[int]) -> None:
        self.noise, self.widths = noise, widths
        given: Any = noise.zoneout
        count = len(widths)
        self.rates = [float(given)] * count if np.ndim(given) == 0 else [float(rate) for rate in given]
        self.rows = np.arange(batch)[:, None]  # (B, 1)

    def _word(self, state: int, step: int, stream: int, word: int) -> Array:
        units = np.arange(self.widths[state])[None, :]
        return philox(self.noise.seed, (units, step, self.rows, self.noise.layer << 8 | stream))[word]

    def kept(self, t: int) -> list[Array]:
        """Return, for each state, the units (B, H) that keep it from before step t."""
        step = t + self.noise.first_step
        return [below(self._word(k, step, ZONEOUT + k // 4, k % 4), rate) for k, rate in enumerate(self.rates)]

    def recurrent(self, t: int) -> Array:
        """Return what the recurrent weights' operand is multiplied by in step t, (B, H)."""
        rate = self.noise.recurrent_dropout
        step, stream = (t + self.noise.first_step, RECURRENT_STEP) if self.noise.per_step else (0, RECURRENT_SEQUENCE)
        return np.where(below(self._word(0, step, stream, 0), rate), 0.0, 1 / (1 - rate))

    def weight(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return what each element of a recurrent weight is multiplied by."""
        stream = {"weight_hh": WEIGHT_HH, "weight_gg": WEIGHT_GG}[name]
        return elements(shape, self.noise.weight_dropout, self.noise.seed, self.noise.layer << 8 | stream)


def elements(shape: tuple[int, ...], rate: float, seed: int, stream: int) -> Array:
    """Return what each element of a matrix is multiplied by; four rows share a counter, a word each."""
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    groups = np.arange((rows + 3) // 4)[:, None]
    words = np.stack(philox(seed, (np.arange(columns)[None, :], groups, 0, stream)), axis=1)  # (groups, 4, columns)
    dropped = below(words.reshape(4 * len(groups), columns)[:rows], rate).reshape(shape)
    return np.where(dropped, 0.0, 1 / (1 - rate))
