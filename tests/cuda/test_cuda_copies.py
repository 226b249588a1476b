"""Copies and pickles of runs on a GPU, emulated: they are differentiated alike and share nothing. CPU: test_copies."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import make, on_device

import rnnkernels as rk
from rnnkernels import _pickled

if TYPE_CHECKING:
    from collections.abc import Callable

    from rnnkernels.run import Gradients
    from rnnkernels.stack import StackGradients

SHAPE = (6, 3, 5, 20)
OPTIONS: tuple[dict[str, Any], ...] = ({}, {"lengths": np.array([6, 2, 4])})


def pickled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


DEEP = pytest.mark.parametrize("deep", [copy.deepcopy, pickled])


def bits(found: Gradients | StackGradients) -> list[bytes]:
    """Those of the input's and the parameters' gradients, of arrays or of tensors on the host."""
    return [np.asarray(array).tobytes() for array in (found.x, *found.params.values())]


@pytest.fixture
def on_cuda(emulated: Any) -> Any:
    rk.set_backend("cuda")
    yield emulated
    rk.set_backend("cpu")


@DEEP
@pytest.mark.parametrize("memory", ["all", "states", "replay"])
def test_a_deep_copy_of_a_run_on_tensors(tensors: Any, memory: str, deep: Callable[[Any], Any]) -> None:
    p = make("lstm", SHAPE, "float32")
    x, params, state = on_device(tensors, p, tensors.float32)
    d_output = tensors.from_numpy(p.d_output)
    for options in OPTIONS:
        run: Any = rk.forward(p.cell, x, params, state, memory=memory, **options)
        expected = bits(rk.backward(run, d_output))
        other = deep(run)
        for tensor in (run.output, *run.state):
            tensor.fill_(np.nan)
        assert bits(rk.backward(other, d_output)) == expected
        assert isinstance(other.output, tensors.Tensor)


@DEEP
@pytest.mark.parametrize("memory", ["all", "states", "replay"])
def test_a_deep_copy_of_a_run_on_copies_of_arrays(on_cuda: Any, memory: str, deep: Callable[[Any], Any]) -> None:
    del on_cuda
    p = make("lstm", SHAPE, "float32")
    for options in OPTIONS:
        run = p.forward(memory=memory, **options)
        expected = bits(rk.backward(run, p.d_output))
        other = deep(run)
        run.output[:] = np.nan
        assert bits(rk.backward(other, p.d_output)) == expected


@DEEP
def test_a_deep_copy_of_a_run_of_a_stack(tensors: Any, deep: Callable[[Any], Any]) -> None:
    stack = rk.Stack("gru", 5, 20, 2, rng=0)
    stack.params = {name: tensors.from_numpy(weight.copy()) for name, weight in stack.params.items()}
    run = stack.forward(tensors.ones((6, 3, 5)))
    d_output = tensors.ones((6, 3, 20))
    expected = bits(stack.backward(run, d_output))
    assert bits(stack.backward(deep(run), d_output)) == expected


def test_a_reserve_has_a_copy_of_its_own(tensors: Any) -> None:
    p = make("lstm", SHAPE, "float32")
    x, params, state = on_device(tensors, p, tensors.float32)
    run: Any = rk.forward(p.cell, x, params, state)
    of_run, of_copy = (r._kept.reserve.view.owner for r in (run, copy.deepcopy(run)))
    assert tensors.equal(of_run, of_copy)
    assert of_run.data_ptr() != of_copy.data_ptr()


def test_another_version_says_so(tensors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    p = make("lstm", SHAPE, "float32")
    data = pickle.dumps(rk.forward(p.cell, *on_device(tensors, p, tensors.float32)))
    monkeypatch.setattr(_pickled, "version", lambda: "9.9")
    with pytest.raises(ValueError, match=r"^reserve: expected a pickle of rnnkernels 9\.9, .* make it again"):
        pickle.loads(data)
