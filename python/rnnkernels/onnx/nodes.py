"""The attributes of an RNN, GRU or LSTM node, checked, and the cells that they ask for.

Equations: https://onnx.ai/onnx/operators/ (RNN, GRU, LSTM). What no cell computes is refused here, by the attribute's
name. Not here: weights (weights.py), and what is done with them (operators.py, convert.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FIRST_OPSET = 7  # before it these operators had other attributes and outputs

# The activation functions of one direction, where a node names none.
DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}

# By operator and the functions of one direction; GRU and the LSTM with tanh twice have several, see `Attributes.cells`.
CELLS = {
    ("RNN", ("Tanh",)): "rnn_tanh",
    ("RNN", ("Relu",)): "rnn_relu",
    ("GRU", ("Sigmoid", "Tanh")): "gru",
    ("LSTM", ("Sigmoid", "Tanh", "Tanh")): "lstm",
    ("LSTM", ("Sigmoid", "Affine", "Tanh")): "lstm_niaf",
    ("LSTM", ("Sigmoid", "Tanh", "Affine")): "lstm_noaf",
}

_REVERSE = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}

_COMMON = {"activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout"}
_OWN = {"RNN": set[str](), "GRU": {"linear_before_reset"}, "LSTM": {"input_forget"}}

# Functions with constants: the defaults of alpha and beta (nan: there is none), and what the
# function is where the constants are those of the third entry.
_NONE = math.nan
_WITH_CONSTANTS: dict[str, tuple[str, tuple[float, ...], tuple[float, ...], str]] = {
    "affine": ("Affine", (_NONE, _NONE), (1.0, 0.0), "Affine"),
    "scaledtanh": ("ScaledTanh", (_NONE, _NONE), (1.0, 1.0), "Tanh"),
    "leakyrelu": ("LeakyRelu", (0.01,), (0.0,), "Relu"),
    "thresholdedrelu": ("ThresholdedRelu", (1.0,), (0.0,), "Relu"),
    "elu": ("Elu", (1.0,), (0.0,), "Relu"),
    "hardsigmoid": ("HardSigmoid", (0.2, 0.5), (_NONE, _NONE), ""),
}
_WITHOUT = {name.lower(): name for name in ("Relu", "Tanh", "Sigmoid", "Softsign", "Softplus")}


class UnsupportedError(NotImplementedError):
    """ONNX has it and the kernels do not: the message names it and says why."""


@dataclass(frozen=True)
class Attributes:
    """What a node's attributes say.

    Attributes
    ----------
    operator : {"RNN", "GRU", "LSTM"}
    reverse : tuple of bool
        Of each direction.
    functions : tuple of tuple of str
        Of each direction, the activation functions; ``Affine`` is x itself.
    hidden_size : int or None
    clip : float or None
    layout : {0, 1}
    linear_before_reset, input_forget : bool
    """

    operator: str
    reverse: tuple[bool, ...]
    functions: tuple[tuple[str, ...], ...]
    hidden_size: int | None
    clip: float | None
    layout: int
    linear_before_reset: bool
    input_forget: bool

    def cells(self, *, peepholes: bool) -> tuple[str, ...]:
        """Return the cell of each direction; `peepholes`: whether the node has P."""
        return tuple(self._cell(functions, peepholes=peepholes) for functions in self.functions)

    def _cell(self, functions: tuple[str, ...], *, peepholes: bool) -> str:
        cell = CELLS[self.operator, functions]
        if cell == "gru":
            return "gru" if self.linear_before_reset else "gru_reset_before"
        if cell == "lstm" and self.input_forget:
            return "lstm_cifg"
        return "lstm_peephole" if cell == "lstm" and peepholes else cell


def of_node(error: UnsupportedError, node: Any) -> UnsupportedError:
    """Return the error with the node that is refused behind it: by its name, or by its first result."""
    named = f"{node.name!r}" if node.name else f"of {next((n for n in node.output if n), '')!r}"
    return UnsupportedError(f"{error} [{node.op_type} node {named}]")


def read_attributes(operator: str, given: Mapping[str, Any]) -> Attributes:
    """Check a node's attributes.

    Parameters
    ----------
    operator : {"RNN", "GRU", "LSTM"}
    given : mapping of str to value
        Those that the node has, and not the defaults of others.

    Raises
    ------
    UnsupportedError
        If no cell computes what they ask for.
    ValueError
        If one has a value that ONNX does not allow.
    """
    unknown = sorted(set(given) - _COMMON - _OWN[operator])
    if unknown:
        raise ValueError(f"{unknown[0]}: {operator} has no such attribute from opset {FIRST_OPSET} on")
    direction = _text(given.get("direction", "forward"))
    if direction not in _REVERSE:
        raise ValueError(f"direction: expected one of {', '.join(_REVERSE)}; got {direction!r}")
    layout = given.get("layout", 0)
    coupled = given.get("input_forget", 0)
    for name, value in (("layout", layout), ("input_forget", coupled)):
        if value not in (0, 1):
            raise ValueError(f"{name}: expected 0 or 1, got {value!r}")
    clip = given.get("clip")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip: expected a number above 0, got {clip}")
    reverse = _REVERSE[direction]
    functions = _functions(operator, len(reverse), given)
    for names in functions:
        if (operator, names) not in CELLS:
            served = "; ".join(", ".join(n) for o, n in CELLS if o == operator)
            raise UnsupportedError(
                f"activations: no cell is {operator} with {', '.join(names)}; "
                f"served are, in each direction: {served} (Affine with alpha 1 and beta 0)"
            )
        if coupled and names != DEFAULTS[operator]:
            raise UnsupportedError(f"input_forget: no cell couples the gates of LSTM with {', '.join(names)}")
    size = given.get("hidden_size")
    return Attributes(
        operator,
        reverse,
        functions,
        None if size is None else int(size),
        None if clip is None or clip == math.inf else float(clip),
        int(layout),
        bool(given.get("linear_before_reset", 0)),
        bool(coupled),
    )


def _functions(operator: str, directions: int, given: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Return the names of each direction's functions, with those whose constants make them others put down as these."""
    each = DEFAULTS[operator]
    names = [_text(name) for name in given.get("activations") or each * directions]
    if operator == "RNN" and names == ["Tanh", "Tanh"]:  # the standard's default, whatever the direction
        names = names[:directions]
    if len(names) != len(each) * directions:
        raise ValueError(f"activations: expected {len(each)} for each of {directions} directions, got {len(names)}")
    alphas, betas = _Constants("activation_alpha", given), _Constants("activation_beta", given)
    found = [_function(name, alphas, betas) for name in names]
    alphas.check_end()
    betas.check_end()
    return tuple(tuple(found[at : at + len(each)]) for at in range(0, len(found), len(each)))


