"""Initial values other than uniform ones: recurrent weights gate by gate, and biases of forget gates.

What this is: which schemes there are, which cells have what they set, and their values in NumPy. What this is not: the
uniform values, which are drawn first (`parameters`, `rnnkernels.torch.recurrent`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ._scalars import as_choice, as_number, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    Array = npt.NDArray[Any]

RECURRENT = ("uniform", "identity", "orthogonal")

# A gate f that does not keep the state where it is large: mgu's h' = f n + (1-f) h.
_LETS_IN = ("mgu",)


def check_initial(
    info: Mapping[str, Any],
    recurrent: Any,
    forget_bias: Any,
    *,
    bias: bool,
    width: int,
    hidden: int,
) -> tuple[str, float | None]:
    """Return the two arguments, or raise where the cell of a table has not what they set; `width`: units of h."""
    cell = info["name"]
    as_choice("recurrent", recurrent, RECURRENT)
    if recurrent == "orthogonal" and not info["rows"][1]:
        raise ValueError(
            f"recurrent: {cell} has no recurrent matrix, expected 'uniform' or 'identity', got 'orthogonal'"
        )
    if recurrent == "identity" and width != hidden:
        raise ValueError(
            f"recurrent: expected 'uniform' or 'orthogonal' where h is projected from {hidden} to {width} units, got "
            f"'identity'"
        )
    if forget_bias is None:
        return recurrent, None
    number = as_number("forget_bias", forget_bias)
    if not math.isfinite(number):
        raise ValueError(f"forget_bias: expected a finite number, got {shown(forget_bias)}")
    if forget_gate(info) is None:
        raise ValueError(f"forget_bias: {cell} has no forget gate, got {shown(forget_bias)}")
    if not bias:
        raise ValueError(f"forget_bias: expected a layer with biases, got {shown(forget_bias)} and bias=False")
    return recurrent, number


def forget_gate(info: Mapping[str, Any]) -> int | None:
    """Return which of the gates with rows in the biases is the forget gate; None where a cell has none."""
    fed = [name for name, of_x, _ in info["gates"] if of_x == "projected"]
    return fed.index("f") if "f" in fed and info["name"] not in _LETS_IN else None


def set_initial(
    info: Mapping[str, Any],
    name: str,
    values: Any,
    hidden: int,
    chosen: tuple[str, float | None],
    draw: Callable[[Any], object],
) -> None:
    """Set one parameter, NumPy's or a tensor, in place; what is not chosen stays as it was drawn.

    Parameters
    ----------
    info : mapping
        The cell's table.
    name : str
        What the parameter's name begins with.
    values : array
    hidden : int
        H.
    chosen : tuple
        Of `check_initial`.
    draw : callable
        Makes an array (H, H or P) an orthogonal one; of several heads (H / heads, H / heads).
    """
    recurrent, forget_bias = chosen
    gate = forget_gate(info)
    if recurrent != "uniform" and name.startswith("weight_hh"):
        size = hidden // info["heads"]
        for first in range(0, len(values), size):
            block = values[first : first + size]
            if recurrent == "orthogonal":
                draw(block)
            else:
                block[:] = 0
                block.reshape(-1)[:: size + 1] = 1
    elif recurrent == "identity" and name.startswith("bias"):
        values[:] = 0
    elif recurrent == "identity" and name.startswith("weight_diagonal") and not info["rows"][1]:
        values[:] = 1  # indrnn's recurrent weights
    if forget_bias is not None and gate is not None and name.startswith("bias"):
        values[gate * hidden : (gate + 1) * hidden] = forget_bias if name.startswith("bias_ih") else 0


def draw_orthogonal(rng: np.random.Generator, block: Array) -> None:
    """Make a matrix (H, P) one with orthonormal columns, or rows where they are fewer; each such one is as likely."""
    tall = block if block.shape[0] >= block.shape[1] else block.T
    q, r = np.linalg.qr(rng.standard_normal(tall.shape))
    tall[:] = q * np.sign(np.diagonal(r))
