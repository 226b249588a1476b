"""The stack of layers on arrays of a GPU, emulated: against the CPU's stack, and dropout of elements bit for bit.

Not here: what a single layer does there (test_cuda.py), and what a stack must give on the CPU (test_stack.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import random_states

import rnnkernels as rk

if TYPE_CHECKING:
    from rnnkernels.stack import Stack, StackGradients, StackRun

T, B, I, H, P = 6, 5, 4, 9, 7  # noqa: E741 - the sizes' names everywhere in this package
CELLS = ("lstm", "gru", "lstm_projected", "mut3")


def make(cell: str, layers: int, **options: Any) -> Stack:
    proj_size = P if rk.cell_info(cell)["projected"] else None
    return rk.Stack(cell, I, H, layers, proj_size=proj_size, dtype="float64", rng=0, **options)


def states(stack: Stack, rng: np.random.Generator) -> tuple[Any, ...]:
    many = stack.num_layers * stack.num_directions
    return tuple(random_states(stack.cell, rng, B, H, "float64", stack.proj_size) for _ in range(many))


def there(torch: Any, value: Any) -> Any:
    """The arrays of nested tuples as tensors."""
    if isinstance(value, (tuple, list)):
        return tuple(there(torch, part) for part in value)
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def assert_close(found: Any, wanted: Any, name: str) -> None:
    """Nested tuples of tensors against those of arrays."""
    if wanted is None:
        assert found is None, name
    elif isinstance(wanted, tuple):
        assert len(found) == len(wanted), name
        for k, (a, b) in enumerate(zip(found, wanted, strict=True)):
            assert_close(a, b, f"{name}[{k}]")
    else:
        assert not isinstance(found, np.ndarray), name
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-11, err_msg=name)


def assert_alike(found: tuple[StackRun, StackGradients], wanted: tuple[StackRun, StackGradients]) -> None:
    for name in ("output", "outputs", "state", "states"):
        assert_close(getattr(found[0], name), getattr(wanted[0], name), name)
    for name in ("x", "state", "reset_state", "norms"):
        assert_close(getattr(found[1], name), getattr(wanted[1], name), f"d {name}")
    assert found[1].params.keys() == wanted[1].params.keys()
    for name, value in wanted[1].params.items():
        assert_close(found[1].params[name], value, f"d {name}")


def compare(torch: Any, stack: Stack, tokens: bool = False, **options: Any) -> None:
    """A forward and a backward on arrays and on tensors, with every gradient there is."""
    rng = np.random.default_rng(1)
    width = stack.output_size * stack.num_directions
    x = rng.integers(0, I, (T, B)) if tokens else rng.standard_normal((T, B, I))
    state, d_state = states(stack, rng), states(stack, rng)
    if options.get("resets") is not None:
        options["reset_state"] = states(stack, rng)
    d_outputs = tuple(rng.standard_normal((stack.num_layers, T, B, width)))
    d_output = rng.standard_normal((T, B, width))
    on_host = dict(stack.params)
    results = []

    def same(value: Any) -> Any:
        return value

    def moved(value: Any) -> Any:
        return there(torch, value)

    for of in (same, moved):
        stack.params = {name: of(w) for name, w in on_host.items()}
        given = {name: of(value) if name == "reset_state" else value for name, value in options.items()}
        run = stack.forward(of(x), of(state), rng=np.random.default_rng(2), **given)
        d = {"d_state": of(d_state), "d_outputs": of(d_outputs), "norms": options.get("memory") != "replay"}
        results.append((run, stack.backward(run, of(d_output), **d)))
    assert_alike(results[1], results[0])


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_layers_on_layers(tensors: Any, cell: str, tokens: bool, ways: int) -> None:
    compare(tensors, make(cell, 2, bidirectional=ways == 2), tokens)
