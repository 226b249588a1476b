"""Every cell's step in calls that array libraries have in common: what users write where no layer is.

The slow, general form of each cell, its equations evaluated one after another: `rnnkernels.torch` takes derivatives
through it that the fused backward has not, the benchmarks compare with it. The reference (`rnnkernels.reference`) is
another statement, independent of this one. Written out here is only what is no equation of one unit.

The input's product is made at once for all steps, as users do; a step takes its part of it. Weights are (in, out), and
split before the loop into what h, what the gated state and what fed-back vectors multiply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from . import parameters
from ._call import present
from .equations import stepping
from .equations.blocks import blocks_of
from .equations.cell import equations_of
from .parameters import cell_info

if TYPE_CHECKING:
    from .equations.graph import Equations

State = tuple[Any, ...]
Arrays = dict[str, Any]


@dataclass(frozen=True)
class Library:
    """The calls. `linear`: a @ w + b, b may be None. `split`: the last axis in so many equal pieces.

    `layer_norm`: of a, gain and shift, over the last axis, 1e-5 added to the variance. `operations`: what cells are
    made of, by the names in a graph of equations; ``"constant"``, of a number and an array, is the number in the
    array's dtype, ``"zeros"`` of an array one like it.
    """

    linear: Callable[[Any, Any, Any], Any]
    split: Callable[[Any, int], tuple[Any, ...]]
    join: Callable[[tuple[Any, ...]], Any]
    layer_norm: Callable[[Any, Any, Any], Any]
    operations: Mapping[str, Callable[..., Any]]


# (library, x, the input's part (B, G*H), state, weights) → state, h first
Step = Callable[[Library, Any, Any, State, Arrays], State]


def _merged(cell: str) -> bool:
    """Whether both biases can be added to the input's part: each gate that x feeds adds a recurrent product to it."""
    if equations_of(cell) is not None:
        return False
    gates = [(of_x, operand) for _, of_x, operand in cell_info(cell)["gates"] if of_x != "none"]
    sums = all(of_x == "projected" and operand != "none" for of_x, operand in gates)
    return sums and all(cell_info(cell)["merged"]) and not _normalised(cell)


def _normalised(cell: str) -> bool:
    return bool(cell_info(cell)["normalisation"] != "none")


def input_part(library: Library, cell: str, x: Any, params: Mapping[str, Any]) -> Any:
    """W_ih x for all steps at once, with the biases that can be added before the loop; weights (in, out)."""
    if cell_info(cell)["elements"]:
        x = x[..., : params["weight_ih"].shape[0]]
    if _normalised(cell):
        sums = library.linear(x, params["weight_ih"], None)
        return library.layer_norm(sums, params["weight_diagonal"][: sums.shape[-1]], params["bias_ih"])
    bias = params["bias_ih"] + params["bias_hh"] if _merged(cell) else params["bias_ih"]
    return library.linear(x, params["weight_ih"], bias)


def weights(library: Library, cell: str, params: Mapping[str, Any]) -> Arrays:
    """Return what the steps of a sequence share, made once before them: weights (in, out), biases not yet added.

    Recurrent weights of several heads are a matrix each, as `rnnkernels.equations.blocks` has them.
    """
    found: Arrays = {}
    operands = [operand for _, _, operand in cell_info(cell)["gates"] if operand != "none"]
    if "weight_gg" in params:
        found["vectors"] = params["weight_gg"]
        operands = [operand for operand in operands if operand != "feedback"]
    hidden, heads = params["weight_ih"].shape[1] // input_gates(cell), cell_info(cell)["heads"]
    for operand in dict.fromkeys(operands):
        rows = _rows_of(library, params["weight_hh"], operands, operand, hidden)
        found[operand] = rows if heads == 1 else blocks_of(rows, heads)
        bias = None if _merged(cell) else _rows_of(library, params["bias_hh"], operands, operand, hidden)
        found[f"bias {operand}"] = bias
    if "weight_hr" in params:
        found["projection"] = params["weight_hr"]
    if _normalised(cell):
        found["gain"] = params["weight_diagonal"][params["weight_ih"].shape[1] :][: len(operands) * hidden]
    if "weight_diagonal" in params:
        found["diagonal"] = library.split(params["weight_diagonal"], len(cell_info(cell)["diagonals"]))
    equations = equations_of(cell) or _built_in(cell.removesuffix("_projected"))
    if equations is not None:
        found["constants"] = {
            repr(node.attribute): library.operations["constant"](node.attribute, params["weight_ih"])
            for node in equations.graph.nodes
            if node.operation == "constant"
        }
    return found


