"""Every cell, in both dtypes, on odd shapes, against the float64 reference; one of each form on every instruction set.

Forward and backward, vectors and tokens, with and without biases. Memory is poisoned with NaN (conftest.py), so
an element that a kernel forgets to write, or reads before it is written, shows. Tolerances: tolerances.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from expected import check_slope, expected
from problems import EMPTY_SHAPES, FORMS, LONG, SHAPES, Array, Problem, every_cell_and_every_set, make
from tolerances import amplification, assert_close, forward_length, gradient_length

import rnnkernels as rk
from rnnkernels import _cpu, reference

CELLS = rk.cells()
DTYPES = ("float32", "float64")
Shape = tuple[int, int, int, int]


def check(p: Problem, shape: Shape, dtype: str, wanted: dict[str, Array]) -> None:
    steps, batch, inputs, hidden = shape
    found = p.results()
    amplified = amplification(p.cell, steps, batch, inputs, hidden)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert value.dtype == dtype
        if name.startswith("d "):
            gates = len(rk.cell_info(p.cell)["gates"])
            length = gradient_length(steps, batch, inputs, hidden, gates)
            assert_close(value, wanted[name], "gradient", length, name, amplified)
        else:
            quantity = "output" if name == "output" else "state"
            assert_close(value, wanted[name], quantity, forward_length(steps, inputs, hidden), name, amplified)


def test_every_cell_has_a_reference() -> None:
    assert set(CELLS) == set(reference.cells())


# The values are float32's in both dtypes, so that one reference serves both. Those of `check_slope` fill a float64.


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cell", "isa"), every_cell_and_every_set(), indirect=["isa"])
def test_vectors(cell: str, isa: str, dtype: str, shape: Shape) -> None:
    p = make(cell, shape, "float32")
    check(p.astype(dtype), shape, dtype, expected(p))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", FORMS)
def test_more_rows_than_a_chunk(cell: str, dtype: str) -> None:
    p = make(cell, LONG, "float32")
    assert _cpu.plan(cell, *LONG, dtype, 1)["forward_chunk"] < LONG[0]
    check(p.astype(dtype), LONG, dtype, expected(p))


@pytest.mark.parametrize("cell", ["lstm", "gru", "mut1"])
def test_gradient_rows_of_whole_pages(cell: str) -> None:
    """Four gradients of 128 units: such rows lie a vector further apart."""
    shape = (3, 3, 2, 128)
    p = make(cell, shape, "float32")
    check(p.astype("float64"), shape, "float64", expected(p))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2, 40, 7), (5, 6, 4, 17), (2, 13, 9, 33)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_tokens(cell: str, dtype: str, shape: Shape) -> None:
    """More different tokens than tokens in the call (gathered) and fewer (laid out as a table)."""
    p = make(cell, shape, "float32", tokens=True)
    check(p.astype(dtype), shape, dtype, expected(p))


@pytest.mark.parametrize("cell", CELLS)
def test_without_biases(cell: str) -> None:
    shape = (4, 3, 5, 18)
    p = make(cell, shape, bias=False)
    check(p, shape, "float64", expected(p))


@pytest.mark.parametrize("cell", FORMS)
def test_several_chunks(cell: str) -> None:
    """More rows than one chunk of the backward holds, and a chunk that the steps do not fill."""
    shape = (75, 90, 2, 3)
    assert 1 < _cpu.plan(cell, *shape, "float64", 1)["backward_chunk"] < 75 / 1.5
    for threads in (1, 2):
        rk.set_num_threads(threads)
        check_slope(make(cell, shape))


@pytest.mark.parametrize("shape", EMPTY_SHAPES, ids=str)
@pytest.mark.parametrize("cell", FORMS)
def test_nothing_to_do(cell: str, shape: Shape) -> None:
    """T = 0 hands the state through; every gradient of a weight is zero."""
    for tokens in (False, True):
        p = make(cell, shape, tokens=tokens)
        found = p.results()
        for i, (s, d) in enumerate(zip(p.state, p.d_state, strict=True)):
            np.testing.assert_array_equal(found[f"state[{i}]"], s)
            np.testing.assert_array_equal(found[f"d state[{i}]"], d)
        for name in p.params:
            assert found[f"d {name}"].shape == p.params[name].shape
            assert not found[f"d {name}"].any()


@pytest.mark.parametrize("cell", FORMS)
def test_default_state_is_zero(cell: str) -> None:
    p = make(cell, (3, 2, 4, 5))
    zeros = tuple(np.zeros_like(s) for s in p.state)
    np.testing.assert_array_equal(rk.forward(cell, p.x, p.params).output, rk.forward(cell, p.x, p.params, zeros).output)


@pytest.mark.parametrize("cell", FORMS)
def test_missing_gradients_are_zero(cell: str) -> None:
    p = make(cell, (3, 2, 4, 5))
    run = p.forward()
    for given, zero in [
        (rk.backward(run, None, p.d_state), rk.backward(run, np.zeros_like(p.d_output), p.d_state)),
        (rk.backward(run, p.d_output), rk.backward(run, p.d_output, tuple(np.zeros_like(s) for s in p.state))),
    ]:
        for name, value in given.params.items():
            np.testing.assert_array_equal(value, zero.params[name])
    without = rk.backward(run, p.d_output, need_x=False)
    assert without.x is None


@pytest.mark.parametrize("cell", FORMS)
def test_arrays_are_not_modified_and_results_are_fresh(cell: str) -> None:
    p = make(cell, (4, 3, 5, 18))
    inputs = [p.x, *p.params.values(), *p.state, p.d_output, *p.d_state]
    before = [a.copy() for a in inputs]
    for a in inputs:
        a.flags.writeable = False
    run = p.forward()
    kept = run.output.copy()
    first = rk.backward(run, p.d_output, p.d_state)
    second = rk.backward(run, p.d_output, p.d_state)  # a run is not used up
    for a, b in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(run.output, kept)
    for name in p.params:
        np.testing.assert_array_equal(first.params[name], second.params[name])
        assert not np.shares_memory(first.params[name], second.params[name])
    assert not np.shares_memory(run.state[0], run.output)
    assert run.output.flags.writeable


def test_nan_in_the_input_stays_in_its_row(isa: str) -> None:
    for cell in CELLS:
        p = make(cell, (5, 4, 3, 20))
        clean = p.forward().output
        p.x[2, 1, 0] = np.nan
        output = p.forward().output
        assert np.isnan(output[2:, 1]).all()
        others = [0, 2, 3]
        np.testing.assert_array_equal(output[:, others], clean[:, others])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", ["slstm", "slstm_exp"])
def test_nan_in_either_operand_of_a_maximum_stays(cell: str, dtype: str, isa: str) -> None:
    """Of the input gate, of the forget gate, of the state m before: m' shows it, in its unit alone."""
    for gate in ("i", "f", "m"):
        p = make(cell, (1, 3, 2, 20), dtype)
        if gate == "m":
            p.state[3][:, 7] = np.nan
        else:
            p.params["bias_ih"]["if".index(gate) * 20 + 7] = np.nan
        for state in p.forward().state:
            assert np.isnan(state[:, 7]).all()
            assert np.isfinite(np.delete(state, 7, axis=1)).all()


