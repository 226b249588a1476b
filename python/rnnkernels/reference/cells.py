"""The cells a second time: one function per cell, in the notation of its paper; see the package's docstring.

A function maps (x, states, p) of one step to the new states, the first of which is the output. To add a cell: write
its function below under ``@cell(name, states)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
State = tuple[Array, ...]
StepFunction = Callable[[Array, State, Any], State]


class Cell(NamedTuple):
    """A cell's states and its function."""

    states: tuple[str, ...]
    step: StepFunction


CELLS: dict[str, Cell] = {}


def cell(name: str, states: str) -> Callable[[StepFunction], StepFunction]:
    """Enter the decorated function as the reference of cell `name`."""

    def enter(step: StepFunction) -> StepFunction:
        CELLS[name] = Cell(tuple(states.split()), step)
        return step

    return enter


# --- functions that hold on the complex plane near the real axis ----------------------------------


def tanh(z: Array) -> Array:
    """Hyperbolic tangent; NumPy's own is safe for any argument, real or complex."""
    return np.tanh(z)


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), never raising e to a large positive power."""
    positive = z.real >= 0
    e = np.exp(np.where(positive, -z, z))  # |e| <= 1
    return np.where(positive, 1.0, e) / (1.0 + e)


def relu(z: Array) -> Array:
    """max(0, z), decided by the real part; a NaN stays one."""
    return np.where(z.real <= 0, 0.0, z)


def held(c: Array, limit: float) -> Array:
    """C inside [-limit, limit], decided by the real part."""
    if np.isinf(limit):
        return c
    return np.where(np.abs(c.real) >= limit, np.sign(c.real) * limit, c)


def log_sigmoid(z: Array) -> Array:
    """log(1 / (1 + exp(-z))), never raising e to a positive power."""
    positive = z.real >= 0
    return np.where(positive, 0.0, z) - np.log1p(np.exp(np.where(positive, -z, z)))


def larger(a: Array, b: Array) -> Array:
    """max(a, b), decided by the real part; a NaN stays one."""
    return np.where((a.real > b.real) | np.isnan(a), a, b)


# --- the cells ------------------------------------------------------------------------------------


@cell("rnn_tanh", states="h")
def rnn_tanh(x: Array, states: State, p: Any) -> State:
    """Elman, Finding structure in time, Cognitive Science 14(2), 1990.

    h' = tanh(W_ih x + b_ih + W_hh h + b_hh)
    """
    (h,) = states
    return (tanh(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh),)


@cell("rnn_relu", states="h")
def rnn_relu(x: Array, states: State, p: Any) -> State:
    """Le, Jaitly & Hinton, A simple way to initialize recurrent networks ..., arXiv 1504.00941.

    h' = max(0, W_ih x + b_ih + W_hh h + b_hh)
    """
    (h,) = states
    return (relu(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh),)


@cell("lstm", states="h c")
def lstm(x: Array, states: State, p: Any) -> State:
    """Hochreiter & Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997.

    With the forget gate of Gers, Schmidhuber & Cummins, ibid. 12(10), 2000; no peepholes;
    rows of the weights in the order i, f, g, o.

    i, f, o = sigmoid(...);  g = tanh(...)
    c' = f * c + i * g
    h' = o * tanh(c')
    """
    h, c = states
    i, f, g, o = _split(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh, 4)
    c_new = held(sigmoid(f) * c + sigmoid(i) * tanh(g), p.cell_clip)
    return sigmoid(o) * tanh(c_new), c_new


@cell("lstm_projected", states="h c")
def lstm_projected(x: Array, states: State, p: Any) -> State:
    """Sak, Senior & Beaufays, Long short-term memory recurrent neural network architectures ..., Interspeech 2014.

    LSTMP as PyTorch and cuDNN have it, without peepholes: `lstm` with h' = W_hr (o * tanh(c')).
    """
    m, c = lstm(x, states, p)
    return p.weight_hr(m), c


@cell("gru", states="h")
def gru(x: Array, states: State, p: Any) -> State:
    """Cho et al., arXiv 1406.1078v1: the reset gate acts after the product.

    The form of cuDNN and PyTorch. z keeps the OLD state; rows of the weights in the order r, z, n.

    r = sigmoid(W_r x + b_r + U_r h + c_r);  z = sigmoid(W_z x + b_z + U_z h + c_z)
    n = tanh(W_n x + b_n + r * (U_n h + c_n))
    h' = (1 - z) * n + z * h
    """
    (h,) = states
    x_r, x_z, x_n = _split(p.weight_ih(x) + p.bias_ih, 3)
    u_r, u_z, u_n = _split(p.weight_hh(h) + p.bias_hh, 3)
    r = sigmoid(x_r + u_r)
    z = sigmoid(x_z + u_z)
    n = tanh(x_n + r * u_n)
    return ((1 - z) * n + z * h,)


@cell("gru_reset_before", states="h")
def gru_reset_before(x: Array, states: State, p: Any) -> State:
    """Cho et al., EMNLP 2014 (arXiv 1406.1078v3): the reset gate acts before the product.

    Equations (5) to (8). z keeps the OLD state (7); rows of the weights in the order r, z, n.

    r = sigmoid(W_r x + b_r + U_r h + c_r);  z = sigmoid(W_z x + b_z + U_z h + c_z)
    n = tanh(W_n x + b_n + U_n (r * h) + c_n)
    h' = z * h + (1 - z) * n
    """
    (h,) = states
    size = h.shape[-1]
    x_r, x_z, x_n = _split(p.weight_ih(x) + p.bias_ih + p.bias_hh, 3)
    u_r, u_z = _split(p.weight_hh(h, slice(0, 2 * size)), 2)
    r = sigmoid(x_r + u_r)
    z = sigmoid(x_z + u_z)
    n = tanh(x_n + p.weight_hh(r * h, slice(2 * size, 3 * size)))
    return (z * h + (1 - z) * n,)


@cell("mut1", states="h")
def mut1(x: Array, states: State, p: Any) -> State:
    """Jozefowicz, Zaremba & Sutskever, An empirical exploration of recurrent network architectures, ICML 2015.

    MUT1 as printed: x itself in the candidate, so I = H. z keeps the NEW state.

    z = sigmoid(W_xz x + b_z);  r = sigmoid(W_xr x + W_hr h + b_r)
    h' = tanh(W_hh (r * h) + tanh(x) + b_h) * z + h * (1 - z)
    """
    (h,) = states
    x_z, x_r = _split(p.weight_ih(x) + p.bias_ih, 2)
    return _mut(h, p, x_z, x_r, tanh(x), see="rn")


@cell("mut1_projected", states="h")
def mut1_projected(x: Array, states: State, p: Any) -> State:
    """MUT1 with W_xh x + b_xh in the place of x; see `mut1`."""
    (h,) = states
    x_z, x_r, x_n = _split(p.weight_ih(x) + p.bias_ih, 3)
    return _mut(h, p, x_z, x_r, tanh(x_n), see="rn")


@cell("mut2", states="h")
def mut2(x: Array, states: State, p: Any) -> State:
    """Jozefowicz, Zaremba & Sutskever 2015: MUT2 as printed, x itself in r, so I = H. z keeps the NEW state.

    z = sigmoid(W_xz x + W_hz h + b_z);  r = sigmoid(x + W_hr h + b_r)
    h' = tanh(W_hh (r * h) + W_xh x + b_h) * z + h * (1 - z)
    """
    (h,) = states
    x_z, x_n = _split(p.weight_ih(x) + p.bias_ih, 2)
    return _mut(h, p, x_z, x, x_n, see="zrn")


@cell("mut2_projected", states="h")
def mut2_projected(x: Array, states: State, p: Any) -> State:
    """MUT2 with W_xr x + b_xr in the place of x; see `mut2`."""
    (h,) = states
    x_z, x_r, x_n = _split(p.weight_ih(x) + p.bias_ih, 3)
    return _mut(h, p, x_z, x_r, x_n, see="zrn")


@cell("mut3", states="h")
def mut3(x: Array, states: State, p: Any) -> State:
    """Jozefowicz, Zaremba & Sutskever 2015: MUT3. z keeps the NEW state.

    z = sigmoid(W_xz x + W_hz tanh(h) + b_z);  r = sigmoid(W_xr x + W_hr h + b_r)
    h' = tanh(W_hh (r * h) + W_xh x + b_h) * z + h * (1 - z)
    """
    (h,) = states
    x_z, x_r, x_n = _split(p.weight_ih(x) + p.bias_ih, 3)
    return _mut(h, p, x_z, x_r, x_n, see="Zrn")


def _mut(h: Array, p: Any, x_z: Array, x_r: Array, x_n: Array, see: str) -> State:
    """Take the last step of every MUT. `see`: the rows of weight_hh, Z for a z that sees tanh(h)."""
    size = h.shape[-1]
    rows = {name.lower(): slice(k * size, (k + 1) * size) for k, name in enumerate(see)}

    def product(gate: str, vector: Array) -> Array:
        bias = p.bias_hh[..., rows[gate]] if isinstance(p.bias_hh, np.ndarray) else 0.0
        return np.asarray(p.weight_hh(vector, rows[gate]) + bias)

    z = sigmoid(x_z + product("z", h) if "z" in see else x_z + product("z", tanh(h)) if "Z" in see else x_z)
    r = sigmoid(x_r + product("r", h))
    n = tanh(product("n", r * h) + x_n)
    return (n * z + h * (1 - z),)


@cell("lstm_peephole", states="h c")
def lstm_peephole(x: Array, states: State, p: Any) -> State:
    """Greff et al., LSTM: A search space odyssey, IEEE TNNLS 28(10), 2017 (arXiv 1503.04069): V, "vanilla".

    Rows of the weights i, f, g, o (g is the paper's z, the block input); of the peepholes i, f, o.

    i = sigmoid(W_i x + R_i h + p_i * c + b_i);  f = sigmoid(W_f x + R_f h + p_f * c + b_f)
    g = tanh(W_g x + R_g h + b_g)
    c' = g * i + c * f
    o = sigmoid(W_o x + R_o h + p_o * c' + b_o)
    h' = tanh(c') * o
    """
    h, c = states
    i, f, g, o = _split(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh, 4)
    p_i, p_f, p_o = _split(p.weight_diagonal, 3)
    c_new = held(tanh(g) * sigmoid(i + p_i * c) + c * sigmoid(f + p_f * c), p.cell_clip)
    return tanh(c_new) * sigmoid(o + p_o * c_new), c_new


@cell("lstm_peephole_projected", states="h c")
def lstm_peephole_projected(x: Array, states: State, p: Any) -> State:
    """Sak, Senior & Beaufays 2014: LSTMP as printed, equations (1) to (6), with the peepholes and r = W_rm m."""
    m, c = lstm_peephole(x, states, p)
    return p.weight_hr(m), c


@cell("lstm_nig", states="h c")
def lstm_nig(x: Array, states: State, p: Any) -> State:
    """Greff et al., NIG: no input gate, i = 1. Rows f, g, o; peepholes f, o."""
    h, c = states
    f, g, o = _split(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh, 3)
    p_f, p_o = _split(p.weight_diagonal, 2)
    c_new = held(tanh(g) + c * sigmoid(f + p_f * c), p.cell_clip)
    return tanh(c_new) * sigmoid(o + p_o * c_new), c_new


@cell("lstm_nfg", states="h c")
def lstm_nfg(x: Array, states: State, p: Any) -> State:
    """Greff et al., NFG: no forget gate, f = 1. Rows i, g, o; peepholes i, o."""
    h, c = states
    i, g, o = _split(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh, 3)
    p_i, p_o = _split(p.weight_diagonal, 2)
    c_new = held(tanh(g) * sigmoid(i + p_i * c) + c, p.cell_clip)
    return tanh(c_new) * sigmoid(o + p_o * c_new), c_new


@cell("lstm_nog", states="h c")
def lstm_nog(x: Array, states: State, p: Any) -> State:
    """Greff et al., NOG: no output gate, o = 1. Rows i, f, g; peepholes i, f."""
    h, c = states
    i, f, g = _split(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh, 3)
    p_i, p_f = _split(p.weight_diagonal, 2)
    c_new = held(tanh(g) * sigmoid(i + p_i * c) + c * sigmoid(f + p_f * c), p.cell_clip)
    return tanh(c_new), c_new


@cell("lstm_niaf", states="h c")
def lstm_niaf(x: Array, states: State, p: Any) -> State:
    """Greff et al., NIAF: no input activation function, g(x) = x. Rows and peepholes as V."""
    h, c = states
    i, f, g, o = _split(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh, 4)
    p_i, p_f, p_o = _split(p.weight_diagonal, 3)
    c_new = held(g * sigmoid(i + p_i * c) + c * sigmoid(f + p_f * c), p.cell_clip)
    return tanh(c_new) * sigmoid(o + p_o * c_new), c_new


@cell("lstm_noaf", states="h c")
def lstm_noaf(x: Array, states: State, p: Any) -> State:
    """Greff et al., NOAF: no output activation function, h(x) = x. Rows and peepholes as V."""
    h, c = states
    i, f, g, o = _split(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh, 4)
    p_i, p_f, p_o = _split(p.weight_diagonal, 3)
    c_new = held(tanh(g) * sigmoid(i + p_i * c) + c * sigmoid(f + p_f * c), p.cell_clip)
    return c_new * sigmoid(o + p_o * c_new), c_new


@cell("lstm_cifg", states="h c")
def lstm_cifg(x: Array, states: State, p: Any) -> State:
    """Greff et al., CIFG: coupled input and forget gate, f = 1 - i. Rows i, g, o; peepholes i, o."""
    h, c = states
    i, g, o = _split(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh, 3)
    p_i, p_o = _split(p.weight_diagonal, 2)
    opened = sigmoid(i + p_i * c)
    c_new = held(tanh(g) * opened + c * (1 - opened), p.cell_clip)
    return tanh(c_new) * sigmoid(o + p_o * c_new), c_new


@cell("lstm_fgr", states="h c i f o")
def lstm_fgr(x: Array, states: State, p: Any) -> State:
    """Greff et al., FGR: full gate recurrence. V, whose gates i, f, o also see those of the step before.

    Nine more matrices, weight_gg (3H, 3H), rows (seeing) and columns (seen) in the order i, f, o.

    i' = sigmoid(W_i x + R_i h + p_i * c + R_ii i + R_fi f + R_oi o + b_i), and likewise f', o'
    """
    h, c, i, f, o = states
    a_i, a_f, a_g, a_o = _split(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh, 4)
    g_i, g_f, g_o = _split(p.weight_gg(np.concatenate(np.broadcast_arrays(i, f, o), axis=-1)), 3)
    p_i, p_f, p_o = _split(p.weight_diagonal, 3)
    i_new, f_new = sigmoid(a_i + g_i + p_i * c), sigmoid(a_f + g_f + p_f * c)
    c_new = held(tanh(a_g) * i_new + c * f_new, p.cell_clip)
    o_new = sigmoid(a_o + g_o + p_o * c_new)
    return tanh(c_new) * o_new, c_new, i_new, f_new, o_new


@cell("mgu", states="h")
def mgu(x: Array, states: State, p: Any) -> State:
    """Zhou, Wu, Zhang & Zhou, Minimal gated unit for recurrent neural networks, arXiv 1603.09420.

    f keeps the NEW state; rows of the weights in the order f, n.

    f = sigmoid(W_f [h, x] + b_f);  n = tanh(W_h [f * h, x] + b_h)
    h' = (1 - f) * h + f * n
    """
    (h,) = states
    size = h.shape[-1]
    x_f, x_n = _split(p.weight_ih(x) + p.bias_ih + p.bias_hh, 2)
    f = sigmoid(x_f + p.weight_hh(h, slice(0, size)))
    n = tanh(x_n + p.weight_hh(f * h, slice(size, 2 * size)))
    return ((1 - f) * h + f * n,)


@cell("ligru", states="h")
def ligru(x: Array, states: State, p: Any) -> State:
    """Ravanelli et al., Light gated recurrent units for speech recognition, IEEE TETCI 2(2), 2018.

    Without the batch normalisation of W x. z keeps the OLD state; rows of the weights in the order z, a.

    z = sigmoid(W_z x + U_z h + b_z);  a = ReLU(W_h x + U_h h + b_h)
    h' = z * h + (1 - z) * a
    """
    (h,) = states
    z, a = _split(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh, 2)
    return (sigmoid(z) * h + (1 - sigmoid(z)) * relu(a),)


@cell("janet", states="h")
def janet(x: Array, states: State, p: Any) -> State:
    """Van der Westhuizen, Lasenby, The unreasonable effectiveness of the forget gate, arXiv 1804.04849, 2018.

    With the paper's beta = 1. Rows of the weights in the order f, n.

    s = U_f h + W_f x + b_f;  n = tanh(U_c h + W_c x + b_c)
    h' = sigmoid(s) * h + (1 - sigmoid(s - beta)) * n
    """
    (h,) = states
    s, n = _split(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh, 2)
    return (sigmoid(s) * h + (1 - sigmoid(s - 1)) * tanh(n),)


@cell("indrnn", states="h")
def indrnn(x: Array, states: State, p: Any) -> State:
    """Li et al., Independently recurrent neural network (IndRNN), CVPR 2018.

    h' = ReLU(W x + u * h + b)
    """
    (h,) = states
    return (relu(p.weight_ih(x) + p.bias_ih + p.weight_diagonal * h),)


@cell("slstm", states="h c n m")
def slstm(x: Array, states: State, p: Any) -> State:
    """Beck et al., xLSTM: Extended long short-term memory, arXiv 2405.04517: the sLSTM, one head, f = sigmoid.

    With the stabiliser m: i and f below are the paper's i' and f'. Rows of the weights in the order i, f, z, o.

    i~ = W_i x + R_i h + b_i, and likewise f~, z~, o~;  z = tanh(z~);  o = sigmoid(o~)
    m' = max(log sigmoid(f~) + m, i~)
    i = exp(i~ - m');  f = exp(log sigmoid(f~) + m - m')
    c' = f * c + i * z;  n' = f * n + i
    h' = o * c' / n'
    """
    return _slstm(x, states, p, log_sigmoid)


@cell("slstm_exp", states="h c n m")
def slstm_exp(x: Array, states: State, p: Any) -> State:
    """Beck et al. 2024: the sLSTM, f = exp, the paper's other choice: log f = f~; see `slstm`."""
    return _slstm(x, states, p, lambda f: f)


def _slstm(x: Array, states: State, p: Any, log_forget: Callable[[Array], Array]) -> State:
    """Take a step of either sLSTM."""
    h, c, n, m = states
    i, f, z, o = _split(p.weight_ih(x) + p.bias_ih + p.weight_hh(h) + p.bias_hh, 4)
    log_f = log_forget(f)
    m_new = larger(log_f + m, i)
    i_stable, f_stable = np.exp(i - m_new), np.exp(log_f + m - m_new)
    c_new = f_stable * c + i_stable * tanh(z)
    n_new = f_stable * n + i_stable
    return sigmoid(o) * (c_new / n_new), c_new, n_new, m_new


@cell("lstm_layer_norm", states="h c")
def lstm_layer_norm(x: Array, states: State, p: Any) -> State:
    """Ba, Kiros & Hinton, Layer normalization, arXiv 1607.06450, equations (20) to (22).

    Rows of the weights i, f, g, o. Their b is in the two shifts (the biases), which they add to it. p.weight_diagonal
    has the gains of LN(W x) and of LN(U h), then gain and shift of LN(c').

    (i, f, g, o) = LN(U h; alpha_1, beta_1) + LN(W x; alpha_2, beta_2) + b
    c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h' = sigmoid(o) * tanh(LN(c'; alpha_3, beta_3))
    """
    h, c = states
    gains = _split(p.weight_diagonal, 10)
    alpha_2, alpha_1 = np.concatenate(gains[:4], axis=-1), np.concatenate(gains[4:8], axis=-1)
    sums = _layer_norm(p.weight_hh(h), alpha_1, p.bias_hh) + _layer_norm(p.weight_ih(x), alpha_2, p.bias_ih)
    i, f, g, o = _split(sums, 4)
    c_new = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(_layer_norm(c_new, gains[8], gains[9])), c_new


@cell("gru_layer_norm", states="h")
def gru_layer_norm(x: Array, states: State, p: Any) -> State:
    """Ba, Kiros & Hinton's normalisation in the GRU of cuDNN, as LayerNormGRU of Haste (LMNT 2020).

    The paper normalises the sums of r and z apart from those of n; here, as in Haste, all three are one row. z keeps
    the OLD state. Rows of the weights r, z, n; p.weight_diagonal has the gains of LN(W x), then of LN(U h).

    x = LN(W x; alpha_x, b_x);  u = LN(U h; alpha_u, b_u)
    r = sigmoid(x_r + u_r);  z = sigmoid(x_z + u_z);  n = tanh(x_n + r * u_n)
    h' = z * h + (1 - z) * n
    """
    (h,) = states
    gain_x, gain_u = np.split(p.weight_diagonal, 2, axis=-1)
    x_r, x_z, x_n = _split(_layer_norm(p.weight_ih(x), gain_x, p.bias_ih), 3)
    u_r, u_z, u_n = _split(_layer_norm(p.weight_hh(h), gain_u, p.bias_hh), 3)
    z = sigmoid(x_z + u_z)
    return (z * h + (1 - z) * tanh(x_n + sigmoid(x_r + u_r) * u_n),)


def _layer_norm(a: Array, gain: Array, shift: Array) -> Array:
    """LN of Ba, Kiros & Hinton over the last axis; 1e-5 keeps a row of equal numbers from dividing by 0."""
    distance = a - a.mean(-1, keepdims=True)
    variance = (distance * distance).mean(-1, keepdims=True)  # no absolute value: it holds on the complex plane
    return np.asarray(gain * distance / np.sqrt(variance + 1e-5) + shift)


def _split(gates: Array, count: int) -> list[Array]:
    """(..., B, count*H) to count arrays (..., B, H)."""
    return np.split(gates, count, axis=-1)
