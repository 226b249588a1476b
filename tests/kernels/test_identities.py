"""Cells that are other cells under some choice of weights: outputs, states and gradients agree.

Where the kernels do the same operations on the same numbers the bits agree, and are compared; else within tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from problems import Array, Problem, make
from tolerances import assert_close, gradient_length

import rnnkernels as rk

SHAPE = (7, 3, 19, 19)
Params = dict[str, Array]
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def as_other(p: Problem, cell: str, params: Params) -> Problem:
    """The same problem for another cell: states that `p` lacks are zeros, those it has too many are left out."""
    names = rk.cell_info(cell)["states"]
    zeros = np.zeros_like(p.state[0])

    def states(given: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(given[i] if i < len(given) else zeros for i in range(len(names)))

    return Problem(cell, p.x, params, states(p.state), p.d_output, states(p.d_state))


def assert_same_bits(one: Problem, two: Problem, also: tuple[str, ...] = ()) -> None:
    """Output, states, gradients of x, of the states and of the parameters named in `also`."""
    mine, theirs = one.results(), two.results()
    for name in ["output", "d x", *(f"d {name}" for name in also)]:
        assert mine[name].tobytes() == theirs[name].tobytes(), name
    for i in range(min(len(one.state), len(two.state))):
        for name in (f"state[{i}]", f"d state[{i}]"):
            assert mine[name].tobytes() == theirs[name].tobytes(), name


def assert_near(one: Problem, two: Problem) -> None:
    mine, theirs = one.results(), two.results()
    length = gradient_length(*SHAPE)
    for name in ("output", "d x", "d state[0]", "state[0]"):
        assert_close(mine[name], theirs[name], "gradient", 2 * length, name)


def blocks(value: Array, count: int) -> list[Array]:
    return np.split(value, count)


def per_gate(params: Params, change: Callable[[list[Array]], list[Array]], gates: int) -> Params:
    """The four gate parameters with their blocks of rows changed; the others as they are."""
    changed = dict(params)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        changed[name] = np.concatenate(change(blocks(params[name], gates)))
    return changed


@DTYPES
def test_peephole_lstm_with_zero_peepholes_is_the_lstm(dtype: str) -> None:
    """Greff's NP."""
    p = make("lstm", SHAPE, dtype)
    params = p.params | {"weight_diagonal": np.zeros(3 * SHAPE[3], dtype)}
    assert_same_bits(p, as_other(p, "lstm_peephole", params), tuple(p.params))


@DTYPES
def test_full_gate_recurrence_with_zero_matrices_is_the_peephole_lstm(dtype: str) -> None:
    p = make("lstm_peephole", SHAPE, dtype)
    params = p.params | {"weight_gg": np.zeros((3 * SHAPE[3], 3 * SHAPE[3]), dtype)}
    assert_same_bits(p, as_other(p, "lstm_fgr", params), tuple(p.params))


@pytest.mark.parametrize(("cell", "gate"), [("lstm_nig", 0), ("lstm_nfg", 1), ("lstm_nog", 3)])
@DTYPES
def test_an_absent_gate_is_one_that_is_open(cell: str, gate: int, dtype: str) -> None:
    p = make(cell, SHAPE, dtype)
    hidden = SHAPE[3]

    def with_gate(value: Array, place: int, fill: float) -> Array:
        return np.insert(value, [place * hidden] * hidden, fill, axis=0)

    params = {name: with_gate(p.params[name], gate, 0) for name in ("weight_ih", "weight_hh", "bias_hh")}
    params["bias_ih"] = with_gate(p.params["bias_ih"], gate, 1e3)  # sigmoid(1000) is 1
    params["weight_diagonal"] = with_gate(p.params["weight_diagonal"], min(gate, 2), 0)
    assert_same_bits(p, as_other(p, "lstm_peephole", params))


@DTYPES
def test_coupled_gates_are_a_forget_gate_held_at_one_minus_the_input_gate(dtype: str) -> None:
    """sigmoid(-a) = 1 - sigmoid(a)."""
    p = make("lstm_cifg", SHAPE, dtype)
    params = per_gate(p.params, lambda gates: [gates[0], -gates[0], *gates[1:]], 3)
    p_i, p_o = blocks(p.params["weight_diagonal"], 2)
    params["weight_diagonal"] = np.concatenate([p_i, -p_i, p_o])
    assert_near(p, as_other(p, "lstm_peephole", params))