def test_infinite_and_huge_inputs_end(isa: str) -> None:
    """Saturated gates, not NaN: the functions clamp their range."""
    for cell in ("rnn_tanh", "lstm", "gru", "gru_reset_before"):
        for value in (1e30, -1e30):
            p = make(cell, (3, 2, 3, 9), "float32")
            p.x[...] = value
            assert np.isfinite(p.forward().output).all()


@pytest.mark.parametrize("cell", ["lstm_layer_norm", "gru_layer_norm"])
def test_torch_operations_agree(cell: str) -> None:
    """A second opinion on normalised cells: PyTorch's layer_norm, and its derivatives."""
    torch = pytest.importorskip("torch")
    p = make(cell, (5, 3, 7, 19))
    w = {name: torch.tensor(value, requires_grad=True) for name, value in p.params.items()}
    x = torch.tensor(p.x, requires_grad=True)
    initial = [torch.tensor(s, requires_grad=True) for s in p.state]
    rows = len(p.params["weight_ih"])
    gains = w["weight_diagonal"].split([rows, rows, len(w["weight_diagonal"]) - 2 * rows])

    def normal(a: Any, gain: Any, shift: Any) -> Any:
        return torch.nn.functional.layer_norm(a, a.shape[-1:], gain, shift)

    state, loss = initial, torch.zeros(())
    for x_t, d in zip(x, torch.tensor(p.d_output), strict=True):
        a = normal(x_t @ w["weight_ih"].T, gains[0], w["bias_ih"])
        b = normal(state[0] @ w["weight_hh"].T, gains[1], w["bias_hh"])
        if cell == "gru_layer_norm":
            (x_r, x_z, x_n), (u_r, u_z, u_n) = a.chunk(3, -1), b.chunk(3, -1)
            z = (x_z + u_z).sigmoid()
            state = [(1 - z) * (x_n + (x_r + u_r).sigmoid() * u_n).tanh() + z * state[0]]
        else:
            i, f, g, o = (a + b).chunk(4, -1)
            c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
            state = [o.sigmoid() * normal(c, *gains[2].chunk(2)).tanh(), c]
        loss = loss + (state[0] * d).sum()
    for value, d_last in zip(state, p.d_state, strict=True):
        loss = loss + (value * torch.tensor(d_last)).sum()
    loss.backward()
    found = p.results()
    np.testing.assert_allclose(found["d x"], x.grad.numpy(), atol=1e-12)
    for name, value in w.items():
        np.testing.assert_allclose(found[f"d {name}"], value.grad.numpy(), atol=1e-12)
    for k, (s, last) in enumerate(zip(initial, state, strict=True)):
        np.testing.assert_allclose(found[f"state[{k}]"], last.detach().numpy(), atol=1e-13)
        np.testing.assert_allclose(found[f"d state[{k}]"], s.grad.numpy(), atol=1e-12)


