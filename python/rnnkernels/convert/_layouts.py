"""How each library lays out each cell, as one table, and the reordering that follows from it.

A `Layout` says all that matters of a library's cell: the order of its gates, how its matrices are transposed, which
gates have a bias beside W_ih x and which beside W_hh h, whether z keeps the old state, h' = (1-z) n + z h, as ours
does, or the new one, and what the library adds to the forget gate's bias when it runs (tests/convert runs them).

Not here: names and bundles of arrays, which each library's module knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from rnnkernels.parameters import cell_info

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rnnkernels.parameters import Array, Params


@dataclass(frozen=True)
class Layout:
    """A library's cell, its gates under our names.

    Attributes
    ----------
    gates : str
        In the library's order, a letter each.
    transposed : bool or "blocks"
        Matrices are (I, G·H) and (H, G·H), not (G·H, I) and (G·H, H). "blocks": so are their shapes, but each gate's
        block of H columns, read row by row, holds our H rows of it.
    bias_ih, bias_hh : str
        The gates, in the library's order, with a bias beside W_ih x and beside W_hh h.
    z_keeps : bool
        Whether h' = (1-z) n + z h; else z and 1 - z have changed places.
    forget_bias : float
        What the library adds to the forget gate when it runs: no part of its arrays, but of ours.
    """

    gates: str
    transposed: bool | Literal["blocks"]
    bias_ih: str
    bias_hh: str
    z_keeps: bool = True
    forget_bias: float = 0.0


def _both(gates: str, *, transposed: bool | Literal["blocks"]) -> Layout:
    return Layout(gates, transposed, gates, gates)


_FLAX_LSTM = Layout("ifgo", True, "", "ifgo")
_FLAX_SIMPLE = Layout("a", True, "a", "")
_KERAS_SIMPLE = Layout("a", True, "a", "")

LAYOUTS: Mapping[str, Mapping[str, Layout]] = {
    "torch": {
        "rnn_tanh": _both("a", transposed=False),
        "rnn_relu": _both("a", transposed=False),
        "lstm": _both("ifgo", transposed=False),
        "lstm_projected": _both("ifgo", transposed=False),
        "gru": _both("rzn", transposed=False),
    },
    "Keras": {
        "rnn_tanh": _KERAS_SIMPLE,
        "rnn_relu": _KERAS_SIMPLE,
        "lstm": Layout("ifgo", True, "ifgo", ""),
        "gru": _both("zrn", transposed=True),  # reset_after=True
        "gru_reset_before": Layout("zrn", True, "zrn", ""),  # reset_after=False
    },
    "flax linen": {
        "rnn_tanh": _FLAX_SIMPLE,
        "rnn_relu": _FLAX_SIMPLE,
        "lstm": _FLAX_LSTM,
        "gru": Layout("rzn", True, "rzn", "n"),
    },
    "flax nnx": {
        "rnn_tanh": _FLAX_SIMPLE,
        "rnn_relu": _FLAX_SIMPLE,
        "lstm": _FLAX_LSTM,
        "gru": Layout("rzn", True, "rzn", ""),
    },
    "Haste": {
        "lstm": Layout("igfo", True, "igfo", ""),
        "gru": _both("zrn", transposed=True),
        "lstm_layer_norm": Layout("igfo", True, "igfo", ""),
        "gru_layer_norm": _both("zrn", transposed=True),
    },
    "Haiku": {
        "rnn_relu": _both("a", transposed=True),
        "lstm": Layout("igfo", True, "igfo", "", forget_bias=1.0),
        "gru_reset_before": Layout("zrn", True, "zrn", "", z_keeps=False),
    },
    "cuDNN's layers in Keras 2": {
        "lstm": _both("ifgo", transposed="blocks"),
        "gru": _both("zrn", transposed="blocks"),
    },
    "DyNet": {"lstm": Layout("ifog", False, "ifog", "", forget_bias=1.0)},
    "Lasagne": {
        "rnn_tanh": _KERAS_SIMPLE,
        "rnn_relu": _KERAS_SIMPLE,
        "lstm": Layout("ifgo", True, "ifgo", ""),
        "lstm_peephole": Layout("ifgo", True, "ifgo", ""),
        "gru": Layout("rzn", True, "rzn", "", z_keeps=False),
    },
    "ONNX": {
        "rnn_tanh": _both("a", transposed=False),
        "rnn_relu": _both("a", transposed=False),
        "lstm": _both("iofg", transposed=False),
        "lstm_peephole": _both("iofg", transposed=False),
        "lstm_cifg": _both("iofg", transposed=False),  # input_forget=1; the rows of f have no meaning
        "gru": _both("zrn", transposed=False),  # linear_before_reset=1
        "gru_reset_before": _both("zrn", transposed=False),  # linear_before_reset=0
    },
}

# What the reset multiplies W_hh h with its bias: there the two biases of a gate are no sum.
_APART = {("gru", "n"), ("gru_layer_norm", "n")}


class Arrays(NamedTuple):
    """One layer of one direction in a library's layout."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None  # of the gates that have one; None: the layer has no biases, or no gate has one
    bias_hh: Array | None