def _rows_of(library: Library, array: Any, operands: list[str], operand: str, hidden: int) -> Any:
    """Return what belongs to one operand; `operands` of all gates in their order, H numbers of the last axis each."""
    places = [k for k, each in enumerate(operands) if each == operand]
    first, last = places[0], places[-1] + 1
    if last - first == len(places):
        return array[..., first * hidden : last * hidden]
    return library.join(tuple(array[..., k * hidden : (k + 1) * hidden] for k in places))


def _gru_layer_norm(o: Library, _: Any, part: Any, state: State, w: Arrays) -> State:
    (h,) = state
    calls = o.operations
    x_r, x_z, x_n = o.split(part, 3)
    u_r, u_z, u_n = o.split(o.layer_norm(o.linear(h, w["hidden"], None), w["gain"], w["bias hidden"]), 3)
    n = calls["tanh"](x_n + calls["sigmoid"](x_r + u_r) * u_n)
    return (n + calls["sigmoid"](x_z + u_z) * (h - n),)


def _lstm_layer_norm(o: Library, _: Any, part: Any, state: State, w: Arrays) -> State:
    sigmoid, tanh = o.operations["sigmoid"], o.operations["tanh"]
    rows = o.layer_norm(o.linear(state[0], w["hidden"], None), w["gain"], w["bias hidden"])
    i, f, g, out = o.split(part + rows, 4)
    c = sigmoid(f) * state[1] + sigmoid(i) * tanh(g)
    return sigmoid(out) * tanh(o.layer_norm(c, *w["diagonal"][-2:])), c


def _projected(cell: str) -> Step:
    """Return the step of a cell whose h is a product: of the cell without it, h multiplied."""
    step = step_of(cell.removesuffix("_projected"))

    def projected(o: Library, x: Any, part: Any, state: State, w: Arrays) -> State:
        h, *later = step(o, x, part, state, w)
        return (o.linear(h, w["projection"], None), *later)

    return projected


# What is no equation of one unit.
_STEPS: dict[str, Callable[[], Step]] = {
    "gru_layer_norm": lambda: _gru_layer_norm,
    "lstm_layer_norm": lambda: _lstm_layer_norm,
    "lstm_projected": lambda: _projected("lstm_projected"),
    "lstm_peephole_projected": lambda: _projected("lstm_peephole_projected"),
}


def step_of(cell: str) -> Step:
    """Return a cell's step.

    Raises
    ------
    NotImplementedError
        If it is not written here.
    """
    if cell in _STEPS:
        return _STEPS[cell]()
    equations = equations_of(cell)
    if equations is not None:
        return stepping.step_of(equations)
    built_in = _built_in(cell)
    if built_in is not None:
        return _by_equations(cell, built_in)
    raise NotImplementedError(
        f"rnnkernels.steps: {cell}'s step is written in the kernels alone, which have first derivatives in reverse "
        f"mode; expected one of {', '.join(cells())}"
    )


def _built_in(cell: str, cell_clip: float | None = None) -> Equations | None:
    """Return a built-in cell's equations, traced when they are asked for: most programs never do."""
    from .equations import builtin  # noqa: PLC0415

    return builtin.equations_of(cell, cell_clip)


def _by_equations(cell: str, equations: Equations) -> Step:
    """Return a built-in cell's step: its equations as they are, or with its state held."""
    plain = stepping.step_of(equations)

    def step(o: Library, x: Any, part: Any, state: State, w: Arrays) -> State:
        taken = plain if "cell_clip" not in w else _held(cell, w["cell_clip"])
        return taken(o, x, part, state, w)

    return step


@cache
def _held(cell: str, cell_clip: float) -> Step:
    return stepping.step_of(present(_built_in(cell, cell_clip), "equations with a setting"))


def cells() -> tuple[str, ...]:
    """Return the built-in cells that have a step here; beside them every cell from equations has one."""
    built_in = (cell for cell in parameters.cells() if equations_of(cell) is None)
    return tuple(cell for cell in built_in if cell in _STEPS or _built_in(cell) is not None)


def input_gates(cell: str) -> int:
    """Return the number of gates that the input's product feeds."""
    count: int = cell_info(cell)["rows"][0]
    return count


def state_widths(cell: str, params: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the units of each of a cell's states; weights (in, out)."""
    hidden = params["weight_ih"].shape[1] // input_gates(cell)
    later = (hidden,) * (len(cell_info(cell)["states"]) - 1)
    return (params["weight_hh"].shape[0] if "weight_hr" in params else hidden, *later)
