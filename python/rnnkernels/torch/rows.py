"""Which rows each step of a call has, for what is computed in PyTorch's own operations beside the kernels.

The rows come from the same schedules as the kernels': step after step, of each step those of the sequences that still
run. Not here: how a schedule is made (`rnnkernels.schedule`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rnnkernels.schedule import make_schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from rnnkernels.schedule import Schedule

    from .spec import Spec

    Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True, eq=False)
class Order:
    """The rows of a call, N in all, of S sequences.

    Attributes
    ----------
    steps, batch : int
        T and B, of a packed batch N and 1.
    starts : ndarray of int64, (steps + 1,)
        Where each step's rows begin among all.
    where : Tensor of int64 (N,), or None
        Where each row stands in x, as t·B + b; None: as they come.
    count : int
        S.
    schedule : Schedule, optional
        None of a dense and of a packed batch.
    """

    steps: int
    batch: int
    starts: npt.NDArray[np.int64]
    where: torch.Tensor | None
    count: int
    schedule: Schedule | None

    def gather(self, x: torch.Tensor) -> torch.Tensor:
        """Return the rows (N, ...) of what has a row for every step, (T, B, ...)."""
        rows = x.flatten(0, 1)
        return rows if self.where is None else rows[self.where]

    def scatter(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (T, B, width) of rows (N, width), zeros where there is no row."""
        if self.where is not None:
            nothing = rows.new_zeros(self.steps * self.batch, rows.shape[1])
            rows = nothing.index_copy(0, self.where, rows)
        return rows.reshape(self.steps, self.batch, rows.shape[1])

    def of_sequences(self, tensor: Any) -> Any:
        """Return what belongs to each sequence (S, ...) of what belongs to each row of the batch; None of None."""
        if self.schedule is None or tensor is None:
            return tensor
        return tensor[torch.from_numpy(self.schedule.owner)]

    def of_rows(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return what belongs to each row (N, ...) of what belongs to each sequence (S, ...)."""
        return tensor[torch.from_numpy(self._sequence)]

    def begin(self, state: Any, reset: Any, widths: Sequence[int], like: torch.Tensor) -> Tensors:
        """Return what each sequence starts from, (S, width) of each state."""
        batch = self.count if self.schedule is None else self.batch
        zeros = [like.new_zeros(batch, width) for width in widths]
        initial = tuple(state or zeros)
        if self.schedule is None:
            return initial
        owner, fresh = torch.from_numpy(self.schedule.owner), torch.from_numpy(self.schedule.fresh)[:, None]
        return tuple(torch.where(fresh, r[owner], s[owner]) for s, r in zip(initial, reset or zeros, strict=True))

    def end(self, final: Tensors, state: Any) -> Tensors:
        """Return each row's state after its last step, from the sequences'."""
        if self.schedule is None:
            return final
        last = torch.from_numpy(self.schedule.last)
        ran = (last >= 0)[:, None]
        ended = []
        for k, s in enumerate(final):
            begun = s.new_zeros(len(last), s.shape[1]) if state is None else state[k]
            ended.append(torch.where(ran, s[last.clamp(min=0)], begun) if len(s) else begun)
        return tuple(ended)

    def before(self, begun: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """Return a state before each row's step (N, width), of what sequences start from and of it after each row."""
        if self.where is None and self.schedule is None and len(self.starts) == self.steps + 1:
            return torch.cat((begun, after))[: len(after)]  # of a dense batch it is that of B rows before
        step = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        earlier = self.count + self.starts[step - 1] + self._sequence
        return torch.cat((begun, after))[torch.from_numpy(np.where(step == 0, self._sequence, earlier))]

    @property
    def first(self) -> torch.Tensor:
        """Where the first row of each sequence stands in x, (S,) of int64, as t·B + b; of no steps none."""
        count = int(self.starts[1]) if len(self.starts) > 1 else 0
        return torch.arange(count) if self.where is None else self.where[:count]

    @property
    def _sequence(self) -> npt.NDArray[np.int64]:
        """The sequence of each row, (N,)."""
        sizes = np.diff(self.starts)
        return np.arange(int(self.starts[-1])) - np.repeat(self.starts[:-1], sizes)


def order_of(spec: Spec, x: torch.Tensor) -> Order:
    """Return the rows of a call; x is (T, B, I), tokens (T, B), or of a packed batch (N, 1, I)."""
    asked, walk = spec.asked, spec.walk
    steps, batch = x.shape[:2]
    schedule = None
    if walk is None:
        schedule = make_schedule(steps, batch, asked.lengths, asked.resets, asked.reverse)
    ordered = walk or schedule
    if ordered is None:
        return Order(steps, batch, np.arange(steps + 1) * batch, None, batch, None)
    starts, places = ordered.starts, ordered.places
    count = int(starts[1]) if len(starts) > 1 else 0
    where = None if places is None else torch.from_numpy(places)
    return Order(steps, batch, starts, where, count, schedule)
