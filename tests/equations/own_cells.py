"""A cell is a name, registered once, that travels with its equations: run by test_own_cells.py."""

from __future__ import annotations

import copy
import json
import math
import pickle
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from cell_forms import FORMS
from cell_functions import FUNCTIONS
from processes import python

import rnnkernels as rk
from rnnkernels.equations.cell import Cell, load
from rnnkernels.equations.text import to_json

T, B, I, H = 6, 3, 4, 5  # noqa: E741


@rk.cell(name="own_gru")
def own_gru(x: Any, h: Any) -> Any:
    """GRU, reset after the product."""
    u = rk.product(h)
    r, z = rk.sigmoid(x.r + u.r), rk.sigmoid(x.z + u.z)
    n = rk.tanh(x.n + r * u.n)
    return n + z * (h - n)


@rk.cell(initial={"f": 1.0, "i": 0.0})
def own_light(x: Any, h: Any, c: Any, w: Any, *, slope: float = 1.0, cell_top: float = math.inf) -> Any:
    f = rk.sigmoid(x.f + w.f * c)
    d = f * c + (slope * x.n) * w.i
    if cell_top < math.inf:
        d = rk.where(d > cell_top, cell_top, d)
    return rk.tanh(d), d


def test_it_is_a_string_that_prints_its_equations() -> None:
    assert isinstance(own_gru, str)
    assert isinstance(own_gru, Cell)
    assert own_gru == "own_gru"
    assert hash(own_gru) == hash("own_gru")
    assert repr(own_gru) == "<cell own_gru>"
    assert f"{own_gru}" == f"{own_gru:s}" == "".join([own_gru]) == "own_gru"
    assert json.dumps(own_gru) == '"own_gru"'
    assert str(own_gru).startswith("cell own_gru: GRU, reset after the product.\n")
    with pytest.raises(TypeError, match=r"^Cell: made by rnnkernels.cell\(function\)"):
        Cell("own_gru")


def test_it_is_listed_with_its_table() -> None:
    assert "own_gru" in rk.cells()
    table, known = rk.cell_info(own_gru), rk.cell_info("gru")
    for key in ("states", "gates", "diagonals", "rows", "direct", "projected"):
        assert table[key] == known[key], key
    light = rk.cell_info(own_light)
    assert (light["diagonals"], light["initial"]) == (("f", "i"), ("one", "zero"))
    params = rk.init_params(own_light, I, H, rng=0)
    np.testing.assert_array_equal(params["weight_diagonal"], np.repeat([1.0, 0.0], H))
    assert "weight_hh" not in params


@pytest.mark.parametrize("cell", [own_gru, "own_gru"])
def test_it_is_taken_where_a_name_is(cell: str) -> None:
    x = np.random.default_rng(1).normal(size=(T, B, I)).astype(np.float32)
    params = rk.init_params(cell, I, H, rng=0)
    run, same = rk.forward(cell, x, params), rk.forward("gru", x, params)
    np.testing.assert_array_equal(run.output, same.output)
    grads, expected = rk.backward(run, x[..., :1] + run.output), rk.backward(same, x[..., :1] + run.output)
    np.testing.assert_allclose(grads.x, expected.x, rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]
    for name, value in expected.params.items():
        np.testing.assert_allclose(grads.params[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(rk.step(cell, x[0], params)[0], same.output[0])
    layer = rk.Prepared(cell, params)
    np.testing.assert_array_equal(layer.forward(x)[0], same.output)
    np.testing.assert_array_equal(rk.Stepper(layer, B)(x[0]), same.output[0])
    stack = rk.Stack(cell, I, H, num_layers=2, rng=0)
    np.testing.assert_array_equal(stack.forward(x).output, rk.Stack("gru", I, H, num_layers=2, rng=0).forward(x).output)


def test_it_is_taken_by_pytorch() -> None:
    torch = pytest.importorskip("torch")
    from rnnkernels.torch import Recurrent

    torch.manual_seed(0)
    layer, same = Recurrent(own_gru, I, H), Recurrent("gru", I, H)
    same.load_state_dict(layer.state_dict())
    x = torch.randn(T, B, I)
    expected = same(x)[0]
    assert layer.cell is own_gru
    assert torch.equal(layer(x)[0], expected)
    assert torch.equal(copy.deepcopy(layer)(x)[0], expected)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x)[0], expected)
    assert torch.equal(torch.compile(layer, backend="eager", fullgraph=True)(x)[0], expected)
    assert torch.equal(torch.export.export(layer, (x,)).module()(x)[0], expected)


