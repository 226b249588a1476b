"""Parameters to and from other libraries: the same function there and here, and round trips in the same bits.

PyTorch, Keras and flax run their own layers where they are installed. Haste's layers and ONNX' operators are stated in
NumPy, from their documents. What is pure NumPy always runs.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import pytest
from problems import Array

import rnnkernels as rk
from rnnkernels import convert, reference

T, B, H, P = 6, 3, 7, 4
I = 5  # noqa: E741 - the input size's name everywhere

# What the libraries say of themselves.
KERAS_COPIES = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
TORCH_PROJECTS = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


def normal(*shape: int, dtype: Any = np.float32) -> Array:
    return (0.4 * np.random.default_rng(list(shape)).standard_normal(shape)).astype(dtype)


def params_of(cell: str, *, bias: bool = True, dtype: Any = np.float32, zero: tuple[str, ...] = ()) -> dict[str, Array]:
    """Random parameters, biases too, of which some are zero."""
    proj = P if rk.cell_info(cell)["projected"] else None
    found = rk.init_params(cell, I, H, rng=3, dtype=dtype, bias=bias, proj_size=proj)
    found |= {name: np.random.default_rng(5).standard_normal(a.shape).astype(dtype) * 0.3 for name, a in found.items()}
    return found | {name: np.zeros_like(found[name]) for name in zero}


def stack_of(cell: str, layers: int, *, bidirectional: bool, **options: Any) -> rk.Stack:
    stack = rk.Stack(cell, I, H, layers, bidirectional=bidirectional, rng=2, **options)
    stack.params = {name: a + np.float32(0.01) for name, a in stack.params.items()}
    return stack


def assert_same(one: Any, two: Any) -> None:
    """The same trees of arrays, bit for bit, signs of zeros too."""
    if hasattr(one, "keys"):
        assert list(one) == list(two) or set(one) == set(two)
        for name in one:
            assert_same(one[name], two[name])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    else:
        a, b = np.asarray(one), np.asarray(two)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()


# ---- PyTorch ------------------------------------------------------------------------------------

TORCH_CELLS = ("rnn_tanh", "rnn_relu", "lstm", "lstm_projected", "gru")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_torch_round_trip(cell: str, bias: bool) -> None:
    params = params_of(cell, bias=bias)
    state = convert.to_torch(cell, params, prefix="a.", tensors=False)
    assert set(state) == {f"a.{name}_l0" for name in params}
    assert_same(params, convert.from_torch(cell, state | {"b.x": normal(1)}, prefix="a."))
    proj = {"proj_size": P} if cell == "lstm_projected" else {}
    stack = stack_of(cell, 2, bidirectional=True, **proj)
    assert_same(stack.params, convert.from_torch(cell, convert.to_torch(cell, stack.params, tensors=False)))


@TORCH_PROJECTS
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_torch_layers(cell: str, layers: int, bidirectional: bool) -> None:
    torch = pytest.importorskip("torch")
    options: dict[str, Any] = {"proj_size": P} if cell == "lstm_projected" else {}
    kinds = {"rnn_tanh": torch.nn.RNN, "rnn_relu": torch.nn.RNN, "gru": torch.nn.GRU}
    extra = {"nonlinearity": "relu"} if cell == "rnn_relu" else {}
    layer = kinds.get(cell, torch.nn.LSTM)(I, H, layers, bidirectional=bidirectional, **options, **extra)
    stack = stack_of(cell, layers, bidirectional=bidirectional, **options)
    stack.params = convert.from_torch(cell, layer.state_dict(), stacked=True)
    x = normal(T, B, I)
    with torch.no_grad():
        output = layer(torch.from_numpy(x))[0].numpy()
    np.testing.assert_allclose(stack.forward(x).output, output, atol=2e-6)
    state = layer.state_dict()
    back = convert.to_torch(cell, stack.params)
    assert_same({n: a.numpy() for n, a in state.items()}, {n: a.numpy() for n, a in back.items()})
    layer.load_state_dict(back, strict=True)


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
def test_torch_cells(cell: str) -> None:
    torch = pytest.importorskip("torch")
    kinds = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}
    extra = {"nonlinearity": "relu"} if cell == "rnn_relu" else {}
    module = kinds.get(cell, torch.nn.RNNCell)(I, H, **extra)
    params = convert.from_torch(cell, module.state_dict())
    x, states = normal(B, I), [normal(B, H) for _ in rk.cell_info(cell)["states"]]
    given = [torch.from_numpy(s) for s in states]
    with torch.no_grad():
        after = module(torch.from_numpy(x), tuple(given) if len(given) > 1 else given[0])
    first = after[0] if isinstance(after, tuple) else after
    np.testing.assert_allclose(rk.step(cell, x, params, states)[0], first.numpy(), atol=1e-6)
    module.load_state_dict(convert.to_torch(cell, params, module="cell"), strict=True)


# ---- Keras --------------------------------------------------------------------------------------

KERAS_CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru", "gru_reset_before")


def keras_weights(cell: str, *, bias: bool = True, seed: int = 0) -> list[Array]:
    gates = len(rk.cell_info(cell)["gates"])
    shapes: list[tuple[int, ...]] = [(I, gates * H), (H, gates * H)]
    if bias:
        shapes.append((2, 3 * H) if cell == "gru" else (gates * H,))
    rng = np.random.default_rng(seed)
    weights = [(0.4 * rng.standard_normal(shape)).astype(np.float32) for shape in shapes]
    weights[-1].flat[0] = -0.0  # a sum with 0.0 would lose its sign
    return weights


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", KERAS_CELLS)
def test_keras_round_trip(cell: str, bias: bool) -> None:
    weights = keras_weights(cell, bias=bias)
    params = convert.from_keras(cell, weights)
    assert ("bias_ih" in params) == bias
    assert_same(weights, convert.to_keras(cell, params))
    zero = () if cell == "gru" or not bias else ("bias_hh",)
    mine = params_of(cell, bias=bias, zero=zero)
    assert_same(mine, convert.from_keras(cell, convert.to_keras(cell, mine)))
    both = weights + keras_weights(cell, bias=bias, seed=1)
    stacked = convert.from_keras(cell, both)
    assert "weight_hh_l0_reverse" in stacked
    assert_same([both], convert.to_keras(cell, stacked))
    assert_same(convert.from_keras(cell, weights, stacked=True), {f"{n}_l0": a for n, a in params.items()})


def keras() -> Any:
    pytest.importorskip("torch")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its optional packages say when they are imported
        return pytest.importorskip("keras")


def keras_layer(cell: str, **options: Any) -> Any:
    layers = keras().layers
    options |= {"return_sequences": True}
    options["bias_initializer"] = options["recurrent_initializer"] = "glorot_normal"
    if cell == "lstm":
        return layers.LSTM(H, **options)
    if cell.startswith("gru"):
        return layers.GRU(H, reset_after=cell == "gru", **options)
    return layers.SimpleRNN(H, activation=cell.removeprefix("rnn_"), **options)


def keras_output(layer: Any, x: Array) -> Array:
    """A Keras layer's output, time-major."""
    out = keras().ops.convert_to_numpy(layer(np.ascontiguousarray(x.swapaxes(0, 1))))
    return np.asarray(out).swapaxes(0, 1)


