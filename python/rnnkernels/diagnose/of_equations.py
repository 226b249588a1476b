"""The sigmoid gates of a cell from equations: every sigmoid in them, under the name of the variable that held it.

Not here: built-in cells, whose gates their tables name (`gates`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rnnkernels import steps
from rnnkernels.equations.operations import OPERATIONS
from rnnkernels.equations.stepping import evaluator, nodes_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnkernels.equations.graph import Equations, Node

Array = npt.NDArray[Any]


def _refuse(*_: Any) -> Any:
    raise NotImplementedError("rnnkernels.diagnose: equations are made of operations alone")


# NumPy's calls; a step of a cell from equations asks for no others.
_LIBRARY = steps.Library(
    linear=lambda a, weight, bias: a @ weight if bias is None else a @ weight + bias,
    split=lambda a, count: tuple(np.split(a, count, axis=-1)),
    join=lambda pieces: np.concatenate(pieces, axis=-1),
    layer_norm=_refuse,
    operations={
        **{name: operation.compute for name, operation in OPERATIONS.items()},
        "constant": lambda value, like: np.asarray(value, like.dtype),
        "zeros": np.zeros_like,
    },
)


def sigmoids(equations: Equations) -> dict[str, Node]:
    """Return the sigmoids of a cell's equations in their order, by names that are different."""
    variables = dict(equations.names)
    found: dict[str, Node] = {}
    for node in nodes_of(equations):
        if node.operation == "sigmoid":
            name = variables.get(node.number, "sigmoid")
            number = sum(each.partition(" ")[0] == name for each in found)
            found[f"{name} {number + 1}" if number else name] = node
    return found


def gate_values(
    equations: Equations, x: Array, params: Mapping[str, Array], before: tuple[Array, ...]
) -> dict[str, Array]:
    """Return the values of the sigmoids (T, B, H); `before`: each state before every step (T, B, H)."""
    cell, weight_ih = equations.name, params["weight_ih"]
    if x.dtype.kind in "iu":
        x = np.eye(weight_ih.shape[1], dtype=weight_ih.dtype)[x]
    matrices = {name: array.T if array.ndim == 2 else array for name, array in params.items()}
    matrices = {"bias_ih": np.zeros(1, weight_ih.dtype), **matrices}
    if "weight_hh" in matrices and "bias_hh" not in matrices:
        matrices["bias_hh"] = np.zeros(matrices["weight_hh"].shape[1], weight_ih.dtype)
    part = steps.input_part(_LIBRARY, cell, x, matrices)
    with np.errstate(all="ignore"):
        values = evaluator(equations)(_LIBRARY, x, part, before, steps.weights(_LIBRARY, cell, matrices))
    return {name: np.broadcast_to(values[node.number], before[0].shape) for name, node in sigmoids(equations).items()}