def test_it_is_taken_by_jax() -> None:
    jax = pytest.importorskip("jax")
    from rnnkernels import jax as ours

    x = np.random.default_rng(1).normal(size=(T, B, I)).astype(np.float32)
    params = rk.init_params(own_gru, I, H, rng=0)
    expected = rk.forward("gru", x, params).output
    found = jax.jit(lambda x, params: ours.forward(own_gru, x, params)[0])(x, params)
    np.testing.assert_array_equal(np.asarray(found), expected)


@pytest.mark.parametrize(("dtype", "off"), [("float32", 2e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_kernels_compute_every_function(name: str, dtype: str, off: float) -> None:
    function, expected = FUNCTIONS[name]
    cell = rk.cell(lambda x, h: function(x.n) + 0.0 * h, name=f"function_{list(FUNCTIONS).index(name)}")
    params = {"weight_ih": np.ones((1, 1), dtype), "bias_ih": np.zeros(1, dtype)}
    x = np.array([-5.0, -2.3, -0.7, -0.1, 0.11, 0.45, 1.9, 2.3, 6.0], dtype)  # off every kink
    run = rk.forward(cell, x.reshape(1, -1, 1), params)
    np.testing.assert_allclose(run.output.ravel(), expected(x.astype(float)), rtol=4 * off, atol=off)
    slope = (expected(x + 1e-6) - expected(x - 1e-6)) / 2e-6 if dtype == "float64" else None
    found = rk.backward(run, np.ones_like(run.output)).x
    if slope is not None and found is not None:
        np.testing.assert_allclose(found.ravel(), slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("function", FORMS, ids=lambda function: function.__name__)
def test_gradients_of_forms_that_no_built_in_cell_has(function: Any) -> None:
    cell, size = rk.cell(function), 6  # two heads divide them
    rng = np.random.default_rng(0)
    params = rk.init_params(cell, size, size, rng=1, dtype="float64")
    x, d_output = rng.normal(size=(2, T, B, size))
    state, d_state = rng.normal(size=(2, len(cell.equations.states), B, size))

    def loss() -> float:
        run = rk.forward(cell, x, params, tuple(state))
        return float(np.sum(run.output * d_output) + np.sum(np.stack(run.state) * d_state))

    grads = rk.backward(rk.forward(cell, x, params, tuple(state)), d_output, tuple(d_state))
    for array, grad in ((x, grads.x), (state, np.stack(grads.state)), *((params[k], grads.params[k]) for k in params)):
        assert grad is not None
        at = tuple(rng.integers(0, n) for n in array.shape)
        before = array[at]
        array[at] = before + 1e-6
        above = loss()
        array[at] = before - 1e-6
        slope = (above - loss()) / 2e-6
        array[at] = before
        assert grad[at] == pytest.approx(slope, rel=1e-6, abs=1e-7)


# ---- names ---------------------------------------------------------------------------------------


def first(x: Any, h: Any) -> Any:
    return rk.tanh(x.n + h)


def second(x: Any, h: Any) -> Any:
    return rk.tanh(x.n - h)


def test_the_same_equations_are_the_same_object() -> None:
    cell = rk.cell(first, name="twice")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rk.cell(first, name="twice") is cell
        assert rk.cell(name="twice")(first) is cell
    assert rk.cell(first) == "first"
    assert rk.cells().count("twice") == 1


def test_other_equations_get_a_name_of_their_own() -> None:
    cell = rk.cell(first, name="redefined")
    told = "redefined is a cell of other equations, which stays as it is: this one is registered as redefined_2"
    with pytest.warns(UserWarning, match=f"^{told}$") as caught:
        other = rk.cell(second, name="redefined")
    assert caught[0].filename == __file__
    assert (cell, other) == ("redefined", "redefined_2")
    assert other.equations.name == "redefined_2"
    with pytest.warns(UserWarning, match="registered as redefined_2"):
        assert rk.cell(second, name="redefined") is other
    assert rk.cell(first, name="redefined") is cell
    with pytest.warns(UserWarning, match="registered as redefined_3"):
        rk.cell(lambda x, h: x.n * h, name="redefined")


def test_names_that_no_cell_can_have() -> None:
    with pytest.raises(ValueError, match=r"^name: expected one that no cell has, got 'lstm', a cell that was not made"):
        rk.cell(first, name="lstm")
    for name in ("", "a b", "1a", "a-b", "a(", "a" * 300):
        with pytest.raises(ValueError, match=r"^name: expected a name as Python's functions have, got '"):
            rk.cell(first, name=name)
    with pytest.raises(ValueError, match=r"^name: expected one beside a function without a name of its own, '<lam"):
        rk.cell(lambda x, h: x.n + h)


def test_threads_that_define_one_cell_get_one_object() -> None:
    found: list[Cell] = []
    start = threading.Barrier(8)

    def define() -> None:
        start.wait()
        found.append(rk.cell(first, name="of_threads"))

    threads = [threading.Thread(target=define) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(cell) for cell in found}) == 1


# ---- settings ------------------------------------------------------------------------------------


def test_settings_make_a_cell_of_other_numbers() -> None:
    cell = own_light(slope=2.0)
    assert cell == "own_light(slope=2.0)"
    assert cell.equations.settings == (("slope", 2.0), ("cell_top", math.inf))
    assert cell in rk.cells()
    assert own_light(slope=2) is cell
    assert own_light() is own_light(slope=1.0) is own_light
    assert cell(cell_top=0.5) == "own_light(slope=2.0, cell_top=0.5)"
    assert cell(slope=1.0) is own_light
    x = np.random.default_rng(2).normal(size=(T, B, I))
    params = rk.init_params(cell, I, H, rng=0, dtype="float64")
    params["weight_diagonal"][H:] = 0.75
    halved = params | {"weight_diagonal": params["weight_diagonal"] * np.repeat([1.0, 2.0], H)}
    np.testing.assert_allclose(
        rk.forward(cell, x, params).output, rk.forward(own_light, x, halved).output, rtol=1e-14, atol=1e-15
    )


def test_settings_that_are_none() -> None:
    with pytest.raises(TypeError, match=r"^top: expected one of slope, cell_top; own_light has no setting"):
        own_light(top=1.0)
    with pytest.raises(TypeError, match=r"^slope: expected no settings, for it has none; own_gru has no setting"):
        own_gru(slope=1.0)
    with pytest.raises(TypeError, match=r"^slope: expected a number, got 'a'"):
        own_light(slope="a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^slope: expected a number, got nan"):
        own_light(slope=math.nan)
    with pytest.raises(
        TypeError, match=r"^own_gru: expected settings by name; rnnkernels.forward\(own_gru, x, params\) r"
    ):
        own_gru(1.0, 2.0)


# ---- pickles -------------------------------------------------------------------------------------


def test_copies_and_pickles_are_the_cell() -> None:
    for cell in (own_gru, own_light, own_light(slope=3.0)):
        assert copy.copy(cell) is copy.deepcopy(cell) is cell
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(cell, protocol)) is cell


def test_a_pickle_is_a_cell_where_its_function_is_not() -> None:
    code = """
import pickle, sys
import rnnkernels as rk
cell = pickle.loads(bytes.fromhex(sys.argv[1]))
assert cell in rk.cells()
assert cell.equations.doc == "GRU, reset after the product."
print(cell)
again = pickle.loads(pickle.dumps(cell))
assert again is cell
"""
    done = python(code, pickle.dumps(own_gru).hex())
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(own_gru)


def test_a_loaded_cell_has_the_numbers_it_was_stored_with() -> None:
    text = to_json(own_light.equations) | {"name": "loaded"}
    cell = load(json.dumps(text))
    assert (cell, cell()) == ("loaded", cell)
    assert cell(slope=1.0) is cell
    with pytest.raises(ValueError, match=r"^slope: loaded was loaded from its equations, whose numbers are fixed; its"):
        cell(slope=2.0)


def test_a_loaded_cell_learns_its_function() -> None:
    text = to_json(own_light.equations) | {"name": "met_again"}
    cell = load(json.dumps(text))
    assert own_light._function is not None
    assert rk.cell(own_light._function, name="met_again", initial={"f": 1.0, "i": 0.0}) is cell
    assert cell(slope=2.0) == "met_again(slope=2.0)"


def test_a_loaded_cell_does_not_replace_another() -> None:
    rk.cell(first, name="taken")
    text = to_json(rk.cell(second, name="elsewhere").equations) | {"name": "taken"}
    with pytest.warns(UserWarning, match="registered as taken_2"):
        assert load(json.dumps(text)) == "taken_2"


def test_an_error_that_lists_the_cells_stays_short() -> None:
    for k in range(60):
        rk.cell(first, name=f"one_of_many_cells_{k}")
    with pytest.raises(ValueError, match=r"^cell: expected one of rnn_tanh, .* and \d+ more; got 'none'$") as caught:
        rk.cell_info("none")
    assert len(str(caught.value)) < 600
