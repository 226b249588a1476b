"""Recurrent nodes whose X is rows of a table that tokens pick: a Gather, and maybe a Transpose, before the node.

The product of the table and W is made once, and a token picks its rows of that: what a step does with x is read, and
not computed. Not here: the step (steps.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .graphs import driven
from .nodes import FLOATING
from .operators import COMPUTED

if TYPE_CHECKING:
    from rnnkernels.parameters import Array

    from .fixed import Fixed

LARGEST = 1 << 25  # bytes of a table times W; of a larger one the rows are multiplied as others are


class Embedding(NamedTuple):
    """A node's table.

    Attributes
    ----------
    tokens : str
        The name of what picks rows.
    table : ndarray, (V, I)
    turned : bool
        Whether rows of X are picked by columns of the tokens.
    """

    tokens: str
    table: Array
    turned: bool


class Embeddings:
    """Those of a model's graphs that are taken apart."""

    def __init__(self, graph: Any, fixed: Fixed) -> None:
        self._fixed = fixed
        graphs = enumerate(driven(graph))
        self._makers = {name: (node, at) for at, each in graphs for node in each.node for name in node.output if name}

    def of(self, node: Any) -> Embedding | None:
        """Return a recurrent node's table, None where it has none, or one that is too large."""
        if node.op_type not in FLOATING or node.domain not in ("", "ai.onnx"):
            return None
        here = next(self._makers[name][1] for name in node.output if name)
        maker, turned = self._maker(node.input[0], here), False
        if maker is not None and maker.op_type == "Transpose":
            turned = [list(attribute.ints) for attribute in maker.attribute] == [[1, 0, 2]]
            maker = self._maker(maker.input[0], here) if turned else None
        if maker is None or maker.op_type != "Gather" or any(attribute.i != 0 for attribute in maker.attribute):
            return None
        table, W = self._fixed.array(maker.input[0]), self._fixed.array(node.input[1])
        if table is None or W is None or table.ndim != 2 or W.ndim != 3 or W.shape[2] != table.shape[1]:
            return None
        if table.dtype != W.dtype or W.dtype not in COMPUTED or not len(table):
            return None
        if len(table) * W.shape[0] * W.shape[1] * W.itemsize > LARGEST:
            return None
        return Embedding(maker.input[1], table, turned)

    def _maker(self, name: str, here: int) -> Any:
        """Return the node of the same graph that makes a value."""
        maker, there = self._makers.get(name, (None, here))
        return maker if there == here else None
