"""Arrays of any order and form, and of the libraries that have such: Haiku, cuDNN's layers, DyNet, Lasagne, madmom.

Each library's step is stated here in NumPy, float64, from its source.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from problems import Array

import rnnkernels as rk
from rnnkernels import convert

T, B, I, H = 5, 3, 4, 6  # noqa: E741 - the input size's name everywhere


def normal(*shape: int, seed: int = 0) -> Array:
    return 0.5 * np.random.default_rng([seed, *shape]).standard_normal(shape)


def sigmoid(a: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-a)))


X = normal(T, B, I)
ORDERS = {"lstm": "ogif", "gru": "nzr", "gru_reset_before": "zrn", "mgu": "nf"}


def lstm_step(i: Array, f: Array, g: Array, o: Array, c: Array) -> tuple[Array, Array]:
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def assert_runs_as(cell: str, params: dict[str, Array], output: Array, *state: Array) -> None:
    initial = [np.broadcast_to(each, (B, H)).copy() for each in state] or None
    run = rk.forward(cell, X, params, initial)
    np.testing.assert_allclose(run.output, output, rtol=0, atol=1e-12)


# ---- any library


@pytest.mark.parametrize("transposed", [False, True, "blocks"])
@pytest.mark.parametrize(
    ("cell", "order"), [("lstm", "ogif"), ("gru", "nzr"), ("gru_reset_before", "zrn"), ("mgu", "nf")]
)
def test_gates_in_any_order_and_form(cell: str, order: str, transposed: Any) -> None:
    ours = "".join(name for name, _, _ in rk.cell_info(cell)["gates"])
    params = {name: normal(*a.shape) for name, a in rk.init_params(cell, I, H, dtype=np.float64).items()}
    given = []
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        blocks = dict(zip(ours, np.split(params[name], len(ours)), strict=True))
        rows = np.concatenate([blocks[gate] for gate in order])
        if rows.ndim == 2 and transposed == "blocks":
            rows = np.concatenate([blocks[gate].reshape(blocks[gate].shape[::-1]) for gate in order], axis=1)
        given.append(rows.T if rows.ndim == 2 and transposed is True else rows)
    found = convert.gates(cell, *given, order=order, transposed=transposed)
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in params.items()
    }
    without = convert.gates(cell, *given[:2], order=order, transposed=transposed)
    assert list(without) == ["weight_ih", "weight_hh"]


def test_a_gate_that_lets_the_new_state_in_is_negated() -> None:
    params = {name: normal(*a.shape) for name, a in rk.init_params("gru", I, H, dtype=np.float64).items()}
    arrays = [params[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    turned = convert.gates("gru", *arrays, order="rzn", z_keeps=False)
    for name, array in params.items():
        r, z, n = np.split(array, 3)
        np.testing.assert_array_equal(turned[name], np.concatenate([r, -z, n]))


@pytest.mark.parametrize("bias", [True, False])
def test_what_is_added_at_run_time_becomes_a_bias(bias: bool) -> None:
    params = rk.init_params("lstm", I, H, dtype=np.float64, bias=bias)
    biases = params.get("bias_ih"), params.get("bias_hh")
    found = convert.gates("lstm", params["weight_ih"], params["weight_hh"], *biases, order="ifgo", forget_bias=1.5)
    before = params.get("bias_ih", np.zeros(4 * H))
    np.testing.assert_array_equal(found["bias_ih"] - before, np.repeat([0, 1.5, 0, 0], H).astype(float))
    assert "bias_hh" in found


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"order": "ifo"}, "order: expected the gates i f g o"),
        ({"order": "iffo"}, "order: expected the gates i f g o"),
        ({"order": 3}, "order"),
        ({"cell": "lstm_projected"}, "cell: expected one whose gates"),
        ({"cell": "indrnn"}, "cell: expected one whose gates"),
        ({"cell": "lstm_fgr"}, "cell: expected one whose gates"),
        ({"z_keeps": False}, "z_keeps: expected True, for lstm has no gate z"),
        ({"cell": "gru", "order": "rzn", "forget_bias": 1.0}, "forget_bias: expected 0"),
        ({"transposed": "twice"}, "transposed"),
        ({"transposed": True}, "transposed: expected False for matrices of shapes"),
        ({"weight_ih": np.ones((8, 3))}, "expected matrices of shapes"),
        ({"bias_ih": np.ones(3)}, "expected a bias of shape"),
        ({"bias_hh": np.ones(4 * H, np.float32)}, "bias_hh beside the others: expected arrays of one dtype"),
        ({"weight_hh": None}, "weight_hh: expected an array"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Any], message: str) -> None:
    given = {"cell": "lstm", "order": "ifgo", **rk.init_params("lstm", I, H, dtype=np.float64)} | changed
    with pytest.raises((TypeError, ValueError), match=message):
        convert.gates(given.pop("cell"), **given)


# ---- libraries


def test_haiku_lstm() -> None:
    w, b = normal(I + H, 4 * H), normal(4 * H)
    h = c = np.zeros((B, H))
    output = []
    for x in X:
        i, g, f, o = np.split(np.concatenate([x, h], axis=1) @ w + b, 4, axis=1)
        h, c = lstm_step(i, f + 1, g, o, c)
        output.append(h)
    assert_runs_as("lstm", convert.from_haiku("lstm", {"lstm/linear": {"w": w, "b": b}}), np.stack(output))


def test_haiku_gru() -> None:
    w_i, w_h, b = normal(I, 3 * H), normal(H, 3 * H), normal(3 * H)
    h = np.zeros((B, H))
    output = []
    for x in X:
        z, r = np.split(sigmoid((x @ w_i + b)[:, : 2 * H] + h @ w_h[:, : 2 * H]), 2, axis=1)
        h = (1 - z) * h + z * np.tanh((x @ w_i + b)[:, 2 * H :] + (r * h) @ w_h[:, 2 * H :])
        output.append(h)
    params = convert.from_haiku("gru_reset_before", {"gru": {"w_i": w_i, "w_h": w_h, "b": b}})
    assert_runs_as("gru_reset_before", params, np.stack(output))


@pytest.mark.parametrize("double_bias", [True, False])
def test_haiku_vanilla(double_bias: bool) -> None:
    w_i, b_i, w_h, b_h = normal(I, H), normal(H), normal(H, H), normal(H, seed=1) * double_bias
    h = np.zeros((B, H))
    output = [h := np.maximum(x @ w_i + b_i + h @ w_h + b_h, 0) for x in X]
    second = {"w": w_h, "b": b_h} if double_bias else {"w": w_h}
    given = {"vanilla_rnn/linear": {"w": w_i, "b": b_i}, "vanilla_rnn/linear_1": second}
    assert_runs_as("rnn_relu", convert.from_haiku("rnn_relu", given), np.stack(output))


def in_cudnn_form(rows: Array, gates: int) -> Array:
    """Rows of gates (G*H, K) as Keras 2 shows cuDNN's memory: a (K, H) block for each gate."""
    return np.concatenate([each.reshape(each.shape[::-1]) for each in np.split(rows, gates)], axis=1)


