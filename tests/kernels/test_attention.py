"""The attending recurrence: kernels against the reference, and the bits that are promised.

Every cell that can attend, every kind of scores; memory is poisoned with NaN (conftest.py). Problems and what the
reference says of them: support/attending.py.
"""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from attending import (
    KINDS,
    TWO,
    Form,
    Problem,
    Sizes,
    check,
    check_slope,
    make,
    named,
    named_gradients,
    random_options,
    wanted,
)
from problems import FORMS, Array, is_free, sets

import rnnkernels as rk
from rnnkernels import _cpu, attention
from rnnkernels.reference import attention as reference

CELLS = [cell for cell in rk.cells() if is_free(cell)]
OF_EACH_FORM = [cell for cell in FORMS if is_free(cell)]
DTYPES = ("float32", "float64")
OPTIONS = [
    (),
    ("mask",),
    ("mask", "lengths"),
    ("lengths", "resets", "reset_state"),
    ("mask", "reverse"),
    ("lengths", "resets", "reverse"),
]
SIZES = [
    Sizes(1, 1, 1, 1, 1, 1),
    Sizes(3, 2, 0, 7, 4, 5),
    Sizes(2, 5, 3, 17, 9, 4),
    Sizes(2, 9, 4, 3, 17, 5),
    Sizes(2, 2, 1, 3, 3, 19),
    Sizes(0, 2, 3, 5, 4, 3),
    Sizes(3, 0, 3, 5, 4, 3),
]
OF_ROWS = dict.fromkeys(("output", "weights", "contexts", "d x"), 1)  # the axis of the batch; of the others the first


def exact(p: Problem, form: Form) -> None:
    """Both dtypes on every instruction set; the values are float32's, so that one reference serves both."""
    expected = wanted(p)
    for isa in sets():
        rk.set_instruction_set(isa)
        for dtype in DTYPES:
            of_dtype = p.astype(dtype)
            check(of_dtype, of_dtype.results(), expected, form)


