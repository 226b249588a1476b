"""flax: `LSTMCell`, `OptimizedLSTMCell`, `GRUCell` and `SimpleCell` of linen and of nnx, as trees of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels._scalars import as_choice, as_flag, as_items, check_mapping, is_mapping

from ._layers import Layers, as_array, join, of_one_dtype, split
from ._layouts import Arrays, fitting, layout_of, to_layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rnnkernels.parameters import Array, Params

    from ._layouts import Layout

_FORMS = ("linen", "nnx", "nnx_optimized")
_FUSED = ("dense_i", "dense_h")
_CELLS_OF_RNN = ("params", "cell")  # what stands around a cell's own tree


def from_flax(cell: str, tree: Mapping[str, Any] | Sequence[Any], *, stacked: bool = False) -> Params:
    """Return parameters from those of a flax cell.

    Parameters
    ----------
    cell : {"rnn_tanh", "rnn_relu", "lstm", "gru"}
        A ``SimpleCell`` without ``residual`` is one of the first two, as its activation says. (``MGUCell`` has its
        gate behind the product: another cell than `mgu`.)
    tree : mapping, or sequence over layers of (mapping, or pair of mappings)
        linen: the variables of the cell (or of ``RNN`` around it), with or without ``"params"``. nnx:
        ``nnx.state(cell, nnx.Param)``, or that as a dict. A pair is the two directions of a layer, forward first.
    stacked : bool, default False
        Give a single layer the names of a `rnnkernels.Stack` of one layer, too.

    Returns
    -------
    dict of str to ndarray
        Copies. flax has no more biases than a cell needs; the places of those that it lacks are zero: ``bias_ih`` of an
        LSTM, ``bias_hh`` of a SimpleCell, of linen's GRU but for gate n, of nnx's GRU.

    Raises
    ------
    TypeError
        If something is no mapping, or no array of float32 or float64.
    ValueError
        If flax has no such cell, or names or shapes do not fit it.
    """
    layout_of("flax linen", cell)
    stacked = as_flag("stacked", stacked)
    if is_mapping(tree):
        return join([[_from_one(cell, tree, "tree")]], stacked=stacked)
    layers: Layers = []
    for number, layer in enumerate(as_items("tree", tree, "a mapping or a list of them")):
        ways = [layer] if is_mapping(layer) else as_items(f"tree[{number}]", layer, "a mapping or a pair")
        if len(ways) not in (1, 2) or (layers and len(ways) != len(layers[0])):
            raise ValueError(f"tree[{number}]: expected a mapping or a pair, as of the other layers, got {len(ways)}")
        layers.append([_from_one(cell, way, f"tree[{number}]") for way in ways])
    if not layers:
        raise ValueError("tree: expected at least one layer, got none")
    return join(layers, stacked=stacked)


def to_flax(cell: str, params: Mapping[str, Any], *, form: str = "linen") -> Any:
    """Return the parameters of a flax cell.

    ``bias_ih`` and ``bias_hh`` are added where flax has one bias: the same function, but for the rounding of the sum,
    and exact where one of them is zero. A layer without biases gets zeros.

    Parameters
    ----------
    cell
        As in `from_flax`.
    params : mapping of str to array_like
        Of one layer, or of a `rnnkernels.Stack`.
    form : {"linen", "nnx", "nnx_optimized"}
        Whose: linen's cells, nnx's, or ``nnx.OptimizedLSTMCell``. linen's ``LSTMCell`` and ``OptimizedLSTMCell`` have
        the same parameters.

    Returns
    -------
    dict of str to dict of str to ndarray
        What stands in ``variables["params"]`` (linen), or what ``nnx.replace_by_pure_dict`` takes. For the parameters
        of a stack: a list over layers, of pairs where there are two directions.

    Raises
    ------
    TypeError
        If something is no array of float32 or float64.
    ValueError
        If the parameters do not fit the cell, or flax has no such cell; for nnx's GRU also if gate n of ``bias_hh`` is
        not zero, which that cell does not have.
    """
    as_choice("form", form, _FORMS)
    layout = layout_of("flax linen" if form == "linen" else "flax nnx", cell)
    if form == "nnx_optimized" and cell != "lstm":
        raise ValueError(f"form: nnx_optimized is nnx.OptimizedLSTMCell, got cell {cell!r}")
    fused = form == "nnx_optimized" or (form == "nnx" and cell != "lstm")
    layers, named = split(cell, params)
    made = [[_to_one(cell, layout, way, form, fused=fused) for way in layer] for layer in layers]
    if not named:
        return made[0][0]
    return [layer[0] if len(layer) == 1 else tuple(layer) for layer in made]


def _from_one(cell: str, tree: Any, what: str) -> Params:
    check_mapping(what, tree)
    for name in _CELLS_OF_RNN:
        if name in tree and is_mapping(tree[name]):
            tree, what = tree[name], f"{what}[{name!r}]"
    fused = set(tree) == set(_FUSED)
    of_nnx = fused and cell == "gru"  # linen's GRU is never fused
    layout = layout_of("flax nnx" if of_nnx else "flax linen", cell)
    names = {name: _FUSED if fused else _names(name, cell, "if_" in tree) for name in layout.gates}
    inputs, hiddens = ([names[g][side] for g in layout.gates[: 1 if fused else None]] for side in (0, 1))
    missing = [name for name in (*inputs, *hiddens) if name not in tree]
    unknown = sorted(str(name) for name in tree if name not in (*inputs, *hiddens))
    if missing or unknown:
        found = [f"no {name}" for name in missing] + [f"an unknown {name!r}" for name in unknown]
        raise ValueError(f"{what}: expected {', '.join((*inputs, *hiddens))}; got {', '.join(found)}")
    leaves: dict[str, Array] = {}
    kernels, biases = [], []
    for side, modules, with_bias in ((0, inputs, layout.bias_ih), (1, hiddens, layout.bias_hh)):
        wanted = {names[g][side] for g in with_bias}
        for name in modules:
            _take(tree[name], f"{what}[{name!r}]", leaves, name in wanted)
        parts = [leaves[f"{what}[{name!r}]['kernel']"] for name in modules]
        if any(part.ndim != 2 or part.shape[0] != parts[0].shape[0] for part in parts):
            raise ValueError(f"{what}: expected kernels (n, H) of one n, got {[part.shape for part in parts]}")
        kernels.append(np.concatenate(parts, axis=1))
        found_biases = [leaves[f"{what}[{name!r}]['bias']"] for name in modules if name in wanted]
        biases.append(np.concatenate([b.ravel() for b in found_biases]) if found_biases else None)
    of_one_dtype(leaves, what)
    return fitting(cell, layout, Arrays(kernels[0], kernels[1], biases[0], biases[1]), what)


def _take(module: Any, what: str, leaves: dict[str, Array], with_bias: bool) -> None:
    """Put a Dense module's arrays into `leaves`."""
    wanted = {"kernel", "bias"} if with_bias else {"kernel"}
    if not is_mapping(module) or set(module) != wanted:
        got = ", ".join(map(str, module)) if is_mapping(module) else type(module).__name__
        raise ValueError(f"{what}: expected {' and '.join(sorted(wanted, reverse=True))}, got {got}")
    for name in sorted(wanted):
        leaves[f"{what}[{name!r}]"] = as_array(f"{what}[{name!r}]", module[name])


