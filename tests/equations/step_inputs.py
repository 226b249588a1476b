"""Inputs of every step that act unit by unit (`rk.PerStep`): before a product, behind it, and in what is fed back.

The reference is written here, in NumPy, of equations that have each of these; gradients are complex steps.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import rnnkernels as rk

SHAPES = ((4, 3, 5, 7), (6, 2, 3, 16), (5, 30, 4, 33), (1, 1, 1, 1), (3, 1, 2, 64), (0, 2, 3, 4), (2, 0, 3, 4))


@rk.cell
def decaying(x: Any, h: Any, decay: rk.PerStep) -> Any:
    k = decay * h
    u = rk.product(k)
    r, z = rk.sigmoid(x.r + u.r), rk.sigmoid(x.z + u.z)
    n = rk.tanh(x.n + r * u.n)
    return n + z * (k - n)


@rk.cell
def decaying_before(x: Any, h: Any, decay: rk.PerStep, gain: rk.PerStep) -> Any:
    k = decay * h
    u = rk.product(k)
    r, z = rk.sigmoid(x.r + u.r), rk.sigmoid(x.z + u.z)
    v = rk.product(r * k * gain)
    n = rk.tanh(x.n + v.n)
    return n + z * (gain * k - n)


CELLS = ((decaying, 1), (decaying_before, 2))


def reference(cell: str, x: Any, p: dict[str, Any], h: Any) -> tuple[Any, Any]:
    """Return the outputs and the last state; x (T, B, I + E·H)."""
    size, inputs = h.shape[1], p["weight_ih"].shape[1]
    outputs = [np.zeros((0, *h.shape))]
    for row in x:
        part, decay, gain = row[:, :inputs], row[:, inputs : inputs + size], row[:, inputs + size :]
        a = part @ p["weight_ih"].T + p["bias_ih"]
        k = decay * h
        w_r, w_z, w_n = p["weight_hh"].reshape(3, size, size)
        b_r, b_z, b_n = p["bias_hh"].reshape(3, size)
        r = 1 / (1 + np.exp(-(a[:, :size] + k @ w_r.T + b_r)))
        z = 1 / (1 + np.exp(-(a[:, size : 2 * size] + k @ w_z.T + b_z)))
        if cell == decaying:
            n = np.tanh(a[:, 2 * size :] + r * (k @ w_n.T + b_n))
            h = n + z * (k - n)
        else:
            n = np.tanh(a[:, 2 * size :] + (r * k * gain) @ w_n.T + b_n)
            h = n + z * (gain * k - n)
        outputs.append(h[np.newaxis])
    return np.concatenate(outputs), h


def of_x(grads: rk.Gradients) -> Any:
    """Return dL/dx, which was asked for."""
    return grads.x


def problem(cell: str, elements: int, shape: tuple[int, ...], dtype: str = "float64") -> tuple[Any, Any, Any]:
    """Return x, parameters and the first state."""
    steps, batch, inputs, hidden = shape
    draw = np.random.default_rng(1)
    x = draw.uniform(0.3, 1.0, (steps, batch, inputs + elements * hidden)).astype(dtype)
    return x, rk.init_params(cell, inputs, hidden, rng=2, dtype=dtype), draw.normal(size=(batch, hidden)).astype(dtype)


@pytest.mark.parametrize("instruction_set", rk.instruction_sets())
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("cell", "elements"), CELLS)
def test_outputs_and_gradients(cell: str, elements: int, shape: tuple[int, ...], instruction_set: str) -> None:
    before = rk.instruction_set()
    rk.set_instruction_set(instruction_set)
    try:
        x, params, h = problem(cell, elements, shape)
        run = rk.forward(cell, x, params, (h,))
        expected, last = reference(cell, x, params, h)
        np.testing.assert_allclose(run.output, expected, rtol=0, atol=1e-13)
        np.testing.assert_allclose(run.state[0], last, rtol=0, atol=1e-13)
        draw = np.random.default_rng(3)
        d_output = draw.normal(size=run.output.shape)
        grads = rk.backward(run, d_output)
        check_slopes(cell, x, params, h, d_output, grads, draw)
    finally:
        rk.set_instruction_set(before)


def check_slopes(cell: str, x: Any, params: Any, h: Any, d_output: Any, grads: Any, draw: Any) -> None:
    """Compare the slope along a direction of each array with the complex step's."""
    inputs = params["weight_ih"].shape[1]
    directions = {name: draw.normal(size=array.shape) for name, array in params.items()}
    moves: list[tuple[Any, Any, Any, float]] = []
    for part in (slice(0, inputs), slice(inputs, None)):
        move = np.zeros_like(x)
        move[..., part] = draw.normal(size=x[..., part].shape)
        moves.append((move, {}, 0.0, float((grads.x * move).sum())))
    for name, move in directions.items():
        moves.append((0.0, {name: move}, 0.0, float((grads.params[name] * move).sum())))
    move = draw.normal(size=h.shape)
    moves.append((0.0, {}, move, float((grads.state[0] * move).sum())))
    for of_x, of_params, of_h, got in moves:
        moved = {name: array + 1e-100j * of_params.get(name, 0.0) for name, array in params.items()}
        output, _ = reference(cell, x + 1e-100j * of_x, moved, h + 1e-100j * of_h)
        slope = float(np.imag((output * d_output).sum()) / 1e-100)
        assert abs(got - slope) <= 1e-12 * max(1.0, abs(slope))


