"""Every cell's step in calls that array libraries have in common: what users write where no layer is.

The slow, general form of each cell: `rnnkernels.torch` takes derivatives through it that the fused backward has not,
the benchmarks compare with it. The reference (`rnnkernels.reference`) is another statement, independent of this one.

The input's product is made at once for all steps, as users do; a step takes its part of it. Weights are (in, out), and
split before the loop into what h, what the gated state and what fed-back vectors multiply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from . import parameters
from .equations import stepping
from .equations.cell import equations_of
from .parameters import cell_info

State = tuple[Any, ...]
Arrays = dict[str, Any]


@dataclass(frozen=True)
class Library:
    """The calls. `linear`: a @ w + b, b may be None. `split`: the last axis in so many equal pieces.

    `clip`: into [-limit, limit]. `layer_norm`: of a, gain and shift, over the last axis, 1e-5 added to the variance.
    `operations`: what a cell from equations is made of, by the names in its graph; ``"constant"``, of a number and an
    array, is the number in the array's dtype, ``"zeros"`` of an array one like it.
    """

    sigmoid: Callable[[Any], Any]
    tanh: Callable[[Any], Any]
    relu: Callable[[Any], Any]
    exp: Callable[[Any], Any]
    log_sigmoid: Callable[[Any], Any]
    maximum: Callable[[Any, Any], Any]
    clip: Callable[[Any, float], Any]
    linear: Callable[[Any, Any, Any], Any]
    split: Callable[[Any, int], tuple[Any, ...]]
    join: Callable[[tuple[Any, ...]], Any]
    layer_norm: Callable[[Any, Any, Any], Any]
    operations: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


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
    """Return what the steps of a sequence share, made once before them: weights (in, out), biases not yet added."""
    found: Arrays = {}
    operands = [operand for _, _, operand in cell_info(cell)["gates"] if operand != "none"]
    if "weight_gg" in params:
        found["vectors"] = params["weight_gg"]
        operands = [operand for operand in operands if operand != "feedback"]
    hidden = params["weight_ih"].shape[1] // input_gates(cell)
    for operand in dict.fromkeys(operands):
        found[operand] = _rows_of(library, params["weight_hh"], operands, operand, hidden)
        bias = None if _merged(cell) else _rows_of(library, params["bias_hh"], operands, operand, hidden)
        found[f"bias {operand}"] = bias
    if "weight_hr" in params:
        found["projection"] = params["weight_hr"]
    if _normalised(cell):
        found["gain"] = params["weight_diagonal"][params["weight_ih"].shape[1] :][: len(operands) * hidden]
    if "weight_diagonal" in params:
        found["diagonal"] = library.split(params["weight_diagonal"], len(cell_info(cell)["diagonals"]))
    return found


def _rows_of(library: Library, array: Any, operands: list[str], operand: str, hidden: int) -> Any:
    """Return what belongs to one operand; `operands` of all gates in their order, H numbers of the last axis each."""
    places = [k for k, each in enumerate(operands) if each == operand]
    first, last = places[0], places[-1] + 1
    if last - first == len(places):
        return array[..., first * hidden : last * hidden]
    return library.join(tuple(array[..., k * hidden : (k + 1) * hidden] for k in places))


def _hidden(o: Library, h: Any, w: Arrays) -> Any:
    if "gain" in w:
        return o.layer_norm(o.linear(h, w["hidden"], None), w["gain"], w["bias hidden"])
    return o.linear(h, w["hidden"], w["bias hidden"])


def _gated(o: Library, v: Any, w: Arrays) -> Any:
    return o.linear(v, w["gated"], w["bias gated"])


def _held(o: Library, c: Any, w: Arrays) -> Any:
    return o.clip(c, w["cell_clip"]) if "cell_clip" in w else c


def _rnn_tanh(o: Library, _: Any, part: Any, state: State, w: Arrays) -> State:
    return (o.tanh(part + _hidden(o, state[0], w)),)


def _rnn_relu(o: Library, _: Any, part: Any, state: State, w: Arrays) -> State:
    return (o.relu(part + _hidden(o, state[0], w)),)


def _gru(o: Library, _: Any, part: Any, state: State, w: Arrays) -> State:
    (h,) = state
    x_r, x_z, x_n = o.split(part, 3)
    u_r, u_z, u_n = o.split(_hidden(o, h, w), 3)
    n = o.tanh(x_n + o.sigmoid(x_r + u_r) * u_n)
    return (n + o.sigmoid(x_z + u_z) * (h - n),)


def _gru_reset_before(o: Library, _: Any, part: Any, state: State, w: Arrays) -> State:
    (h,) = state
    size = h.shape[-1]
    r, z = o.split(o.sigmoid(part[..., : 2 * size] + _hidden(o, h, w)), 2)
    n = o.tanh(part[..., 2 * size :] + _gated(o, r * h, w))
    return (n + z * (h - n),)


def _mut1(o: Library, x: Any, part: Any, state: State, w: Arrays) -> State:
    (h,) = state
    size = h.shape[-1]
    z = o.sigmoid(part[..., :size])
    r = o.sigmoid(part[..., size : 2 * size] + _hidden(o, h, w))
    n = o.tanh(_gated(o, r * h, w) + o.tanh(part[..., 2 * size :] if part.shape[-1] > 2 * size else x))
    return (h + z * (n - h),)


def _mut2(o: Library, x: Any, part: Any, state: State, w: Arrays) -> State:
    (h,) = state
    u_z, u_r = o.split(_hidden(o, h, w), 2)
    x_z, *between, x_n = o.split(part, part.shape[-1] // h.shape[-1])
    z = o.sigmoid(x_z + u_z)
    r = o.sigmoid((between[0] if between else x) + u_r)
    n = o.tanh(_gated(o, r * h, w) + x_n)
    return (h + z * (n - h),)


def _mut3(o: Library, _: Any, part: Any, state: State, w: Arrays) -> State:
    (h,) = state
    x_z, x_r, x_n = o.split(part, 3)
    z = o.sigmoid(x_z + o.linear(o.tanh(h), w["feedback"], w["bias feedback"]))
    r = o.sigmoid(x_r + _hidden(o, h, w))
    n = o.tanh(_gated(o, r * h, w) + x_n)
    return (h + z * (n - h),)


def _mgu(o: Library, _: Any, part: Any, state: State, w: Arrays) -> State:
    (h,) = state
    x_f, x_n = o.split(part, 2)
    f = o.sigmoid(x_f + _hidden(o, h, w))
    n = o.tanh(x_n + _gated(o, f * h, w))
    return (h + f * (n - h),)


def _ligru(o: Library, _: Any, part: Any, state: State, w: Arrays) -> State:
    (h,) = state
    z, a = o.split(part + _hidden(o, h, w), 2)
    a = o.relu(a)
    return (a + o.sigmoid(z) * (h - a),)


def _janet(o: Library, _: Any, part: Any, state: State, w: Arrays) -> State:
    (h,) = state
    s, n = o.split(part + _hidden(o, h, w), 2)
    return (o.sigmoid(s) * h + o.sigmoid(1.0 - s) * o.tanh(n),)


def _indrnn(o: Library, _: Any, part: Any, state: State, w: Arrays) -> State:
    return (o.relu(part + w["diagonal"][0] * state[0]),)


def _slstm(o: Library, _: Any, part: Any, state: State, w: Arrays, *, sigmoid: bool = True) -> State:
    h, c, n, m = state
    i, f, z, out = o.split(part + _hidden(o, h, w), 4)
    kept = m + (o.log_sigmoid(f) if sigmoid else f)
    m = o.maximum(kept, i)
    i, f = o.exp(i - m), o.exp(kept - m)
    c = f * c + i * o.tanh(z)
    n = f * n + i
    return (o.sigmoid(out) * c / n, c, n, m)


def _lstm_layer_norm(o: Library, _: Any, part: Any, state: State, w: Arrays) -> State:
    h, c = state
    i, f, g, out = o.split(part + _hidden(o, h, w), 4)
    c = o.sigmoid(f) * c + o.sigmoid(i) * o.tanh(g)
    return o.sigmoid(out) * o.tanh(o.layer_norm(c, *w["diagonal"][-2:])), c


def _lstm_family(cell: str) -> Step:
    """Return the step of the LSTM or a variant; which gates and peepholes it has, its table says."""
    info = cell_info(cell)
    names = [name for name, of_x, _ in info["gates"] if of_x == "projected"]
    peepholes: tuple[str, ...] = info["diagonals"]

    def step(o: Library, _: Any, part: Any, state: State, w: Arrays) -> State:
        h, c = state[:2]
        a = dict(zip(names, o.split(part + _hidden(o, h, w), len(names)), strict=True))
        if cell == "lstm_fgr":
            fed = o.split(o.linear(o.join(state[2:]), w["vectors"], None), 3)
            a |= {name: a[name] + more for name, more in zip("ifo", fed, strict=True)}
        p = dict(zip(peepholes, w.get("diagonal", ()), strict=True))

        def opened(gate: str, seen: Any) -> Any:
            return o.sigmoid(a[gate] + p[gate] * seen if gate in p else a[gate])

        i: Any = opened("i", c) if "i" in a else None
        f: Any = opened("f", c) if "f" in a else None
        g = a["g"] if cell == "lstm_niaf" else o.tanh(a["g"])
        kept = (1.0 - i) * c if cell == "lstm_cifg" else c if f is None else f * c
        c = _held(o, kept + (g if i is None else i * g), w)
        h = c if cell == "lstm_noaf" else o.tanh(c)
        out = opened("o", c) if "o" in a else None
        h = h if out is None else out * h
        if "projection" in w:
            h = o.linear(h, w["projection"], None)
        return (h, c, i, f, out) if cell == "lstm_fgr" else (h, c)

    return step


# Those that `_lstm_family` reads off the table.
_LSTMS = (
    *("lstm", "lstm_peephole", "lstm_nig", "lstm_nfg", "lstm_nog", "lstm_niaf", "lstm_noaf", "lstm_cifg", "lstm_fgr"),
    *("lstm_projected", "lstm_peephole_projected"),
)

_STEPS: dict[str, Step] = {
    "rnn_tanh": _rnn_tanh,
    "rnn_relu": _rnn_relu,
    "gru": _gru,
    "gru_reset_before": _gru_reset_before,
    "gru_layer_norm": _gru,
    "lstm_layer_norm": _lstm_layer_norm,
    "mut1": _mut1,
    "mut1_projected": _mut1,
    "mut2": _mut2,
    "mut2_projected": _mut2,
    "mut3": _mut3,
    "mgu": _mgu,
    "ligru": _ligru,
    "janet": _janet,
    "indrnn": _indrnn,
    "slstm": _slstm,
    "slstm_exp": partial(_slstm, sigmoid=False),
}


def step_of(cell: str) -> Step:
    """Return a cell's step.

    Raises
    ------
    NotImplementedError
        If it is not written here.
    """
    if cell in _STEPS:
        return _STEPS[cell]
    if cell in _LSTMS:
        return _lstm_family(cell)
    equations = equations_of(cell)
    if equations is not None:
        return stepping.step_of(equations)
    raise NotImplementedError(
        f"rnnkernels.steps: {cell}'s step is written in the kernels alone, which have first derivatives in reverse "
        f"mode; expected one of {', '.join(cells())}"
    )


def cells() -> tuple[str, ...]:
    """Return the built-in cells that have a step here; beside them every cell from equations has one."""
    return tuple(cell for cell in parameters.cells() if cell in _STEPS or cell in _LSTMS)


def input_gates(cell: str) -> int:
    """Return the number of gates that the input's product feeds."""
    count: int = cell_info(cell)["rows"][0]
    return count


def state_widths(cell: str, params: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the units of each of a cell's states; weights (in, out)."""
    hidden = params["weight_ih"].shape[1] // input_gates(cell)
    later = (hidden,) * (len(cell_info(cell)["states"]) - 1)
    return (params["weight_hh"].shape[0] if "weight_hr" in params else hidden, *later)
