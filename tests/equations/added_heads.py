"""Block-diagonal recurrent weights: a cell with heads is the dense cell whose weight has zeros beside its blocks.

The programs of hand_programs.py with heads, run below what users call, against the built-in dense cells: in
float64 for all sizes, and against the NumPy reference for some. What was added stays for as long as its process lives:
test_added_heads.py runs these tests in one of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hand_programs import CELLS
from tolerances import assert_close, forward_length, gradient_length

import rnnkernels as rk
from rnnkernels import _added, _cpu, _serve, reference
from rnnkernels._call import Ahead, Call, Rows
from rnnkernels.noise import Drawn
from rnnkernels.parameters import NAMES, Layer

Array = np.ndarray[Any, np.dtype[Any]]
ONE_OF_EACH = ("lstm", "lstm_peephole", "gru", "gru_reset_before", "mut3")
# (T, B, I, H, heads): heads of whole blocks, of parts of one, that lie across blocks; one unit a head.
SHAPES = [
    (7, 3, 5, 12, 3),
    (2, 17, 3, 40, 4),
    (3, 1, 2, 40, 5),
    (7, 3, 4, 40, 40),
    (2, 25, 3, 64, 4),
    (3, 2, 3, 64, 2),
    (2, 14, 3, 34, 2),
    (1, 3, 3, 9, 9),
    (2, 2, 3, 7, 1),
    (0, 3, 2, 8, 4),
    (2, 0, 2, 8, 4),
]


def added(name: str, heads: int) -> str:
    """The built-in cell `name` with so many heads."""
    with_heads = f"{name}_of_{heads}"
    if with_heads not in rk.cells():
        _added.add({"name": with_heads, **CELLS[name], "heads": heads})
    return with_heads


def dense(weight: Array, hidden: int) -> Array:
    """(G*H, H/heads) as (G*H, H), zeros beside the blocks."""
    rows, size = weight.shape
    whole = np.zeros((rows, hidden), weight.dtype)
    for row in range(rows):
        begin = row % hidden // size * size
        whole[row, begin : begin + size] = weight[row]
    return whole


def blocks(whole: Array, size: int) -> Array:
    """The blocks of a dense weight."""
    rows, hidden = whole.shape
    return np.stack([whole[row, (begin := row % hidden // size * size) : begin + size] for row in range(rows)])


class Case(NamedTuple):
    """A layer with heads, what it is given, and what is ahead of it."""

    name: str
    heads: int
    x: Array  # (T, B, I)
    layer: Layer
    state: tuple[Array, ...]
    d_output: Array  # (T, B, H)
    d_state: tuple[Array, ...]

    def astype(self, dtype: Any) -> Case:
        return Case(
            self.name,
            self.heads,
            self.x.astype(dtype),
            Layer._make(None if part is None else part.astype(dtype) for part in self.layer),
            tuple(part.astype(dtype) for part in self.state),
            self.d_output.astype(dtype),
            tuple(part.astype(dtype) for part in self.d_state),
        )

    @property
    def hidden(self) -> int:
        return int(self.d_output.shape[2])

    def dense_layer(self) -> Layer:
        return self.layer._replace(weight_hh=dense(self.layer.weight_hh, self.hidden))

    def results(self, **options: Any) -> dict[str, Array]:
        """Of the cell with heads."""
        return results(added(self.name, self.heads), self.layer, self, **options)

    def dense_results(self, **options: Any) -> dict[str, Array]:
        """Of the built-in cell, in float64."""
        wide = self.astype(np.float64)
        found = results(self.name, wide.dense_layer(), wide, **options)
        found["d weight_hh"] = blocks(found["d weight_hh"], self.hidden // self.heads)
        return found


def case(name: str, *shape: int, dtype: Any = np.float64) -> Case:
    steps, batch, inputs, hidden, heads = shape
    rng = np.random.default_rng([steps, batch, inputs, hidden, heads])
    params = rk.init_params(name, inputs, hidden, rng=rng, dtype=np.float64)
    for bias in ("bias_ih", "bias_hh"):
        params[bias] = rng.standard_normal(params[bias].shape)
    params["weight_hh"] = blocks(params["weight_hh"], hidden // heads)

    def drawn(*shape: int) -> Array:
        return rng.standard_normal(shape)

    states = len(rk.cell_info(name)["states"])
    return Case(
        name,
        heads,
        drawn(steps, batch, inputs),
        Layer(**params),
        tuple(drawn(batch, hidden) for _ in range(states)),
        drawn(steps, batch, hidden),
        tuple(drawn(batch, hidden) for _ in range(states)),
    ).astype(dtype)


def results(cell: str, layer: Layer, given: Case, **options: Any) -> dict[str, Array]:
    """All that forward and backward give, and the output of a run that keeps nothing, by name."""
    call = Call(cell, given.x, layer, given.state, **options)
    output, final, reserve, _ = _serve.forward(call, True)
    kept_nothing, _, _, _ = _serve.forward(call, False)
    np.testing.assert_array_equal(kept_nothing, output)
    found = _serve.backward(call, output, reserve, Ahead(given.d_output, given.d_state), True, True)
    named = {"output": output, "d x": found.x}
    named |= {f"state[{k}]": state for k, state in enumerate(final)}
    named |= {f"d state[{k}]": state for k, state in enumerate(found.state)}
    named |= {f"d {part}": d for part, d in found.params.items() if d is not None}
    named |= {f"norm[{k}]": norm for k, norm in enumerate(found.norms)}
    return {name: array for name, array in named.items() if array is not None}


def assert_all_close(found: dict[str, Array], wanted: dict[str, Array], shape: tuple[int, ...]) -> None:
    steps, _, inputs, hidden = shape
    for name, array in wanted.items():
        backward = name.startswith(("d ", "norm"))
        length = gradient_length(*shape) if backward else forward_length(steps, inputs, hidden)
        assert_close(found[name], array, "gradient" if backward else "output", length, name)
    assert found.keys() >= wanted.keys()


def assert_same(found: dict[str, Array], wanted: dict[str, Array]) -> None:
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, name)


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_is_the_dense_cell_with_zeros(isa: str, name: str, dtype: Any, shape: tuple[int, ...]) -> None:
    given = case(name, *shape, dtype=dtype)
    assert_all_close(given.results(), given.dense_results(), shape[:4])


@pytest.mark.parametrize("shape", [(2, 2, 2, 6, 3), (2, 1, 2, 10, 5), (1, 2, 2, 5, 5)])
def test_is_the_reference_with_zeros(isa: str, shape: tuple[int, ...]) -> None:
    given = case("lstm", *shape)
    params = {name: part for name, part in zip(NAMES, given.dense_layer(), strict=True) if part is not None}
    output, final = reference.forward("lstm", given.x, params, given.state)
    dx, d_params, d_initial = reference.gradients("lstm", given.x, params, given.state, given.d_output, given.d_state)
    wanted: dict[str, Any] = {"output": output, "d x": dx}
    wanted |= {f"state[{k}]": state for k, state in enumerate(final)}
    wanted |= {f"d state[{k}]": state for k, state in enumerate(d_initial)}
    wanted |= {f"d {part}": d for part, d in d_params.items()}
    wanted["d weight_hh"] = blocks(wanted["d weight_hh"], shape[3] // shape[4])
    assert_all_close(given.results(), wanted, shape[:4])


@pytest.mark.parametrize("hidden", range(1, 41))
def test_all_sizes(isa: str, hidden: int) -> None:
    for heads in {heads for heads in (2, 3, 4, 5, hidden) if hidden % heads == 0}:
        given = case("lstm", 2, 3, 2, hidden, heads, dtype=np.float32)
        assert_all_close(given.results(), given.dense_results(), (2, 3, 2, hidden))


@pytest.mark.parametrize("name", ["lstm", "mut3"])
def test_rows_and_threads_change_no_bit(isa: str, name: str) -> None:
    """Of 30 rows each alone has the bits that it has among all; threads divide rows, and units of one step."""
    for hidden, heads in ((40, 4), (96, 2)):
        given = case(name, 5, 30, 3, hidden, heads, dtype=np.float32)
        rk.set_num_threads(1)
        alone = given.results()
        for row in (0, 29):
            one = slice(row, row + 1)
            of_row = given._replace(
                x=given.x[:, one].copy(),
                state=tuple(state[one].copy() for state in given.state),
                d_output=given.d_output[:, one].copy(),
                d_state=tuple(state[one].copy() for state in given.d_state),
            ).results()
            np.testing.assert_array_equal(of_row["output"], alone["output"][:, one])
            np.testing.assert_array_equal(of_row["d x"], alone["d x"][:, one])
        for threads in (2, 3):
            rk.set_num_threads(threads)
            assert_same(given.results(), alone)


def test_threads_divide_units(isa: str) -> None:
    given = case("lstm", 2, 2, 3, 384, 4, dtype=np.float32)
    rk.set_num_threads(1)
    alone = given.results()
    rk.set_num_threads(3)
    plan = _cpu.plan(added("lstm", 4), 2, 2, 3, 384, "float32", 3)
    assert plan["unit_groups"] > 1
    assert_same(given.results(), alone)


def test_a_plan_in_low_precision_counts_heads_as_floats(isa: str) -> None:
    """Of weights that fit the threads' caches as bfloat16, and as floats do not."""

    def plan(weights: str) -> dict[str, int]:
        return _cpu.plan(added("lstm", 4), 30, 64, 768, 768, "float32", 2, weights)

    assert plan("full")["unit_groups"] == 2
    assert plan("bfloat16") == plan("int8") == plan("full")


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "mut3"])
def test_options_of_a_call(isa: str, name: str) -> None:
    """A ragged batch, zoneout and recurrent dropout, whose masks are those of the dense cell."""
    shape = (5, 7, 3, 21, 3)
    given = case(name, *shape, dtype=np.float32)
    dense_case = given.dense_results
    drawn = Drawn(7, 0, False, False, 0, 7, None, (0.3,) * len(given.state), 0.2, 0.0)
    assert_all_close(given.results(noise=drawn), dense_case(noise=drawn), (20, *shape[1:4]))  # masks scale up
    lengths = np.array([5, 4, 3, 3, 2, 1, 1])
    starts = np.concatenate([[0], np.cumsum([(lengths > t).sum() for t in range(5)])])
    places = np.concatenate([t * 7 + np.arange((lengths > t).sum()) for t in range(5)])
    rows = Rows(starts.astype(np.int64), places.astype(np.int64))
    assert_all_close(given.results(rows=rows), dense_case(rows=rows), shape[:4])