def layout_of(library: str, cell: str) -> Layout:
    """Return a library's layout of a cell, or raise ValueError with the cells it has."""
    cell_info(cell)  # a cell that nobody has is named as everywhere
    known = LAYOUTS[library]
    if cell not in known:
        raise ValueError(f"cell: expected one that {library} has, {', '.join(known)}; got {cell!r}")
    return known[cell]


def gates_of(cell: str) -> str:
    """Return our gates in their order, a letter each."""
    return "".join(name for name, _, _ in cell_info(cell)["gates"])


def reorder(array: Array, have: str, want: str) -> Array:
    """Return blocks of rows (G·H, ...) in another order of gates; a gate that is not there becomes zeros."""
    hidden = len(array) // max(1, len(have))
    if have == want:
        return array.copy()
    blocks = dict(zip(have, array.reshape(len(have), hidden, *array.shape[1:]), strict=True))
    zeros = np.zeros((hidden, *array.shape[1:]), array.dtype)
    return np.concatenate([blocks.get(gate, zeros) for gate in want]) if want else array[:0]


def to_layout(cell: str, layout: Layout, params: Mapping[str, Array]) -> Arrays:
    """Return our parameters, which fit the cell, in a library's layout.

    Raises
    ------
    ValueError
        If a gate has two biases that are not added to each other, and the library has one.
    """
    ours = gates_of(cell)
    matrices = [reorder(params[name], ours, layout.gates) for name in ("weight_ih", "weight_hh")]
    kernel, recurrent = (np.ascontiguousarray(a.T) for a in matrices) if layout.transposed else matrices
    if "bias_ih" not in params and "bias_hh" not in params:
        return Arrays(kernel, recurrent, None, None)
    like = params["bias_ih"] if "bias_ih" in params else params["bias_hh"]
    zeros = np.zeros_like(like)
    hidden = len(like) // len(ours)
    blocks = [
        dict(zip(ours, params.get(name, zeros).reshape(-1, hidden), strict=True)) for name in ("bias_ih", "bias_hh")
    ]
    for gate in layout.gates:
        if gate not in ours or (gate in layout.bias_ih and gate in layout.bias_hh):
            continue
        stays, goes = (0, 1) if gate in layout.bias_ih else (1, 0)
        if (cell, gate) in _APART and blocks[goes][gate].any():
            raise ValueError(
                f"params['{('bias_ih', 'bias_hh')[goes]}']: the library has one bias for gate {gate}, which the reset "
                f"keeps apart from the other: expected zeros there, got {_largest(blocks[goes][gate])} and others"
            )
        blocks[stays][gate] = _sum(blocks[stays][gate], blocks[goes][gate])
    none = np.zeros(hidden, like.dtype)
    bias_ih, bias_hh = (
        np.concatenate([of.get(gate, none) for gate in gates]) if gates else None
        for of, gates in zip(blocks, (layout.bias_ih, layout.bias_hh), strict=True)
    )
    return Arrays(kernel, recurrent, bias_ih, bias_hh)