def test_keras_cudnn_lstm_and_gru() -> None:
    lstm = {name: normal(*a.shape) for name, a in rk.init_params("lstm", I, H, dtype=np.float64).items()}
    given = [in_cudnn_form(lstm["weight_ih"], 4), in_cudnn_form(lstm["weight_hh"], 4)]
    found = convert.from_keras_cudnn("lstm", [*given, np.concatenate([lstm["bias_ih"], lstm["bias_hh"]])])
    for name, array in lstm.items():
        np.testing.assert_array_equal(found[name], array)
    assert given[0].shape == (I, 4 * H)  # as an LSTM's, so that only its contents tell
    rows = normal(3 * H, I), normal(3 * H, H), normal(3 * H, seed=1), normal(3 * H, seed=2)
    h = np.zeros((B, H))
    output = []
    for x in X:  # z r n
        zx, rx, nx = np.split(x @ rows[0].T + rows[2], 3, axis=1)
        zh, rh, nh = np.split(h @ rows[1].T + rows[3], 3, axis=1)
        z, r = sigmoid(zx + zh), sigmoid(rx + rh)
        h = (1 - z) * np.tanh(nx + r * nh) + z * h
        output.append(h)
    gru = [in_cudnn_form(rows[0], 3), in_cudnn_form(rows[1], 3), np.concatenate(rows[2:])]
    assert_runs_as("gru", convert.from_keras_cudnn("gru", gru), np.stack(output))


