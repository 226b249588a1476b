"""Parameters of one layer: their names, shapes and initial values.

A layer's parameters are a plain ``dict`` of arrays, named as PyTorch names them. This module knows
shapes and random numbers; the arithmetic is in `rnnkernels.functional`.
"""

from __future__ import annotations

import math
import operator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _cpu
from ._initial import check_initial, draw_orthogonal, set_initial
from ._scalars import as_flag, as_integer, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

Array: TypeAlias = npt.NDArray[Any]
Params: TypeAlias = dict[str, Array]


class Layer(NamedTuple):
    """A layer's parameters, as the extension takes them; None for what the cell or the layer has not.

    I inputs, H units; Gx, Gh, Gf gates with rows in weight_ih, weight_hh, weight_gg; F feedback vectors, D element-wise
    weights. Of a projected cell h has P units, and weight_hh is (Gh·H, P); of a cell with N heads it is (Gh·H, H / N).
    """

    weight_ih: Array  # (Gx·H, I)
    weight_hh: Array  # (Gh·H, H); empty where the cell has none
    bias_ih: Array | None = None  # (Gx·H,)
    bias_hh: Array | None = None  # (Gh·H,)
    weight_gg: Array | None = None  # (Gf·H, F·H)
    weight_diagonal: Array | None = None  # (D·H,)
    weight_hr: Array | None = None  # (P, H)


NAMES = Layer._fields
BIASES = ("bias_ih", "bias_hh")

_MOST_UNITS = 2**31  # in one layer: csrc/binding/arguments.cpp

_INITIAL = {"zero": 0.0, "one": 1.0}

_tables: dict[str, Mapping[str, Any]] = {}  # of the cells that have been asked for; `_read_tables` fills it


def _read_tables() -> Mapping[str, Mapping[str, Any]]:
    """Ask the extension for its cells. Their number is not fixed: a list kept elsewhere would grow old."""
    _tables.update({str(info["name"]): info for info in _cpu.cells()})
    return dict(_tables)  # a copy: another thread may add a cell while this one walks through it


def cells() -> tuple[str, ...]:
    """Return the names of the cells, as every ``cell`` argument takes them."""
    return tuple(name for name in _read_tables() if not name.endswith("'"))  # duals are no one's to ask for


def cell_info(cell: str) -> Mapping[str, Any]:
    """Return a cell's table: its ``name``, ``states`` and ``gates``.

    Parameters
    ----------
    cell : str
        One of `cells`.

    Returns
    -------
    dict
        ``"states"``: names of the states, h first. ``"gates"``: for each gate its name, what of x feeds it
        (``"none"``, ``"projected"``: rows of ``weight_ih``, ``"direct"``: x itself) and what its recurrent weight
        multiplies (``"none"``, ``"hidden"``: h, ``"gated"``: r h, ``"feedback"``: what else the step before made).
        ``"sigmoid"``: for each gate whether sigmoids alone read it (with int8 x has 8 bits there, 15 elsewhere).
        ``"diagonals"``: names of the element-wise weights; ``"initial"``: what `init_params` makes each, ``"drawn"``,
        ``"zero"`` or ``"one"``. ``"normalisation"``: ``"none"``, ``"products"`` (W_ih x and W_hh h, each over its whole
        row) or ``"products_and_inner"`` (one value inside the cell too). ``"direct"``: whether some gate takes x
        itself, so that I = H. ``"projected"``: whether h has a size of its own. ``"settings"``: numbers that
        `rnnkernels.forward` takes for the cell by these names. ``"elements"``: inputs of every step that act unit by
        unit, (T, B, H) each, which stand in x behind the I numbers that ``weight_ih`` multiplies. ``"heads"``: into how
        many the units are cut, each of which sees its own alone: 1 but for some cells from equations.

    Raises
    ------
    TypeError
        If `cell` is not a string.
    ValueError
        If there is no such cell.
    """
    if not isinstance(cell, str):
        raise TypeError(f"cell: expected a string, got {type(cell).__name__}")
    found = _tables.get(cell) or _read_tables().get(cell)
    if found is None:
        raise ValueError(f"cell: expected one of {listed(list(_tables))}; got {cell!r}")
    return found


def listed(names: list[str], most: int = 450) -> str:
    """Return names as an error has them: as many as there is room for, in characters."""
    shown_names: list[str] = []
    while len(shown_names) < len(names) and sum(map(len, shown_names)) + 2 * len(shown_names) < most:
        shown_names.append(names[len(shown_names)])
    more = len(names) - len(shown_names)
    return ", ".join(shown_names) + (f" and {more} more" if more else "")


