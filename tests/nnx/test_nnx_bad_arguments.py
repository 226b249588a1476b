"""The modules for flax.nnx refuse cells and modules that they do not serve, and what no argument can be, by name."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from bad_values import bad_argument_tests, row
from flax import nnx
from nnx_modules import LENGTHS, RESETS, H, I, X, assert_close, carry_of, theirs
from processes import HIDE, python

from rnnkernels.jax import nnx as rkn

Own: Any = type("Own", (nnx.GRUCell,), {})  # might compute anything
Wider: Any = type("Wider", (nnx.Linear,), {})


def test_cells_that_are_not_served_are_named() -> None:
    def refused(cell: Any, error: type[Exception], message: str, **of_cell: Any) -> None:
        for make in (rkn.RNN, lambda c: rkn.from_flax(nnx.RNN(c))):
            with pytest.raises(error, match=message):
                make(cell(I, H, rngs=nnx.Rngs(0), **of_cell))

    refused(Own, TypeError, r"^cell: expected one of .*nnx\.GRUCell.*, got Own")
    refused(nnx.SimpleCell, ValueError, "^cell: expected a SimpleCell without residual", residual=True)
    refused(nnx.SimpleCell, ValueError, "^cell: .* activation_fn to be tanh or relu, got gelu", activation_fn=nnx.gelu)
    refused(nnx.GRUCell, ValueError, "^cell: .* activation_fn to be tanh, got relu", activation_fn=nnx.relu)
    refused(nnx.LSTMCell, ValueError, "^cell: .* gate_fn to be sigmoid, got hard_sig", gate_fn=nnx.hard_sigmoid)
    refused(nnx.GRUCell, ValueError, "^cell: .* promote_dtype as flax makes it", promote_dtype=lambda a, **_: a)


def test_a_relu_is_served() -> None:
    module = theirs(nnx.SimpleCell, of_cell={"activation_fn": jax.nn.relu})
    assert_close(rkn.from_flax(module)(X), module(X), 1e-4)


def test_what_is_put_into_a_cell_later_is_refused() -> None:
    ours = rkn.LSTM(I, H, rngs=nnx.Rngs(0))
    ours.cell.dense_i = Wider(I, 4 * H, use_bias=False, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match=r"^cell: expected products that are nnx\.Linear, got Wider"):
        ours(X)
    ours = rkn.GRU(I, H, rngs=nnx.Rngs(0))
    ours.cell.dense_h.precision = "highest"
    with pytest.raises(ValueError, match=r"^cell: expected precision as flax makes it, got str"):
        ours(X)


def test_modules_that_are_not_served_are_named() -> None:
    axes = nnx.StateAxes({nnx.Param: 0})
    with pytest.raises(ValueError, match=r"^module: expected an nnx\.RNN with state_axes as flax makes them"):
        rkn.from_flax(nnx.RNN(nnx.GRUCell(I, H, rngs=nnx.Rngs(0)), state_axes=axes))
    with pytest.raises(TypeError, match=r"^module: expected an nnx\.RNN or nnx\.Bidirectional, got Linear"):
        rkn.from_flax(nnx.Linear(I, H, rngs=nnx.Rngs(0)))


def test_bad_shapes_are_named() -> None:
    lstm, gru = rkn.LSTM(I, H, rngs=nnx.Rngs(0)), rkn.GRU(I, H, rngs=nnx.Rngs(0))
    one = jnp.zeros((3, H))
    for module, arguments, message in [
        (gru, {"inputs": X[..., :4]}, r"inputs: expected shape \(\.\.\., I\) of at least two axes, I = 5"),
        (gru, {"inputs": X[0, 0]}, r"inputs: expected shape"),
        (
            gru,
            {"initial_carry": one[:2]},
            r"initial_carry: expected h of shape \(\*batch, H\) = \(3, 9\), got \(2",
        ),
        (lstm, {"initial_carry": (one[:2], one)}, r"initial_carry: expected c of shape"),
        (gru, {"seq_lengths": LENGTHS[:2]}, r"seq_lengths: expected shape \(\*batch\) = \(3,\), got \(2,\)"),
        (gru, {"resets": RESETS[:2]}, r"resets: expected the shape of inputs without its last axis, \(3, 7\), got \(2"),
        (gru, {"reset_state": one}, "reset_state: expected resets with it, got none"),
        (
            gru,
            {"resets": RESETS, "reset_state": one[:2]},
            r"reset_state: expected h of shape \(\*batch, H\) = \(3, 9\)",
        ),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            module(**{"inputs": X} | arguments)
    with pytest.raises(TypeError, match=r"^initial_carry: expected a pair of arrays \(c, h\), got ArrayImpl"):
        lstm(X, initial_carry=one)
    with pytest.raises((RuntimeError, ValueError), match="lengths: expected 0 to T = 7, got 8"):
        jax.block_until_ready(lstm(X, seq_lengths=jnp.array([1, 8, 2])))


def test_halves_that_are_not_served_are_named() -> None:
    gru, plain = rkn.GRU(I, H, rngs=nnx.Rngs(0)), theirs(nnx.GRUCell)
    for halves, name in (((plain, gru), "forward_rnn"), ((gru, plain), "backward_rnn")):
        with pytest.raises(TypeError, match=rf"^{name}: expected a RNN of rnnkernels\.jax\.nnx, got RNN"):
            rkn.Bidirectional(*halves)
    both = rkn.Bidirectional(gru, rkn.GRU(I, H, rngs=nnx.Rngs(1)))
    for given, error, message in (
        ({"initial_carry": (None,)}, TypeError, "initial_carry: expected a pair, forward_rnn's and .*, got 1"),
        ({"initial_carry": jnp.zeros((3, H))}, TypeError, "initial_carry: expected a pair, .* got ArrayImpl"),
        ({"reset_state": (None, None)}, ValueError, "reset_state: expected resets with it, got none"),
        ({"resets": RESETS, "reset_state": [None] * 3}, TypeError, "reset_state: expected a pair, .* got 3"),
        ({"resets": RESETS[:2]}, ValueError, "resets: expected the shape of inputs without its last axis"),
    ):
        with pytest.raises(error, match=f"^{message}"):
            both(X, **given)
    both.backward_rnn = plain
    with pytest.raises(TypeError, match=r"^backward_rnn: expected a RNN"):
        both(X)


FLAGS = ("time_major", "return_carry", "reverse", "keep_order")
SIZED = {"in_features": I, "hidden_features": H, **dict.fromkeys(FLAGS, False), "products": "full"}
CALL = {"inputs": X, "initial_carry": carry_of(nnx.LSTMCell), "seq_lengths": LENGTHS, **dict.fromkeys(FLAGS, True)} | {
    "resets": RESETS.T,
    "reset_state": carry_of(nnx.LSTMCell),
}
PAIR = carry_of(nnx.LSTMCell), carry_of(nnx.LSTMCell)
GIVEN = {"cell": nnx.GRUCell(I, H, rngs=nnx.Rngs(0)), **dict.fromkeys(FLAGS, False), "products": "full"}
ROWS = [
    *(row(f"nnx.{made.__name__}", made, **SIZED, rngs=nnx.Rngs(0)) for made in (rkn.LSTM, rkn.GRU, rkn.SimpleRNN)),
    row("nnx.RNN", rkn.RNN, **GIVEN, rngs=True),
    row("nnx.swap", rkn.swap, model=nnx.Dict(layer=theirs(nnx.GRUCell)), products="full"),
    row("nnx.from_flax", rkn.from_flax, module=theirs(nnx.GRUCell), products="full"),
    row(
        "nnx.Bidirectional",
        rkn.Bidirectional,
        forward_rnn=rkn.GRU(I, H, rngs=nnx.Rngs(0)),
        backward_rnn=rkn.LSTM(I, H, rngs=nnx.Rngs(0)),
        merge_fn=jnp.add,
        time_major=False,
        return_carry=False,
        rngs=True,
    ),
    row(
        "nnx.Bidirectional()",
        rkn.Bidirectional(*(rkn.LSTM(I, H, rngs=nnx.Rngs(k)) for k in range(2))),
        dict.fromkeys((*CALL, "rngs"), "none") | {"inputs": ""},
        **CALL | {"inputs": jnp.swapaxes(X, 0, 1), "initial_carry": PAIR, "reset_state": PAIR},
        rngs=nnx.Rngs(0),
    ),
    row(
        "nnx.LSTM()",
        rkn.LSTM(I, H, rngs=nnx.Rngs(0)),
        dict.fromkeys((*CALL, "rngs"), "none") | {"inputs": ""},
        **CALL | {"inputs": jnp.swapaxes(X, 0, 1)},
        rngs=nnx.Rngs(0),
    ),
]

test_the_call_of_each_row_runs, test_a_bad_argument_is_named, test_an_odd_argument_is_named_or_served = (
    bad_argument_tests(ROWS)
)


def test_without_flax_its_extra_is_named() -> None:
    done = python(HIDE.format(names=("flax",)) + "import rnnkernels.jax.nnx")
    assert done.returncode == 1
    assert "pip install 'rnnkernels[flax]'" in done.stderr
