"""The attending recurrence's reference: against a plainer loop, and its complex steps against finite differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from attending import Form, Problem, Sizes, make, random_options

import rnnkernels as rk
from rnnkernels import reference
from rnnkernels.reference import attention

FORMS = [
    Form(),
    Form("bilinear"),
    Form("dot", gated=True),
    Form(location=(1, 3), bias=False),
    Form(gated=True, location=(2, 5)),
    Form("bilinear", gated=True, bias=False),
]
OPTIONS = [
    (),
    ("mask",),
    ("mask", "lengths", "places"),
    ("lengths", "resets", "reset_state"),
    ("resets", "reverse"),
    ("mask", "lengths", "resets", "reset_state", "reverse"),
]


def number_by_number(p: Problem, b: int) -> dict[str, Any]:
    """Row b in loops over single numbers; the cell's step alone is the reference's."""
    w, options, row = p.params, p.options, slice(b, b + 1)
    own = {name: value for name, value in w.items() if name not in attention.ATTENTION}
    (count, size), steps = p.features.shape[1:], len(p.x)
    a = p.features[b]
    length = int(options.get("lengths", [steps] * (b + 1))[b])
    state = tuple(s[row] for s in p.state)
    before, total = [0.0] * count, [0.0] * count
    found: dict[int, Any] = {}
    for t in sorted(range(length), reverse=options.get("reverse", False)):
        if "resets" in options and options["resets"][t, b]:
            state = tuple(s[row] for s in options.get("reset_state", tuple(map(np.zeros_like, p.state))))
            before, total = [0.0] * count, [0.0] * count
        h = state[0][0]
        query = [
            float(w["weight_query"][j] @ h) + float(w.get("bias_query", np.zeros(99))[j])
            for j in range(len(w["weight_query"]))
        ]
        scores = {}
        for i in range(count):
            if "mask" in options and not options["mask"][b, i]:
                continue
            key = list(a[i]) if "weight_key" not in w else [float(w["weight_key"][j] @ a[i]) for j in range(len(query))]
            if "score" not in w:
                scores[i] = sum(q * k for q, k in zip(query, key, strict=True))
                if "weight_key" in w:
                    scores[i] /= math.sqrt(len(query))
                continue
            scores[i] = 0.0
            for j, (q, k) in enumerate(zip(query, key, strict=True)):
                inside = q + k
                if "weight_location" in w:
                    taps = w["weight_location"][j]  # (C, K)
                    for c, seen in enumerate((before, total)[: len(taps)]):
                        for n, tap in enumerate(taps[c]):
                            at = i + n - len(taps[c]) // 2
                            inside += tap * seen[at] if 0 <= at < count else 0.0
                scores[i] += w["score"][j] * math.tanh(inside)
        whole = sum(math.exp(e) for e in scores.values())
        alpha = [math.exp(scores[i]) / whole if i in scores else 0.0 for i in range(count)]
        beta = 1.0
        if "weight_beta" in w:
            beta = 1 / (1 + math.exp(-float(w["weight_beta"][0] @ h) - float(w.get("bias_beta", np.zeros(1))[0])))
        context = np.zeros(size)
        for i in range(count):
            weight = alpha[i] if "places" not in options else float(options["places"][t, b] == i)
            context = context + beta * weight * a[i]
        both = np.concatenate([p.x[t, b], context])
        _, state = reference.forward(p.cell, both[None, None], own, state, cell_clip=options.get("cell_clip", np.inf))
        total = [s + weight for s, weight in zip(total, alpha, strict=True)]
        before = alpha
        found[t] = state[0][0], alpha, context
    return {"steps": found, "state": state}


@pytest.mark.parametrize("names", OPTIONS, ids=" ".join)
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "lstm_projected"])
def test_it_is_the_equations_number_by_number(cell: str, form: Form, names: tuple[str, ...]) -> None:
    p = make(cell, form, Sizes(5, 4, 2, 3, 5, 3))
    p.options = random_options(p, *names)
    run = attention.forward(cell, p.x, p.features, p.params, p.state, **p.options)
    for b in range(4):
        wanted = number_by_number(p, b)
        for t in range(5):
            if t not in wanted["steps"]:
                assert not any(a[t, b].any() for a in (run.output, run.weights, run.contexts))
                continue
            for found, value in zip((run.output, run.weights, run.contexts), wanted["steps"][t], strict=True):
                np.testing.assert_allclose(found[t, b], value, atol=1e-14)
        for found, value in zip(run.state, wanted["state"], strict=True):
            np.testing.assert_allclose(found[b], value[0], atol=1e-14)


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("number", range(len(FORMS)))
def test_gradients_against_finite_differences(number: int, shift: int) -> None:
    """Each form runs in two of the ways, so that each way has two forms."""
    form, names = FORMS[number], OPTIONS[(number + 3 * shift + 2) % len(OPTIONS)]
    p = make("gru", form, Sizes(4, 3, 2, 3, 4, 3))
    p.options = random_options(p, *names)
    if "resets" in names:
        p.options.setdefault("reset_state", tuple(np.ones_like(s) for s in p.state))
    found = attention.gradients(p.cell, p.x, p.features, p.params, p.state, **p.ahead, **p.options)
    arrays: dict[str, Any] = {"x": (p.x, found.x), "features": (p.features, found.features)}
    arrays |= {name: (p.params[name], found.params[name]) for name in p.params}
    arrays |= {f"state{k}": pair for k, pair in enumerate(zip(p.state, found.state, strict=True))}
    if "resets" in names:
        arrays |= {
            f"reset{k}": pair for k, pair in enumerate(zip(p.options["reset_state"], found.reset_state, strict=True))
        }

    def objective() -> float:
        run = attention.forward(p.cell, p.x, p.features, p.params, p.state, **p.options)
        sums = [(p.ahead[f"d_{name}"] * getattr(run, name)).sum() for name in ("output", "weights", "contexts")]
        sums += [(d * s).sum() for d, s in zip(p.ahead["d_state"], run.state, strict=True)]
        return float(sum(sums))

    rng, h = np.random.default_rng(1), 1e-6
    for name, (array, gradient) in arrays.items():
        assert gradient.shape == array.shape
        for place in rng.permutation(array.size)[:8]:
            kept = array.flat[place]
            array.flat[place] = kept + h
            above = objective()
            array.flat[place] = kept - h
            below = objective()
            array.flat[place] = kept
            assert gradient.flat[place] == pytest.approx((above - below) / (2 * h), rel=1e-6, abs=1e-7), (name, place)


@pytest.mark.parametrize("cell", rk.cells())
def test_every_cell_runs_on_x_and_the_contexts(cell: str) -> None:
    """The reference without attention, on (x, contexts): each row's own steps, masks and all."""
    p = make(cell, Form(gated=True), Sizes(4, 3, 2, 6, 4, 3))
    noise = rk.Noise(3, recurrent_dropout=0.3, per_step=True, weight_dropout=0.2)
    own = {name: value for name, value in p.params.items() if name not in attention.ATTENTION}
    for training in (True, False):
        run = attention.forward(cell, p.x, p.features, p.params, p.state, noise=noise, training=training)
        both = np.concatenate([p.x, run.contexts], axis=-1)
        output, state = reference.forward(cell, both, own, p.state, noise=noise, training=training)
        np.testing.assert_allclose(run.output, output, atol=1e-13)
        for mine, theirs in zip(run.state, state, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-13)
    grads = attention.gradients(cell, p.x, p.features, p.params, p.state, **p.ahead)
    assert all(np.isfinite(value).all() and value.any() for value in grads.params.values())


