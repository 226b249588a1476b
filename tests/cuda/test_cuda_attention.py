"""The attending recurrence on arrays of a GPU, emulated: tensors in, tensors out, and what NumPy's arrays give there.

The numbers are those of tests/kernels/test_attention.py, which the emulated backend runs, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attending import Form, Problem, Sizes, make, named, named_gradients, random_options

import rnnkernels as rk
from rnnkernels import attention

FORMS = [Form(gated=True, location=(2, 3)), Form("bilinear"), Form("dot", bias=False)]


def as_tensors(torch: Any, given: Any) -> Any:
    """Floats as tensors, those of tuples and dicts too."""
    if isinstance(given, dict):
        return {name: as_tensors(torch, value) for name, value in given.items()}
    if isinstance(given, tuple):
        return tuple(as_tensors(torch, value) for value in given)
    return torch.from_numpy(given.copy()) if isinstance(given, np.ndarray) and given.dtype.kind == "f" else given


def close(tensors: dict[str, Any], arrays: dict[str, Any]) -> None:
    """The products of keys are each library's own."""
    assert tensors.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_allclose(tensors[name].numpy(), value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "names", [(), ("mask",), ("mask", "lengths", "resets", "reset_state", "reverse")], ids=" ".join
)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_tensors_give_what_arrays_give(tensors: Any, form: Form, names: tuple[str, ...]) -> None:
    import torch

    p = make("lstm", form, Sizes(4, 3, 2, 5, 4, 3), "float32")
    p.options = random_options(p, *names)
    rk.set_backend("cuda")
    try:
        wanted = p.forward(hard=3)
        gradients = named_gradients(attention.backward(wanted, **p.ahead))
    finally:
        rk.set_backend("cpu")
    q = Problem(p.cell, *(as_tensors(torch, part) for part in (*p.call[1:], p.ahead, p.options)))
    run = q.forward(hard=3)
    close(named(run), named(wanted))
    np.testing.assert_array_equal(run.places, wanted.places)
    close(named_gradients(attention.backward(run, **q.ahead)), gradients)


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 0.0), ("float16", 4e-3)])
def test_a_stepper_of_tensors(tensors: Any, dtype: str, allowed: float) -> None:
    """Of halves the states are rounded between its steps, and not inside a forward."""
    import torch

    p = make("gru", FORMS[0], Sizes(4, 3, 2, 5, 4, 3), dtype)
    x, features, params, state = as_tensors(torch, p.call[1:])
    mask = random_options(p, "mask")["mask"]
    run = attention.forward("gru", x, features, params, state, mask=mask)
    stepper = attention.Stepper("gru", features, params, state, mask=torch.from_numpy(mask))
    for t, x_t in enumerate(x):
        np.testing.assert_allclose(stepper(x_t), run.output[t], rtol=0, atol=allowed)
    assert run.output.dtype == stepper.weights.dtype == getattr(torch, dtype)