def same(one: dict[str, Array], two: dict[str, Array]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert value.tobytes() == two[name].tobytes(), name


# ---- against the reference -----------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "number"), [(cell, number) for number, cell in enumerate(CELLS)])
def test_every_cell(cell: str, number: int) -> None:
    """With each its own kind of scores and way of running; test_every_kind has all of both."""
    form = KINDS[number % len(KINDS)]
    p = make(cell, form, Sizes(3, 3, 2, 6, 4, 3), "float32", seed=number)
    p.options = random_options(p, *OPTIONS[number % len(OPTIONS)])
    exact(p, form)


@pytest.mark.parametrize("names", OPTIONS, ids=" ".join)
@pytest.mark.parametrize("form", KINDS, ids=str)
def test_every_kind(form: Form, names: tuple[str, ...]) -> None:
    for cell in TWO:
        p = make(cell, form, Sizes(4, 3, 2, 5, 4, 3), "float32")
        p.options = random_options(p, *names)
        exact(p, form)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_odd_shapes(sizes: Sizes) -> None:
    for number, cell in enumerate(TWO):
        form = KINDS[(number + sizes.hidden) % len(KINDS)]
        exact(make(cell, form, sizes, "float32", tokens=cell == "lstm" and sizes.inputs > 0), form)


@pytest.mark.parametrize("cell", OF_EACH_FORM)
def test_larger_shapes(cell: str) -> None:
    """More places, features and rows than a vector, a panel and a tile have."""
    for form, sizes in (
        (Form(attention_size=35, gated=True, location=(2, 7)), Sizes(3, 3, 3, 37, 70, 45)),
        (Form("bilinear"), Sizes(2, 70, 1, 66, 3, 131)),
    ):
        p = make(cell, form, sizes)
        p.options = random_options(p, "mask")
        check_slope(p)


@pytest.mark.parametrize("cell", TWO)
def test_several_chunks(cell: str) -> None:
    """More rows than one chunk of the backward holds: three rows thirty times have their gradients thirty times."""
    assert 1 < _cpu.plan(cell, 75, 90, 2, 3, "float64", 1)["backward_chunk"] < 75 / 1.5
    p = make(cell, Form(gated=True, location=(2, 3)), Sizes(75, 3, 2, 3, 4, 2))
    few, many = p.results(), p.times(30).results()
    for name, value in few.items():
        if name.removeprefix("d ") in p.params:
            np.testing.assert_allclose(many[name], 30 * value, rtol=1e-11, atol=1e-11)
        else:
            rows = np.moveaxis(value, OF_ROWS.get(name, 0), 0)
            np.testing.assert_array_equal(np.moveaxis(many[name], OF_ROWS.get(name, 0), 0), np.concatenate([rows] * 30))


@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm_fgr"])
def test_masks_inside_the_recurrence(cell: str) -> None:
    form = Form(gated=True, location=(2, 3))
    p = make(cell, form, Sizes(4, 3, 2, 5, 4, 3), "float32")
    for names in ((), ("mask", "lengths", "resets", "reverse")):
        p.options = random_options(p, *names)
        p.options["noise"] = rk.Noise(7, zoneout=0.3, recurrent_dropout=0.3, per_step=True, weight_dropout=0.2)
        exact(p, form)
    exactly = p.astype("float64")
    expected = reference.forward(*exactly.call, **exactly.options, training=False)
    check(p, named(p.forward(training=False)), named(expected), form)


def test_a_clipped_cell() -> None:
    p = make("lstm", Form(), Sizes(4, 3, 2, 5, 4, 3), "float32")
    p.options = {"cell_clip": 0.4}
    exact(p, Form())
    assert (np.abs(p.forward().state[1]) == np.float32(0.4)).any()


# ---- far from zero -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_scores_of_any_size(sign: float, dtype: str, isa: str) -> None:
    """The softmax is that of differences: scores of a thousand, all of one sign, and places that are not looked at."""
    p = make("lstm", Form("bilinear"), Sizes(2, 3, 1, 5, 20, 4), dtype)
    p.params["bias_query"][...] = 500.0
    p.features[...] = sign * (1.0 + 0.001 * p.features)
    p.options = random_options(p, "mask")
    run = p.forward()
    np.testing.assert_allclose(run.weights.sum(-1), 1.0, rtol=1e-5)
    assert not run.weights[:, ~p.options["mask"]].any()
    check(p, {"contexts": run.contexts}, {"contexts": wanted(p)["contexts"]}, Form("bilinear"))
    assert all(np.isfinite(value).all() for value in p.results().values())


@pytest.mark.parametrize("which", ["keys", "queries", "both"])
def test_additive_scores_whose_exponentials_overflow(which: str) -> None:
    """Keys of some places are large, or the query, or both, which end each other: exactly, of eighths."""
    for dtype, most in zip(DTYPES, (100, 1000), strict=True):
        p = make("lstm", Form(attention_size=18), Sizes(3, 3, 1, 5, 7, 4), dtype)
        far = np.linspace(-most, most, 18, dtype=dtype).round()
        for array in (p.features, p.params["weight_key"], p.params["bias_query"]):
            array[...] = (8 * array).round() / 8
        if which != "queries":
            p.features[..., 0] = 0
            p.features[:, ::2, 0] = 1
            p.params["weight_key"][:, 0] = far
        if which != "keys":
            p.params["bias_query"] -= far
            p.params["weight_query"][...] = 0
        expected = wanted(p)
        for isa in sets():
            rk.set_instruction_set(isa)
            check(p, p.results(), expected, Form(attention_size=18))


def test_nan_stays_in_its_row_and_where_nobody_looks_it_is_not_read(isa: str) -> None:
    for form in KINDS:
        p = make("lstm", form, Sizes(4, 4, 2, 5, 6, 3), "float32")
        p.options["mask"] = np.ones((4, 6), bool)
        p.options["mask"][1:, 4] = False
        clean = p.results()
        p.features[1:, 4] = np.nan
        same(p.results(), clean)
        p.features[0, 4] = np.nan
        found = p.forward()
        assert np.isnan(found.output[:, 0]).all()
        assert found.output[:, 1:].tobytes() == clean["output"][:, 1:].tobytes()


# ---- bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", OF_EACH_FORM)
def test_it_is_a_plain_recurrence_on_x_and_the_contexts(cell: str, dtype: str) -> None:
    """`rnnkernels.forward` on both side by side: output and states, to the last bit."""
    own = {"noise": rk.Noise(3, recurrent_dropout=0.3, weight_dropout=0.2)}
    for number, isa in enumerate(sets()):
        rk.set_instruction_set(isa)
        sums = (
            Sizes(2, 3, 100, 9, 3, 200),
            Sizes(2, 3, 128, 9, 3, 5),
            Sizes(1, 2, 200, 9, 3, 130),
            Sizes(3, 4, 200, 9, 3, 5),
        )
        for sizes in (Sizes(6, 5, 3, 19, 7, 5), Sizes(3, 33, 0, 40, 5, 21), *sums):  # those of several chains
            p = make(cell, KINDS[(number + sizes.hidden) % len(KINDS)], sizes, dtype)
            params = {name: p.params[name] for name in rk.parameter_shapes(cell, 1, 1) if name in p.params}
            for names in ((), ("mask", "lengths", "resets", "reset_state", "reverse")):
                p.options = random_options(p, *names) | own
                run = p.forward()
                ran = np.concatenate([p.x, run.contexts], axis=2)
                plain = {name: value for name, value in p.options.items() if name != "mask"}
                alone = rk.forward(cell, ran, params, p.state, **plain)
                assert alone.output.tobytes() == run.output.tobytes()
                assert [s.tobytes() for s in alone.state] == [s.tobytes() for s in run.state]


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_tokens_are_rows_of_zeros_with_a_one(cell: str) -> None:
    """Of a vocabulary whose last tokens stand in a chain with the context: gathered, and a table."""
    for steps in (2, 70):
        p = make(cell, KINDS[0], Sizes(steps, 3, 200, 9, 3, 5), "float32", tokens=True)
        p.x[:2, 0] = 0, 199
        vectors = replace(p, x=np.eye(200, dtype=np.float32)[p.x])
        same(named(p.forward(training=False)), named(vectors.forward(training=False)))


@pytest.mark.parametrize("hard", [None, 5])
@pytest.mark.parametrize("form", KINDS, ids=str)
def test_threads_and_neighbours_change_nothing(form: Form, hard: int | None) -> None:
    for cell, sizes in (("lstm", Sizes(5, 12, 3, 37, 21, 9)), ("gru_reset_before", Sizes(4, 3, 2, 70, 5, 40))):
        for dtype in DTYPES:
            p = make(cell, form, sizes, dtype)
            p.options = random_options(p, "mask", "lengths", "resets") | {"hard": hard}
            rk.set_num_threads(1)
            alone = p.results()
            places = p.forward().places
            for threads in (2, 3, 4):
                rk.set_num_threads(threads)
                same(p.results(), alone)
                np.testing.assert_array_equal(p.forward().places, places)
            inference = named(p.forward(training=False))
            same(inference, {name: alone[name] for name in inference})
            if hard is not None:  # a row's draws are by its number
                continue
            dense = copy.copy(p)
            dense.options = {"mask": p.options["mask"]}
            found = dense.results()
            for b in (0, sizes.batch - 1):
                row = p.row(b)
                row.options = {"mask": p.options["mask"][b : b + 1]}
                mine = row.results()
                for name in OF_ROWS:
                    assert mine[name].tobytes() == found[name][:, b].tobytes(), name
                for name in ("d features", "d state[0]", "state[0]"):
                    assert mine[name].tobytes() == found[name][b : b + 1].tobytes(), name


@pytest.mark.parametrize("hard", [None, 5, "greedy"])
@pytest.mark.parametrize("form", KINDS, ids=str)
def test_a_stepper_gives_the_bits_of_the_whole(form: Form, hard: int | str | None) -> None:
    noise = rk.Noise(2, zoneout=0.3, recurrent_dropout=0.2)
    for cell in TWO:
        p = make(cell, form, Sizes(5, 3, 2, 19, 6, 4), "float32")
        p.options = random_options(p, "mask")
        run = p.forward(hard=hard, noise=noise, training=False)
        more = {"mask": p.options["mask"], "hard": hard, "noise": noise}
        stepper = attention.Stepper(cell, p.features, p.params, p.state, **more)
        assert not stepper.weights.any()
        for again in (False, True):
            if again:
                stepper.reset(p.state)
            for t, x_t in enumerate(p.x):
                if t == 3:
                    stepper = pickle.loads(pickle.dumps(stepper))
                h = stepper(x_t)
                assert h.tobytes() == run.output[t].tobytes()
                assert stepper.weights.tobytes() == run.weights[t].tobytes()
                assert stepper.context.tobytes() == run.contexts[t].tobytes()
                if run.places is None:
                    assert stepper.place is None
                else:
                    np.testing.assert_array_equal(stepper.place, run.places[t])
            assert [s.tobytes() for s in stepper.state] == [s.tobytes() for s in run.state]
    assert repr(stepper) == "attention.Stepper('gru_reset_before', B=3, H=19, L=6, D=4, 5 steps)"


# ---- arrays --------------------------------------------------------------------------------------


def test_nothing_is_modified_and_a_run_can_be_copied() -> None:
    for form in KINDS:
        p = make("lstm", form, Sizes(4, 3, 2, 18, 5, 4), "float32")
        p.options = random_options(p, "mask", "lengths")
        ahead = [*p.ahead.values()]
        inputs = [
            p.x,
            p.features,
            *p.params.values(),
            *p.state,
            *ahead[1],
            *(a for a in ahead if not isinstance(a, tuple)),
        ]
        before = [a.copy() for a in inputs]
        for a in inputs:
            a.flags.writeable = False
        run = p.forward()
        assert repr(run).startswith("AttendingRun(cell='lstm', T=4, B=3, H=18, L=5, D=4, reserve_bytes=")
        assert len(repr(run)) < 90
        first = named_gradients(attention.backward(run, **p.ahead))
        for other in (run, copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
            same(named_gradients(attention.backward(other, **p.ahead)), first)
        for a, b in zip(inputs, before, strict=True):
            np.testing.assert_array_equal(a, b)
        assert not any(np.shares_memory(value, a) for value in first.values() for a in inputs)
        assert p.forward(training=False).reserve_bytes == 0 < run.reserve_bytes


def test_gradients_that_are_left_out_are_zeros() -> None:
    p = make("lstm", KINDS[4])
    run = p.forward()
    zeros = {
        name: tuple(map(np.zeros_like, d)) if isinstance(d, tuple) else np.zeros_like(d) for name, d in p.ahead.items()
    }
    for name, d in p.ahead.items():
        alone = attention.backward(run, **{name: d})
        same(named_gradients(alone), named_gradients(attention.backward(run, **{**zeros, name: d})))
        assert alone.reset_state is None
    assert not any(value.any() for value in attention.backward(run).params.values())


def test_arrays_of_other_layouts_and_lists_are_read() -> None:
    p = make("gru", Form(location=(1, 3)))
    plain = p.results()
    p.features = np.asfortranarray(p.features)
    p.x = np.repeat(p.x, 2, axis=2)[:, :, ::2]
    p.params = {name: np.asfortranarray(value) for name, value in p.params.items()}
    p.ahead["d_weights"] = p.ahead["d_weights"][::-1].copy()[::-1]
    same(p.results(), plain)
    run = attention.forward("gru", p.x.tolist(), p.features.tolist(), p.params, [s.tolist() for s in p.state])
    assert run.output.tobytes() == plain["output"].tobytes()


# ---- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [*KINDS, Form("dot", attention_size=9), Form(bias=False)], ids=str)
@pytest.mark.parametrize("cell", ["lstm", "indrnn", "gru_layer_norm"])
def test_parameters(cell: str, form: Form) -> None:
    size = None if form.scores == "bilinear" else form.attention_size
    options: dict[str, Any] = {"scores": form.scores, "attention_size": size, "gated": form.gated}
    options |= {"location": form.location, "bias": form.bias}
    shapes = attention.parameter_shapes(cell, 2, 4, 5, **options)
    own = rk.parameter_shapes(cell, 6, 5, bias=form.bias)
    assert shapes == own | form.shapes(4, 5)
    params = attention.init_params(cell, 2, 4, 5, **options, rng=1, dtype="float64")
    assert {name: value.shape for name, value in params.items()} == shapes
    for name, value in rk.init_params(cell, 6, 5, rng=1, dtype="float64", bias=form.bias).items():
        np.testing.assert_array_equal(params[name], value)
    bounds = {"weight_query": 5, "bias_query": 5, "weight_key": 4, "score": form.attention_size, "weight_beta": 5}
    bounds |= {"bias_beta": 5, "weight_location": int(np.prod(form.location or 1))}
    for name in form.shapes(4, 5):
        assert 0 < np.abs(params[name]).max() <= 1 / np.sqrt(bounds[name])
    x, features = np.ones((3, 2, 2)), np.ones((2, 3, 4))
    assert attention.forward(cell, x, features, params).output.shape == (3, 2, 5)


def test_defaults_of_sizes() -> None:
    assert attention.parameter_shapes("gru", 0, 4, 5)["weight_key"] == (5, 4)
    assert attention.parameter_shapes("gru", 0, 4, 5, scores="bilinear")["weight_query"] == (4, 5)
