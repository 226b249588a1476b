"""The reference itself: against PyTorch where it has the cell, finite differences, by hand.

Not here: the kernels, which are compared with the reference in the parity tests.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tolerances
from problems import assert_equal_states, random_states, widths_of

import rnnkernels as rk
from rnnkernels import reference

CELLS = reference.cells()
SIZES = [(1, 1, 1, 1), (4, 3, 5, 2), (3, 2, 1, 7), (5, 4, 9, 8)]  # T, B, I, H

Problem = dict[str, Any]


def problem(cell: str, size: tuple[int, int, int, int], *, bias: bool = True, seed: int = 0) -> Problem:
    """Random values of every argument of `reference.gradients`."""
    steps, batch, inputs, hidden = size
    rng = np.random.default_rng(seed)
    inputs = hidden if rk.cell_info(cell)["direct"] else inputs
    proj_size = hidden // 2 + 1 if rk.cell_info(cell)["projected"] else None
    shapes = rk.parameter_shapes(cell, inputs, hidden, bias=bias, proj_size=proj_size)
    widths = widths_of(cell, hidden, proj_size)
    return {
        "x": rng.normal(size=(steps, batch, inputs)),
        "params": {name: rng.uniform(-1, 1, shape) * 1.2 / np.sqrt(hidden) for name, shape in shapes.items()},
        "state": random_states(cell, rng, batch, hidden, "float64", proj_size),
        "d_output": rng.normal(size=(steps, batch, widths[0])),
        "d_state": tuple(rng.normal(size=(batch, width)) for width in widths),
    }


def gates(cell: str) -> int:
    return len(rk.cell_info(cell)["gates"])


def objective(cell: str, p: Problem) -> float:
    output, final = reference.forward(cell, p["x"], p["params"], p["state"])
    return float((p["d_output"] * output).sum() + sum((d * s).sum() for d, s in zip(p["d_state"], final, strict=True)))


def arrays_of(p: Problem) -> dict[str, np.ndarray]:
    return {"x": p["x"], **p["params"], **{f"state{k}": s for k, s in enumerate(p["state"])}}


def gradients_of(cell: str, p: Problem) -> dict[str, np.ndarray]:
    dx, d_params, d_state = reference.gradients(cell, **p)
    assert dx is not None
    return {"x": dx, **d_params, **{f"state{k}": s for k, s in enumerate(d_state)}}


# --- PyTorch's opinion ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [*SIZES, (7, 5, 33, 33)])
@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
def test_pytorch_agrees_within_a_part_of_the_tolerance(cell: str, size: tuple[int, int, int, int], dtype: str) -> None:
    torch = pytest.importorskip("torch")
    steps, batch, inputs, hidden = size
    p = problem(cell, size)
    exact = {name: a.astype(dtype) for name, a in arrays_of(p).items()}
    p["x"], p["state"] = exact["x"], [exact[f"state{k}"] for k in range(len(p["state"]))]
    p["params"] = {name: exact[name] for name in p["params"]}
    p["d_output"], p["d_state"] = (
        p["d_output"].astype(dtype),
        [d.astype(dtype) for d in p["d_state"]],
    )

    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell, torch.nn.RNN)
    options = {"nonlinearity": cell.removeprefix("rnn_")} if kind is torch.nn.RNN else {}
    layer = kind(inputs, hidden, dtype=getattr(torch, dtype), **options)
    with torch.no_grad():
        for name, value in p["params"].items():
            getattr(layer, f"{name}_l0").copy_(torch.from_numpy(value))
    x = torch.from_numpy(p["x"]).requires_grad_()
    state = [torch.from_numpy(s).requires_grad_() for s in p["state"]]
    stacked = tuple(s[None] for s in state)
    output, final = layer(x, stacked if cell == "lstm" else stacked[0])
    final = final if cell == "lstm" else (final,)
    value = (output * torch.from_numpy(p["d_output"])).sum()
    for weight, s in zip(p["d_state"], final, strict=True):
        value = value + (s[0] * torch.from_numpy(weight)).sum()
    value.backward()

    part = 1 / 3  # of the tolerance: it would have to be widened before a kernel like PyTorch's failed it
    expected, expected_state = reference.forward(cell, p["x"], p["params"], p["state"])
    length = tolerances.forward_length(steps, inputs, hidden)
    allowed = part * tolerances.tolerance(dtype, "output", length)
    assert tolerances.error(output.detach(), expected) <= allowed
    for ours, theirs in zip(expected_state, final, strict=True):
        assert tolerances.error(theirs[0].detach(), ours) <= allowed
    theirs = {"x": x.grad, **{f"state{k}": s.grad for k, s in enumerate(state)}}
    theirs |= {name: getattr(layer, f"{name}_l0").grad for name in p["params"]}
    length = tolerances.gradient_length(steps, batch, inputs, hidden, gates(cell))
    allowed = part * tolerances.tolerance(dtype, "gradient", length)
    for name, ours in gradients_of(cell, p).items():
        assert tolerances.error(theirs[name], ours) <= allowed, name


# --- the cells by hand ----------------------------------------------------------------------------


def test_both_grus_are_the_printed_equations_number_by_number() -> None:
    """Two units, one input: Cho et al. (5) to (8) written out; z = 1 would keep the old state.

    With one unit U (r h) = r (U h), and the two could not be told apart.
    """

    def s(v: float) -> float:
        return 1 / (1 + math.exp(-v))

    p = problem("gru", (1, 1, 1, 2))
    x, h = p["x"][0, 0, 0], p["state"][0][0]
    w, u = p["params"]["weight_ih"][:, 0].reshape(3, 2), p["params"]["weight_hh"].reshape(3, 2, 2)
    b, c = p["params"]["bias_ih"].reshape(3, 2), p["params"]["bias_hh"].reshape(3, 2)

    def gate(g: int, j: int) -> float:
        return s(w[g, j] * x + b[g, j] + u[g, j, 0] * h[0] + u[g, j, 1] * h[1] + c[g, j])

    r, z = [gate(0, 0), gate(0, 1)], [gate(1, 0), gate(1, 1)]
    for j in (0, 1):
        from_x = w[2, j] * x + b[2, j]
        before = math.tanh(from_x + u[2, j, 0] * (r[0] * h[0]) + u[2, j, 1] * (r[1] * h[1]) + c[2, j])
        after = math.tanh(from_x + r[j] * (u[2, j, 0] * h[0] + u[2, j, 1] * h[1] + c[2, j]))
        for cell, n in (("gru_reset_before", before), ("gru", after)):
            output, (final,) = reference.forward(cell, p["x"], p["params"], p["state"])
            assert output[0, 0, j] == pytest.approx(z[j] * h[j] + (1 - z[j]) * n, rel=1e-15)
            assert final[0, j] == output[0, 0, j]


@pytest.mark.parametrize("cell", ["gru", "gru_reset_before"])
def test_an_update_gate_held_open_keeps_the_old_state(cell: str) -> None:
    p = problem(cell, (6, 2, 3, 4))
    p["params"]["bias_ih"][4:8] = 1e3
    _, (final,) = reference.forward(cell, p["x"], p["params"], p["state"])
    np.testing.assert_array_equal(final, p["state"][0])


def test_the_two_grus_agree_when_nothing_is_reset_and_differ_otherwise() -> None:
    p = problem("gru", (4, 2, 3, 5))
    p["params"]["bias_ih"][:5] = 1e3  # r = 1
    one, _ = reference.forward("gru", p["x"], p["params"], p["state"])
    two, _ = reference.forward("gru_reset_before", p["x"], p["params"], p["state"])
    np.testing.assert_allclose(one, two, atol=1e-15)
    p["params"]["bias_ih"][:5] = 0
    two, _ = reference.forward("gru_reset_before", p["x"], p["params"], p["state"])
    assert np.abs(reference.forward("gru", p["x"], p["params"], p["state"])[0] - two).max() > 1e-2


def test_an_lstm_with_open_forget_gate_and_closed_input_gate_carries_its_cell() -> None:
    p = problem("lstm", (9, 2, 3, 4))
    p["params"]["bias_ih"][:4], p["params"]["bias_ih"][4:8] = -1e3, 1e3
    _, (_, c) = reference.forward("lstm", p["x"], p["params"], p["state"])
    np.testing.assert_array_equal(c, p["state"][1])


# --- gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "bias"), [(SIZES[0], True), (SIZES[1], True), (SIZES[2], False)])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_against_finite_differences(cell: str, size: tuple[int, int, int, int], bias: bool) -> None:
    p = problem(cell, size, bias=bias)
    found = gradients_of(cell, p)
    assert found.keys() == arrays_of(p).keys()
    h = 1e-6
    rng = np.random.default_rng(1)
    for name, array in arrays_of(p).items():
        for place in rng.permutation(array.size)[:12]:
            kept = array.flat[place]
            array.flat[place] = kept + h
            above = objective(cell, p)
            array.flat[place] = kept - h
            below = objective(cell, p)
            array.flat[place] = kept
            difference = (above - below) / (2 * h)
            assert found[name].flat[place] == pytest.approx(difference, rel=1e-6, abs=1e-7), (
                name,
                place,
            )


@pytest.mark.parametrize("size", SIZES[:3])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_against_the_plain_complex_step_of_every_number(cell: str, size: tuple[int, int, int, int]) -> None:
    """`gradients` adds its steps to products; here each parameter itself takes the step."""
    p = problem(cell, size)
    found = gradients_of(cell, p)
    worst = 0.0
    for name, array in arrays_of(p).items():
        plain = np.zeros_like(array)
        for place in range(array.size):
            unit = np.zeros_like(array)
            unit.flat[place] = 1
            plain.flat[place] = reference.directional_derivative(cell, **p, direction={name: unit})
        worst = max(worst, tolerances.error(found[name], plain))
    assert worst <= tolerances.tolerance("float64", "gradient", tolerances.gradient_length(*size, gates(cell)))
    assert worst < 1e-12


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_a_larger_size_along_a_random_direction(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(cell, (6, 3, 21, 19))
    monkeypatch.setattr(reference, "BLOCK_BYTES", 16 * 3 * 19 * gates(cell) * 7)  # several blocks, the last one ragged
    found = gradients_of(cell, p)
    rng = np.random.default_rng(2)
    for _ in range(2):
        direction = {name: rng.normal(size=a.shape) for name, a in arrays_of(p).items()}
        slope = reference.directional_derivative(cell, **p, direction=direction)
        assert sum((found[name] * v).sum() for name, v in direction.items()) == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_tokens_are_unit_vectors(cell: str) -> None:
    p = problem(cell, (4, 3, 6, 5))
    kinds = p["x"].shape[-1]
    tokens = np.random.default_rng(3).integers(0, kinds, (4, 3))
    with_tokens, with_vectors = {**p, "x": tokens}, {**p, "x": np.eye(kinds)[tokens]}
    output, state = reference.forward(cell, tokens, p["params"], p["state"])
    also_output, also_final = reference.forward(cell, np.eye(kinds)[tokens], p["params"], p["state"])
    assert_equal_states((output, *state), (also_output, *also_final))
    dx, d_params, d_state = reference.gradients(cell, **with_tokens)
    _, also_params, also_state = reference.gradients(cell, **with_vectors)
    assert dx is None
    for name, value in also_params.items():
        np.testing.assert_array_equal(d_params[name], value)
    for one, two in zip(d_state, also_state, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("cell", CELLS)
def test_leading_axes_are_independent_copies(cell: str) -> None:
    """Three copies with their own x, weights and states in one call, real and complex."""
    several = [problem(cell, (3, 2, 4, 5), seed=seed) for seed in range(3)]
    x = np.stack([p["x"] for p in several])
    names, states = several[0]["params"], range(len(several[0]["state"]))
    for factor in (1.0, 1.0 + 1e-3j):
        params = {name: factor * np.stack([p["params"][name] for p in several]) for name in names}
        state = [np.stack([p["state"][k] for p in several]) for k in states]
        output, final = reference.forward(cell, x, params, state)
        assert output.dtype == (np.complex128 if factor != 1 else np.float64)
        for k, p in enumerate(several):
            one = {name: factor * value for name, value in p["params"].items()}
            alone, alone_final = reference.forward(cell, p["x"], one, p["state"])
            np.testing.assert_allclose(output[k], alone, atol=1e-14)
            for a, b in zip(final, alone_final, strict=True):
                np.testing.assert_allclose(a[k], b, atol=1e-14)


def test_slopes_where_a_cell_divides_by_very_little() -> None:
    """An exponential gate leaves n = exp(-60): h = sigmoid(o) c / n has slopes of sigmoid(o) / n, right to rounding."""
    params = {
        "weight_ih": np.zeros((4, 1)),
        "weight_hh": np.zeros((4, 1)),
        "bias_ih": np.array([-60.0, 0.0, 20.0, 3.0]),
    }
    _, _, (_, d_c, d_n, _) = reference.gradients("slstm_exp", np.zeros((1, 1, 1)), params, None, np.ones((1, 1, 1)))
    slope = reference.sigmoid(np.array(3.0)) * np.exp(60.0)
    np.testing.assert_allclose([d_c.item(), d_n.item()], [slope, -slope], rtol=1e-14)


# --- edges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(0, 2, 3, 4), (3, 0, 2, 4)])
@pytest.mark.parametrize("cell", CELLS)
def test_no_steps_and_no_rows(cell: str, size: tuple[int, int, int, int]) -> None:
    p = problem(cell, size)
    output, final = reference.forward(cell, p["x"], p["params"], p["state"])
    assert output.shape == p["d_output"].shape
    found = gradients_of(cell, p)
    for name, array in arrays_of(p).items():
        assert found[name].shape == array.shape
    for name in p["params"]:
        assert not found[name].any()
    if size[0] == 0:
        for k, (s, d) in enumerate(zip(final, p["d_state"], strict=True)):
            np.testing.assert_array_equal(s, p["state"][k])
            np.testing.assert_array_equal(found[f"state{k}"], d)


def test_missing_state_and_missing_state_gradient_are_zeros() -> None:
    p = problem("lstm", (3, 2, 4, 5))
    zeros = tuple(np.zeros_like(s) for s in p["state"])
    np.testing.assert_array_equal(
        reference.forward("lstm", p["x"], p["params"])[0],
        reference.forward("lstm", p["x"], p["params"], zeros)[0],
    )
    given = reference.gradients("lstm", p["x"], p["params"], zeros, p["d_output"], zeros)
    left = reference.gradients("lstm", p["x"], p["params"], None, p["d_output"])
    for name in p["params"]:
        np.testing.assert_array_equal(given[1][name], left[1][name])


def test_functions_are_safe_and_right_far_from_zero() -> None:
    z = np.array([-1e4, -750.0, -40.0, -1e-20, 0.0, 1e-20, 40.0, 750.0, 1e4])
    with np.errstate(all="raise", under="ignore"):
        s, t = reference.sigmoid(z), reference.tanh(z)
        complex_s, complex_t = (f(z + 1e-30j) for f in (reference.sigmoid, reference.tanh))
    assert s[2] == pytest.approx(4.248354255291589e-18, rel=1e-15)
    assert (s[0], s[4], s[-1]) == (0, 0.5, 1)
    assert (t[0], t[3]) == (-1, -1e-20)
    np.testing.assert_allclose(complex_s.real, s, rtol=1e-15)
    np.testing.assert_allclose(complex_t.real, t, rtol=1e-15)
    np.testing.assert_allclose(complex_s.imag / 1e-30, s * reference.sigmoid(-z), rtol=1e-14)
    np.testing.assert_allclose(complex_t.imag[3:6] / 1e-30, [1, 1, 1], rtol=1e-14)


def test_relu_branches_on_the_real_part_and_keeps_nan() -> None:
    found = reference.relu(np.array([-1 + 5j, 0 + 5j, 2 - 3j]))
    np.testing.assert_array_equal(found, [0, 0, 2 - 3j])
    np.testing.assert_array_equal(reference.relu(np.array([np.nan, -1.0, 1.0])), [np.nan, 0.0, 1.0])


@pytest.mark.parametrize("cell", CELLS)
def test_nan_in_one_row_stays_there(cell: str) -> None:
    p = problem(cell, (3, 2, 4, 5))
    p["x"][1, 0, 2] = np.nan
    output, _ = reference.forward(cell, p["x"], p["params"], p["state"])
    assert np.isfinite(output[:, 1]).all()
    assert np.isfinite(output[0]).all()
    assert np.isnan(output[1:, 0]).all()


def test_bad_input_is_named() -> None:
    p = problem("lstm", (3, 2, 4, 5))
    with pytest.raises(ValueError, match=r"cell: expected one of rnn_tanh.*got 'ltsm'"):
        reference.forward("ltsm", p["x"], p["params"])
    with pytest.raises(ValueError, match=r"state: expected 2 arrays \(h, c\), got 1"):
        reference.forward("lstm", p["x"], p["params"], p["state"][:1])
    with pytest.raises(ValueError, match="direction: no array is named weight_hx"):
        reference.directional_derivative("lstm", **p, direction={"weight_hx": np.zeros(1)})


def test_the_tolerance_sees_what_it_must() -> None:
    expected = np.array([0.0, 0.5, -3.0])
    length = tolerances.forward_length(7, 33, 33)
    tolerances.assert_close(expected.astype(np.float32), expected, "output", length)
    for wrong in (
        expected + 1e-4,
        expected[:2],
        np.array([0, 0.5, np.nan]),
        np.array([0, 0.5, np.inf]),
    ):
        with pytest.raises(AssertionError):
            tolerances.assert_close(wrong.astype(np.float32), expected, "output", length)
    assert tolerances.tolerance("float64", "gradient", 10**4) < 1e-13
