"""Layers that run both ways in time: flax's results, and with resets those of a `Stack` of two directions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from nnx_modules import LENGTHS, RESETS, RNG, H, I, X, assert_close, by_hand, carry_of, theirs, without_padding

import rnnkernels as rk
from rnnkernels.jax import nnx as rkn
from rnnkernels.jax.nnx.cells import kind_of_cell, parameters_of

CELLS = [nnx.OptimizedLSTMCell, nnx.LSTMCell, nnx.GRUCell, nnx.SimpleCell]


def both_of(cell: Any, other: Any = None, **options: Any) -> Any:
    """A module of ours, its two layers of one cell of flax's or of two."""
    return rkn.from_flax(nnx.Bidirectional(theirs(cell), theirs(other or cell, 2), **options))


@pytest.mark.parametrize("merge", [None, jnp.add])
def test_both_ways(merge: Any) -> None:
    options = {} if merge is None else {"merge_fn": merge}
    module = nnx.Bidirectional(theirs(nnx.GRUCell), theirs(nnx.OptimizedLSTMCell, 2), return_carry=True, **options)
    ours = rkn.from_flax(module)
    assert type(ours) is rkn.Bidirectional
    assert rkn.from_flax(ours) is ours
    carry = carry_of(nnx.GRUCell), carry_of(nnx.OptimizedLSTMCell)
    assert_close(ours(X), module(X))
    expected = without_padding(module(X, initial_carry=carry, seq_lengths=LENGTHS), LENGTHS)
    assert_close(ours(X, initial_carry=carry, seq_lengths=LENGTHS), expected)
    assert_close(ours(X, reverse=True, keep_order=False), module(X))  # of no effect, as flax's
    turned, given = jnp.swapaxes(X, 0, 1), {"time_major": True, "return_carry": False}
    assert_close(ours(turned, **given), module(turned, **given))
    assert jax.tree.structure(nnx.state(ours)) == jax.tree.structure(nnx.state(module))


def test_a_carry_is_drawn_as_flax_draws_it() -> None:
    drawn = {"carry_init": nnx.initializers.normal(1.0)}
    with pytest.warns(UserWarning, match="carry_init"):
        module = nnx.Bidirectional(theirs(nnx.GRUCell, of_cell=drawn), theirs(nnx.GRUCell, 2, of_cell=drawn))
    ours = nnx.clone(rkn.from_flax(module))
    for _ in range(2):  # the second draws the next numbers
        assert_close(ours(X), module(X))
    assert_close(ours(X, rngs=nnx.Rngs(7)), module(X, rngs=nnx.Rngs(7)))


def states_of(carries: Any) -> Any:
    """Carries, (c, h) or h, as a stack has its states: h first."""
    return [tuple(map(np.asarray, reversed(each) if isinstance(each, tuple) else (each,))) for each in carries]


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["dense", "lengths"])
@pytest.mark.parametrize("cell", CELLS)
def test_with_resets_it_is_a_stack_of_two_directions(cell: Any, lengths: Any) -> None:
    """Outputs, carries and gradients; of both reset states, too."""
    ours = both_of(cell, return_carry=True)
    name = kind_of_cell(ours.forward_rnn.cell)
    layers = {"": ours.forward_rnn, "_reverse": ours.backward_rnn}
    params = {
        f"{key}_l0{end}": np.asarray(value)
        for end, layer in layers.items()
        for key, value in parameters_of(layer.cell).items()
    }
    stack = rk.Stack(name, I, H, bidirectional=True, rng=0)
    for key in [key for key in stack.params if key not in params]:
        params[key] = np.zeros_like(stack.params[key])
    stack.params.update(params)
    carry, begun = ((carry_of(cell), carry_of(cell)) for _ in range(2))
    d_output = np.asarray(RNG.normal(size=(7, 3, 2 * H)), np.float32)
    x = np.ascontiguousarray(np.swapaxes(X, 0, 1))
    for reset_state in (None, begun):
        given: dict[str, Any] = {
            "resets": np.asarray(RESETS).T,
            "lengths": None if lengths is None else np.asarray(lengths),
        }
        states = None if reset_state is None else states_of(reset_state)
        run = stack.forward(x, states_of(carry), reset_state=states, **given)
        wanted: Any = stack.backward(run, d_output)

        def called(x: Any, carry: Any, begun: Any) -> Any:
            return ours(x, initial_carry=carry, seq_lengths=lengths, resets=RESETS, reset_state=begun)

        (final, output), back = jax.vjp(called, X, carry, reset_state)
        np.testing.assert_allclose(np.swapaxes(output, 0, 1), run.output, atol=1e-6)
        for mine, theirs_ in zip(states_of(final), run.state, strict=True):
            np.testing.assert_allclose(mine, theirs_, atol=1e-6)
        zeros = jax.tree.map(jnp.zeros_like, final)
        d_x, d_carry, d_begun = back((zeros, jnp.swapaxes(d_output, 0, 1)))
        np.testing.assert_allclose(np.swapaxes(d_x, 0, 1), wanted.x, atol=2e-5)
        for mine, theirs_ in zip(states_of(d_carry), wanted.state, strict=True):
            np.testing.assert_allclose(mine, theirs_, atol=2e-5)
        if reset_state is not None:
            for mine, theirs_ in zip(states_of(d_begun), wanted.reset_state, strict=True):
                np.testing.assert_allclose(mine, theirs_, atol=2e-5)


