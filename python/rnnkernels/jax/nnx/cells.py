"""Cells of flax: which are served, what they are called here, and their parameters under our names."""

from __future__ import annotations

from inspect import signature
from itertools import chain
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import nnx

from rnnkernels._arguments import kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIGMOID = [(function, "sigmoid") for function in (nnx.sigmoid, jax.nn.sigmoid, jax.lax.logistic)]
_TANH = [(function, "tanh") for function in (nnx.tanh, jnp.tanh, jax.nn.tanh, jax.lax.tanh)]
_RELU = [(function, "relu") for function in (nnx.relu, jax.nn.relu)]

# A cell's class, exactly: a subclass may compute something else. What it is here; the functions that it may have.
_CELLS: dict[type, tuple[str, dict[str, list[tuple[Any, str]]]]] = {
    nnx.OptimizedLSTMCell: ("lstm", {"gate_fn": _SIGMOID, "activation_fn": _TANH}),
    nnx.LSTMCell: ("lstm", {"gate_fn": _SIGMOID, "activation_fn": _TANH}),
    nnx.GRUCell: ("gru", {"gate_fn": _SIGMOID, "activation_fn": _TANH}),
    nnx.SimpleCell: ("rnn", {"activation_fn": _TANH + _RELU}),
}
STATES = {"lstm": ("h", "c"), "gru": ("h",), "rnn_tanh": ("h",), "rnn_relu": ("h",)}
# Options of nnx.Linear that a cell leaves as they are, unless somebody sets them later, and these values.
_AS_MADE = {
    option: parameter.default
    for option, parameter in signature(nnx.Linear.__init__).parameters.items()
    if option in ("precision", "dot_general", "promote_dtype", "preferred_element_type")
}


def kind_of_cell(cell: Any) -> str:
    """Return what a cell of flax is called here, or refuse it: what it is may change until it is called."""
    if type(cell) not in _CELLS:
        names = ", ".join(f"nnx.{each.__name__}" for each in _CELLS)
        raise TypeError(f"cell: expected one of {names}, got {kind_of(cell)}")
    name, functions = _CELLS[type(cell)]
    if getattr(cell, "residual", False):
        raise ValueError("cell: expected a SimpleCell without residual, got one with it")
    for option, known in functions.items():
        function = getattr(cell, option)
        found = next((what for each, what in known if each is function), None)
        if found is None:
            expected = " or ".join(dict.fromkeys(what for _, what in known))
            raise ValueError(f"cell: expected {option} to be {expected}, got {_named(function)}")
    for linear in chain(*_linears(cell).values()):
        _check_linear(linear)
    return f"rnn_{found}" if name == "rnn" else name


def _linears(cell: Any) -> dict[str, list[Any]]:
    """Return the layers that make x's part and h's, in the order of their gates, which is ours."""
    if type(cell) is nnx.LSTMCell:
        return {"ih": [cell.ii, cell.if_, cell.ig, cell.io], "hh": [cell.hi, cell.hf, cell.hg, cell.ho]}
    return {"ih": [cell.dense_i], "hh": [cell.dense_h]}


def parameters_of(cell: Any) -> dict[str, Any]:
    """Return a cell's parameters under our names."""
    params = {}
    for side, linears in _linears(cell).items():
        params[f"weight_{side}"] = _joined([linear.kernel[...] for linear in linears]).T
        if linears[0].bias is not None:
            params[f"bias_{side}"] = _joined([linear.bias[...] for linear in linears])
    return params


def _check_linear(linear: Any) -> None:
    if type(linear) is not nnx.Linear:
        raise TypeError(f"cell: expected products that are nnx.Linear, got {kind_of(linear)}")
    for option, default in _AS_MADE.items():
        value = getattr(linear, option)
        if value is not default:
            raise ValueError(f"cell: expected {option} as flax makes it, got {_named(value)}")


def _named(function: Any) -> str:
    return getattr(function, "__name__", None) or kind_of(function)


def _joined(arrays: Sequence[Any]) -> Any:
    return arrays[0] if len(arrays) == 1 else jnp.concatenate(arrays, axis=-1)
