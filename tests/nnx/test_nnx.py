"""The modules for flax.nnx: equal to `nnx.RNN` with the same parameters, whatever is asked of both; what is refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from nnx_modules import CELLS, LENGTHS, RESETS, RNG, H, I, X, assert_close, by_hand, carry_of, theirs, without_padding

from rnnkernels import _cpu
from rnnkernels.jax import nnx as rkn

# ---- equal to flax ------------------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "reverse": {"reverse": True},
    "reverse, keep_order": {"reverse": True, "keep_order": True},
    "lengths": {"seq_lengths": LENGTHS},
    "lengths, reverse": {"seq_lengths": LENGTHS, "reverse": True},
    "lengths, reverse, keep_order": {"seq_lengths": LENGTHS, "reverse": True, "keep_order": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_and_carries_are_flaxs(cell: Any, options: Any) -> None:
    module = theirs(cell)
    ours = rkn.from_flax(module)
    for carry in (None, carry_of(cell)):
        given = {"initial_carry": carry, "return_carry": True, **options}
        expected = module(X, **given)
        if "seq_lengths" in options:
            expected = without_padding(expected, LENGTHS)
        assert_close(ours(X, **given), expected)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize("cell", [nnx.OptimizedLSTMCell, nnx.GRUCell])
def test_batches_of_any_shape_and_time_first(cell: Any, batch: tuple[int, ...]) -> None:
    x = jnp.asarray(RNG.normal(size=(*batch, 4, I)), np.float32)
    for time_major in (False, True):
        module = theirs(cell, time_major=time_major, return_carry=True, reverse=True)
        given = jnp.moveaxis(x, -2, 0) if time_major else x
        for carry in (None, carry_of(cell, batch)):
            assert_close(
                rkn.from_flax(module)(given, initial_carry=carry), module(given, initial_carry=carry), tolerance=1e-5
            )


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_flaxs(cell: Any) -> None:
    module, carry = theirs(cell), carry_of(cell)
    weights = jnp.asarray(RNG.normal(size=(3, 7, H)), np.float32) * (np.arange(7) < LENGTHS[:, None])[:, :, None]

    def loss(m: Any, x: Any, carry: Any) -> Any:
        final, output = m(x, initial_carry=carry, seq_lengths=LENGTHS, return_carry=True, reverse=True, keep_order=True)
        return (output * weights).sum() + sum((part**2).sum() for part in jax.tree.leaves(final))

    argnums = (nnx.DiffState(0, nnx.Param), 1, 2)
    found = nnx.jit(nnx.grad(loss, argnums=argnums))(rkn.from_flax(module), X, carry)
    expected = nnx.grad(loss, argnums=argnums)(module, X, carry)
    assert_close(tuple(map(nnx.to_pure_dict, found[:1])), tuple(map(nnx.to_pure_dict, expected[:1])), 5e-5)
    assert_close(found[1:], expected[1:], 5e-5)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_resets_replace_the_carry(cell: Any, reverse: bool) -> None:
    module, carry, begun = (
        theirs(cell, reverse=reverse, keep_order=True, return_carry=True),
        carry_of(cell),
        carry_of(cell),
    )
    ours = rkn.from_flax(module)
    zeros = jax.tree.map(jnp.zeros_like, carry)
    for reset_state in (None, begun):
        expected = by_hand(module, carry, RESETS, zeros if reset_state is None else reset_state, reverse)
        assert_close(ours(X, initial_carry=carry, resets=RESETS, reset_state=reset_state), expected)
        final, output = ours(
            jnp.swapaxes(X, 0, 1), time_major=True, initial_carry=carry, resets=RESETS.T, reset_state=reset_state
        )
        assert_close((final, jnp.swapaxes(output, 0, 1)), expected)

    def loss(run: Any, begun: Any) -> Any:
        final, output = run(begun)
        return (output**2).sum() + sum(part.sum() for part in jax.tree.leaves(final))

    of_ours = jax.jit(jax.grad(lambda b: loss(lambda r: ours(X, initial_carry=carry, resets=RESETS, reset_state=r), b)))
    of_hand = jax.grad(lambda b: loss(lambda r: by_hand(module, carry, RESETS, r, reverse), b))
    assert_close(of_ours(begun), of_hand(begun), 5e-5)


def test_resets_of_batches_of_any_shape() -> None:
    ours = rkn.GRU(I, H, rngs=nnx.Rngs(0))
    x = jnp.asarray(RNG.normal(size=(2, 3, 7, I)), np.float32)
    resets, begun = jnp.stack([RESETS, ~RESETS]), carry_of(nnx.GRUCell, (2, 3))
    expected = jnp.stack([ours(x[k], resets=resets[k], reset_state=begun[k]) for k in range(2)])
    assert_close(ours(x, resets=resets, reset_state=begun), expected)
    assert_close(ours(x[0, 0], resets=resets[0, 0], reset_state=begun[0, 0]), expected[0, 0])
    over = jnp.moveaxis(x, 2, 0), jnp.moveaxis(resets, 2, 0)
    found = ours(over[0], resets=over[1], reset_state=begun, time_major=True)
    assert_close(jnp.moveaxis(found, 0, 2), expected)


DRAWN = {"recurrent_kernel_init": nnx.initializers.lecun_normal()}  # LAPACK has no orthogonal matrices of halves


@pytest.mark.parametrize(
    ("of_cell", "x_dtype", "carry_dtype"),
    [
        ({}, "bfloat16", None),
        ({"param_dtype": jnp.bfloat16}, "bfloat16", None),
        ({"param_dtype": jnp.float16}, "float16", None),
        ({"param_dtype": jnp.bfloat16}, "float32", None),
        ({"dtype": jnp.bfloat16}, "float32", None),
        ({"dtype": jnp.bfloat16, "param_dtype": jnp.bfloat16}, "float32", None),
        ({"param_dtype": jnp.bfloat16}, "bfloat16", "float32"),
        ({}, "int32", None),
    ],
    ids=str,
)
@pytest.mark.parametrize("cell", [nnx.OptimizedLSTMCell, nnx.GRUCell])
def test_dtypes_are_flaxs(cell: Any, of_cell: Any, x_dtype: str, carry_dtype: str | None) -> None:
    module = theirs(cell, of_cell=of_cell | DRAWN, return_carry=True)
    x = (X * 3).astype(x_dtype)
    carry = None
    if carry_dtype is not None:
        carry = jax.tree.map(lambda a: a.astype(carry_dtype), carry_of(cell))
    if x_dtype == "float32" and of_cell == {"param_dtype": jnp.bfloat16}:  # flax's scan has a carry that changes
        with pytest.raises(TypeError):
            module(x)
        assert rkn.from_flax(module)(x)[1].dtype == np.float32
        return
    assert_close(rkn.from_flax(module)(x, initial_carry=carry), module(x, initial_carry=carry), tolerance=0.06)


def test_gradients_have_the_parameters_dtype() -> None:
    ours = rkn.LSTM(I, H, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0), **DRAWN)
    found = nnx.grad(lambda m, x: m(x).sum())(ours, X)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found)} == {"bfloat16"}


def test_a_carry_is_drawn_as_flax_draws_it() -> None:
    drawn = nnx.initializers.normal(1.0)
    with pytest.warns(UserWarning, match="carry_init"):
        module = theirs(nnx.OptimizedLSTMCell, of_cell={"carry_init": drawn}, return_carry=True)
    ours = nnx.clone(rkn.from_flax(module))
    for _ in range(2):  # the second draws the next numbers
        assert_close(ours(X), module(X))
    assert_close(ours(X, rngs=nnx.Rngs(7)), module(X, rngs=nnx.Rngs(7)))


# ---- modules of flax's --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "cell"),
    [(rkn.LSTM, nnx.OptimizedLSTMCell), (rkn.GRU, nnx.GRUCell), (rkn.SimpleRNN, nnx.SimpleCell)],
)
def test_a_new_module_is_flaxs(ours: Any, cell: Any) -> None:
    """It draws the same numbers; its state is the other's, path by path."""
    new = ours(I, H, rngs=nnx.Rngs(3), time_major=True, return_carry=True)
    module = nnx.RNN(cell(I, H, rngs=nnx.Rngs(3)), time_major=True, return_carry=True)
    assert isinstance(new, nnx.RNN)
    assert nnx.to_pure_dict(nnx.state(new, nnx.Param)).keys() == {"cell"}
    assert_close(nnx.to_pure_dict(nnx.state(new, nnx.Param)), nnx.to_pure_dict(nnx.state(module, nnx.Param)), 0)
    assert_close(new(X), module(X))


