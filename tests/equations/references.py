"""The cells of rnnkernels.zoo a second time, in NumPy, written from their papers: see `rnnkernels.reference`.

A function maps (x, states, p) of one step to the new states, as those of `rnnkernels.reference.cells`. The element-wise
inputs of a step stand behind x, H numbers each. No derivative and no graph is here: gradients are complex steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnkernels.reference.cells import (
    Array,
    Cell,
    State,
    StepFunction,
    larger,
    log_sigmoid,
    relu,
    sigmoid,
    tanh,
)

REFERENCES: dict[str, Cell] = {}


def cell(states: str) -> Callable[[StepFunction], StepFunction]:
    """Enter the decorated function as the reference of the zoo's cell of its name."""

    def enter(step: StepFunction) -> StepFunction:
        REFERENCES[step.__name__] = Cell(tuple(states.split()), step)
        return step

    return enter


# --- functions that hold on the complex plane near the real axis ----------------------------------


def hard_sigmoid(z: Array) -> Array:
    """Max(0, min(1, z / 6 + 1 / 2)), decided by the real part."""
    line = z / 6 + 0.5
    return np.where(line.real <= 0, 0.0, np.where(line.real >= 1, 1.0, line))


def softsign(z: Array) -> Array:
    """z / (1 + abs(z)), the sign of z by its real part."""
    return np.asarray(z / (1 + np.where(z.real < 0, -z, z)))


def parts(rows: Array, count: int) -> list[Array]:
    """Split (..., B, count*H) into count arrays (..., B, H)."""
    return np.split(rows, count, axis=-1)


def by_head(p: Any, h: Array, heads: int) -> Array:
    """Every row of weight_hh times the units of its own head, (..., B, G*H); the biases beside."""
    hidden = h.shape[-1]
    size = hidden // heads
    firsts = range(0, p.weight_hh.transposed.shape[-1], size)  # of the rows of a gate and head
    sums = []
    for first in firsts:
        units = slice(first % hidden, first % hidden + size)
        sums.append(p.weight_hh(h[..., units], slice(first, first + size)))
    return np.asarray(np.concatenate(sums, axis=-1) + p.bias_hh)


# --- the cells ------------------------------------------------------------------------------------


@cell(states="h")
def gru_d(x: Array, states: State, p: Any) -> State:
    """Che et al., arXiv 1606.01865: the GRU of the paper, whose state decays first."""
    (h,) = states
    size = h.shape[-1]
    x, decay = x[..., :-size], x[..., -size:]
    h = np.exp(-relu(decay)) * h
    x_r, x_z, x_n = parts(p.weight_ih(x) + p.bias_ih + p.bias_hh, 3)
    u_r, u_z = parts(p.weight_hh(h, slice(0, 2 * size)), 2)
    r, z = sigmoid(x_r + u_r), sigmoid(x_z + u_z)
    candidate = tanh(x_n + p.weight_hh(r * h, slice(2 * size, 3 * size)))
    return ((1 - z) * h + z * candidate,)


@cell(states="h")
def para_gru(x: Array, states: State, p: Any) -> State:
    """ParaRNN, arXiv 2510.21450."""
    (h,) = states
    x_z, x_r, x_c = parts(p.weight_ih(x) + p.bias_ih, 3)
    a_z, a_r, a_c = parts(p.weight_diagonal, 3)
    z, r = sigmoid(a_z * h + x_z), sigmoid(a_r * h + x_r)
    c = tanh(a_c * (h * r) + x_c)
    return ((1 - z) * h + z * c,)


@cell(states="h c")
def para_lstm(x: Array, states: State, p: Any) -> State:
    """ParaRNN, arXiv 2510.21450."""
    h, c = states
    x_f, x_g, x_o = parts(p.weight_ih(x) + p.bias_ih, 3)
    a_f, p_f, a_g, a_o, p_o = parts(p.weight_diagonal, 5)
    f = sigmoid(a_f * h + x_f + p_f * c)
    i = 1 - f
    c_new = f * c + i * tanh(a_g * h + x_g)
    o = sigmoid(a_o * h + x_o + p_o * c_new)
    return o * tanh(c_new), c_new