@pytest.mark.parametrize(("cell", "gate"), [("mut1", 2), ("mut2", 1)])
@DTYPES
def test_the_printed_form_is_the_projected_one_with_the_identity(cell: str, gate: int, dtype: str) -> None:
    p = make(cell, SHAPE, dtype)
    hidden = SHAPE[3]
    params = dict(p.params)
    head, tail = p.params["weight_ih"][: gate * hidden], p.params["weight_ih"][gate * hidden :]
    params["weight_ih"] = np.concatenate([head, np.eye(hidden, dtype=dtype), tail])
    params["bias_ih"] = np.insert(p.params["bias_ih"], [gate * hidden] * hidden, 0)
    one, two = p.results(), as_other(p, f"{cell}_projected", params).results()
    assert one["output"].tobytes() == two["output"].tobytes()
    assert one["d weight_hh"].tobytes() == two["d weight_hh"].tobytes()
    assert_close(one["d x"], two["d x"], "gradient", gradient_length(*SHAPE))


@DTYPES
def test_independent_units_are_a_vanilla_network_with_a_diagonal_matrix(dtype: str) -> None:
    p = make("indrnn", SHAPE, dtype)
    params: dict[str, Any] = {name: p.params[name] for name in ("weight_ih", "bias_ih")}
    params["weight_hh"] = np.diag(p.params["weight_diagonal"])
    params["bias_hh"] = np.zeros(SHAPE[3], dtype)
    other = as_other(p, "rnn_relu", params)
    assert_near(p, other)
    found = p.results()["d weight_diagonal"]
    assert_close(found, np.diag(other.results()["d weight_hh"]), "gradient", 2 * gradient_length(*SHAPE))


@DTYPES
def test_a_minimal_gated_unit_is_a_gru_whose_two_gates_are_one(dtype: str) -> None:
    """r = f and z = 1 - f: the GRU's z keeps the old state, the unit's f the new one."""
    p = make("mgu", SHAPE, dtype)
    assert_near(p, as_other(p, "gru_reset_before", per_gate(p.params, lambda g: [g[0], -g[0], g[1]], 2)))


@pytest.mark.parametrize("cell", ["slstm", "slstm_exp"])
@DTYPES
def test_a_stabiliser_changes_only_how_c_and_n_are_scaled(cell: str, dtype: str) -> None:
    """c and n stand for c e^m and n e^m, so h sees no constant added to m; nor m at all where c = n = 0."""
    p = make(cell, SHAPE, dtype)
    p.d_state = (p.d_state[0], *(np.zeros_like(s) for s in p.d_state[1:]))
    h, c, n, m = p.state
    shift = np.random.default_rng(3).uniform(-3, 3, m.shape).astype(dtype)
    assert_near(p, replace(p, state=(h, c * np.exp(-shift), n * np.exp(-shift), m + shift)))
    zeros = np.zeros_like(m)
    # With an m far below, m' comes from the input gate, as the authors' code has it in a first step.
    assert_near(replace(p, state=(h, zeros, zeros, zeros)), replace(p, state=(h, zeros, zeros, zeros - 50)))


NORMALISED = [cell for cell in rk.cells() if rk.cell_info(cell)["normalisation"] != "none"]


@pytest.mark.parametrize("cell", NORMALISED)
@DTYPES
def test_a_normalised_product_does_not_see_the_scale_of_its_weight(cell: str, dtype: str) -> None:
    """Powers of two change no digit, and the epsilon is lost beside variances as large as these."""
    for name in ("weight_ih", "weight_hh"):
        p = make(cell, SHAPE, dtype)
        p.params[name] = p.params[name] * np.dtype(dtype).type(2.0**30)
        scaled = as_other(p, cell, p.params | {name: p.params[name] * 8})
        others = tuple(other for other in p.params if other != name)
        assert_same_bits(p, scaled, others)
        assert (p.results()[f"d {name}"] / 8).tobytes() == scaled.results()[f"d {name}"].tobytes()