def parameter_shapes(
    cell: str, input_size: int, hidden_size: int, *, bias: bool = True, proj_size: int | None = None
) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of a layer, in the order of `init_params`.

    Parameters
    ----------
    cell : str
        One of `cells`.
    input_size : int
        I: numbers per step, or the number of different tokens.
    hidden_size : int
        H: units.
    bias : bool, default True
        Whether there are ``bias_ih`` and ``bias_hh``.
    proj_size : int, optional
        P: units of h, for the cells whose h is projected, and only for them.

    Returns
    -------
    dict of str to tuple of int
        ``weight_ih`` (Gx·H, I), ``weight_hh`` (Gh·H, H), ``bias_ih`` (Gx·H,), ``bias_hh`` (Gh·H,), with Gx the
        gates that x feeds through a weight and Gh those with a recurrent weight; a cell without any of the latter
        (``indrnn``) has no ``weight_hh`` and ``bias_hh``; that of a cell with N heads is (Gh·H, H / N), the blocks of
        block-diagonal matrices: row g·H + j multiplies the units of the head that unit j is in. Where the cell has
        them, ``weight_gg`` (3·H, 3·H), from
        gates to gates (``lstm_fgr``), and ``weight_diagonal`` (D·H,), element-wise weights such as peepholes or the
        gains of a normalisation, one after the other. A projected cell has ``weight_hh`` (Gh·H, P) and ``weight_hr``
        (P, H).

    Raises
    ------
    TypeError, ValueError
        If a size is not an integer of at least 1, the parameters would not fit in memory that can be addressed, the
        cell adds x itself to a gate and the sizes differ, `hidden_size` is no multiple of the cell's heads, or
        `proj_size` is missing or has no meaning.
    """
    info = cell_info(cell)
    inputs = as_integer("input_size", input_size, 1, 2**60)
    hidden = as_integer("hidden_size", hidden_size, 1, _MOST_UNITS)
    bias = as_flag("bias", bias)
    if info["projected"] != (proj_size is not None):
        how = "" if info["projected"] else "not "
        raise ValueError(f"proj_size: {cell}'s h is {how}projected, got {shown(proj_size)}")
    width = hidden if proj_size is None else as_integer("proj_size", proj_size, 1, _MOST_UNITS)
    if info["direct"] and inputs != hidden:
        raise ValueError(
            f"input_size: {cell} adds x itself to a gate: expected hidden_size, {hidden}, got {inputs}; "
            f"{cell}_projected takes any"
        )
    check_heads("hidden_size", cell, hidden)
    rows_ih, rows_hh, rows_gg, _ = (count * hidden for count in info["rows"])
    if max(rows_ih * inputs, (rows_hh + rows_gg) * max(hidden * 3, width)) >= 2**60:
        raise ValueError(
            f"input_size, hidden_size: expected sizes whose weights can be addressed, got {inputs} and {hidden}"
        )
    shapes = shapes_of(info, inputs, hidden, width)
    return {name: shape for name, shape in shapes.items() if shape[0] and (bias or name not in BIASES)}


def shapes_of(info: Mapping[str, Any], inputs: int, hidden: int, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by a cell's table; of those that it has not, with no rows."""
    rows_ih, rows_hh, rows_gg, columns_gg = (count * hidden for count in info["rows"])
    return {
        "weight_ih": (rows_ih, inputs),
        "weight_hh": (rows_hh, width // info["heads"]),
        "bias_ih": (rows_ih,),
        "bias_hh": (rows_hh,),
        "weight_gg": (rows_gg, columns_gg),
        "weight_diagonal": (len(info["diagonals"]) * hidden,),
        "weight_hr": (width, hidden) if info["projected"] else (0,),
    }


def init_params(
    cell: str,
    input_size: int,
    hidden_size: int,
    *,
    rng: int | np.random.Generator | None = None,
    dtype: npt.DTypeLike = "float32",
    bias: bool = True,
    proj_size: int | None = None,
    recurrent: str = "uniform",
    forget_bias: float | None = None,
) -> Params:
    """Draw the parameters of one layer, each from U(-1/√H, 1/√H) as PyTorch does, however many heads H has.

    The gains and shifts of a normalisation are not drawn: gains are 1, shifts that are no biases 0.

    Parameters
    ----------
    cell : str
        One of `cells`.
    input_size : int
        I: numbers per step, or the number of different tokens.
    hidden_size : int
        H: units.
    rng : int, numpy.random.Generator or None
        A seed, a generator to draw from, or None for fresh randomness.
    dtype : {"float32", "float64"}
        Of every parameter, and so of every array of a call.
    bias : bool, default True
        Whether there are biases.
    proj_size : int, optional
        P, for a projected cell.
    recurrent : {"uniform", "identity", "orthogonal"}
        What ``weight_hh`` is made of, gate by gate. ``"identity"``: each gate's block is the identity, and all biases
        are 0 (Le, Jaitly, Hinton 2015, for ``rnn_relu``); the recurrent weights of ``indrnn`` are 1. ``"orthogonal"``:
        each gate's block is an orthogonal matrix, all of them as likely (Saxe et al. 2014), and of a projected cell
        one with orthonormal columns. Its last bits may differ from machine to machine. Of several heads each one's
        block is such a matrix, and so is the block-diagonal matrix of the gate.
    forget_bias : float, optional
        What the biases of the forget gate f add up to: ``bias_ih`` has it, ``bias_hh`` is 0 (Gers et al. 2000;
        Jozefowicz et al. 2015 advise 1). For the cells that have such a gate: every LSTM but ``lstm_nfg`` and
        ``lstm_cifg``, ``slstm``, ``janet``. Default: drawn as the others.

    Returns
    -------
    dict of str to ndarray
        See `parameter_shapes`. Gates stand in the order of the cell's table: LSTM i f g o, GRU r z n.

    Raises
    ------
    TypeError, ValueError
        As `parameter_shapes`; if `dtype` is neither of the two; if `rng` is none of the three; if the cell has not
        what `recurrent` or `forget_bias` set.
    """
    shapes = parameter_shapes(cell, input_size, hidden_size, bias=bias, proj_size=proj_size)
    kind = float_dtype("dtype", dtype)
    generator = as_generator("rng", rng)
    info, width = cell_info(cell), hidden_size if proj_size is None else proj_size
    chosen = check_initial(info, recurrent, forget_bias, bias=bool(bias), width=width, hidden=hidden_size)
    bound = 1.0 / math.sqrt(hidden_size)
    params = {name: generator.uniform(-bound, bound, shape).astype(kind) for name, shape in shapes.items()}
    for k, initial in enumerate(info["initial"]):
        if initial != "drawn":
            params["weight_diagonal"][k * hidden_size : (k + 1) * hidden_size] = _INITIAL[initial]
    for name, values in params.items():
        set_initial(info, name, values, hidden_size, chosen, partial(draw_orthogonal, generator))
    return params


def state_widths(cell: str, weight_ih: Any, weight_hh: Any) -> tuple[int, ...]:
    """Return the units of each state of a layer, by its weights (Gx·H, I) and (Gh·H, H or P)."""
    info = cell_info(cell)
    hidden = len(weight_ih) // info["rows"][0] if weight_ih.ndim else 0
    first = weight_hh.shape[-1] if info["projected"] and weight_hh.ndim else hidden
    return first, *[hidden] * (len(info["states"]) - 1)


def x_width(cell: str, input_size: int, hidden_size: int) -> int:
    """Return the numbers of a row of x: I, and behind them H for each input of the cell that acts unit by unit."""
    return input_size + len(cell_info(cell)["elements"]) * hidden_size


def check_heads(name: str, cell: str, hidden: int) -> None:
    """Raise ValueError naming argument `name` where a cell's heads cannot share `hidden` units."""
    heads = cell_info(cell)["heads"]
    if hidden % heads:
        raise ValueError(f"{name}: expected a multiple of {heads}, the heads of {cell:s}, got {hidden}")


def check_layers(cell: str, num_layers: int) -> None:
    """Raise ValueError where layers would stand on layers of a cell whose x is more than the output below it."""
    elements = cell_info(cell)["elements"]
    if elements and num_layers > 1:
        raise ValueError(
            f"num_layers: expected 1, as {cell} reads {', '.join(elements)} beside what weight_ih multiplies, "
            f"got {num_layers}"
        )


def float_dtype(name: str, dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return `dtype` as one of the two the kernels compute in, or raise naming argument `name`."""
    try:
        kind = np.dtype(dtype)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: expected 'float32' or 'float64', got {shown(dtype)}") from None
    if dtype is None or kind not in (np.dtype(np.float32), np.dtype(np.float64)):  # None is NumPy's float64
        got = None if dtype is None else kind.name
        raise ValueError(f"{name}: expected 'float32' or 'float64', got {shown(got)}")
    return kind


def as_generator(name: str, rng: int | np.random.Generator | None) -> np.random.Generator:
    """Return a generator for a seed, a generator or None, or raise naming argument `name`."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None:
        return np.random.default_rng()
    try:
        seed = operator.index(rng)
    except TypeError:
        raise TypeError(
            f"{name}: expected an integer seed, a numpy.random.Generator or None, got {type(rng).__name__}"
        ) from None
    if seed < 0:
        raise ValueError(f"{name}: expected a seed of at least 0, got {shown(seed)}")
    return np.random.default_rng(seed)
