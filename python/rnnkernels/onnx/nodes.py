"""The attributes of an RNN, GRU, LSTM or DynamicQuantizeLSTM node, checked, and the cells that they ask for.

Equations: https://onnx.ai/onnx/operators/ (RNN, GRU, LSTM). Not here: what the functions are (activations.py), cells
(cells.py), weights (weights.py), and what is done with them (operators.py, convert.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import defs

from .activations import Activation, Constants, read
from .cells import DEFAULTS, Form, UnsupportedError, cell_of

if TYPE_CHECKING:
    from collections.abc import Mapping

MICROSOFT = "com.microsoft"

FLOATING = tuple(DEFAULTS)  # the operators whose weights are floats

# What an operator computes, by its domain and name.
COMPUTES = {**{("", name): name for name in DEFAULTS}, (MICROSOFT, "DynamicQuantizeLSTM"): "LSTM"}
DYNAMIC = "DynamicQuantize"  # before the name of what it computes

# The inputs of these nodes in their order, and those of them that are weights. A DynamicQuantizeLSTM has all, an LSTM
# those before the scales.
WEIGHTS = ("W", "R", "B", "P")
SCALES = ("W_scale", "W_zero_point", "R_scale", "R_zero_point")
STORED = (*WEIGHTS, *SCALES)
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P", *SCALES)

FIRST_OPSET = 7  # before it these operators had other attributes and outputs

_REVERSE = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}

_COMMON = {"activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size"}
_OWN = {"RNN": set[str](), "GRU": {"linear_before_reset"}, "LSTM": {"input_forget"}}


@dataclass(frozen=True)
class Attributes:
    """What a node's attributes say.

    Attributes
    ----------
    operator : {"RNN", "GRU", "LSTM"}
    reverse : tuple of bool
        Of each direction.
    functions : tuple of tuple of Activation
        Of each direction.
    hidden_size : int or None
    clip : float or None
    layout : {0, 1}
    linear_before_reset, input_forget : bool
    """

    operator: str
    reverse: tuple[bool, ...]
    functions: tuple[tuple[Activation, ...], ...]
    hidden_size: int | None
    clip: float | None
    layout: int
    linear_before_reset: bool
    input_forget: bool

    def cells(self, *, peepholes: bool) -> tuple[str, ...]:
        """Return the cell of each direction; `peepholes`: whether the node has P.

        Raises
        ------
        UnsupportedError
            If there are too many cells in the process.
        """
        return tuple(
            cell_of(
                Form(
                    self.operator,
                    functions,
                    self.clip,
                    self.linear_before_reset,
                    self.input_forget,
                    peepholes=peepholes,
                )
            )
            for functions in self.functions
        )


def of_node(error: UnsupportedError, node: Any) -> UnsupportedError:
    """Return the error with the node that is refused behind it: by its name, or by its first result."""
    named = f"{node.name!r}" if node.name else f"of {next((n for n in node.output if n), '')!r}"
    return UnsupportedError(f"{error} [{node.op_type} node {named}]")


def check_opset(op_type: str, opsets: Mapping[str, int]) -> None:
    """Raise where a model, whose versions by domain are given, is older than what is served."""
    opset = opsets.get("", defs.onnx_opset_version())
    if opset < FIRST_OPSET:
        raise UnsupportedError(f"opset_import: {op_type} is served from opset {FIRST_OPSET} on, got {opset}")


def computed_by(node: Any) -> str | None:
    """Return the operator that a node computes, None where it is none of ours."""
    domain, name = getattr(node, "domain", None), getattr(node, "op_type", None)
    return COMPUTES.get((str("" if domain == "ai.onnx" else domain), str(name)))


def read_attributes(op_type: str, given: Mapping[str, Any]) -> Attributes:
    """Check a node's attributes.

    Parameters
    ----------
    op_type : {"RNN", "GRU", "LSTM", "DynamicQuantizeLSTM"}
    given : mapping of str to value
        Those that the node has, and not the defaults of others.

    Raises
    ------
    ValueError
        If one has a value that ONNX does not allow.
    """
    operator = op_type.removeprefix(DYNAMIC)
    layouts = {"layout"} if operator == op_type else set[str]()
    unknown = sorted(set(given) - _COMMON - layouts - _OWN[operator])
    if unknown:
        raise ValueError(f"{unknown[0]}: {op_type} has no such attribute from opset {FIRST_OPSET} on")
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
    size = given.get("hidden_size")
    return Attributes(
        operator,
        reverse,
        functions,
        None if size is None else int(size),
        None if clip is None or clip == math.inf else float(np.float32(clip)),
        int(layout),
        bool(given.get("linear_before_reset", 0)),
        bool(coupled),
    )


def _functions(operator: str, directions: int, given: Mapping[str, Any]) -> tuple[tuple[Activation, ...], ...]:
    """Return each direction's functions."""
    each = DEFAULTS[operator]
    names = [_text(name) for name in given.get("activations") or [function.name for function in each] * directions]
    if operator == "RNN" and names == ["Tanh", "Tanh"]:  # the standard's default, whatever the direction
        names = names[:directions]
    if len(names) != len(each) * directions:
        raise ValueError(f"activations: expected {len(each)} for each of {directions} directions, got {len(names)}")
    alphas, betas = (Constants(name, list(given.get(name) or ())) for name in ("activation_alpha", "activation_beta"))
    found = [read(name, alphas, betas) for name in names]
    alphas.check_end()
    betas.check_end()
    return tuple(tuple(found[at : at + len(each)]) for at in range(0, len(found), len(each)))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