def test_dynet_lstm() -> None:
    layers = [[normal(4 * H, inputs), normal(4 * H, H), normal(4 * H)] for inputs in (I, H)]
    x = X
    for w_x, w_h, b in layers:
        h = c = np.zeros((B, H))
        output = []
        for each in x:
            i, f, o, g = np.split(each @ w_x.T + h @ w_h.T + b, 4, axis=1)
            h, c = lstm_step(i, f + 1, g, o, c)
            output.append(h)
        x = np.stack(output)
    stack = rk.Stack("lstm", I, H, 2, dtype=np.float64)
    stack.params = convert.from_dynet(layers)
    np.testing.assert_allclose(stack.forward(X).output, x, rtol=0, atol=1e-12)
    assert set(convert.from_dynet(layers[:1])) == {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}


def lasagne_gates(*names: str) -> dict[str, Array]:
    found = {}
    for k, name in enumerate(names):
        found[f"W_in_to_{name}"], found[f"W_hid_to_{name}"] = normal(I, H, seed=k), normal(H, H, seed=k)
        found[f"b_{name}"] = normal(H, seed=k)
    return found


def test_lasagne_gru() -> None:
    a = lasagne_gates("updategate", "resetgate", "hidden_update") | {"hid_init": normal(1, H)}
    part = {name: (a[f"W_in_to_{name}"], a[f"W_hid_to_{name}"], a[f"b_{name}"]) for name in ("updategate", "resetgate")}
    h = np.repeat(a["hid_init"], B, axis=0)
    output = []
    for x in X:
        u, r = (sigmoid(x @ w + h @ v + b) for w, v, b in part.values())
        new = x @ a["W_in_to_hidden_update"] + r * (h @ a["W_hid_to_hidden_update"]) + a["b_hidden_update"]
        h = (1 - u) * h + u * np.tanh(new)
        output.append(h)
    params, initial = convert.from_lasagne("gru", a)
    assert_runs_as("gru", params, np.stack(output), *initial)


@pytest.mark.parametrize("peepholes", [True, False])
def test_lasagne_lstm(peepholes: bool) -> None:
    names = ("ingate", "forgetgate", "cell", "outgate")
    a = lasagne_gates(*names) | {"hid_init": normal(1, H, seed=7), "cell_init": normal(1, H, seed=8)}
    peep = {name: normal(H, seed=k + 20) * peepholes for k, name in enumerate(("ingate", "forgetgate", "outgate"))}
    if peepholes:
        a |= {f"W_cell_to_{name}": array for name, array in peep.items()}
    h, c = (np.repeat(a[name], B, axis=0) for name in ("hid_init", "cell_init"))
    output = []
    for x in X:
        i, f, g, o = (x @ a[f"W_in_to_{n}"] + h @ a[f"W_hid_to_{n}"] + a[f"b_{n}"] for n in names)
        c = sigmoid(f + peep["forgetgate"] * c) * c + sigmoid(i + peep["ingate"] * c) * np.tanh(g)
        h = sigmoid(o + peep["outgate"] * c) * np.tanh(c)
        output.append(h)
    cell = "lstm_peephole" if peepholes else "lstm"
    params, initial = convert.from_lasagne(cell, a)
    assert_runs_as(cell, params, np.stack(output), *initial)