def test_torch_agrees() -> None:
    """A second opinion where PyTorch has the cell."""
    torch = pytest.importorskip("torch")
    modules = {
        "rnn_tanh": torch.nn.RNN,
        "rnn_relu": lambda *size: torch.nn.RNN(*size, nonlinearity="relu"),
        "lstm": torch.nn.LSTM,
        "gru": torch.nn.GRU,
    }
    for cell, module in modules.items():
        p = make(cell, (5, 3, 7, 19))
        layer = module(7, 19).double()
        layer.load_state_dict({f"{name}_l0": torch.tensor(value) for name, value in p.params.items()})
        x = torch.tensor(p.x, requires_grad=True)
        state = [torch.tensor(s[None], requires_grad=True) for s in p.state]
        output, final = layer(x, tuple(state) if len(state) > 1 else state[0])
        finals = final if isinstance(final, tuple) else (final,)
        loss = (output * torch.tensor(p.d_output)).sum()
        for value, d in zip(finals, p.d_state, strict=True):
            loss = loss + (value[0] * torch.tensor(d)).sum()
        loss.backward()
        found = p.results()
        np.testing.assert_allclose(found["output"], output.detach().numpy(), atol=1e-13)
        np.testing.assert_allclose(found["d x"], x.grad.numpy(), atol=1e-12)
        for name in p.params:
            np.testing.assert_allclose(found[f"d {name}"], getattr(layer, f"{name}_l0").grad.numpy(), atol=1e-12)
        for i, s in enumerate(state):
            np.testing.assert_allclose(found[f"d state[{i}]"], s.grad[0].numpy(), atol=1e-12)
