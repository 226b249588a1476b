"""The cell that computes what a Keras layer computes, by the names of its functions and the version of Keras.

The built-in cell where the functions are Keras' defaults; else one made of Keras' equations, under a name that says its
functions: ``keras_lstm(hard_sigmoid(0.2, 0.5), tanh)``. One function has changed: hard_sigmoid is min(max(0.2 x + 0.5,
0), 1) up to Keras 2, and min(max(x / 6 + 0.5, 0), 1) since Keras 3. (ONNX' HardSigmoid has 0.2.)

Not here: layers and their settings (_keras_layers.py), and weights (_keras.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rnnkernels as rk
from rnnkernels.equations.cell import named

from ._layouts import LAYOUTS, Layout, layout_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Function = Callable[[Any], Any]

_HARD_SIGMOID = {2: 0.2, 3: 1 / 6}  # its slope, by Keras' major version

_FUNCTIONS: dict[str, Function] = {
    "elu": lambda x: rk.elu(x, 1.0),
    "exponential": rk.exp,
    "gelu": rk.gelu,
    "linear": lambda x: x,
    "relu": rk.relu,
    "sigmoid": rk.sigmoid,
    "silu": rk.silu,
    "softplus": rk.softplus,
    "softsign": rk.softsign,
    "swish": rk.silu,
    "tanh": rk.tanh,
}
_SERVED = ", ".join(sorted({*_FUNCTIONS, "hard_sigmoid"}))

# The kinds of cells, by the built-in one whose layout theirs is, with the functions of that: f, of the gates, and g.
_DEFAULTS = {
    "rnn_tanh": ("tanh",),
    "lstm": ("sigmoid", "tanh"),
    "gru": ("sigmoid", "tanh"),
    "gru_reset_before": ("sigmoid", "tanh"),
}


def cell_of(kind: str, functions: tuple[str, ...], version: int | None) -> str:
    """Return the cell of a kind with these functions.

    Parameters
    ----------
    kind : {"rnn_tanh", "lstm", "gru", "gru_reset_before"}
    functions : tuple of str
        Keras' names: ``activation`` of a SimpleRNN; ``recurrent_activation``, ``activation`` of the others.
    version : int or None
        Of Keras; None: nobody knows.

    Raises
    ------
    ValueError
        If a function is not served, or means another one in another version and the version is not known.
    """
    if functions == _DEFAULTS[kind]:
        return kind
    if kind == "rnn_tanh" and functions == ("relu",):
        return "rnn_relu"
    found = [_function(name, version) for name in functions]
    base = "rnn" if kind == "rnn_tanh" else kind
    said = ", ".join(name for name, _ in found)
    return named(_EQUATIONS[kind](*(function for _, function in found)), f"keras_{base}({said})")


def layout_of_keras(cell: str) -> Layout:
    """Return the layout of a cell that Keras has, those of `cell_of` among them, or raise ValueError."""
    base, bracket, _ = cell.partition("(") if isinstance(cell, str) else ("", "", "")
    kind = {"keras_rnn": "rnn_tanh"}.get(base, base.removeprefix("keras_"))
    if bracket and base.startswith("keras_") and kind in _DEFAULTS:
        rk.cell_info(cell)  # one that nobody has is named as everywhere
        return LAYOUTS["Keras"][kind]
    return layout_of("Keras", cell)


def _function(name: str, version: int | None) -> tuple[str, Function]:
    """Return a function's name, in which its numbers are, and the function."""
    if name == "hard_sigmoid":
        if version is None:
            raise ValueError(
                "keras_version: expected the version of the layer's Keras, for hard_sigmoid is 0.2 x + 0.5 in Keras 2 "
                "and x / 6 + 0.5 in Keras 3; got none, and none is written beside the layer"
            )
        slope = _HARD_SIGMOID[version]
        return f"hard_sigmoid({slope:.4g}, 0.5)", lambda x: rk.hard_sigmoid(x, slope, 0.5)
    if name not in _FUNCTIONS:
        raise ValueError(f"cell: expected an activation that is served, {_SERVED}; got {name!r:.60}")
    return name, _FUNCTIONS[name]


def _rnn(g: Function) -> Callable[..., Any]:
    def rnn(x: Any, h: Any) -> Any:
        """Keras' SimpleRNN."""
        u = rk.product(h)
        return g(x.a + u.a)

    return rnn


def _lstm(f: Function, g: Function) -> Callable[..., Any]:
    def lstm(x: Any, h: Any, c: Any) -> Any:
        """Keras' LSTM, its gate c called g."""
        u = rk.product(h)
        i = f(x.i + u.i)
        forget = f(x.f + u.f)
        d = forget * c + i * g(x.g + u.g)
        return f(x.o + u.o) * g(d), d

    return lstm


def _gru(f: Function, g: Function) -> Callable[..., Any]:
    def gru(x: Any, h: Any) -> Any:
        """Keras' GRU with reset_after=True, its gate h called n."""
        u = rk.product(h)
        z = f(x.z + u.z)
        r = f(x.r + u.r)
        return z * h + (1.0 - z) * g(x.n + r * u.n)

    return gru


def _gru_reset_before(f: Function, g: Function) -> Callable[..., Any]:
    def gru_reset_before(x: Any, h: Any) -> Any:
        """Keras' GRU with reset_after=False, its gate h called n."""
        u = rk.product(h)
        z = f(x.z + u.z)
        r = f(x.r + u.r)
        return z * h + (1.0 - z) * g(x.n + rk.product(r * h).n)

    return gru_reset_before


_EQUATIONS: dict[str, Callable[..., Callable[..., Any]]] = {
    "rnn_tanh": _rnn,
    "lstm": _lstm,
    "gru": _gru,
    "gru_reset_before": _gru_reset_before,
}
