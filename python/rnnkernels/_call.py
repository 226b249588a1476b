"""One call of the extension with everything settled: arrays, the order of rows, masks. Private to the package.

`functional` makes calls from what users pass; `replay` and `rebuild` run parts of one again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from . import _cpu
from ._arguments import as_layer
from .parameters import NAMES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .noise import Drawn
    from .parameters import Array, Params

    Rows = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    State = tuple[Array, ...]
    Sequences = tuple[Array, ...]


class Results(NamedTuple):
    """What a forward gives: of a ragged batch the states are those of its sequences (S, H)."""

    output: Array  # (T, B, H)
    state: State
    reserve: _cpu.Reserve | None
    sequence: Sequences | None  # of the states after h, each (T, B, H)


class Found(NamedTuple):
    """What a backward gives."""

    x: Array | None
    params: dict[str, Array]
    state: State
    term: Array | None
    norms: tuple[Array, ...]


@dataclass(frozen=True, eq=False)
class Call:
    """A layer and what it is given. Of a ragged batch (`rows`) `state` and `term` are those of its sequences."""

    cell: str
    x: Array
    params: Params
    state: State | None
    rows: Rows | None = None  # starts, places
    term: Array | None = None
    noise: Drawn | None = None
    settings: list[float] = field(default_factory=list)

    def forward(self, *, keep: bool, all_states: bool = False) -> Results:
        """Run; `keep` what a backward needs."""
        layer = as_layer(self.cell, self.params)
        return Results(
            *_cpu.forward(
                self.cell,
                self.x,
                layer,
                self.state,
                keep,
                self.rows,
                self.term,
                self.noise,
                all_states,
                self.settings,
            )
        )

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
        dx, d_layer, d_initial, d_term, readings = _cpu.backward(
            self.cell,
            self.x,
            as_layer(self.cell, self.params),
            self.state,
            output,
            reserve,
            d_output,
            d_state,
            need_x,
            self.rows,
            self.term,
            self.noise,
            d_sequence,
            norms,
            self.settings,
        )
        found = {name: grad for name, grad in zip(NAMES, d_layer, strict=True) if grad is not None}
        return Found(dx, {name: found[name] for name in self.params}, d_initial, d_term, readings)
