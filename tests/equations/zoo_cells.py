"""The cells of rnnkernels.zoo against functions written from their papers (references.py).

Outputs, states and gradients of the kernels, on every instruction set, in both dtypes, on odd shapes; and the graphs of
the equations, which `rnnkernels.reference` evaluates.

A cell from equations stays for as long as its process lives: test_cells.py runs these tests in one of their
own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import expected
import numpy as np
import pytest
from problems import SHAPES, Array, Problem, make
from tolerances import assert_close, forward_length, gradient_length

import rnnkernels as rk
from rnnkernels import reference, zoo
from rnnkernels.reference.cells import CELLS, Cell
from tests.equations import references
from tests.equations.references import REFERENCES

WITH_STEPS = {
    "gru_d": ("decay",),
    "m2rnn": ("f",),
}  # by cell: its element-wise inputs of every step
NAMES = sorted(REFERENCES)
Shape = tuple[int, int, int, int]


def from_paper(p: Problem) -> dict[str, Array]:
    """What the function written from the paper gives for a problem, in float64."""
    CELLS[p.cell] = REFERENCES[p.cell]
    try:
        return expected._compute(p.astype("float64"), None, {})
    finally:
        del CELLS[p.cell]


def fitting(cell: str, shape: Shape) -> Shape:
    """A shape whose units the cell's heads can share: as many or a few more."""
    heads = rk.cell_info(cell)["heads"]
    return *shape[:3], -(-shape[3] // heads) * heads


def problem(cell: str, shape: Shape, dtype: str = "float64") -> Problem:
    """A random problem; the sLSTM's normaliser is a sum of positive terms."""
    p = make(cell, shape, dtype)
    states = zip(rk.cell_info(cell)["states"], p.state, strict=True)
    p.state = tuple(np.abs(s) + s.dtype.type(0.5) if name == "n" else s for name, s in states)
    return p


def check(found: dict[str, Array], wanted: dict[str, Array], shape: Shape, gates: int) -> None:
    steps, batch, inputs, hidden = shape
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        length = gradient_length(steps, batch, inputs, hidden, gates)
        if name.startswith("d "):
            assert_close(value, wanted[name], "gradient", length, name)
        else:
            assert_close(value, wanted[name], "output", forward_length(steps, inputs, hidden), name)


def test_every_cell_has_a_reference() -> None:
    assert set(zoo.cells()) == set(REFERENCES)
    assert {"cells", *zoo.cells()} <= set(dir(zoo))
    for name in zoo.cells():
        assert (getattr(zoo, name).equations.doc or "").strip()
    with pytest.raises(AttributeError, match="no attribute 'lstm_of_tomorrow'"):
        zoo.lstm_of_tomorrow  # noqa: B018


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", NAMES)
def test_kernels(cell: str, dtype: str, isa: str) -> None:
    name = getattr(zoo, cell)
    for shape in map(partial(fitting, name), SHAPES):
        p = problem(name, shape, "float32")
        check(p.astype(dtype).results(), from_paper(p), shape, len(rk.cell_info(name)["gates"]))


@pytest.mark.parametrize("cell", NAMES)
def test_graphs(cell: str) -> None:
    """The equations and the paper's function agree to rounding, gradients too."""
    shape = fitting(getattr(zoo, cell), (3, 7, 5, 9))
    p = problem(getattr(zoo, cell), shape)
    check(expected._compute(p, None, {}), from_paper(p), shape, 4)


@pytest.mark.parametrize("cell", NAMES)
def test_lengths_resets_and_less_memory(cell: str) -> None:
    """Against the plain call of each row, and itself."""
    shape = fitting(getattr(zoo, cell), (7, 4, 5, 18))
    p = problem(getattr(zoo, cell), shape)
    lengths = np.array([7, 0, 3, 5])
    run = p.forward(lengths=lengths)
    for b, length in enumerate(lengths):
        row = p.rows(slice(b, b + 1))
        row.x = row.x[:length]
        assert row.forward().output.tobytes() == np.ascontiguousarray(run.output[:length, b : b + 1]).tobytes()
    whole, less = p.results(), p.results(memory="replay")
    for name, value in whole.items():
        if name.removeprefix("d ") in p.params:  # sums over the steps, in another order
            assert_close(less[name], value, "gradient", gradient_length(*shape), name)
        else:
            assert value.tobytes() == less[name].tobytes(), name


def test_settings_are_those_of_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' hard sigmoid before version 3, DreamerV3's GRU without its bias, other blocks and heads."""

    def hard(z: Array) -> Array:
        return np.clip(0.2 * z + 0.5, 0, 1)

    def without_bias(x: Array, states: Any, p: Any) -> Any:
        """Its sums of z moved by what the bias would take away."""
        rows = np.repeat([0.0, 0.0, 1.0], states[0].shape[-1])
        moved = SimpleNamespace(**{**vars(p), "bias_ih": p.bias_ih + rows})
        return references._dreamer(x, states, moved, 2)

    steps: dict[str, Any] = {
        zoo.gru_hard_sigmoid(slope=0.2): lambda x, states, p: references._gru(x, states, p, hard, np.tanh),
        zoo.lstm_hard_sigmoid(slope=0.2): lambda x, states, p: references._lstm(x, states, p, hard, np.tanh),
        zoo.dreamer_gru(blocks=2, update_bias=0.0): without_bias,
        zoo.slstm_heads(heads=9): lambda x, states, p: references._slstm(x, states, p, 9),
    }
    for name, step in steps.items():
        p = problem(name, (4, 3, 5, 18))
        monkeypatch.setitem(CELLS, name, Cell(rk.cell_info(name)["states"], step))
        wanted, _ = reference.forward(name, 3 * p.x, p.params, p.state)
        found = rk.forward(name, 3 * p.x, p.params, p.state).output
        assert_close(found, wanted, "output", forward_length(4, 5, 18))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_slstm_of_one_head_is_the_built_in_one(dtype: str) -> None:
    p = make("slstm", (5, 3, 7, 20), dtype)
    one = replace(p, cell=zoo.slstm_heads(heads=1))
    found, right = one.results(), p.results()
    for name, value in right.items():
        if not name.startswith("d "):
            assert found[name].tobytes() == value.tobytes(), name


# ---- element-wise inputs of a step ----------------------------------------------------------------


def test_their_inputs_of_every_step() -> None:
    assert {name: rk.cell_info(getattr(zoo, name))["elements"] for name in WITH_STEPS} == WITH_STEPS


def test_m2rnn_is_a_matrix_row_by_row() -> None:
    """S' = f S + (1 - f) tanh(S U + k vᵀ), v = W x, of every sequence."""
    steps, batch, inputs, keys, values = 5, 3, 4, 6, 7
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, inputs))
    k = rng.standard_normal((steps, batch, keys))
    f = rng.random((steps, batch))
    w, u = rng.standard_normal((values, inputs)), rng.standard_normal((values, values))
    wanted = np.zeros((batch, keys, values))
    for t in range(steps):
        z = np.tanh(wanted @ u.T + k[t][:, :, None] * (x[t] @ w.T)[:, None, :])
        wanted = f[t][:, None, None] * wanted + (1 - f[t][:, None, None]) * z
    rows = (k[..., None] * x[:, :, None]).reshape(steps, batch * keys, inputs)
    forget = np.repeat(np.repeat(f, keys, axis=1)[..., None], values, axis=2)
    _, (found,) = reference.forward(zoo.m2rnn, np.concatenate((rows, forget), axis=2), {"weight_ih": w, "weight_hh": u})
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, atol=1e-13)