@cell(states="h")
def min_gru(x: Array, states: State, p: Any) -> State:
    """Feng et al., arXiv 2410.01201."""
    (h,) = states
    z, candidate = parts(p.weight_ih(x) + p.bias_ih, 2)
    return ((1 - sigmoid(z)) * h + sigmoid(z) * candidate,)


@cell(states="h")
def min_lstm(x: Array, states: State, p: Any) -> State:
    """Feng et al., arXiv 2410.01201, with the gates normalised."""
    (h,) = states
    f, i, candidate = parts(p.weight_ih(x) + p.bias_ih, 3)
    f, i = sigmoid(f), sigmoid(i)
    return (f / (f + i) * h + i / (f + i) * candidate,)


def _lstm(x: Array, states: State, p: Any, gate: Callable[..., Array], activation: Callable[..., Array]) -> State:
    h, c = states
    i, f, g, o = parts(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh, 4)
    c_new = gate(f) * c + gate(i) * activation(g)
    return gate(o) * activation(c_new), c_new


def _gru(x: Array, states: State, p: Any, gate: Callable[..., Array], activation: Callable[..., Array]) -> State:
    (h,) = states
    x_r, x_z, x_n = parts(p.weight_ih(x) + p.bias_ih, 3)
    u_r, u_z, u_n = parts(p.weight_hh(h) + p.bias_hh, 3)
    z = gate(x_z + u_z)
    return ((1 - z) * activation(x_n + gate(x_r + u_r) * u_n) + z * h,)


@cell(states="h c")
def lstm_hard_sigmoid(x: Array, states: State, p: Any) -> State:
    return _lstm(x, states, p, hard_sigmoid, tanh)


@cell(states="h c")
def lstm_softsign(x: Array, states: State, p: Any) -> State:
    return _lstm(x, states, p, sigmoid, softsign)


@cell(states="h c")
def lstm_relu(x: Array, states: State, p: Any) -> State:
    return _lstm(x, states, p, sigmoid, relu)


@cell(states="h")
def gru_hard_sigmoid(x: Array, states: State, p: Any) -> State:
    return _gru(x, states, p, hard_sigmoid, tanh)


@cell(states="h")
def gru_softsign(x: Array, states: State, p: Any) -> State:
    return _gru(x, states, p, sigmoid, softsign)


@cell(states="h")
def gru_relu(x: Array, states: State, p: Any) -> State:
    return _gru(x, states, p, sigmoid, relu)


@cell(states="h")
def dreamer_gru(x: Array, states: State, p: Any) -> State:
    """DreamerV3, arXiv 2301.04104, as in its authors' code; eight blocks, no normalisation."""
    return _dreamer(x, states, p, 8)


def _dreamer(x: Array, states: State, p: Any, blocks: int) -> State:
    (h,) = states
    reset, candidate, update = parts(p.weight_ih(x) + p.bias_ih + by_head(p, h, blocks), 3)
    update = sigmoid(update - 1)
    return (update * tanh(sigmoid(reset) * candidate) + (1 - update) * h,)


@cell(states="h")
def m2rnn(x: Array, states: State, p: Any) -> State:
    """M²RNN, arXiv 2603.14360: one head, a batch of the rows of its state."""
    (h,) = states
    x, forget = np.split(x, [x.shape[-1] - h.shape[-1]], axis=-1)
    z = tanh(p.weight_hh(h) + p.bias_hh + p.weight_ih(x) + p.bias_ih)
    return (forget * h + (1 - forget) * z,)


@cell(states="h c n m")
def slstm_heads(x: Array, states: State, p: Any) -> State:
    """Beck et al., arXiv 2405.04517: the sLSTM, f = sigmoid, with four heads of recurrent weights."""
    return _slstm(x, states, p, 4)


def _slstm(x: Array, states: State, p: Any, heads: int) -> State:
    h, c, n, m = states
    i, f, z, o = parts(p.weight_ih(x) + p.bias_ih + by_head(p, h, heads), 4)
    log_f = log_sigmoid(f)
    m_new = larger(log_f + m, i)
    c_new = np.exp(log_f + m - m_new) * c + np.exp(i - m_new) * tanh(z)
    n_new = np.exp(log_f + m - m_new) * n + np.exp(i - m_new)
    return sigmoid(o) * (c_new / n_new), c_new, n_new, m_new