@KERAS_COPIES
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("cell", KERAS_CELLS)
def test_keras_layers(cell: str, use_bias: bool) -> None:
    layer, x = keras_layer(cell, use_bias=use_bias), normal(T, B, I)
    layer.build((B, T, I))
    layer.set_weights(keras_weights(cell, bias=use_bias))
    params = convert.from_keras(cell, layer.get_weights())
    np.testing.assert_allclose(rk.forward(cell, x, params).output, keras_output(layer, x), atol=2e-6)
    assert_same(layer.get_weights(), convert.to_keras(cell, params))
    if use_bias:  # the other way, where two biases become one
        params = params_of(cell)
        layer.set_weights(convert.to_keras(cell, params))
        np.testing.assert_allclose(rk.forward(cell, x, params).output, keras_output(layer, x), atol=2e-6)


@KERAS_COPIES
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_keras_bidirectional(cell: str) -> None:
    layer, x = keras().layers.Bidirectional(keras_layer(cell)), normal(T, B, I)
    layer.build((B, T, I))
    layer.set_weights(keras_weights(cell) + keras_weights(cell, seed=1))
    stack = stack_of(cell, 1, bidirectional=True)
    stack.params = convert.from_keras(cell, layer.get_weights())
    np.testing.assert_allclose(stack.forward(x).output, keras_output(layer, x), atol=2e-6)