def test_lasagne_vanilla() -> None:
    a = {"W_in_to_hid": normal(I, H), "W_hid_to_hid": normal(H, H), "b": normal(H)}
    h = np.zeros((B, H))
    output = [h := np.tanh(x @ a["W_in_to_hid"] + h @ a["W_hid_to_hid"] + a["b"]) for x in X]
    params, initial = convert.from_lasagne("rnn_tanh", a)
    assert_runs_as("rnn_tanh", params, np.stack(output))
    np.testing.assert_array_equal(initial, np.zeros((1, H)))


def madmom_gate(name: str, k: int, activation: str, arrays: dict[str, Array]) -> SimpleNamespace:
    """What madmom's `Gate` and `Cell` hold."""
    weights, recurrent, bias = normal(I, H, seed=k), normal(H, H, seed=k), normal(H, seed=k)
    arrays |= {f"W_in_to_{name}": weights, f"W_hid_to_{name}": recurrent, f"b_{name}": bias}
    function = SimpleNamespace(__name__=activation)
    return SimpleNamespace(
        weights=weights, recurrent_weights=recurrent, bias=bias, activation_fn=function, peephole_weights=None
    )


def madmom_gru(seed: int) -> tuple[SimpleNamespace, dict[str, Array]]:
    arrays: dict[str, Array] = {}
    layer = SimpleNamespace(
        update_gate=madmom_gate("updategate", seed, "sigmoid", arrays),
        reset_gate=madmom_gate("resetgate", seed + 1, "sigmoid", arrays),
        cell=madmom_gate("hidden_update", seed + 2, "tanh", arrays),
        init=normal(H, seed=seed),
    )
    return layer, arrays | {"hid_init": layer.init[None]}


def test_madmom_in_two_directions() -> None:
    ways = [madmom_gru(0), madmom_gru(10)]
    both = SimpleNamespace(fwd_layer=ways[0][0], bwd_layer=ways[1][0])
    cell, params, initial = convert.from_madmom(both)
    assert cell == "gru"
    for end, (_, arrays), k in zip(("_l0", "_l0_reverse"), ways, (0, 1), strict=True):
        expected, (state,) = convert.from_lasagne("gru", arrays)
        for name, array in expected.items():
            np.testing.assert_array_equal(params[name + end], array)
        np.testing.assert_array_equal(initial[0][k], state)


def test_madmom_lstm_with_peepholes_and_a_bias_of_one_number() -> None:
    arrays: dict[str, Array] = {}
    layer = SimpleNamespace(
        input_gate=madmom_gate("ingate", 1, "sigmoid", arrays),
        forget_gate=madmom_gate("forgetgate", 2, "sigmoid", arrays),
        cell=madmom_gate("cell", 3, "tanh", arrays),
        output_gate=madmom_gate("outgate", 4, "sigmoid", arrays),
        activation_fn=SimpleNamespace(__name__="tanh"),
    )
    for k, (gate, name) in enumerate(
        ((layer.input_gate, "ingate"), (layer.forget_gate, "forgetgate"), (layer.output_gate, "outgate"))
    ):
        gate.peephole_weights = arrays[f"W_cell_to_{name}"] = normal(H, seed=k + 30)
    layer.cell.bias, arrays["b_cell"] = 0.25, np.full(H, 0.25)
    cell, params, _ = convert.from_madmom(layer)
    assert cell == "lstm_peephole"
    for name, array in convert.from_lasagne("lstm_peephole", arrays)[0].items():
        np.testing.assert_array_equal(params[name], array)


def test_madmom_with_another_activation_is_refused() -> None:
    layer, _ = madmom_gru(0)
    layer.cell.activation_fn = SimpleNamespace(__name__="elu")
    with pytest.raises(ValueError, match=r"layer\.cell: expected the activation tanh, got elu"):
        convert.from_madmom(layer)
    with pytest.raises(TypeError, match="layer: expected a recurrent layer of madmom, got"):
        convert.from_madmom(3)