@pytest.mark.parametrize("keys_differ", [False, True])
def test_heads_of_m2rnn_have_matrices_of_their_own(keys_differ: bool) -> None:
    """S_n' = f_n S_n + (1 - f_n) tanh(S_n U_n + k_n v_nᵀ) of every head n, in one call."""
    steps, batch, inputs, heads, keys, values = 5, 3, 4, 3, 6, 7
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, inputs))
    k = rng.standard_normal((steps, batch, heads, keys))
    k = k if keys_differ else np.repeat(k[:, :, :1], heads, axis=2)
    f = rng.random((steps, batch, heads))
    w, u = rng.standard_normal((heads, values, inputs)), rng.standard_normal((heads, values, values))
    wanted = np.zeros((batch, heads, keys, values))
    for t, b, n in np.ndindex(steps, batch, heads):
        z = np.tanh(wanted[b, n] @ u[n].T + np.outer(k[t, b, n], w[n] @ x[t, b]))
        wanted[b, n] = f[t, b, n] * wanted[b, n] + (1 - f[t, b, n]) * z
    forget = np.repeat(f, values, axis=2)  # (T, B, N·V)
    if keys_differ:
        made = np.einsum("tbnk,nvi,tbi->tbknv", k, w, x).reshape(steps, batch * keys, heads * values)
        weight_ih = np.eye(heads * values)
    else:
        made = (k[:, :, 0, :, None] * x[:, :, None]).reshape(steps, batch * keys, inputs)
        weight_ih = w.reshape(heads * values, inputs)
    rows = np.concatenate((made, np.repeat(forget, keys, axis=1)), axis=2)
    params = {"weight_ih": weight_ih, "weight_hh": u.reshape(heads * values, values)}
    found = rk.forward(zoo.m2rnn(heads=heads), rows, params).state[0]
    np.testing.assert_allclose(found.reshape(batch, keys, heads, values).swapaxes(1, 2), wanted, atol=1e-13)