@KERAS_COPIES
@pytest.mark.parametrize("cell", KERAS_CELLS)
def test_keras_go_backwards(cell: str) -> None:
    """Their outputs in the order in which they are made, ours at their steps."""
    layer, x = keras_layer(cell, go_backwards=True), normal(T, B, I)
    expected = keras_output(layer, x)
    params = convert.from_keras(cell, layer.get_weights())
    output = rk.forward(cell, x, params, reverse=True).output
    np.testing.assert_allclose(convert.in_keras_order(output), expected, atol=2e-6)
    assert_same(convert.in_keras_order(output), rk.forward(cell, x[::-1], params).output)
    assert_same(convert.in_keras_order(convert.in_keras_order(output)), output)


# ---- flax ---------------------------------------------------------------------------------------

FLAX_CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru")
FORMS = [(cell, form) for cell in FLAX_CELLS for form in ("linen", "nnx")] + [("lstm", "nnx_optimized")]


def flax_ours(cell: str, form: str) -> dict[str, Array]:
    """Parameters with zeros where flax has no bias, and nowhere else."""
    params = params_of(cell, zero=("bias_ih",) if cell == "lstm" else () if cell == "gru" else ("bias_hh",))
    if cell == "gru":
        params["bias_hh"][: None if form == "nnx" else 2 * H] = 0
    return params


@pytest.mark.parametrize(("cell", "form"), FORMS)
def test_flax_round_trip(cell: str, form: str) -> None:
    params = flax_ours(cell, form)
    tree = convert.to_flax(cell, params, form=form)
    assert_same(params, convert.from_flax(cell, tree))
    assert_same(params, convert.from_flax(cell, {"params": {"cell": tree}}))
    assert_same(tree, convert.to_flax(cell, convert.from_flax(cell, tree), form=form))
    stacked = convert.from_flax(cell, [(tree, tree), (tree, tree)])
    assert "weight_ih_l1_reverse" in stacked
    assert_same([(tree, tree), (tree, tree)], convert.to_flax(cell, stacked, form=form))


def flax_output(carry: Any, x: Array, step: Any) -> Array:
    outputs = []
    for x_t in x:
        carry, h = step(carry, x_t)
        outputs.append(np.asarray(h))
    return np.stack(outputs)


@pytest.mark.parametrize("kind", ["LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell"])
def test_flax_linen(kind: str) -> None:
    pytest.importorskip("flax")
    import flax.linen as nn
    import jax

    cell = {"GRUCell": "gru", "SimpleCell": "rnn_tanh"}.get(kind, "lstm")
    module, x = getattr(nn, kind)(H), normal(T, B, I)
    carry = module.initialize_carry(jax.random.key(0), (B, I))
    variables = module.init(jax.random.key(1), carry, x[0])
    params = convert.from_flax(cell, variables)
    found = flax_output(carry, x, lambda c, x_t: module.apply(variables, c, x_t))
    np.testing.assert_allclose(rk.forward(cell, x, params).output, found, atol=2e-6)
    assert_same(variables["params"], convert.to_flax(cell, params))
    mine = params_of(cell)  # biases where flax has one of the two
    given = {"params": convert.to_flax(cell, mine)}
    found = flax_output(carry, x, lambda c, x_t: module.apply(given, c, x_t))
    np.testing.assert_allclose(rk.forward(cell, x, mine).output, found, atol=2e-6)


@pytest.mark.parametrize("kind", ["LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell"])
def test_flax_nnx(kind: str) -> None:
    pytest.importorskip("flax")
    from flax import nnx

    cell = {"GRUCell": "gru", "SimpleCell": "rnn_tanh"}.get(kind, "lstm")
    form = "nnx_optimized" if kind == "OptimizedLSTMCell" else "nnx"
    module, x = getattr(nnx, kind)(I, H, rngs=nnx.Rngs(0)), normal(T, B, I)
    params = convert.from_flax(cell, nnx.state(module, nnx.Param))
    carry = module.initialize_carry((B, I), nnx.Rngs(0))
    np.testing.assert_allclose(rk.forward(cell, x, params).output, flax_output(carry, x, module), atol=2e-6)
    state = nnx.state(module, nnx.Param)
    pure = nnx.to_pure_dict(state)
    assert_same(pure, convert.to_flax(cell, params, form=form))
    mine = params_of(cell)
    if cell == "gru":
        mine["bias_hh"][2 * H :] = 0
    nnx.replace_by_pure_dict(state, convert.to_flax(cell, mine, form=form))
    nnx.update(module, state)
    np.testing.assert_allclose(rk.forward(cell, x, mine).output, flax_output(carry, x, module), atol=2e-6)


