"""Cells from equations against the compiled cells of the same equations, and against the reference of these.

The forward's operations stand in the same order in both, so outputs and states are the same to the last bit, for all
cells but those of `NEARLY`. Of the backwards one is derived, the other written: for the cells of `ALIKE` both come to
the same operations and bits, for the others they round differently. Each gradient lies within the tolerances of the
built-in cells, from the same reference.

A cell from equations stays for as long as its process lives: test_cells.py runs these tests in one of their
own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from expected import check_slope, expected
from problems import EMPTY_SHAPES, LONG, SHAPES, Array, Problem, is_free, make
from separate_calls import reset_state
from tolerances import assert_close, forward_length, gradient_length

import rnnkernels as rk
from rnnkernels import attention
from tests.equations.builtin import CELLS

DTYPES = ("float32", "float64")
NAMES = tuple(CELLS)
Shape = tuple[int, int, int, int]

# c + i * g is one fused operation in equations, and two in the compiled cell.
NEARLY = {"lstm_nfg"}
ALIKE = ("rnn_tanh", "rnn_relu", "lstm", "lstm_peephole", "lstm_nig", "lstm_nog", "lstm_niaf", "indrnn")


def check(p: Problem, shape: Shape, wanted: dict[str, Array] | None = None, **options: Any) -> None:
    """Compare all results of a built-in cell's problem with those of its equations.

    Bit for bit what the forward makes; gradients with `wanted`, the reference's, or with those of the built-in cell.
    """
    steps, batch, inputs, hidden = shape
    compiled = p.results(**options)
    found = replace(p, cell=CELLS[p.cell]).results(**options)
    assert found.keys() == compiled.keys()
    gates = len(rk.cell_info(p.cell)["gates"])
    for name, value in found.items():
        assert value.dtype == compiled[name].dtype
        if not name.startswith("d "):
            if p.cell not in NEARLY:
                assert value.tobytes() == compiled[name].tobytes(), name
            assert_close(value, compiled[name], "output", forward_length(steps, inputs, hidden), name)
        else:
            length = gradient_length(steps, batch, inputs, hidden, gates)
            right = compiled[name] if wanted is None else wanted[name]
            assert_close(value, right, "gradient", length if wanted else 4 * length, name)


def test_every_element_wise_cell_stands_once_more() -> None:
    built_in = {cell for cell in rk.cells() if not cell.endswith("_by_equations")}
    infos = {cell: rk.cell_info(cell) for cell in built_in}
    assert set(NAMES) == {
        cell for cell, info in infos.items() if info["normalisation"] == "none" and not info["projected"]
    }


@pytest.mark.parametrize("cell", NAMES)
def test_parameters_are_the_same(cell: str) -> None:
    for bias in (True, False):
        shapes = rk.parameter_shapes(cell, 5, 5, bias=bias)
        assert rk.parameter_shapes(CELLS[cell], 5, 5, bias=bias) == shapes
    compiled, made = rk.init_params(cell, 5, 5, rng=1), rk.init_params(CELLS[cell], 5, 5, rng=1)
    for name, value in compiled.items():
        assert made[name].tobytes() == value.tobytes()
    assert rk.cell_info(cell)["states"] == rk.cell_info(CELLS[cell])["states"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", NAMES)
def test_vectors(cell: str, dtype: str, isa: str) -> None:
    for shape in SHAPES:
        p = make(cell, shape, "float32")
        check(p.astype(dtype), shape, expected(p))


@pytest.mark.parametrize("cell", ALIKE)
def test_gradients_to_the_last_bit(cell: str, isa: str) -> None:
    for dtype in DTYPES:
        p = make(cell, (3, 7, 33, 20), dtype)
        compiled, found = p.results(), replace(p, cell=CELLS[cell]).results()
        for name, value in compiled.items():
            assert value.tobytes() == found[name].tobytes(), name


@pytest.mark.parametrize("cell", NAMES)
def test_tokens_and_no_biases(cell: str) -> None:
    for shape in [(3, 2, 40, 7), (2, 13, 9, 33)]:
        check(make(cell, shape, tokens=True), shape)
        check(make(cell, shape, bias=False), shape)


@pytest.mark.parametrize("cell", NAMES)
def test_more_rows_than_a_chunk(cell: str) -> None:
    for dtype in DTYPES:
        check(make(cell, LONG, dtype), LONG)
    for threads in (1, 2):
        rk.set_num_threads(threads)
        p = make(cell, (75, 90, 2, 3))
        check_slope(replace(p, cell=CELLS[cell]))


@pytest.mark.parametrize("cell", NAMES)
def test_nothing_to_do(cell: str) -> None:
    for shape in EMPTY_SHAPES:
        check(make(cell, shape), shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", NAMES)
def test_lengths_resets_and_reversed_time(cell: str, dtype: str, isa: str) -> None:
    shape = (9, 6, 5, 19)
    p = make(cell, shape, dtype)
    resets = np.random.default_rng(0).random(shape[:2]) < 0.2
    lengths = np.array([4, 9, 0, 1, 9, 6])
    check(p, shape, lengths=lengths)
    check(p, shape, lengths=lengths, resets=resets, reset_state=reset_state(p), reverse=True)


@pytest.mark.parametrize("memory", ["states", "replay"])
@pytest.mark.parametrize("cell", NAMES)
def test_less_memory_gives_the_same(cell: str, memory: str) -> None:
    shape = (7, 3, 4, 18)
    p = make(cell, shape, "float32")
    check(p, shape, memory=memory)
    p = replace(p, cell=CELLS[cell])
    whole, less = p.results(), p.results(memory=memory)
    for name, value in whole.items():
        if name.removeprefix("d ") not in p.params:  # sums over the steps, in another order
            assert value.tobytes() == less[name].tobytes(), name


@pytest.mark.parametrize("cell", NAMES)
def test_masks_and_terms(cell: str) -> None:
    shape = (6, 5, 4, 18)
    p = make(cell, shape)
    check(p, shape, noise=rk.Noise(3, recurrent_dropout=0.25, weight_dropout=0.5))
    check(p, shape, term=np.random.default_rng(5).standard_normal((5, len(p.params["weight_ih"]))))


@pytest.mark.parametrize("cell", NAMES)
def test_steps_and_prepared_layers(cell: str, isa: str) -> None:
    p = replace(make(cell, (4, 1, 5, 33), "float32"), cell=CELLS[cell])
    run = p.forward()
    layer = rk.Prepared(p.cell, p.params)
    output, state = layer.forward(p.x, p.state)
    assert output.tobytes() == run.output.tobytes()
    assert [s.tobytes() for s in state] == [s.tobytes() for s in run.state]
    after: Any = p.state
    for t, x in enumerate(p.x):
        after = rk.step(p.cell, x, p.params, after)
        assert after[0].tobytes() == run.output[t].tobytes()


@pytest.mark.parametrize("cell", [cell for cell in NAMES if is_free(cell)])
def test_the_attending_recurrence(cell: str) -> None:
    steps, batch, places, width, hidden = 4, 3, 5, 6, 9
    rng = np.random.default_rng(0)
    x, features = rng.standard_normal((steps, batch, 2)), rng.standard_normal((batch, places, width))
    d_output = rng.standard_normal((steps, batch, hidden))
    params = attention.init_params(cell, 2, width, hidden, rng=0, dtype="float64")
    compiled, made = (attention.forward(name, x, features, params) for name in (cell, CELLS[cell]))
    if cell not in NEARLY:
        assert made.output.tobytes() == compiled.output.tobytes()
    right, found = (attention.backward(run, d_output) for run in (compiled, made))
    for name, value in found.params.items():
        assert_close(value, right.params[name], "gradient", 4 * gradient_length(steps, batch, 2 + width, hidden), name)


def test_a_setting_is_that_of_the_built_in_cell(isa: str) -> None:
    """c' is held, and no gradient passes where it is."""
    held: Any = CELLS["lstm"]
    for dtype in DTYPES:
        p = make("lstm", (6, 5, 4, 18), dtype)
        compiled = p.results(cell_clip=0.4)
        found = replace(p, cell=held(cell_clip=0.4)).results()
        assert (np.abs(compiled["state[1]"]) == np.float64(0.4).astype(dtype)).any()
        for name, value in found.items():
            if not name.startswith("d "):
                assert value.tobytes() == compiled[name].tobytes(), name
            assert_close(value, compiled[name], "gradient", 4 * gradient_length(6, 5, 4, 18), name)