@pytest.mark.parametrize(("cell", "elements"), CELLS)
def test_ragged_rows_are_those_of_sequences_alone(cell: str, elements: int) -> None:
    x, params, h = problem(cell, elements, (7, 4, 3, 18), "float32")
    lengths, resets = np.array([7, 3, 0, 5]), np.zeros((7, 4), bool)
    resets[4, 0] = resets[2, 3] = True
    for reverse in (False, True):
        run = rk.forward(cell, x, params, (h,), lengths=lengths, resets=resets, reverse=reverse)
        d_output = np.random.default_rng(5).normal(size=run.output.shape).astype(np.float32)
        grads = rk.backward(run, d_output)
        for row, steps in enumerate(lengths):
            # Before a step: behind it where time runs backwards.
            cuts = sorted({0, *(np.flatnonzero(resets[:steps, row]) + reverse), steps})
            for begin, end in itertools.pairwise(cuts):
                begins = end == steps if reverse else begin == 0
                first = (h[row : row + 1],) if begins else None
                alone = rk.forward(cell, x[begin:end, row : row + 1], params, first, reverse=reverse)
                np.testing.assert_array_equal(run.output[begin:end, row], alone.output[:, 0])
                of_alone = rk.backward(alone, d_output[begin:end, row : row + 1])
                np.testing.assert_array_equal(of_x(grads)[begin:end, row], of_x(of_alone)[:, 0])


@pytest.mark.parametrize(("cell", "elements"), CELLS)
def test_other_ways_to_run(cell: str, elements: int) -> None:
    x, params, h = problem(cell, elements, (9, 3, 4, 20), "float32")
    whole = rk.forward(cell, x, params, (h,))
    d_output = np.ones_like(whole.output)
    grads = rk.backward(whole, d_output)
    for memory in ("states", "replay"):
        run = rk.forward(cell, x, params, (h,), memory=memory)
        np.testing.assert_array_equal(rk.backward(run, d_output).x, grads.x)
    layer = rk.Prepared(cell, params)
    np.testing.assert_array_equal(layer.forward(x, (h,))[0], whole.output)
    stepper = rk.Stepper(layer, 3, (h,))
    state: Any = (h,)
    for t, row in enumerate(x):
        state = rk.step(cell, row, params, state)
        np.testing.assert_array_equal(stepper(row), whole.output[t])
        np.testing.assert_array_equal(state[0], whole.output[t])
    stack = rk.Stack(cell, 4, 20, rng=0)
    stack.params = {f"{name}_l0": array for name, array in params.items()}
    assert np.array_equal(stack.forward(x, [(h,)]).output, whole.output)


def test_no_gradient_of_x() -> None:
    x, params, _ = problem(decaying, 1, (5, 2, 3, 8))
    run = rk.forward(decaying, x, params)
    d_output = np.ones_like(run.output)
    grads, without = rk.backward(run, d_output), rk.backward(run, d_output, need_x=False)
    assert without.x is None
    np.testing.assert_array_equal(without.params["weight_hh"], grads.params["weight_hh"])


def test_long_sequences_are_cut_where_they_are_not() -> None:
    """Chunks of a backward: what is fed back to a chunk's first step comes when the chunk is done."""
    x, params, h = problem(decaying, 1, (300, 64, 2, 512), "float32")
    run = rk.forward(decaying, x, params, (h,))
    d_output = np.random.default_rng(0).normal(size=run.output.shape).astype(np.float32)
    grads = rk.backward(run, d_output)
    cut = 150
    first = rk.forward(decaying, x[:cut], params, (h,))
    second = rk.forward(decaying, x[cut:], params, first.state)
    of_second = rk.backward(second, d_output[cut:])
    np.testing.assert_array_equal(of_x(grads)[cut:], of_second.x)
    np.testing.assert_array_equal(of_x(grads)[:cut], rk.backward(first, d_output[:cut], of_second.state).x)


def test_what_does_not_fit_is_refused() -> None:
    x, params, _ = problem(decaying, 1, (5, 2, 3, 8))
    with pytest.raises(ValueError, match=r"x: expected shape \(T, B, I \+ E\*H\) = \(5, 2, 11\), got \(5, 2, 3\)"):
        rk.forward(decaying, x[..., :3].copy(), params)
    with pytest.raises(TypeError, match="x: expected vectors, as decaying has element-wise inputs, got tokens"):
        rk.forward(decaying, np.zeros((5, 2), np.int64), params)
    with pytest.raises(TypeError, match="x: expected vectors, as decaying has element-wise inputs, got tokens"):
        rk.Prepared(decaying, params, tokens=True)
    with pytest.raises(ValueError, match="num_layers: expected 1, as decaying reads decay beside"):
        rk.Stack(decaying, 3, 8, 2)
    assert rk.cell_info(decaying)["elements"] == ("decay",)
