"""Models of flax's on the kernels in place: what is replaced, what is left and why."""

from __future__ import annotations

from typing import Any

from flax import nnx
from nnx_modules import H, I, X, assert_close, theirs

from rnnkernels.jax import nnx as rkn

Base: Any = nnx.Module


class Model(Base):  # type: ignore[misc]
    """Layers at several depths, one of them at two places, one that is not served, a cell by itself."""

    def __init__(self) -> None:
        self.first = theirs(nnx.OptimizedLSTMCell)
        self.again = self.first
        both = nnx.Bidirectional(
            nnx.RNN(nnx.GRUCell(H, 4, rngs=nnx.Rngs(2))), nnx.RNN(nnx.LSTMCell(H, 3, rngs=nnx.Rngs(3)))
        )
        self.rest = nnx.List([both, nnx.RNN(nnx.SimpleCell(7, H, rngs=nnx.Rngs(4)))])
        self.wide = nnx.RNN(nnx.SimpleCell(H, H, residual=True, rngs=nnx.Rngs(5)))
        self.alone = nnx.GRUCell(H, H, rngs=nnx.Rngs(6))

    def __call__(self, x: Any) -> Any:
        x = self.first(x)
        for layer in self.rest:
            x = layer(x)
        return self.alone(x[:, -1], self.wide(x)[:, -1])[1]


def test_a_model_is_swapped_in_place() -> None:
    model = Model()
    expected, state = model(X), nnx.to_pure_dict(nnx.state(model, nnx.Param))
    objects, optimised = (model.first, model.rest[0], model.rest[0].backward_rnn), model.first.cell.dense_h.kernel
    done = rkn.swap(model)
    (first,) = {"first", "again"} & set(done.replaced)  # one object, one path
    assert done.replaced == {
        first: "OptimizedLSTMCell",
        "rest.0.forward_rnn": "GRUCell",
        "rest.0.backward_rnn": "LSTMCell",
        "rest.1": "SimpleCell",
    }
    assert done.left == {
        "wide": "cell: expected a SimpleCell without residual, got one with it",
        "alone": "a cell of one step, GRUCell: expected an nnx.RNN around it",
    }
    assert not done.already
    assert "rest.1: SimpleCell, on rnnkernels" in str(done)
    assert "wide: left, cell: expected" in str(done)
    assert all(
        one is two for one, two in zip(objects, (model.first, model.rest[0], model.rest[0].backward_rnn), strict=True)
    )
    assert model.first is model.again
    assert model.first.cell.dense_h.kernel is optimised
    assert all(type(m) is rkn.RNN for m in (model.first, model.rest[0].forward_rnn, model.rest[1]))
    assert type(model.wide) is nnx.RNN
    assert type(model.rest[0]) is rkn.Bidirectional
    assert_close(nnx.to_pure_dict(nnx.state(model, nnx.Param)), state, 0)
    assert_close(model(X), expected)
    assert_close(nnx.jit(lambda m, x: m(x))(model, X), expected)
    again = rkn.swap(model)
    assert not again.replaced
    assert again.already == done.replaced
    assert str(again).endswith("nothing to do for 4 layers, on rnnkernels already")


def test_a_layer_itself_is_swapped_and_nothing_is_said_of_what_there_is_not() -> None:
    module = theirs(nnx.GRUCell, return_carry=True, time_major=True)
    expected = module(X)
    done = rkn.swap(module, products="bfloat16")
    assert done.replaced == {"": "GRUCell"}
    assert str(done) == "(the model itself): GRUCell, on rnnkernels"
    assert module.products == "bfloat16"
    module.products = "full"
    assert_close(module(X), expected)
    assert str(rkn.swap(nnx.Linear(I, H, rngs=nnx.Rngs(0)))) == "no recurrent layers"
    own = type("OwnRNN", (nnx.RNN,), {})(nnx.GRUCell(I, H, rngs=nnx.Rngs(0)))
    assert rkn.swap(own).left == {"": "module: expected an nnx.RNN or nnx.Bidirectional, got OwnRNN"}
