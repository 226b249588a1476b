"""Hard attention: the places that are drawn, or taken as the likeliest, and all that follows from them.

Problems and what the reference says of them: support/attending.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from attending import KINDS, TWO, Form, Sizes, check, make, random_options, wanted
from problems import sets

import rnnkernels as rk
from rnnkernels import attention


@pytest.mark.parametrize("names", [(), ("mask",), ("mask", "lengths", "resets", "reverse")], ids=" ".join)
@pytest.mark.parametrize("form", KINDS[1:], ids=str)
def test_hard_attention_at_the_places_that_were_drawn(form: Form, names: tuple[str, ...]) -> None:
    """Given the places, all is determined: gradients of contexts at them and of beta, of weights through the scores."""
    for cell, seed in zip(TWO, (0, 2**64 - 1), strict=True):
        p = make(cell, form, Sizes(4, 3, 2, 5, 4, 3), "float32")
        p.options = random_options(p, *names) | {"hard": seed}
        run = p.forward()
        assert run.places is not None
        ran = run.weights.any(-1)
        assert (run.places[~ran] == -1).all()
        drawn = np.where(ran, run.places, 0)
        assert np.take_along_axis(run.weights, drawn[..., None], -1)[ran].all()  # among those that may be looked at
        p.options["places"] = drawn
        expected = wanted(p)
        for isa in sets():
            rk.set_instruction_set(isa)
            check(p, p.results(), expected, form)


def test_places_are_drawn_as_the_weights_say() -> None:
    """One step of many rows that are alike: shares within five standard deviations, every seed its own draws."""
    batch, places = 20_000, 5
    p = make("rnn_tanh", Form("bilinear"), Sizes(2, 1, 0, 3, places, 2), "float32")
    mask = np.array([[True, True, False, True, True]])
    many = [np.repeat(array, batch, axis) for array, axis in ((p.x, 1), (p.features, 0), (mask, 0))]
    state = tuple(np.repeat(s, batch, 0) for s in p.state)
    drawn = []
    for seed in (1, 2):
        run = attention.forward("rnn_tanh", many[0], many[1], p.params, state, mask=many[2], hard=seed)
        assert run.places is not None
        alpha = run.weights[0, 0]
        shares = np.bincount(run.places[0], minlength=places) / batch
        assert (np.abs(shares - alpha) <= 5 * np.sqrt(alpha * (1 - alpha) / batch)).all(), (shares, alpha)
        drawn.append(run.places)
        assert (run.places[0] != run.places[1]).mean() > 0.2  # every step its own
    assert (drawn[0] != drawn[1]).mean() > 0.2


@pytest.mark.parametrize("form", KINDS, ids=str)
def test_greedy_places_are_the_likeliest(form: Form) -> None:
    """Of those that may be looked at, the first of several; the rest is as of places that are drawn."""
    for cell in TWO:
        p = make(cell, form, Sizes(4, 3, 2, 5, 4, 3), "float32")
        p.features[0, 2] = p.features[0, 0]  # as likely as the first
        p.options = random_options(p, "mask", "lengths", "resets") | {"hard": "greedy"}
        run = p.forward()
        assert run.places is not None
        ran = run.weights.any(-1)
        np.testing.assert_array_equal(run.places, np.where(ran, run.weights.argmax(-1), -1))
        p.options["places"] = np.where(ran, run.places, 0)
        expected = wanted(p)
        for isa in sets():
            rk.set_instruction_set(isa)
            check(p, p.results(), expected, form)
    even = make("lstm", Form("bilinear", bias=False))
    even.params["weight_query"][...] = 0
    mask = np.ones((3, 4), bool)
    mask[1, 0] = False
    places = even.forward(hard="greedy", mask=mask).places
    np.testing.assert_array_equal(places, np.broadcast_to([0, 1, 0], (3, 3)))
