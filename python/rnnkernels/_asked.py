"""What is asked of a call beside its arrays: one record, from the keywords of a public function down to a backend.

`rnnkernels.forward` makes one of its keywords, `rnnkernels.torch` writes its operators' schema from the fields,
`rnnkernels.jax` holds one static. An option is a field here, and what reads it. Not here: the arrays (`_call`), and the
checks, which stand where an option is read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ._arguments import settled
from .noise import Drawn, Noise


class Asked(NamedTuple):
    """As `rnnkernels.forward` has it; in PyTorch `lengths`, `resets` and `batch_sizes` are tensors.

    The fields and their types are read where PyTorch's operators are declared (`rnnkernels.torch.operators`).
    """

    cell: str
    reverse: bool = False
    batch_sizes: Any = None  # (T,) of a packed batch, whose x is (N, 1, I): PyTorch's alone
    lengths: Any = None  # (B,)
    resets: Any = None  # (T, B)
    noise: Drawn | None = None
    cell_clip: float | None = None
    all_states: bool = False
    memory: str = "all"
    products: str = "full"

    @property
    def of_a_step(self) -> tuple[float | None, tuple[float, ...]]:
        """What of it changes a step's equations: a state's limit, and the rates by which states keep their value."""
        return self.cell_clip, () if self.noise is None else self.noise.rates_of_states

    def with_equations(self, cell: str) -> Asked:
        """Return it of a cell that has `of_a_step` in its equations."""
        return self._replace(cell=cell[:], cell_clip=None, noise=None)

    @property
    def ragged(self) -> bool:
        """Whether the rows have to be put in order first; those of a packed batch are."""
        ordered = self.batch_sizes is not None or not self.reverse
        return not ordered or self.lengths is not None or self.resets is not None

    @property
    def direct(self) -> bool:
        """Whether a backend can be called as it is, and keeps all that its backward needs."""
        return self.memory == "all" and not self.ragged


def asked_of(cell: str, noise: Noise, *, training: bool, **asked: Any) -> Asked:
    """Return what a layer of a stack is asked for: its limit settled, its masks drawn or expected."""
    cell, asked["cell_clip"] = settled(cell, asked["cell_clip"])
    return Asked(cell, noise=noise._drawn(cell, expected=not training), **asked)
