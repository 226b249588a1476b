"""A cell from equations in every layer, option and driver of NumPy: run by test_everywhere.py.

Compared with the built-in cell of the same equations, bit for bit where the forward makes it, or with differences.
What one layer does with lengths, masks and less memory is in builtin_cells.py.
"""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_layers import CELLS as OWN
from own_layers import B, H, I, T, check_slopes, keeper, mixed, numbers
from processes import python

import rnnkernels as rk
from rnnkernels import attention, bptt
from tests.equations.builtin import CELLS

DTYPES = ("float32", "float64")
SAME = ("lstm", "gru", "gru_reset_before", "lstm_peephole", "mut3", "indrnn")
CLOSE: dict[str, Any] = {"float32": {"rtol": 1e-4, "atol": 1e-5}, "float64": {"rtol": 1e-11, "atol": 1e-12}}


def assert_same(found: Any, wanted: Any, name: str = "") -> None:
    """Raise where arrays, or arrays in sequences and mappings, are not the same bits."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert_same(found[key], value, f"{name} {key}")
    elif isinstance(wanted, (tuple, list)):
        assert len(found) == len(wanted)
        for k, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_same(one, other, f"{name}[{k}]")
    elif wanted is None:
        assert found is None, name
    else:
        np.testing.assert_array_equal(found, wanted, err_msg=name, strict=True)


def assert_near(found: dict[str, Any], wanted: dict[str, Any], dtype: str) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, **CLOSE[dtype], err_msg=name)


@rk.cell
def gated_alone(x: Any, h: Any, c: Any) -> Any:
    """Nothing of dL/dh is made in the first half of the backward."""
    q = rk.product(rk.sigmoid(x.r + rk.product(h).r) * h)
    d = c * rk.sigmoid(x.f) + rk.tanh(x.n + q.n)
    return rk.tanh(d), d


@rk.cell
def gate_of_both(x: Any, h: Any, c: Any) -> Any:
    """A part of dL/dr is made in the first half of the backward, and waits for the second; of dL/dh nothing is."""
    r = rk.sigmoid(x.r + rk.product(h).r)
    d = r * c + rk.tanh(x.n + rk.product(r * h).n)
    return rk.tanh(d), d


# ---- layers on layers ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 2},
        {"num_layers": 2, "bidirectional": True},
        {"num_layers": 2, "dropout": 0.3, "zoneout": 0.2, "recurrent_dropout": 0.25, "weight_dropout": 0.1},
        {"recurrent_dropout": 0.25, "per_step": True},
        {"bias": False, "recurrent": "orthogonal"},
        {"recurrent": "identity"},
    ],
    ids=str,
)
@pytest.mark.parametrize("cell", SAME)
def test_stacks(cell: str, options: dict[str, Any], dtype: str) -> None:
    if cell == "indrnn" and ("recurrent" in options or "recurrent_dropout" in options):
        pytest.skip("it has no recurrent matrix")
    x = np.random.default_rng(1).standard_normal((T, B, I)).astype(dtype)
    d_output = None
    results = []
    for name in (cell, CELLS[cell]):
        stack = rk.Stack(name, I, H, dtype=dtype, rng=0, **options)
        run = stack.forward(x, rng=np.random.default_rng(3))
        if d_output is None:
            d_output = np.random.default_rng(2).standard_normal(run.output.shape).astype(dtype)
        results.append((dict(stack.params), run.output, run.state, stack.backward(run, d_output)))
    (params, output, state, right), (params_2, output_2, state_2, found) = results
    assert_same(params_2, params)
    assert_same((output_2, state_2), (output, state))
    assert_near({**found.params, "x": found.x}, {**right.params, "x": right.x}, dtype)


@pytest.mark.parametrize("cell", OWN)
def test_a_stack_of_a_cell_that_has_no_peer(cell: str) -> None:
    layers = 1 if rk.cell_info(cell)["elements"] else 2
    x, _, _ = numbers(cell)
    stack = rk.Stack(cell, I, H, num_layers=layers, bidirectional=True, dtype="float64", rng=0)
    lengths = np.array([T, 2, 0])
    d_output = np.random.default_rng(2).standard_normal((T, B, 2 * H))

    def loss() -> float:
        return float(np.sum(stack.forward(x, lengths=lengths).output * d_output))

    grads = stack.backward(stack.forward(x, lengths=lengths), d_output)
    check_slopes(loss, {**stack.params, "x": x}, {**grads.params, "x": grads.x})


def test_layers_of_a_cell_with_inputs_of_its_own_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^num_layers: expected 1, as decayed reads gamma, p beside"):
        rk.Stack("decayed", I, H, num_layers=2)


@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm_peephole"])
def test_a_forget_bias(cell: str) -> None:
    if cell == "gru":
        for name in (cell, CELLS[cell]):
            with pytest.raises(ValueError, match=r"^forget_bias: "):
                rk.init_params(name, I, H, forget_bias=1.0, rng=0)
        return
    found = rk.init_params(CELLS[cell], I, H, forget_bias=1.0, rng=0)
    assert_same(found, rk.init_params(cell, I, H, forget_bias=1.0, rng=0))


# ---- through time --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", SAME)
def test_backpropagation_through_time(cell: str, dtype: str) -> None:
    x = np.random.default_rng(1).standard_normal((3 * T, B, I)).astype(dtype)
    target = np.random.default_rng(2).standard_normal((3 * T, B, H)).astype(dtype)

    def loss(output: Any, start: int) -> Any:
        off = output - target[start : start + len(output)]
        return float((off * off).sum()), 2 * off, {}

    right, found = (rk.Stack(name, I, H, num_layers=2, dtype=dtype, rng=0) for name in (cell, CELLS[cell]))
    for memory in ("all", "states", "replay"):
        one, other = (bptt.full_bptt(stack, x, loss, memory=memory) for stack in (found, right))
        assert one.loss == other.loss
        assert_near(dict(one.grads), dict(other.grads), dtype)
    for one, other in zip(
        bptt.windows(found, [x], loss, k1=4, k2=6), bptt.windows(right, [x], loss, k1=4, k2=6), strict=True
    ):
        assert one.loss == other.loss
        assert_same(one.state, other.state)
        assert_near(dict(one.grads), dict(other.grads), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", SAME)
def test_all_states_and_norms(cell: str, dtype: str) -> None:
    x, params, state = numbers(cell, dtype)
    rng = np.random.default_rng(4)
    d_output = rng.standard_normal((T, B, H)).astype(dtype)
    d_states = (None, *(rng.standard_normal((T, B, H)).astype(dtype) for _ in state[1:]))
    one, other = (rk.forward(name, x, params, state, all_states=True) for name in (CELLS[cell], cell))
    assert_same(one.states, other.states)
    found, right = (rk.backward(run, d_output, d_states=d_states, norms=True) for run in (one, other))
    assert_near(found.params, right.params, dtype)
    assert found.norms is not None
    assert right.norms is not None
    for a, b in zip(found.norms, right.norms, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE[dtype])


@pytest.mark.parametrize(
    "options",
    [{"weights": "bfloat16"}, {"tokens": True}, {"noise": rk.Noise(0, 0.2, 0.3)}],
    ids=["bfloat16", "tokens", "noise"],
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", SAME)
def test_prepared_layers(cell: str, dtype: str, options: dict[str, Any]) -> None:
    if cell == "indrnn" and "noise" in options:
        pytest.skip("it has no recurrent matrix")
    if dtype == "float64" and "weights" in options:
        pytest.skip("weights of halves are of float32")
    x, params, state = numbers(cell, dtype)
    given: Any = np.random.default_rng(0).integers(0, I, (T, B)) if "tokens" in options else x
    term = np.random.default_rng(5).standard_normal((B, len(params["weight_ih"]))).astype(dtype)
    lengths = np.array([T, 2, 0])
    found, right = (rk.Prepared(name, params, **options) for name in (CELLS[cell], cell))
    for more in ({}, {"term": term}, {"lengths": lengths, "reverse": True}):
        assert_same(found.forward(given, state, **more), right.forward(given, state, **more))
    one, other = (rk.Stepper(layer, B, state, term=term) for layer in (found, right))
    for x_t in given:
        assert_same(one(x_t), other(x_t))
    assert_same(one.state, other.state)


def test_bytes_of_training() -> None:
    for cell in OWN:
        x, params, state = numbers(cell, "float32")
        told = {memory: rk.training_bytes(cell, T, B, H, memory=memory) for memory in ("all", "states", "replay")}
        for memory, most in told.items():
            run = rk.forward(cell, x, params, state, memory=memory)
            assert run.reserve_bytes <= most, memory
            assert run.reserve_bytes > 0 or memory == "states", memory  # of one state, which is the output


@pytest.mark.parametrize(
    "options",
    [
        {"zoneout": 0.3},
        {"recurrent_dropout": 0.3},
        {"weight_dropout": 0.3},
        {"zoneout": 0.3, "recurrent_dropout": 0.3, "per_step": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("cell", [*OWN, gated_alone, gate_of_both])
def test_gradients_under_masks(cell: str, options: dict[str, Any]) -> None:
    x, params, state = numbers(cell)
    noise = rk.Noise(3, **options)
    d_output = np.random.default_rng(2).standard_normal((T, B, H))

    def loss() -> float:
        return float(np.sum(rk.forward(cell, x, params, state, noise=noise).output * d_output))

    grads = rk.backward(rk.forward(cell, x, params, state, noise=noise), d_output)
    states = {f"state {k}": array for k, array in enumerate(state)}
    d_states = {f"state {k}": array for k, array in enumerate(grads.state)}
    check_slopes(loss, {**params, "x": x, **states}, {**grads.params, "x": grads.x, **d_states})


# ---- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [CELLS["lstm"], CELLS["lstm"][:]])
def test_cell_clip_is_an_argument_everywhere(name: str, dtype: str) -> None:
    limit = 0.2
    x, params, state = numbers("lstm", dtype)
    run, right = (rk.forward(cell, x, params, state, cell_clip=limit) for cell in (name, "lstm"))
    assert run.cell == f"lstm_by_equations(cell_clip={limit})"
    assert_same((run.output, run.state), (right.output, right.state))
    assert np.abs(right.state[1]).max() == np.dtype(dtype).type(limit)
    ones = np.ones_like(run.output)
    assert_near(rk.backward(run, ones).params, rk.backward(right, ones).params, dtype)
    assert_same(rk.step(name, x[0], params, state, cell_clip=limit)[0], right.output[0])
    layer = rk.Prepared(name, params, cell_clip=limit)
    assert_same(layer.forward(x, state), (right.output, right.state))
    stepper = rk.Stepper(layer, B, state)
    assert_same(stepper(x[0]), right.output[0])
    one, other = (rk.Stack(cell, I, H, 2, dtype=dtype, cell_clip=limit, rng=0) for cell in (name, "lstm"))
    assert_same(one.forward(x).output, other.forward(x).output)
    assert_same(one.step(x[0], None), other.step(x[0], None))


@pytest.mark.parametrize("dtype", DTYPES)
def test_cell_clip_is_an_argument_of_attention(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, features = rng.standard_normal((T, B, 2)).astype(dtype), rng.standard_normal((B, 5, 3)).astype(dtype)
    params = attention.init_params("lstm", 2, 3, H, rng=0, dtype=dtype)
    name = CELLS["lstm"]
    run, right, free = (
        attention.forward(cell, x, features, params, cell_clip=limit)
        for cell, limit in ((name, 0.1), ("lstm", 0.1), ("lstm", None))
    )
    assert_same((run.output, run.state, run.weights), (right.output, right.state, right.weights))
    assert not np.array_equal(right.output, free.output)
    stepper = attention.Stepper(name, features, params, cell_clip=0.1)
    assert_same(stepper(x[0]), right.output[0])


def test_cell_clip_that_is_none() -> None:
    x, params, _ = numbers("gru")
    with pytest.raises(ValueError, match=r"^cell_clip: gru_by_equations has none, got 1.0"):
        rk.forward(CELLS["gru"], x, params, cell_clip=1.0)
    with pytest.raises(ValueError, match=r"^cell_clip: gru_by_equations has none, got 1.0"):
        rk.Stack(CELLS["gru"], I, H, cell_clip=1.0)
    x, params, _ = numbers("lstm")
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"^cell_clip: expected a number above 0, got"):
            rk.forward(CELLS["lstm"], x, params, cell_clip=wrong)
    with pytest.raises(TypeError, match=r"^cell_clip: expected a number"):
        rk.Prepared(CELLS["lstm"], params, cell_clip="a")  # type: ignore[arg-type]


# ---- pickles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", OWN)
def test_pickles_are_read_where_the_function_is_not(cell: str, tmp_path: Path) -> None:
    """A layer, a stepper and a run of another process, which has never seen the cell."""
    x, params, state = numbers(cell)
    layer = rk.Prepared(cell, params)
    run = rk.forward(cell, x, params, state)
    stepper = rk.Stepper(layer, B, state)
    first = stepper(x[0])
    d_output = np.ones_like(run.output)
    grads = rk.backward(run, d_output)
    code = """