def _to_one(cell: str, layout: Layout, params: Params, form: str, *, fused: bool) -> dict[str, dict[str, Array]]:
    made = to_layout(cell, layout, params)
    hidden = made.weight_hh.shape[0]
    tree: dict[str, dict[str, Array]] = {}
    sides = ((made.weight_ih, made.bias_ih, layout.bias_ih), (made.weight_hh, made.bias_hh, layout.bias_hh))
    for side, (kernel, bias, gates) in enumerate(sides):
        full = np.zeros(len(gates) * hidden, kernel.dtype) if bias is None else bias
        if fused:
            tree[_FUSED[side]] = {"kernel": kernel} | ({"bias": full} if gates else {})
            continue
        for gate, block in zip(layout.gates, np.split(kernel, len(layout.gates), axis=1), strict=True):
            module = tree[_names(gate, cell, form == "nnx")[side]] = {"kernel": np.ascontiguousarray(block)}
            if gate in gates:
                at = gates.index(gate) * hidden
                module["bias"] = full[at : at + hidden].copy()
    return tree


def _names(gate: str, cell: str, underscore: bool) -> tuple[str, str]:
    """Return what flax calls the two modules of a gate; `if` is no name in Python, so nnx has if_."""
    if cell.startswith("rnn"):
        return "i", "h"
    return f"i{gate}" + ("_" if underscore and gate == "f" else ""), f"h{gate}"