def test_flax_nnx_gru_has_no_bias_inside_the_reset() -> None:
    with pytest.raises(ValueError, match=r"params\['bias_hh'\]: .* gate n, which the reset keeps apart"):
        convert.to_flax("gru", params_of("gru"), form="nnx")


# ---- Haste --------------------------------------------------------------------------------------


def haste_forward(cell: str, w: dict[str, Array], x: Array) -> Array:
    """Haste's layers as their documentation states them, in float64."""

    def normed(a: Array, gain: Array) -> Array:
        centred = a - a.mean(-1, keepdims=True)
        return np.asarray(gain * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5))

    def sigmoid(a: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-a)))

    h = c = np.zeros((x.shape[1], H))
    outputs = []
    for x_t in x:
        a, u = x_t @ w["kernel"], h @ w["recurrent_kernel"]
        if "gamma" in w:
            a, u = normed(a, w["gamma"][0]), normed(u, w["gamma"][1])
        a = a + w["bias"]
        if cell.startswith("lstm"):
            i, g, f, o = np.split(a + u, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            inner = normed(c, w["gamma_h"]) + w["beta_h"] if "gamma_h" in w else c
            h = sigmoid(o) * np.tanh(inner)
        else:
            (a_z, a_r, a_g), (u_z, u_r, u_g) = np.split(a, 3, axis=1), np.split(u + w["recurrent_bias"], 3, axis=1)
            z = sigmoid(a_z + u_z)
            h = z * h + (1 - z) * np.tanh(a_g + sigmoid(a_r + u_r) * u_g)
        outputs.append(h)
    return np.stack(outputs)


def haste_arrays(cell: str) -> dict[str, Array]:
    gates = 4 if cell.startswith("lstm") else 3
    shapes: dict[str, tuple[int, ...]] = {"kernel": (I, gates * H), "recurrent_kernel": (H, gates * H)}
    shapes["bias"] = (gates * H,)
    if gates == 3:
        shapes["recurrent_bias"] = (gates * H,)
    if cell.endswith("layer_norm"):
        shapes["gamma"] = (2, gates * H)
        if gates == 4:
            shapes |= {"gamma_h": (H,), "beta_h": (H,)}
    rng = np.random.default_rng(1)
    return {name: 0.4 * rng.standard_normal(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm_layer_norm", "gru_layer_norm"])
def test_haste(cell: str) -> None:
    arrays, x = haste_arrays(cell), normal(T, B, I, dtype=np.float64)
    params = convert.from_haste(cell, arrays)
    expected = haste_forward(cell, arrays, x)
    np.testing.assert_allclose(rk.forward(cell, x, params).output, expected, atol=1e-9)
    assert_same(arrays, convert.to_haste(cell, params))
    mine = params_of(cell, dtype=np.float64)
    x = 0.3 * x
    expected = haste_forward(cell, convert.to_haste(cell, mine), x)
    np.testing.assert_allclose(rk.forward(cell, x, mine).output, expected, atol=1e-9)
    plain = params_of(cell, dtype=np.float64, bias=False)
    assert not convert.to_haste(cell, plain)["bias"].any()


# ---- ONNX ---------------------------------------------------------------------------------------

ONNX_CELLS = ("rnn_tanh", "rnn_relu", "lstm", "lstm_peephole", "lstm_cifg", "gru", "gru_reset_before")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", ONNX_CELLS)
def test_onnx_round_trip(cell: str, bias: bool) -> None:
    params = params_of(cell, bias=bias)
    arrays = convert.to_onnx(cell, params)
    assert set(arrays) == {"W", "R"} | ({"B"} if bias else set()) | ({"P"} if "weight_diagonal" in params else set())
    gates = 4 if cell.startswith("lstm") else len(rk.cell_info(cell)["gates"])
    assert arrays["W"].shape == (1, gates * H, I)
    assert arrays["R"].shape == (1, gates * H, H)
    assert_same(params, convert.from_onnx(cell, arrays))
    both = {f"{name}_l0": a for name, a in params.items()}
    both |= {f"{name}_l0_reverse": a + 1 for name, a in params.items()}
    assert_same(both, convert.from_onnx(cell, convert.to_onnx(cell, both)))


@pytest.mark.parametrize("cell", ONNX_CELLS)
def test_onnx_formulas(cell: str) -> None:
    """The operators' documents, stated in NumPy in float64; the default activations."""
    gates = 4 if cell.startswith("lstm") else len(rk.cell_info(cell)["gates"])
    rng = np.random.default_rng(4)
    w, r = 0.4 * rng.standard_normal((1, gates * H, I)), 0.4 * rng.standard_normal((1, gates * H, H))
    arrays = {"W": w, "R": r, "B": 0.4 * rng.standard_normal((1, 2 * gates * H))}
    peepholes = np.zeros(3 * H)
    if cell in ("lstm_peephole", "lstm_cifg"):
        peepholes = 0.4 * rng.standard_normal(3 * H)
        arrays["P"] = peepholes[None]
    p_i, p_o, p_f = np.split(peepholes, 3)
    w_b, r_b = np.split(arrays["B"][0], 2)
    x = normal(T, B, I, dtype=np.float64)
    h = c = np.zeros((B, H))
    outputs = []
    for x_t in x:
        a, u = x_t @ w[0].T + w_b, h @ r[0].T + r_b
        if cell.startswith("rnn"):
            h = np.tanh(a + u) if cell == "rnn_tanh" else np.maximum(a + u, 0)
        elif cell.startswith("gru"):
            a_z, a_r, a_h = np.split(a, 3, axis=1)
            u_z, u_r, u_h = np.split(u, 3, axis=1)
            z, reset = reference.sigmoid(a_z + u_z), reference.sigmoid(a_r + u_r)
            inner = reset * u_h if cell == "gru" else (reset * h) @ r[0, 2 * H :].T + r_b[2 * H :]
            n = np.tanh(a_h + inner)
            h = (1 - z) * n + z * h
        else:
            i, o, f, g = np.split(a + u, 4, axis=1)
            i = reference.sigmoid(i + p_i * c)
            f = 1 - i if cell == "lstm_cifg" else reference.sigmoid(f + p_f * c)
            c = f * c + i * np.tanh(g)
            h = reference.sigmoid(o + p_o * c) * np.tanh(c)
        outputs.append(h)
    params = convert.from_onnx(cell, arrays)
    np.testing.assert_allclose(rk.forward(cell, x, params).output, np.stack(outputs), atol=1e-12)


# ---- what all of them do ------------------------------------------------------------------------


def test_merged_biases_are_the_sum() -> None:
    params = params_of("lstm")
    bias = convert.to_keras("lstm", params)[2]
    np.testing.assert_array_equal(bias, params["bias_ih"] + params["bias_hh"])
    params["bias_ih"][...] = 0
    params["bias_hh"][0] = -0.0
    assert_same(convert.to_keras("lstm", params)[2], params["bias_hh"])
    del params["bias_ih"]  # either may be absent
    assert_same(convert.to_keras("lstm", params)[2], params["bias_hh"])


def test_results_are_copies() -> None:
    weights = keras_weights("rnn_tanh")
    params = convert.from_keras("rnn_tanh", weights)
    state = {f"{name}_l0": a for name, a in params_of("rnn_tanh").items()}
    from_torch = convert.from_torch("rnn_tanh", state)
    for found, given in [(params, weights), (from_torch, list(state.values()))]:
        for a in found.values():
            assert a.flags.c_contiguous
            assert not any(np.shares_memory(a, b) for b in given)


def test_float64_stays() -> None:
    weights = [w.astype(np.float64) for w in keras_weights("gru")]
    params = convert.from_keras("gru", weights)
    assert all(a.dtype == np.float64 for a in params.values())
    assert_same(weights, convert.to_keras("gru", params))


WRONG: Any = 3
LSTM = params_of("lstm")
ONNX = convert.to_onnx("lstm", LSTM)
HASTE = {name: a.astype(np.float32) for name, a in haste_arrays("lstm").items()}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: convert.from_keras("mgu", []), ValueError, "cell: expected one that Keras has, .*gru.*; got 'mgu'"),
        (lambda: convert.to_torch("gru_reset_before", {}), ValueError, "cell: expected one that torch has"),
        (lambda: convert.from_torch("lstn", {}), ValueError, "cell: expected one of .*; got 'lstn'"),
        (lambda: convert.from_torch("lstm", WRONG), TypeError, "state_dict: expected a mapping .*got 3"),
        (
            lambda: convert.from_torch("lstm", LSTM, prefix="a."),
            ValueError,
            "prefix: expected one that the names in state_dict begin with",
        ),
        (lambda: convert.from_torch("gru", LSTM), ValueError, r"params\['weight_ih'\]: expected shape .*got \(28, 5\)"),
        (lambda: convert.from_torch("lstm", {**LSTM, "w": LSTM["bias_ih"]}), ValueError, "an unknown 'w'"),
        (lambda: convert.from_torch("lstm", {"bias_ih": None}), TypeError, r"state_dict\['bias_ih'\]: .*NoneType"),
        (
            lambda: convert.from_torch("lstm", {n: a.astype("f2") for n, a in LSTM.items()}),
            TypeError,
            "expected an array of float32 or float64, got dtype float16",
        ),
        (
            lambda: convert.from_torch("lstm", {**LSTM, "bias_ih": LSTM["bias_ih"].astype("f8")}),
            TypeError,
            "state_dict: expected arrays of one dtype, got float32 and float64",
        ),
        (
            lambda: convert.from_torch("lstm", {f"{n}_l1": a for n, a in LSTM.items()}),
            ValueError,
            "params: expected 2 layers of 1 directions, got no .._l0",
        ),
        (
            lambda: convert.to_torch("lstm", LSTM, module="x"),
            ValueError,
            "module: expected one of layer, cell, got 'x'",
        ),
        (lambda: convert.in_keras_order(normal(T, B)), ValueError, r"output: expected shape \(T, B, H\), got \(6, 3\)"),
        (lambda: convert.from_keras("lstm", WRONG), TypeError, "weights: expected a list of arrays, got 3"),
        (lambda: convert.from_keras("lstm", [normal(1)]), ValueError, "weights: expected 2 or 3 arrays"),
        (
            lambda: convert.from_keras("lstm", keras_weights("gru")),
            ValueError,
            r"weights\[0\], weights\[1\]: expected matrices of shapes \(I, 4\*H\) and \(H, 4\*H\), got \(5, 21\)",
        ),
        (
            lambda: convert.from_keras("gru", keras_weights("gru_reset_before")),
            ValueError,
            r"weights\[2\]: expected shape \(2, 3\*H\), got \(21,\)",
        ),
        (lambda: convert.from_flax("lstm", WRONG), TypeError, "tree: expected a mapping"),
        (lambda: convert.from_flax("lstm", {"ii": {}}), ValueError, "tree: expected ii, .*got no if"),
        (
            lambda: convert.from_flax("gru", convert.to_flax("lstm", LSTM)),
            ValueError,
            "tree: expected ir, .*; got no ir",
        ),
        (lambda: convert.to_flax("lstm", LSTM, form="haiku"), ValueError, "form: expected one of linen"),
        (lambda: convert.to_flax("gru", params_of("gru"), form="nnx_optimized"), ValueError, "form: nnx_optimized is"),
        (lambda: convert.from_haste("lstm", {}), ValueError, "arrays: expected kernel, .*; got no kernel"),
        (
            lambda: convert.from_haste("lstm", HASTE | {"bias": HASTE["bias"][:3]}),
            ValueError,
            r"arrays\['bias'\]: expected a bias of shape \(4\*H,\) = \(28,\), got \(3,\)",
        ),
        (lambda: convert.from_onnx("lstm_peephole", ONNX), ValueError, "arrays: expected W, R, P .*; got no P"),
        (lambda: convert.from_onnx("lstm", ONNX | {"P": ONNX["B"]}), ValueError, "an unknown 'P'"),
        (
            lambda: convert.from_onnx("lstm", ONNX | {"W": ONNX["W"][0]}),
            ValueError,
            r"arrays\['W'\]: expected shape \(1, 28, I\), got \(28, 5\)",
        ),
        (
            lambda: convert.from_onnx("gru", ONNX),
            ValueError,
            r"arrays\['R'\]: expected shape \(D, 3\*H, H\), D 1 or 2, got \(1, 28, 7\)",
        ),
        (
            lambda: convert.to_onnx("lstm", stack_of("lstm", 2, bidirectional=False).params),
            ValueError,
            "params: expected one layer, as a node is one, got 2",
        ),
    ],
)
def test_bad_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
