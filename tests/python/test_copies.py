"""Copies and pickles of runs, prepared layers and steppers: they work alike and share nothing that one changes."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import FORMS, make

import rnnkernels as rk
from rnnkernels import _pickled

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (6, 3, 5, 20)


def pickled(thing: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> Any:
    return pickle.loads(pickle.dumps(thing, protocol))


DEEP = pytest.mark.parametrize("deep", [copy.deepcopy, pickled, lambda thing: pickled(thing, 2)])
EVERY = pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled, lambda thing: pickled(thing, 2)])


def gradients(run: rk.Run, p: Any) -> list[bytes]:
    found = rk.backward(run, p.d_output, p.d_state, norms=True)
    return [
        np.asarray(array).tobytes() for array in (found.x, *found.params.values(), *found.state, *(found.norms or ()))
    ]


@DEEP
@pytest.mark.parametrize("memory", ["all", "states", "replay"])
@pytest.mark.parametrize("cell", FORMS)
def test_a_deep_copy_of_a_run_is_differentiated_alike(cell: str, memory: str, deep: Callable[[Any], Any]) -> None:
    p = make(cell, SHAPE, "float32")
    lengths = np.array([6, 2, 4])
    for options in ({}, {"lengths": lengths, "all_states": True}, {"reverse": True}):
        run = p.forward(memory=memory, **options)
        expected = gradients(run, p)
        other = deep(run)
        assert repr(other) == repr(run)
        for array in (run.output, *run.state, *(run.states or ())):
            array[:] = np.nan
        assert gradients(other, p) == expected
        assert not np.isnan(other.output).any()
        assert other.states is None or other.states[0] is other.output


@DEEP
def test_a_deep_copy_of_a_run_has_arrays_of_its_own(deep: Callable[[Any], Any]) -> None:
    p = make("gru", SHAPE, "float32")
    run = p.forward()
    expected = gradients(run, p)
    other = deep(run)
    for array in (p.x, *p.params.values()):
        array[:] = np.nan
    assert gradients(other, p) == expected


@EVERY
def test_a_run_of_inference_can_be_copied(copied: Callable[[Any], Any]) -> None:
    p = make("lstm", SHAPE, "float32")
    other = copied(p.forward(training=False))
    assert other.output.tobytes() == p.forward().output.tobytes()
    with pytest.raises(ValueError, match="got one made for inference"):
        rk.backward(other, p.d_output)


def test_a_run_goes_to_the_set_that_made_it() -> None:
    """Whichever number the set has where it is read, and whatever is in use there."""
    p = make("lstm", SHAPE, "float32")
    for made_on in rk.instruction_sets():
        rk.set_instruction_set(made_on)
        run = p.forward()
        expected = gradients(run, p)
        for other in rk.instruction_sets():
            rk.set_instruction_set(other)
            assert gradients(pickled(run), p) == expected


@EVERY
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", FORMS)
def test_a_copy_of_a_prepared_layer_gives_the_same_bits(cell: str, tokens: bool, copied: Callable[[Any], Any]) -> None:
    p = make(cell, SHAPE, "float32", tokens=tokens)
    for weights in ("full", "bfloat16"):
        layer = rk.Prepared(cell, p.params, weights=weights, tokens=tokens)
        expected = [layer.forward(p.x, p.state)[0].tobytes(), repr(layer)]
        other = copied(layer)
        del layer
        assert [other.forward(p.x, p.state)[0].tobytes(), repr(other)] == expected
        assert (
            other.stepper(3, p.state)(p.x[0]).tobytes()
            == rk.Prepared(cell, p.params, weights=weights, tokens=tokens).stepper(3, p.state)(p.x[0]).tobytes()
        )


def test_a_prepared_layer_keeps_its_options_and_its_set() -> None:
    p = make("lstm", SHAPE, "float32")
    noise = rk.Noise(seed=3, zoneout=(0.1, 0.3))
    rk.set_instruction_set("scalar")
    layer = rk.Prepared("lstm", p.params, noise=noise, cell_clip=0.01)
    expected = layer.forward(p.x, p.state)[0].tobytes()
    rk.set_instruction_set(rk.instruction_sets()[-1])
    for copied in (copy.copy, copy.deepcopy, pickled):
        other = copied(layer)
        assert other.noise == noise
        assert other.forward(p.x, p.state)[0].tobytes() == expected
    assert pickle.dumps(layer) == pickle.dumps(rk_again(p, noise))


def rk_again(p: Any, noise: rk.Noise) -> rk.Prepared:
    rk.set_instruction_set("scalar")
    return rk.Prepared("lstm", p.params, noise=noise, cell_clip=0.01)


@EVERY
def test_a_copy_of_a_stepper_goes_its_own_way(copied: Callable[[Any], Any]) -> None:
    p = make("lstm", SHAPE, "float32")
    layer = rk.Prepared("lstm", p.params)
    output = layer.forward(p.x, p.state)[0]
    one = layer.stepper(3, p.state)
    for t in range(3):
        one(p.x[t])
    two = copied(one)
    two(np.full_like(p.x[3], 7))
    assert one(p.x[3]).tobytes() == output[3].tobytes()
    three = copied(one)
    one.reset()
    assert three(p.x[4]).tobytes() == output[4].tobytes()
    assert repr(three) == repr(one)


def test_what_is_pickled_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    p = make("lstm", SHAPE, "float32")
    things = [pickle.dumps(rk.Prepared("lstm", p.params)), pickle.dumps(p.forward())]
    name = rk.instruction_set().encode()
    with pytest.raises(ValueError, match=r"this machine and build have .*; got"):
        pickle.loads(things[0].replace(name, b"x" * len(name)))
    monkeypatch.setattr(_pickled, "version", lambda: "7.7")
    with pytest.raises(ValueError, match=r"Prepared: expected a pickle of rnnkernels .*, got one of"):
        pickle.loads(things[0])
    with pytest.raises(ValueError, match=r"reserve: expected a pickle of rnnkernels .*, got one of"):
        pickle.loads(things[1])