@pytest.mark.parametrize("sizes", [Sizes(steps=0), Sizes(batch=0), Sizes(inputs=0), Sizes(places=1)])
def test_nothing_of_something(sizes: Sizes) -> None:
    p = make("lstm", Form(location=(2, 3)), sizes)
    run = attention.forward(p.cell, p.x, p.features, p.params, p.state)
    grads = attention.gradients(p.cell, p.x, p.features, p.params, p.state, **p.ahead)
    assert run.output.shape == p.ahead["d_output"].shape
    assert grads.features.shape == p.features.shape
    if sizes.places == 1:
        np.testing.assert_array_equal(run.weights, 1.0)
        assert not grads.params["score"].any()  # a softmax of one number
    if sizes.steps * sizes.batch == 0:
        assert not any(value.any() for value in grads.params.values())
        for found, d in zip(grads.state, p.ahead["d_state"], strict=True):
            np.testing.assert_allclose(found, d, rtol=1e-15)


def test_tokens_are_unit_vectors_and_leading_axes_are_copies() -> None:
    p = make("gru", Form(), tokens=True)
    vectors = np.eye(2)[p.x]
    one = attention.forward("gru", p.x, p.features, p.params, p.state)
    two = attention.forward("gru", vectors, p.features, p.params, p.state)
    np.testing.assert_array_equal(one.output, two.output)
    assert attention.gradients("gru", p.x, p.features, p.params, p.state, **p.ahead).x is None
    scaled = np.stack([p.features, 2 * p.features])
    both = attention.forward("gru", vectors, scaled, p.params, p.state)
    np.testing.assert_allclose(both.output[0], one.output, atol=1e-15)
    np.testing.assert_allclose(
        both.output[1], attention.forward("gru", vectors, 2 * p.features, p.params, p.state).output, atol=1e-15
    )


def test_what_does_not_fit_is_named() -> None:
    p = make("gru", Form())
    for change, message in (
        ({"features": p.features[:2]}, r"features: expected shape \(..., B = 3, L, D\), got \(2, 4, 3\)"),
        ({"features": np.ones((3, 4, 9))}, r"features: expected shape \(..., B, L, D\), D within weight_ih"),
        ({"params": {"weight_ih": 1}}, "params: expected"),
        ({"mask": np.zeros((3, 4), bool)}, "mask: expected a place in every row"),
        ({"places": np.zeros((3, 3))}, r"places: expected shape \(3, 3\) of int64, got \(3, 3\) of float64"),
    ):
        given: dict[str, Any] = {"x": p.x, "features": p.features, "params": p.params, "state": p.state} | change
        with pytest.raises(ValueError, match=message):
            attention.forward("gru", **given)