import pickle, sys
import numpy as np
import rnnkernels as rk
layer, stepper, run, x, state, d_output, wanted = pickle.load(open(sys.argv[1], "rb"))
output, second, first_gradient = wanted
np.testing.assert_array_equal(layer.forward(x, state)[0], output)
np.testing.assert_array_equal(stepper(x[1]), second)
np.testing.assert_array_equal(rk.backward(run, d_output).x, first_gradient)
assert run.cell in rk.cells()
"""
    second = rk.Prepared(cell, params).step(x[1], rk.step(cell, x[0], params, state))[0]
    assert_same(first, run.output[0])
    path = tmp_path / "layer.pickle"
    path.write_bytes(pickle.dumps((layer, stepper, run, x, state, d_output, (run.output, second, grads.x))))
    done = python(code, str(path))
    assert done.returncode == 0, done.stderr


# ---- threads and processes -----------------------------------------------------------------------


@pytest.mark.parametrize("cell", OWN)
def test_results_do_not_depend_on_threads(cell: str) -> None:
    x, params, _ = numbers(cell, "float32")
    wide = np.tile(x, (4, 40, 1))
    found = []
    before = rk.num_threads()
    try:
        for threads in (1, 2, 3):
            rk.set_num_threads(threads)
            run = rk.forward(cell, wide, params)
            grads = rk.backward(run, np.ones_like(run.output))
            found.append((run.output, run.state, grads.x))
    finally:
        rk.set_num_threads(before)
    assert_same(found[1], found[0])
    assert_same(found[2], found[0])


def test_threads_call_one_cell_at_once() -> None:
    x, params, state = numbers(keeper)
    wanted = rk.forward(keeper, x, params, state)
    d_x = rk.backward(wanted, np.ones_like(wanted.output)).x
    wrong: list[str] = []
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        for _ in range(20):
            run = rk.forward(keeper, x, params, state)
            if run.output.tobytes() != wanted.output.tobytes():
                wrong.append("output")
            found = rk.backward(run, np.ones_like(run.output)).x
            if found is None or d_x is None or found.tobytes() != d_x.tobytes():
                wrong.append("x")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_define_cells_while_others_run() -> None:
    """Each of many threads defines cells of its own and one that all define, and runs what it has."""
    x, params, _ = numbers("rnn_tanh")
    failed: list[BaseException] = []
    shared: set[int] = set()
    start = threading.Barrier(8)

    def work(number: int) -> None:
        try:
            start.wait()
            for k in range(4):
                scale = 1.0 + number + 10 * k
                made = _scaled(number, k, scale)
                np.testing.assert_array_equal(
                    rk.forward(made, x, params).output[0], scale * rk.forward("rnn_tanh", x, params).output[0]
                )
                shared.add(id(rk.cell(_common, name="common_of_threads")))
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(shared) == 1
    assert rk.cells().count("common_of_threads") == 1


def _common(x: Any, h: Any) -> Any:
    return rk.tanh(x.n + rk.product(h).n)


def _scaled(number: int, k: int, scale: float) -> str:
    def own(x: Any, h: Any) -> Any:
        return scale * rk.tanh(x.n + rk.product(h).n)

    return rk.cell(own, name=f"of_thread_{number}_{k}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_has_the_cells() -> None:
    x, params, state = numbers(mixed)
    wanted = rk.forward(mixed, x, params, state)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run = rk.forward(mixed, x, params, state)
            later = rk.cell(_common, name="after_the_fork")
            again = rk.forward(later, *numbers("rnn_tanh")[:2])
            code = int(run.output.tobytes() != wanted.output.tobytes() or not np.isfinite(again.output).all())
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert "after_the_fork" not in rk.cells()
