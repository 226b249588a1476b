"""`layers`: the recurrent nodes of a model, wherever they are, with their weights; and those that are nodes no more.

    for found in layers(onnx.load("model.onnx")):
        print(found.path, found.weights["W"].shape)
        layer = from_node(found)

Not here: how weights are found (constants.py) and moved (convert.py), and what a decomposed cell looks like
(decomposed.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from .constants import Constants
from .decomposed import Decomposed, cells_in
from .graphs import bodies, inlined, loaded, path_of
from .nodes import FLOATING, INPUTS, STORED, WEIGHTS, computed_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rnnkernels.parameters import Array

__all__ = ["FoundNode", "FoundNodes", "layers"]


@dataclass(frozen=True, eq=False)
class FoundNode:
    """A recurrent node of a model; `from_node` takes it.

    Attributes
    ----------
    path : str
        The nodes and attributes that it is in and its own name, or its first result's: ``"If_0/then_branch/lstm"``.
    node : onnx.NodeProto
    graphs : tuple of onnx.GraphProto
        The graph that it is in, then those around it.
    weights : dict of str to ndarray
        The node's W, R and, where it has them, B and P, scales and zero points, by ONNX's names; those alone that no
        input of the model changes.
    missing : dict of str to str
        Why the others are not known.
    constants : Constants
        What `from_node` finds them in.
    """

    path: str
    node: Any
    graphs: tuple[Any, ...]
    weights: dict[str, Array]
    missing: dict[str, str]
    constants: Constants

    @property
    def operator(self) -> str:
        """RNN, GRU, LSTM or DynamicQuantizeLSTM."""
        return str(self.node.op_type)

    def __repr__(self) -> str:
        said = [f"{role} {array.shape}" for role, array in self.weights.items()]
        return f"<{self.operator} {self.path!r}: {', '.join([*said, *self.missing.values()])}>"


class FoundNodes(Sequence[FoundNode]):
    """The recurrent nodes of a model, graph by graph: those around a branch or a loop before those inside.

    Attributes
    ----------
    decomposed : tuple of Decomposed
        LSTMs and GRUs that an exporter wrote as other operators.
    """

    def __init__(self, nodes: Sequence[FoundNode], decomposed: Sequence[Decomposed]) -> None:
        self._nodes, self.decomposed = tuple(nodes), tuple(decomposed)

    def __len__(self) -> int:
        return len(self._nodes)

    @overload
    def __getitem__(self, at: int) -> FoundNode: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[FoundNode]: ...
    def __getitem__(self, at: int | slice) -> FoundNode | Sequence[FoundNode]:
        return self._nodes[at]

    def __repr__(self) -> str:
        lines = [f"{len(self)} recurrent nodes, {len(self.decomposed)} decomposed:"]
        return "\n".join([*lines, *(f"  {each!r}" for each in (*self._nodes, *self.decomposed))])


def layers(model: Any) -> FoundNodes:
    """Return the recurrent nodes of a model, those in branches, loops and local functions too.

    Parameters
    ----------
    model : onnx.ModelProto, str or os.PathLike
        Local functions that hold recurrent nodes are inlined first: a node is found once for each call. Those of
        another opset than the model's are not looked into.

    Returns
    -------
    FoundNodes
        Weights are found through what nodes compute from constants, whatever the operators are.

    Raises
    ------
    TypeError, ValueError
        If it is no model, or no file.
    """
    model = inlined(loaded(model))
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    nodes: list[FoundNode] = []
    decomposed: list[Decomposed] = []
    for path, around in _graphs(model.graph, "", ()):
        decomposed += cells_in(path, around[0])
        recurrent = [node for node in around[0].node if computed_by(node) is not None]
        if recurrent:
            constants = Constants(around, None, opsets)
            nodes += [_found(path_of(path, node), node, around, constants) for node in recurrent]
    return FoundNodes(nodes, decomposed)


def _graphs(graph: Any, path: str, around: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    here = (graph, *around)
    yield path, here
    for node in graph.node:
        for name, inner in bodies(node):
            yield from _graphs(inner, f"{path_of(path, node)}/{name}", here)


def _found(path: str, node: Any, around: tuple[Any, ...], constants: Constants) -> FoundNode:
    weights, missing = {}, {}
    roles = WEIGHTS if node.op_type in FLOATING else STORED
    for role, name in zip(INPUTS, node.input, strict=False):
        if role in roles and name:
            try:
                weights[role] = constants.find(role, name)
            except ValueError as error:
                missing[role] = str(error)
    return FoundNode(path, node, around, weights, missing, constants)