def test_dropped_weights_are_those_of_the_matrix_that_is_kept(isa: str) -> None:
    given = case("lstm", 3, 4, 2, 24, 3, dtype=np.float64)
    drawn = Drawn(7, 0, False, False, 0, 4, None, (0.0, 0.0), 0.0, 0.25)
    found = given.results(noise=drawn)
    kept = found["d weight_hh"] != 0
    assert 0.6 < kept.mean() < 0.9
    layer = given.layer._replace(weight_hh=np.where(kept, given.layer.weight_hh / 0.75, 0))
    dropped = given._replace(layer=layer).results()
    dropped["d weight_hh"] = np.where(kept, dropped["d weight_hh"] / 0.75, 0)
    for name, array in dropped.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("hidden", "heads"), [(12, 3), (40, 5), (64, 4), (9, 9)])
def test_a_nan_stays_in_its_head(isa: str, hidden: int, heads: int) -> None:
    """Weights of one head that are NaN, and a state: every other head is what it was."""
    given = case("lstm", 3, 2, 2, hidden, heads, dtype=np.float32)
    finite = given.results()
    size, sick = hidden // heads, heads // 2
    others = np.arange(hidden) // size != sick
    weight_hh = given.layer.weight_hh.copy()
    h, *more = (state.copy() for state in given.state)
    weight_hh[np.arange(len(weight_hh)) % hidden // size == sick] = np.nan
    h[:, ~others] = np.nan
    found = given._replace(layer=given.layer._replace(weight_hh=weight_hh), state=(h, *more)).results()
    assert np.isnan(found["output"][..., ~others]).all()
    for name in ("output", "state[0]", "state[1]", "d state[0]", "d state[1]"):
        np.testing.assert_array_equal(found[name][..., others], finite[name][..., others], name)
    rows = others[np.arange(len(weight_hh)) % hidden]
    for name in ("d weight_hh", "d bias_hh", "d weight_ih"):
        np.testing.assert_array_equal(found[name][rows], finite[name][rows], name)


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before"])
def test_prepared_weights_and_single_steps(isa: str, name: str) -> None:
    for hidden, heads in ((40, 5), (64, 4)):
        given = case(name, 4, 3, 2, hidden, heads, dtype=np.float32)
        with_heads = added(name, heads)
        output = given.results()["output"]
        prepared = _cpu.prepare(with_heads, given.layer, "full", False, ())
        np.testing.assert_array_equal(prepared.forward(given.x, given.state, None, None, None)[0], output)
        stepper = _cpu.stepper(prepared, 3, None)
        stepper.reset(given.state, None)
        for t, x in enumerate(given.x):
            np.testing.assert_array_equal(stepper.step(x), output[t])
        state: Any = given.state
        for t in range(4):  # calls of one step pack their weights where they are used, those of a dense cell
            one, state, _, _ = _cpu.forward(with_heads, given.x[t : t + 1], given.layer, state, False)
            np.testing.assert_array_equal(one[0], output[t])
        again = _cpu.prepare(with_heads, given.layer, "full", False, (), None, prepared.bytes())
        np.testing.assert_array_equal(again.forward(given.x, given.state, None, None, None)[0], output)


def test_weights_rounded_to_bfloat16(isa: str) -> None:
    """Odd numbers of a head: pairs in one lane."""
    given = case("lstm", 3, 5, 2, 15, 5, dtype=np.float32)
    bits = [part.view(np.uint32) for part in given.layer[:2]]
    rounded = [((b + 0x7FFF + (b >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32) for b in bits]
    prepared = _cpu.prepare(added("lstm", 5), given.layer, "bfloat16", False, ())
    output = given._replace(layer=given.layer._replace(weight_ih=rounded[0], weight_hh=rounded[1])).results()["output"]
    np.testing.assert_array_equal(prepared.forward(given.x, given.state, None, None, None)[0], output)


def test_layers_side_by_side(isa: str) -> None:
    """A wavefront of layers gives the bits of one after the other."""
    given = case("lstm", 40, 2, 24, 24, 4, dtype=np.float32)
    with_heads = added("lstm", 4)
    rk.set_num_threads(2)
    layers = _cpu.forward_layers(with_heads, given.x, [given.layer] * 2, [given.state] * 2, False, [None, None])
    first = _cpu.forward(with_heads, given.x, given.layer, given.state, False)[0]
    second = _cpu.forward(with_heads, first, given.layer, given.state, False)[0]
    np.testing.assert_array_equal(layers[0][0], first)
    np.testing.assert_array_equal(layers[1][0], second)


def test_a_plan_counts_what_is_multiplied(isa: str) -> None:
    """A step that is worth a second thread where its weight is dense."""
    threads = {heads: _cpu.plan(added("lstm", heads), 1, 1, 1, 128, "float32", 2)["threads"] for heads in (1, 4)}
    assert threads == {1: 2, 4: 1}


def test_its_table_says_heads() -> None:
    heads = {cell["name"]: cell["heads"] for cell in _cpu.cells()}
    assert heads["lstm"] == 1
    added("lstm", 4)
    assert {cell["name"]: cell["heads"] for cell in _cpu.cells()}["lstm_of_4"] == 4


def test_what_does_not_fit_is_refused() -> None:
    for name, heads, said in (
        ("lstm", 0, "heads: expected 1 to 1048576, got 0"),
        ("lstm", 1 << 21, "heads: expected 1 to 1048576, got 2097152"),
        ("lstm_fgr", 2, "heads: expected 1 of a cell whose products have several vectors, got 2"),
    ):
        with pytest.raises(ValueError, match=said):
            _added.add({"name": "refused", **CELLS[name], "heads": heads})
    no_product = {**CELLS["rnn_relu"], "gates": [("a", "projected", "none", 0, -1)]}
    with pytest.raises(ValueError, match="heads: expected 1 of a cell without a product, got 2"):
        _added.add({"name": "refused", **no_product, "heads": 2})
    with_heads = added("lstm", 4)
    with pytest.raises(ValueError, match="hidden_size: expected a multiple of 4, the heads of lstm_of_4, got 10"):
        _cpu.reserve_size(with_heads, 10, "float32")
    with pytest.raises(ValueError, match="hidden_size: expected a multiple of 4"):
        _cpu.plan(with_heads, 1, 1, 1, 10, "float32", 1)
    given = case("lstm", 1, 1, 2, 8, 4, dtype=np.float32)
    weight_hh = given.layer.weight_hh
    for wrong in (dense(weight_hh, 8), weight_hh[:-1], weight_hh[:, :1].copy()):
        with pytest.raises(ValueError, match=r"expected shape \(G\*H, .*got"):
            _cpu.forward(with_heads, given.x, given.layer._replace(weight_hh=wrong), given.state, False)
