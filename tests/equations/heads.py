"""Cells of several heads, whose recurrent weights are block-diagonal: run by test_cells.py.

Against the reference, and against dense layers whose weights are zero beside the blocks; that nothing of one head
reaches another; and what is said of a number of units that heads cannot share. A layer, option or library at a time:
the cells `headed` and `headed_thrice` of the files everywhere_*.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from expected import expected
from loop_of_equations import block_diagonal, blocks_of
from problems import Array, Problem, make
from tolerances import assert_close, forward_length, gradient_length

import rnnkernels as rk
from rnnkernels import attention, diagnose, reference
from rnnkernels.equations.cell import load
from rnnkernels.equations.derived import dual_of
from rnnkernels.equations.text import dumps, from_json, to_json


@rk.cell
def blocked(x: Any, h: Any, *, heads: float = 4) -> Any:
    """A GRU by heads."""
    u = rk.product(h, heads=heads)
    r, z = rk.sigmoid(x.r + u.r), rk.sigmoid(x.z + u.z)
    n = rk.tanh(x.n + r * u.n)
    return n + z * (h - n)


@rk.cell
def blocked_before(x: Any, h: Any, c: Any, *, heads: float = 4) -> Any:
    """Three products, the rows of one between those of another."""
    u, v = rk.product(h, heads=heads), rk.product(0.5 * c - h, heads=heads)
    z = rk.sigmoid(x.z + v.z)
    r = rk.sigmoid(x.r + u.r)
    n = rk.tanh(x.n + rk.product(r * h, heads=heads).n + u.m)
    d = z * c + (1 - z) * n
    return rk.tanh(d), d


CELLS = (blocked, blocked_before)
# (T, B, I), heads and the units of each: fewer than a vector has lanes, as many as a block has, and beside both.
SHAPES = [
    ((3, 2, 5), 2, 1),
    ((2, 5, 3), 3, 3),
    ((3, 1, 4), 5, 7),
    ((2, 3, 4), 2, 16),
    ((2, 13, 3), 3, 17),
    ((2, 4, 2), 4, 32),
    ((2, 1, 2), 3, 64),
]
each_cell = pytest.mark.parametrize("cell", CELLS)


def of(cell: Any, heads: int, size: tuple[int, int, int], units: int, dtype: str = "float64") -> Problem:
    """A problem of a cell with other heads, of `units` each."""
    return make(cell(heads=heads), (*size, heads * units), dtype)


def check(found: dict[str, Array], wanted: dict[str, Array], p: Problem) -> None:
    (steps, batch, inputs), hidden = p.x.shape, p.d_output.shape[2]
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        length = forward_length(steps, inputs, hidden)
        if name.startswith("d "):
            assert_close(value, wanted[name], "gradient", gradient_length(steps, batch, inputs, hidden, 5), name)
        else:
            assert_close(value, wanted[name], "output", length, name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_cell
def test_outputs_and_gradients(cell: Any, dtype: str, isa: str) -> None:
    for size, heads, units in SHAPES[: len(SHAPES) if isa == rk.instruction_sets()[-1] else 5]:
        p = of(cell, heads, size, units, "float32")
        check(p.astype(dtype).results(), expected(p), p)


@each_cell
def test_tokens_and_no_biases(cell: Any) -> None:
    for tokens, bias in ((True, True), (False, False)):
        p = make(cell(heads=3), (3, 4, 7, 15), tokens=tokens, bias=bias)
        found, wanted = p.results(), expected(p)
        for name, value in found.items():
            np.testing.assert_allclose(value, wanted[name], rtol=1e-10, atol=1e-12, err_msg=name)


@each_cell
def test_a_dense_layer_with_zeros_beside_the_blocks(cell: Any) -> None:
    """The same numbers; and of the dense weight's gradient the blocks."""
    for size, heads, units in SHAPES:
        p = of(cell, heads, size, units)
        hidden = heads * units
        gates = np.split(p.params["weight_hh"], len(p.params["weight_hh"]) // hidden)
        dense = np.concatenate([block_diagonal(gate, heads) for gate in gates])
        right = Problem(cell(heads=1), p.x, p.params | {"weight_hh": dense}, p.state, p.d_output, p.d_state).results()
        of_gates = np.split(right["d weight_hh"], len(gates))
        right["d weight_hh"] = np.concatenate([blocks_of(gate, heads) for gate in of_gates])
        for name, value in p.results().items():
            np.testing.assert_allclose(value, right[name], rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@each_cell
def test_nothing_of_one_head_reaches_another(cell: Any, bad: float, isa: str) -> None:
    """What is no number in a head's state, or comes to its outputs, leaves all others' bits as they are."""
    for size, heads, units in SHAPES:
        p = of(cell, heads, size, units, "float32")
        hit = heads // 2
        mine = np.arange(heads * units) // units == hit
        for forward in (True, False):
            array = (p.state[0] if forward else p.d_output[-1]).copy()
            spoilt = Problem(**vars(p))
            array[..., mine] = bad
            if forward:
                spoilt.state = (array, *p.state[1:])
            else:
                spoilt.d_output = np.concatenate([p.d_output[:-1], array[None]])
            found, right = spoilt.results(), p.results()
            for name in found.keys() - {"d x"}:  # which is of all heads
                value, wanted = found[name], right[name]
                others: Any = (..., ~mine)
                if name.removeprefix("d ") in p.params:
                    value, wanted = (a.reshape(-1, len(mine), *a.shape[1:]) for a in (value, wanted))
                    others = (slice(None), ~mine)
                np.testing.assert_array_equal(value[others], wanted[others], err_msg=name)
            spoilt_name = "output" if forward else "d state[0]"
            assert not np.array_equal(found[spoilt_name][..., mine], right[spoilt_name][..., mine])


@each_cell
def test_rows_steps_and_weights_of_halves(cell: Any) -> None:
    """A row alone, a step at a time, and lengths give the same bits; weights as bfloat16 are those numbers."""
    p = of(cell, 3, (6, 5, 4), 11, "float32")
    run = p.forward()
    lengths = np.array([6, 0, 2, 5, 3])
    ragged = p.forward(lengths=lengths)
    for b, length in enumerate(lengths):
        row = p.rows(slice(b, b + 1))
        np.testing.assert_array_equal(row.forward().output[:, 0], run.output[:, b])
        np.testing.assert_array_equal(ragged.output[:length, b], run.output[:length, b])
    layer, state = rk.Prepared(p.cell, p.params), p.state
    stepper = rk.Stepper(layer, 5, p.state)
    for x_t, wanted in zip(p.x, run.output, strict=True):
        state = rk.step(p.cell, x_t, p.params, state)
        np.testing.assert_array_equal(state[0], wanted)
        np.testing.assert_array_equal(stepper(x_t), wanted)
    rounded = {name: _as_bfloat16(array) if array.ndim == 2 else array for name, array in p.params.items()}
    found = rk.Prepared(p.cell, p.params, weights="bfloat16").forward(p.x, p.state)[0]
    np.testing.assert_array_equal(found, rk.forward(p.cell, p.x, rounded, p.state).output)


def _as_bfloat16(array: Array) -> Array:
    bits = array.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


@each_cell
def test_masks(cell: Any) -> None:
    """Drawn for what stands there: an element of a block, a unit of the operand."""
    p = of(cell, 3, (4, 3, 5), 5)
    for noise in (
        rk.Noise(3, weight_dropout=0.3),
        rk.Noise(3, recurrent_dropout=0.4),
        rk.Noise(3, recurrent_dropout=0.4, per_step=True),
    ):
        found, wanted = p.results(noise=noise), expected(p, noise)
        for name, value in found.items():
            np.testing.assert_allclose(value, wanted[name], rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_attention(cell: Any) -> None:
    """A layer that attends is one over x and the contexts."""
    name, rng = cell(heads=3), np.random.default_rng(0)
    x, features = rng.standard_normal((5, 4, 2)), rng.standard_normal((4, 6, 3))
    params = attention.init_params(name, 2, 3, 15, rng=0, dtype="float64")
    run = attention.forward(name, x, features, params)
    own = {key: params[key] for key in rk.parameter_shapes(name, 5, 15)}
    plain = rk.forward(name, np.concatenate([x, run.contexts], axis=2), own)
    np.testing.assert_array_equal(run.output, plain.output)
    d_output = rng.standard_normal(run.output.shape)
    found, right = attention.backward(run, d_output).params, rk.backward(plain, d_output).params
    assert found["weight_hh"].shape == right["weight_hh"].shape == (len(own["weight_hh"]), 5)
    slope = _slope(lambda moved: attention.forward(name, x, features, moved).output, params, d_output)
    np.testing.assert_allclose(found["weight_hh"][17, 2], slope, rtol=1e-6, atol=1e-9)


def _slope(run: Callable[[dict[str, Array]], Array], params: dict[str, Array], d_output: Array) -> float:
    """The difference quotient by an element of weight_hh."""
    sums = []
    for step in (1e-6, -1e-6):
        weight = params["weight_hh"].copy()
        weight[17, 2] += step
        sums.append(float((run(params | {"weight_hh": weight}) * d_output).sum()))
    return (sums[0] - sums[1]) / 2e-6


# ---- shapes and initial values -------------------------------------------------------------------


def test_shapes() -> None:
    assert rk.cell_info(blocked)["heads"] == 4
    assert rk.cell_info("lstm")["heads"] == 1
    shapes = {"weight_ih": (36, 5), "weight_hh": (36, 3), "bias_ih": (36,), "bias_hh": (36,)}
    assert rk.parameter_shapes(blocked, 5, 12) == shapes
    assert "weight_hh (3·H, H/4)" in str(blocked)
    assert "u = product(h, heads=4)" in str(blocked)
    assert blocked(heads=3) == "blocked(heads=3.0)"
    assert blocked(heads=3).equations.heads == 3
    bound = 1 / np.sqrt(12)
    drawn = rk.init_params(blocked, 5, 12, rng=0)["weight_hh"]
    assert 0.9 * bound < np.abs(drawn).max() <= bound


@pytest.mark.parametrize("recurrent", ["identity", "orthogonal"])
def test_initial_values_are_each_heads_own(recurrent: str) -> None:
    weight = rk.init_params(blocked, 5, 12, rng=0, dtype="float64", recurrent=recurrent)["weight_hh"]
    for block in weight.reshape(12, 3, 3):
        np.testing.assert_allclose(block @ block.T, np.eye(3), atol=1e-12)
        assert np.array_equal(block, np.eye(3)) == (recurrent == "identity")


def test_initial_values_of_pytorchs_layers() -> None:
    pytest.importorskip("torch")
    import rnnkernels.torch as rnn

    for recurrent in ("identity", "orthogonal"):
        layer = rnn.Recurrent(blocked, 5, 12, num_layers=2, recurrent=recurrent)
        blocks = layer.weight_hh_l1.detach().numpy().reshape(12, 3, 3)
        np.testing.assert_allclose(blocks @ blocks.swapaxes(1, 2), np.tile(np.eye(3), (12, 1, 1)), atol=1e-6)


def test_singular_values_are_those_of_the_whole_matrix() -> None:
    params = rk.init_params(blocked, 5, 12, rng=0, dtype="float64")
    found = diagnose.singular_values(blocked, params)
    assert list(found) == ["r", "z", "n"]
    for values, rows in zip(found.values(), np.split(params["weight_hh"], 3), strict=True):
        wanted = np.linalg.svd(block_diagonal(rows, 4), compute_uv=False)
        np.testing.assert_allclose(values, wanted, atol=1e-12)


# ---- what heads cannot share ---------------------------------------------------------------------

MISFIT = "expected a multiple of 4, the heads of blocked, got 10"


def _charlm(name: str) -> Any:
    charlm = pytest.importorskip("rnnkernels.charlm")
    if name == "Config":
        return charlm.Config(cell=blocked[:], hidden=10)
    return charlm.CharModel(charlm.Vocabulary("ab"), cell=blocked, hidden=10)


def _torch(name: str) -> Any:
    pytest.importorskip("torch")
    import rnnkernels.torch as rnn

    sizes = (5, 3, 10) if name == "AttentionRecurrent" else (5, 10)
    return getattr(rnn, name)(blocked, *sizes)


MISFITS: dict[str, Any] = {
    "init_params": lambda: rk.init_params(blocked, 5, 10),
    "parameter_shapes": lambda: rk.parameter_shapes(blocked, 5, 10),
    "Stack": lambda: rk.Stack(blocked, 5, 10),
    "training_bytes": lambda: rk.training_bytes(blocked, 3, 2, 10),
    "attention": lambda: attention.init_params(blocked, 5, 3, 10),
    "diagnose": lambda: diagnose.of_cell(blocked, 10),
    "Config": lambda: _charlm("Config"),
    "CharModel": lambda: _charlm("CharModel"),
    "Recurrent": lambda: _torch("Recurrent"),
    "RecurrentCell": lambda: _torch("RecurrentCell"),
    "AttentionRecurrent": lambda: _torch("AttentionRecurrent"),
}


@pytest.mark.parametrize("where", MISFITS)
def test_units_that_heads_cannot_share(where: str) -> None:
    with pytest.raises(ValueError, match=rf"^hidden(_size)?: {MISFIT}$"):
        MISFITS[where]()


def test_calls_of_layers_that_heads_cannot_share() -> None:
    """Parameters that no `init_params` made."""
    params = {"weight_ih": np.ones((30, 5)), "weight_hh": np.ones((30, 2)), "bias_ih": np.ones(30)}
    params["bias_hh"] = np.ones(30)
    x = np.ones((3, 2, 5))
    calls: tuple[Callable[[], object], ...] = (
        lambda: rk.forward(blocked, x, params),
        lambda: rk.Prepared(blocked, params),
        lambda: rk.step(blocked, x[0], params, (np.ones((2, 10)),)),
    )
    for call in calls:
        with pytest.raises(ValueError, match=rf"^hidden_size: {MISFIT}$"):
            call()
    with pytest.raises(ValueError, match=rf"^hidden_size: {MISFIT}$"):
        reference.forward(blocked, x, params)


def test_shapes_that_are_those_of_a_dense_layer() -> None:
    params = rk.init_params(blocked(heads=1), 5, 12, dtype="float64")
    x = np.ones((3, 2, 5))
    for given in (params, {name: array.tolist() for name, array in params.items()}):
        with pytest.raises(ValueError, match=r"^params\['weight_hh'\]: expected shape .*\(36, 3\),.* got \(36, 12\)"):
            rk.forward(blocked, x, given)


def test_shapes_in_jax() -> None:
    pytest.importorskip("jax")
    from rnnkernels import jax as rkj

    params = rk.init_params(blocked(heads=1), 5, 12)
    with pytest.raises(ValueError, match=r"^params\['weight_hh'\]: expected shape \(36, 3\), got \(36, 12\)"):
        rkj.forward(blocked, np.ones((3, 2, 5), np.float32), params)
    params = {name: np.ones((30, *array.shape[1:]), array.dtype) for name, array in params.items()}
    with pytest.raises(ValueError, match=rf"^hidden_size: {MISFIT}$"):
        rkj.forward(blocked, np.ones((3, 2, 5), np.float32), params)


def test_the_command_line_names_its_option(capsys: Any) -> None:
    pytest.importorskip("safetensors")
    pytest.importorskip("tqdm")
    from rnnkernels import cli

    for command in (["diagnose", "--hidden", "510"], ["train", "--hidden", "510"]):
        with pytest.raises(SystemExit) as stopped:
            raise SystemExit(cli.main([*command, "--cell", "slstm_heads"]))
        assert stopped.value.code
        told = capsys.readouterr().err
        assert re.search(r"(--)?hidden: expected a multiple of 4, the heads of slstm_heads, got 510", told), told


# ---- texts and duals -----------------------------------------------------------------------------


@each_cell
def test_low_precision(cell: Any) -> None:
    """int8 is refused; bfloat16 products are those of all weights but the recurrent one."""
    params = rk.init_params(cell, 5, 12, rng=0)
    message = f"expected other than int8 for a cell with heads, {cell:s} has 4"
    with pytest.raises(ValueError, match=f"weights: {message}"):
        rk.Prepared(cell, params, weights="int8")
    with pytest.raises(ValueError, match=f"cell: {message}"):
        rk.quantize_params(cell, params)
    x = np.random.default_rng(1).standard_normal((3, 2, 5)).astype(np.float32)
    exact, low = (rk.forward(cell, x, params, products=kind).output for kind in ("full", "bfloat16"))
    np.testing.assert_allclose(low, exact, rtol=0, atol=0.02)
    np.testing.assert_array_equal(rk.Prepared(cell, params, products="bfloat16").forward(x)[0], low)


def test_quantize_leaves_layers_with_heads() -> None:
    torch = pytest.importorskip("torch")
    import rnnkernels.torch as rnn

    layer = rnn.Recurrent(blocked, 5, 8)
    report = rnn.quantize(torch.nn.Sequential(layer).eval())
    assert list(report.left.values()) == ["its recurrent weights have heads"]


def test_texts() -> None:
    text = to_json(blocked.equations)
    assert (text["format"], text["heads"]) == (2, 4)
    assert from_json(json.loads(json.dumps(text))).heads == 4
    assert load(dumps(blocked.equations)) is blocked
    dense = to_json(blocked(heads=1).equations)
    assert dense["format"] == 1
    assert "heads" not in dense
    for changed, told in (
        ({"heads": 1}, r"equations\['heads'\]: expected an integer of at least 2, got 1"),
        ({"heads": 2.0}, r"equations\['heads'\]: expected an integer of at least 2, got 2.0"),
        ({"heads": None}, r"equations\['heads'\]: expected an integer of at least 2, got None"),
        ({"heads": 2**21}, r"equations\['heads'\]: expected an integer of at least 2, got 2097152"),
        ({"format": 1}, r"equations\['heads'\]: expected none in format 1, got 4"),
        ({"format": 3}, r"equations: expected format 1 or 2, got 3"),
    ):
        with pytest.raises(ValueError, match=told):
            from_json(text | changed)
    without = {**to_json(rk.cell(lambda x, h: rk.tanh(x.n + h), name="no_product").equations), "format": 2, "heads": 2}
    with pytest.raises(ValueError, match=r"equations\['heads'\]: expected none where weight_hh has no rows, got 2"):
        from_json(without)


def test_a_dual_has_the_heads_of_its_cell() -> None:
    dual = dual_of(blocked(heads=3))
    assert dual is not None
    assert dual.equations.heads == 3
    assert rk.cell_info(dual[:])["heads"] == 3
    assert dual_of(blocked_before) is None
