"""The cell of one direction of a node: a built-in one where its equations are the same, else one made of equations.

A `Form` is all that a cell depends on. Cells of equations are made once for each and stay until the process ends, as
all cells do: `MOST` of them leave room for a program's own. Not here: attributes (nodes.py), weights (weights.py).
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import rnnkernels as rk
from rnnkernels.equations.cell import named

from .activations import Activation, apply

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 2048

_SIGMOID, _TANH, _RELU = Activation("Sigmoid"), Activation("Tanh"), Activation("Relu")
_ITSELF = Activation("Affine", (1.0, 0.0))

# The activation functions of one direction, where a node names none.
DEFAULTS = {"RNN": (_TANH,), "GRU": (_SIGMOID, _TANH), "LSTM": (_SIGMOID, _TANH, _TANH)}


class UnsupportedError(NotImplementedError):
    """ONNX has it and the kernels do not: the message names it and says why."""


class Form(NamedTuple):
    """What a direction computes.

    Attributes
    ----------
    operator : {"RNN", "GRU", "LSTM"}
    functions : tuple of Activation
        As ``activations`` has them: f; f, g; f, g, h.
    clip : float or None
    linear_before_reset, input_forget : bool
        Of a GRU; of an LSTM.
    peepholes : bool
        Whether an LSTM has P.
    """

    operator: str
    functions: tuple[Activation, ...]
    clip: float | None = None
    linear_before_reset: bool = False
    input_forget: bool = False
    peepholes: bool = False

    def __str__(self) -> str:
        """Return the name of its cell: ``onnx_gru(HardSigmoid(0.2, 0.5), Tanh, clip=3.0)``."""
        said = [str(function) for function in self.functions]
        if self.clip is not None:
            said.append("clip=" + str(np.float32(self.clip)))
        said += [flag for flag in ("linear_before_reset", "input_forget", "peepholes") if getattr(self, flag)]
        return f"onnx_{self.operator.lower()}({', '.join(said)})"


# The built-in cells. Those of an LSTM that have peepholes serve a node without P as well, but for `lstm_peephole`,
# beside which `lstm` stands: their peepholes are 0.
BUILT_IN = {
    Form("RNN", (_TANH,)): "rnn_tanh",
    Form("RNN", (_RELU,)): "rnn_relu",
    Form("GRU", DEFAULTS["GRU"], linear_before_reset=True): "gru",
    Form("GRU", DEFAULTS["GRU"]): "gru_reset_before",
    Form("LSTM", DEFAULTS["LSTM"]): "lstm",
    Form("LSTM", DEFAULTS["LSTM"], peepholes=True): "lstm_peephole",
    Form("LSTM", DEFAULTS["LSTM"], input_forget=True, peepholes=True): "lstm_cifg",
    Form("LSTM", (_SIGMOID, _ITSELF, _TANH), peepholes=True): "lstm_niaf",
    Form("LSTM", (_SIGMOID, _TANH, _ITSELF), peepholes=True): "lstm_noaf",
}

_lock = threading.Lock()  # of `_made` and `_forms`
_made: dict[Form, str] = {}
_forms: dict[str, Form] = {cell: form for form, cell in BUILT_IN.items()}


def cell_of(form: Form) -> str:
    """Return the cell that computes a form.

    Raises
    ------
    UnsupportedError
        If there are `MOST` cells of nodes already.
    """
    found = BUILT_IN.get(form)
    if found is None and form.operator == "LSTM":
        found = BUILT_IN.get(form._replace(peepholes=True))
    if found is not None:
        return found
    with _lock:
        if form not in _made:
            if len(_made) >= MOST:
                raise UnsupportedError(
                    f"activations: expected at most {MOST} different cells in a process, each of which stays; "
                    f"got {form} as one more"
                )
            made = named(_EQUATIONS[form.operator](form), str(form))
            _made[form] = made
            _forms[made] = form
        return _made[form]


def form_of(cell: str) -> Form | None:
    """Return what a cell computes, None of one that no node in this process asked for."""
    return _forms.get(cell)


def _rnn(form: Form) -> Callable[..., Any]:
    (f,) = _functions(form)

    def rnn(x: Any, h: Any) -> Any:
        """ONNX's RNN."""
        u = rk.product(h)
        return f(x.a + u.a)

    return rnn


def _gru(form: Form) -> Callable[..., Any]:
    f, g = _functions(form)

    def gru(x: Any, h: Any) -> Any:
        """ONNX's GRU, its gate h called n."""
        u = rk.product(h)
        r = f(x.r + u.r)
        z = f(x.z + u.z)
        n = g(x.n + r * u.n) if form.linear_before_reset else g(x.n + rk.product(r * h).n)
        if form.functions == DEFAULTS["GRU"]:
            return n + z * (h - n)  # as the built-in cells: the same bits where nothing is clipped
        return (1.0 - z) * n + z * h  # keeps h exactly where z is 1, however large n is

    return gru


def _lstm(form: Form) -> Callable[..., Any]:
    f, g, h_of = _functions(form)

    def step(x: Any, h: Any, c: Any, w: Any) -> Any:
        u = rk.product(h)

        def gate(name: str, seen: Any) -> Any:
            total = getattr(x, name) + getattr(u, name)
            return f(total if w is None else total + getattr(w, name) * seen)

        i = gate("i", c)
        forget = 1.0 - i if form.input_forget else gate("f", c)
        d = forget * c + i * g(x.g + u.g)
        return gate("o", d) * h_of(d), d

    def lstm(x: Any, h: Any, c: Any) -> Any:
        """ONNX's LSTM without P, its gate c called g."""
        return step(x, h, c, None)

    def lstm_peepholes(x: Any, h: Any, c: Any, w: Any) -> Any:
        """ONNX's LSTM with P, its gate c called g."""
        return step(x, h, c, w)

    return lstm_peepholes if form.peepholes else lstm


_EQUATIONS = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}


def _functions(form: Form) -> list[Callable[[Any], Any]]:
    """Return a direction's functions of a value, which they hold inside the clip."""
    return [partial(apply, function, clip=form.clip) for function in form.functions]