def test_state_goes_either_way() -> None:
    module, ours = theirs(nnx.GRUCell), rkn.GRU(I, H, rngs=nnx.Rngs(8))
    assert not np.allclose(ours(X), module(X))
    nnx.update(ours, nnx.state(module))
    expected = module(X)
    assert_close(ours(X), expected)
    graph, state, rest = nnx.split(ours, nnx.Param, ...)
    assert_close(nnx.merge(graph, jax.tree.map(np.asarray, state), rest)(X), expected)
    nnx.update(module, jax.tree.map(lambda a: a * 2, nnx.state(ours, nnx.Param)))
    assert_close(nnx.merge(graph, nnx.state(module))(X), module(X))


def test_parameters_are_shared_until_cloned() -> None:
    module = theirs(nnx.OptimizedLSTMCell)
    ours = rkn.from_flax(module)
    apart = nnx.clone(ours)
    before = ours(X)
    module.cell.dense_h.bias[...] += 1.0
    assert_close(ours(X), module(X))
    assert_close(apart(X), before, 0)
    assert rkn.from_flax(ours) is ours


def test_training_is_flaxs() -> None:
    optax = pytest.importorskip("optax")
    target = jnp.asarray(RNG.normal(size=(3, 7, H)), np.float32)

    def trained(model: Any) -> Any:
        optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)

        def step(model: Any, optimizer: Any) -> Any:
            loss, grads = nnx.value_and_grad(lambda m: ((m(X) - target) ** 2).mean())(model)
            optimizer.update(model, grads)
            return loss

        jitted = nnx.jit(step)
        losses = [float(jitted(model, optimizer)) for _ in range(20)]
        return losses, nnx.to_pure_dict(nnx.state(model, nnx.Param))

    found, expected = trained(rkn.from_flax(theirs(nnx.GRUCell))), trained(theirs(nnx.GRUCell))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    assert_close(found[1], expected[1], 1e-3)
    assert found[0][-1] < found[0][0]