def test_resets_step_by_step() -> None:
    """Flax's cells in a loop, one begun again with a state of its own, one with zeros; jitted, with resets traced."""
    ours = both_of(nnx.GRUCell, nnx.OptimizedLSTMCell, return_carry=True)
    carry = carry_of(nnx.GRUCell), carry_of(nnx.OptimizedLSTMCell)
    zeros, begun = jnp.zeros_like(carry[0]), carry_of(nnx.OptimizedLSTMCell)
    halves = [
        by_hand(ours.forward_rnn, carry[0], RESETS, zeros, False),
        by_hand(ours.backward_rnn, carry[1], RESETS, begun, True),
    ]
    expected = tuple(final for final, _ in halves), jnp.concatenate([output for _, output in halves], axis=-1)
    run = nnx.jit(lambda m, x, resets: m(x, initial_carry=carry, resets=resets, reset_state=(None, begun)))
    assert_close(run(ours, X, RESETS), expected)
    final, output = ours(
        jnp.swapaxes(X, 0, 1), time_major=True, initial_carry=carry, resets=RESETS.T, reset_state=(None, begun)
    )
    assert_close((final, jnp.swapaxes(output, 0, 1)), expected)


def test_a_reset_cuts_both_directions_at_its_step() -> None:
    """Forward's outputs from the step on see nothing before it, backward's up to the step nothing behind it."""
    ours, at = both_of(nnx.GRUCell), 3
    resets = jnp.zeros((3, 7), bool).at[:, at].set(True)
    before = ours(X, resets=resets)
    for changed, same in (
        (X.at[:, :at].add(1.0), np.s_[:, at:, :H]),
        (X.at[:, at + 1 :].add(1.0), np.s_[:, : at + 1, H:]),
    ):
        after = ours(changed, resets=resets)
        np.testing.assert_array_equal(after[same], before[same])
        assert not np.array_equal(after, before)
        assert not np.array_equal(ours(changed)[same], ours(X)[same])


def test_batches_of_any_shape() -> None:
    ours = both_of(nnx.GRUCell)
    x = jnp.asarray(RNG.normal(size=(2, 3, 7, I)), np.float32)
    resets = jnp.stack([RESETS, ~RESETS])
    expected = jnp.stack([ours(x[k], resets=resets[k]) for k in range(2)])
    assert_close(ours(x, resets=resets), expected)
    assert_close(ours(x[0, 0], resets=resets[0, 0]), expected[0, 0])


@pytest.mark.parametrize("shape", [(3, 0, I), (0, 4, I)], ids=str)
def test_nothing_to_do(shape: Any) -> None:
    ours = both_of(nnx.OptimizedLSTMCell, return_carry=True)
    carries, output = ours(jnp.zeros(shape), resets=jnp.zeros(shape[:2], bool))
    assert output.shape == (*shape[:2], 2 * H)
    assert [part.shape for carry in carries for part in carry] == [(shape[0], H)] * 4