@pytest.mark.parametrize("cell", NORMALISED)
@DTYPES
def test_a_normalised_product_does_not_see_what_all_of_its_rows_share(cell: str, dtype: str) -> None:
    """So the gradient along such a change is zero: the mean has gone out of every row of it."""
    p = make(cell, SHAPE, dtype)
    common = np.linspace(-1, 1, SHAPE[2], dtype=dtype)
    moved = as_other(p, cell, p.params | {name: p.params[name] + common for name in ("weight_ih", "weight_hh")})
    assert_near(p, moved)
    found, length = p.results(), 2 * gradient_length(*SHAPE)
    for name in ("weight_ih", "weight_hh"):
        gradient = found[f"d {name}"]
        assert_close(gradient.sum(axis=0), np.zeros(SHAPE[3]), "gradient", length * len(gradient), name)


@DTYPES
def test_a_normalised_gru_without_gains_is_a_gru_without_weights(dtype: str) -> None:
    p = make("gru_layer_norm", SHAPE, dtype)
    p.params["weight_diagonal"] = np.zeros_like(p.params["weight_diagonal"])
    plain = {name: value for name, value in p.params.items() if name != "weight_diagonal"}
    plain |= {name: np.zeros_like(plain[name]) for name in ("weight_ih", "weight_hh")}
    one, two = p.results(), as_other(p, "gru", plain).results()
    for name in ("output", "d state[0]", "d bias_ih", "d bias_hh"):
        assert one[name].tobytes() == two[name].tobytes(), name


@pytest.mark.parametrize("cell", NORMALISED)
@DTYPES
def test_a_row_without_variance_has_gradients(cell: str, dtype: str) -> None:
    """The epsilon's: of units that are alike, and of a single one, whose normalised value is its shift."""
    p = make(cell, SHAPE, dtype)
    p.params["weight_hh"] = np.zeros_like(p.params["weight_hh"])
    p.state = tuple(np.zeros_like(s) for s in p.state)
    p.x = np.zeros_like(p.x)
    assert all(np.isfinite(value).all() for value in p.results().values())
    if cell == "lstm_layer_norm":
        alone = make(cell, (3, 2, 4, 1), dtype)
        shift = alone.params["weight_diagonal"][-1]
        assert (np.abs(alone.forward().output) <= abs(np.tanh(shift))).all()
        assert not alone.results()["d weight_diagonal"][-2]  # its gain has nothing to multiply


def test_a_printed_form_needs_equal_sizes() -> None:
    with pytest.raises(ValueError, match="input_size: mut1 adds x itself to a gate: expected hidden_size, 5, got 4"):
        rk.init_params("mut1", 4, 5)
    p = make("mut2", (2, 1, 5, 5))
    wide = p.params | {"weight_ih": np.zeros((10, 4))}
    with pytest.raises(ValueError, match=r"params: mut2 adds x itself to a gate: expected I = H = 5, got I = 4"):
        rk.forward("mut2", np.zeros((2, 1, 4)), wide)


def test_parameters_a_cell_has_or_lacks() -> None:
    p = make("lstm_fgr", (2, 1, 3, 4))
    assert set(p.params) == {"weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_gg", "weight_diagonal"}
    assert p.params["weight_gg"].shape == (12, 12)
    without = {name: value for name, value in p.params.items() if name != "weight_gg"}
    with pytest.raises(ValueError, match=r"params: expected weight_ih, .*weight_gg.*got no weight_gg"):
        rk.forward("lstm_fgr", p.x, without)
    with pytest.raises(ValueError, match=r"params: .*got an unknown 'weight_gg'"):
        rk.forward("lstm_peephole", p.x, p.params)
    with pytest.raises(ValueError, match=r"params\['weight_gg'\]: expected shape .* = \(12, 12\), got \(4, 12\)"):
        rk.forward("lstm_fgr", p.x, p.params | {"weight_gg": np.zeros((4, 12))})
    independent = make("indrnn", (2, 1, 3, 4))
    assert set(independent.params) == {"weight_ih", "bias_ih", "weight_diagonal"}
    with pytest.raises(ValueError, match=r"params\['weight_diagonal'\]: expected shape .* = \(4,\), got \(3,\)"):
        rk.forward("indrnn", independent.x, independent.params | {"weight_diagonal": np.zeros(3)})