def _function(name: str, alphas: _Constants, betas: _Constants) -> str:
    known = name.lower()
    if known in _WITHOUT:
        return _WITHOUT[known]
    if known not in _WITH_CONSTANTS:
        raise ValueError(f"activations: ONNX has no function {name!r}")
    standard, defaults, wanted, becomes = _WITH_CONSTANTS[known]
    constants = tuple(source.take(default) for source, default in zip((alphas, betas), defaults, strict=False))
    if constants == wanted:
        return becomes
    said = [
        f"{name}={'(not given)' if math.isnan(value) else format(value, 'g')}"
        for name, value in zip(("alpha", "beta"), constants, strict=False)
    ]
    return f"{standard}({', '.join(said)})"


class _Constants:
    """A list that the functions which have such a constant take from, one after the other."""

    def __init__(self, name: str, given: Mapping[str, Any]) -> None:
        self.name = name
        self.values: Sequence[float] = list(given.get(name) or ())
        self.left: Iterator[float] = iter(self.values)
        self.taken = 0

    def take(self, default: float) -> float:
        self.taken += 1
        return float(next(self.left, default))

    def check_end(self) -> None:
        """Raise where some are taken and some are left: whose they are cannot be known."""
        if 0 < self.taken < len(self.values):
            raise ValueError(
                f"{self.name}: expected at most {self.taken}, one for each function that has it, got {len(self.values)}"
            )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