def from_layout(cell: str, layout: Layout, arrays: Arrays) -> Params:
    """Return our parameters from a library's, whose shapes fit."""
    ours = gates_of(cell)
    turned = [_rows(layout, a) for a in arrays[:2]]
    params = {
        name: np.ascontiguousarray(reorder(a, layout.gates, ours))
        for name, a in zip(("weight_ih", "weight_hh"), turned, strict=True)
    }
    if arrays.bias_ih is not None or arrays.bias_hh is not None or layout.forget_bias:
        zeros = np.zeros(len(params["weight_ih"]), params["weight_ih"].dtype)
        for name, bias, gates in (
            ("bias_ih", arrays.bias_ih, layout.bias_ih),
            ("bias_hh", arrays.bias_hh, layout.bias_hh),
        ):
            params[name] = zeros.copy() if bias is None else reorder(bias, gates, ours)
    hidden = params["weight_hh"].shape[1]
    if layout.forget_bias:
        params["bias_ih"][rows_of(ours, "f", hidden)] += layout.forget_bias
    if not layout.z_keeps:  # 1 - sigmoid(a) is sigmoid(-a)
        for array in params.values():
            array[rows_of(ours, "z", hidden)] *= -1
    return params


def fitting(cell: str, layout: Layout, arrays: Arrays, what: str | Sequence[str]) -> Params:
    """Return our parameters from a library's, or raise ValueError where shapes do not fit each other.

    `what` is what an error begins with: the name of all of them, or the names of the two matrices and the biases.
    """
    names = [what] if isinstance(what, str) else list(what)
    found = sizes(layout, arrays.weight_ih.shape, arrays.weight_hh.shape)
    rows = f"{len(layout.gates)}*H"
    if found is None:
        wanted = f"(I, {rows}) and (H, {rows})" if layout.transposed else f"({rows}, I) and ({rows}, H)"
        raise ValueError(
            f"{', '.join(names[:2])}: expected matrices of shapes {wanted}, "
            f"got {arrays.weight_ih.shape} and {arrays.weight_hh.shape}"
        )
    for at, (bias, gates) in enumerate(zip(arrays[2:], (layout.bias_ih, layout.bias_hh), strict=True), start=2):
        count = len(gates) * found[1]
        if bias is not None and bias.shape != (count,):
            name = names[min(at, len(names) - 1)]
            raise ValueError(f"{name}: expected a bias of shape ({len(gates)}*H,) = ({count},), got {bias.shape}")
    return from_layout(cell, layout, arrays)


def rows_of(gates: str, gate: str, hidden: int) -> slice:
    """Return the rows of a gate."""
    return slice(gates.index(gate) * hidden, (gates.index(gate) + 1) * hidden)


def _rows(layout: Layout, array: Array) -> Array:
    """Return a library's matrix with the gates in its rows, (G·H, K)."""
    if layout.transposed == "blocks":
        blocks = np.split(array, max(1, len(layout.gates)), axis=1)
        return np.concatenate([block.reshape(block.shape[::-1]) for block in blocks])
    return array.T if layout.transposed else array


def sizes(layout: Layout, kernel: Sequence[int], recurrent: Sequence[int]) -> tuple[int, int] | None:
    """Return I and H of a library's two matrices; None where they do not fit each other."""
    if len(kernel) != 2 or len(recurrent) != 2:
        return None
    if layout.transposed:
        kernel, recurrent = kernel[::-1], recurrent[::-1]
    rows, hidden = recurrent
    fits = hidden > 0 and kernel[1] > 0 and rows == len(layout.gates) * hidden and kernel[0] == rows
    return (kernel[1], hidden) if fits else None


def _sum(one: Array, two: Array) -> Array:
    """Return the sum; the other one itself where one is zero, so that no bit is lost (-0.0 + 0.0 is 0.0)."""
    if not two.any():
        return one
    return two if not one.any() else one + two


def _largest(block: Array) -> float:
    return float(block[np.argmax(np.abs(block))])
