"""One call of the extension with everything settled: arrays, the order of rows, masks. Private to the package.

`functional` makes calls from what users pass; `replay` and `rebuild` run parts of one again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _cpu, _runtime
from .parameters import NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ._arguments import Layer
    from .noise import Drawn
    from .parameters import Array

    # starts, places; no places: the arrays (T, B, ...) hold the rows one after another
    Rows = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]
    State = tuple[Array, ...]
    Sequences = tuple[Array, ...]
    # Output (T, B, H); final states, of a ragged batch those of its sequences (S, H); reserve; the sequences of the
    # states after h, each (T, B, H), where they were asked for.
    Results = tuple[Array, State, _cpu.Reserve | None, Sequences | None]


class Found(NamedTuple):
    """What a backward gives."""

    x: Array | None
    params: dict[str, Array]
    state: State
    term: Array | None
    norms: tuple[Array, ...]


class Call(NamedTuple):
    """A layer and what it is given. Of a ragged batch (`rows`) `state` and `term` are those of its sequences."""

    cell: str
    x: Array
    layer: Layer
    state: State | None
    rows: Rows | None = None  # starts, places
    term: Array | None = None
    noise: Drawn | None = None
    settings: Sequence[float] = ()  # in the cell's order; none: all off

    def forward(self, keep: bool, all_states: bool = False) -> Results:
        """Run; `keep` what a backward needs."""
        if type(self.x) is not np.ndarray or _runtime.on_cuda:
            results: Results = _on_gpu().forward(self, keep, all_states)
            return results
        cell, x, layer, state, rows, term, noise, settings = self
        return _cpu.forward(cell, x, layer, state, keep, rows, term, noise, all_states, settings)

    def backward(
        self,
        output: Array,
        reserve: _cpu.Reserve,
        d_output: Array | None,
        d_state: State | None,
        d_sequence: tuple[Array | None, ...] = (),
        *,
        need_x: bool,
        norms: bool,
    ) -> Found:
        """Differentiate what `forward` gave: its output and its reserve."""
        if isinstance(reserve, _cpu.Reserve):
            cell, x, layer, state, rows, term, noise, settings = self
            dx, d_layer, d_initial, d_term, readings = _cpu.backward(
                cell,
                x,
                layer,
                state,
                output,
                reserve,
                d_output,
                d_state,
                need_x,
                rows,
                term,
                noise,
                d_sequence,
                norms,
                settings,
            )
        else:
            dx, d_layer, d_initial, d_term, readings = _on_gpu().backward(
                self, output, reserve, d_output, d_state, d_sequence, need_x, norms
            )
        # A cell without weight_hh is given an empty one.
        found = {name: grad for name, grad in zip(NAMES, d_layer, strict=True) if grad is not None and len(grad)}
        return Found(dx, found, d_initial, d_term, readings)


def drop(x: Array, rate: float, seed: int, layer: int) -> Array:
    """Return a copy with elements dropped, where `x` lies; which ones, `seed` and `layer` say alone."""
    if type(x) is np.ndarray:
        return _cpu.drop(x, rate, seed, layer)
    dropped: Array = _on_gpu().drop(x, rate, seed, layer)
    return dropped


def _on_gpu() -> Any:
    """Return the module that makes calls of the CUDA extension, which only these import."""
    from .cuda import calls  # noqa: PLC0415

    return calls