def test_models_side_by_side_and_one_behind_another() -> None:
    def make(key: Any) -> Any:
        return rkn.LSTM(I, I, rngs=nnx.Rngs(key))

    models = nnx.vmap(make)(jax.random.split(jax.random.key(0), 3))
    graph, state = nnx.split(models)
    each = [nnx.merge(graph, jax.tree.map(lambda a, k=k: a[k], state)) for k in range(3)]
    side = nnx.vmap(lambda m, x: m(x), in_axes=(0, None))(models, X)
    assert_close(side, jnp.stack([m(X) for m in each]))
    behind = nnx.scan(lambda x, m: m(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(X, models)
    assert_close(behind, each[2](each[1](each[0](X))))


def test_products_are_passed_on() -> None:
    module = theirs(nnx.OptimizedLSTMCell)
    found = rkn.from_flax(module, products="bfloat16")(X)
    full = rkn.from_flax(module)(X)
    assert_close(found, full, 0.02)
    if _cpu.low_kernels("bfloat16")[1] is not None:
        assert not np.array_equal(found, full)


@pytest.mark.parametrize("shape", [(3, 0, I), (0, 4, I), (0, 0, I)], ids=str)
def test_nothing_to_do(shape: Any) -> None:
    carry, output = rkn.LSTM(I, H, rngs=nnx.Rngs(0), reverse=True)(jnp.zeros(shape), return_carry=True)
    assert output.shape == (*shape[:2], H)
    assert [part.shape for part in carry] == [(shape[0], H)] * 2


@pytest.mark.parametrize("reverse", [False, True])
def test_what_lies_behind_a_length_is_neither_read_nor_written(reverse: bool) -> None:
    """Also in a row without steps, whose carry stays as it was."""
    ours, carry, lengths = rkn.GRU(I, H, rngs=nnx.Rngs(0), reverse=reverse), carry_of(nnx.GRUCell), jnp.array([4, 7, 0])
    inside = (np.arange(7) < lengths[:, None])[:, :, None]
    final, output = ours(
        jnp.where(inside, X, np.nan), initial_carry=carry, seq_lengths=lengths, return_carry=True, keep_order=False
    )
    assert not np.any(np.where(inside, 0, output))
    assert np.isfinite(output).all()
    assert_close(final[2], carry[2], 0)
