"""`from_keras` of layers, configs, groups and files: the same outputs as Keras', or a refusal. Run by test_keras.py.

Keras 3 runs its own layers where it is installed. Keras 2's equations are stated here in NumPy, and its files are
written as its keras/engine/saving.py writes them (2.2.4; of 2.3 and TensorFlow's the same): the attributes
``keras_version``, ``backend`` and ``model_config`` of the file, a group ``model_weights`` with ``layer_names``, and in
it one for each layer, whose ``weight_names`` are the paths of its arrays in the order of ``get_weights``.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import Array

import rnnkernels as rk
from rnnkernels import convert

if TYPE_CHECKING:
    from pathlib import Path

T, B, I, H = 6, 3, 5, 4  # noqa: E741
X = np.random.default_rng(0).standard_normal((B, T, I)).astype(np.float32) * 2  # as Keras has it, batch first

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning", "ignore:You are saving your model"
)


def weights_of(gates: int, *, bias: int = 1, seed: int = 0, inputs: int = I) -> list[Array]:
    rng = np.random.default_rng(seed)
    shapes = [(inputs, gates * H), (H, gates * H), *([(gates * H,)] if bias == 1 else [(2, gates * H)] * (bias == 2))]
    return [(0.5 * rng.standard_normal(shape)).astype(np.float32) for shape in shapes]


@pytest.fixture
def keras() -> Any:
    pytest.importorskip("torch")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras", minversion="3")


def given(layer: Any, x: Array = X) -> Array:
    """Build a layer, give it weights of which none is zero, and return what it gives for x."""
    layer.build(x.shape)
    rng = np.random.default_rng(1)
    layer.set_weights([(0.5 * rng.standard_normal(w.shape)).astype(np.float32) for w in layer.get_weights()])
    import keras

    return np.asarray(keras.ops.convert_to_numpy(layer(x)))


def outputs(found: convert.FromKeras, x: Array = X, hidden: int = H) -> Array:
    """What our cells give, batch first, in our order of steps."""
    time_major = np.ascontiguousarray(x.swapaxes(0, 1))
    if "weight_ih" in found.params:
        run = rk.forward(found.cell, time_major, found.params, reverse=found.reverse)
        return run.output.swapaxes(0, 1)
    layers = 1 + max(int(name.split("_l")[1][0]) for name in found.params)
    bidirectional = any(name.endswith("_reverse") for name in found.params)
    stack = rk.Stack(found.cell, x.shape[-1], hidden, layers, bidirectional=bidirectional)
    stack.params = found.params
    return np.asarray(stack.forward(time_major).output).swapaxes(0, 1)


# ---- Keras 3's own layers

FUNCTIONS = ["elu", "exponential", "gelu", "hard_sigmoid", "linear", "relu", "sigmoid", "silu", "softplus", "softsign",
             "swish", "tanh"]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_of_keras_3(keras: Any, function: str) -> None:
    layers = keras.layers
    # Exponentials grow out of all numbers, and gates that are no gates multiply what rounding differs by.
    x = X[:, : {"exponential": 1, "linear": 3}.get(function, X.shape[1])]
    options: dict[str, Any] = {"return_sequences": True}
    for layer in (
        layers.SimpleRNN(H, activation=function, **options),
        layers.LSTM(H, recurrent_activation=function, **options) if function != "exponential" else None,
        layers.GRU(H, recurrent_activation="hard_sigmoid", activation=function, **options),
    ):
        if layer is not None:
            expected = given(layer, x)
            found = convert.from_keras(layer)
            np.testing.assert_allclose(outputs(found, x), expected, rtol=1e-5, atol=1e-5)
            back = convert.to_keras(found.cell, found.params)
            assert all(np.array_equal(a, b) for a, b in zip(back, layer.get_weights(), strict=True))


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("reset_after", [True, False])
def test_grus_of_both_forms(keras: Any, reset_after: bool, use_bias: bool) -> None:
    for function in ("sigmoid", "hard_sigmoid"):
        layer = keras.layers.GRU(
            H, reset_after=reset_after, use_bias=use_bias, recurrent_activation=function, return_sequences=True
        )
        expected = given(layer)
        found = convert.from_keras(layer)
        np.testing.assert_allclose(outputs(found), expected, atol=2e-6)
        assert found.cell.startswith("keras_gru" if function == "hard_sigmoid" else "gru")
        assert ("bias_ih" in found.params) == use_bias
        assert found.notes == ()


def test_configs_with_weights_say_what_a_layer_says(keras: Any) -> None:
    layer = keras.layers.LSTM(H, return_sequences=True, unit_forget_bias=True)
    given(layer)
    wanted = convert.from_keras(layer)
    for config in (layer.get_config(), keras.layers.serialize(layer)):
        found = convert.from_keras(config, layer.get_weights(), stacked=True)
        assert found.cell == "lstm"
        assert set(found.params) == {f"{name}_l0" for name in wanted.params}
        assert all(np.array_equal(found.params[f"{name}_l0"], wanted.params[name]) for name in wanted.params)


def test_go_backwards_is_said_and_can_be_had(keras: Any) -> None:
    layer = keras.layers.GRU(H, return_sequences=True, go_backwards=True)
    expected = given(layer)
    found = convert.from_keras(layer)
    assert found.reverse
    assert "convert.in_keras_order(output)" in found.notes[0]
    ours = outputs(found)
    np.testing.assert_allclose(convert.in_keras_order(ours.swapaxes(0, 1)).swapaxes(0, 1), expected, atol=2e-6)
    assert np.abs(ours - expected).max() > 0.01
    # Of a layer that gives its final state alone there is no order.
    last = keras.layers.GRU(H, go_backwards=True)
    expected = given(last)
    found = convert.from_keras(last)
    np.testing.assert_allclose(outputs(found)[:, 0], expected, atol=2e-6)
    assert any(note.startswith("return_sequences=False: Keras gives the final h alone") for note in found.notes)


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_bidirectional_and_how_it_merges(keras: Any, kind: str, mode: str | None) -> None:
    inner = getattr(keras.layers, kind)(H, return_sequences=True)
    layer = keras.layers.Bidirectional(inner, merge_mode=mode)
    layer.build(X.shape)
    weights = [w for k in (0, 1) for w in weights_of(len(layer.get_weights()[0][0]) // H, seed=k,
               bias=2 if kind == "GRU" else 1)]  # fmt: skip
    layer.set_weights(weights)
    expected = layer(X)
    found = convert.from_keras(layer)
    assert found.merge_mode == mode
    ours = outputs(found)
    one, two = ours[..., :H], ours[..., H:]
    merged = {"concat": ours, "sum": one + two, "mul": one * two, "ave": (one + two) / 2, None: ours}[mode]
    if mode is None:
        expected = np.concatenate([keras.ops.convert_to_numpy(each) for each in expected], -1)
    np.testing.assert_allclose(merged, keras.ops.convert_to_numpy(expected), atol=2e-6)
    if mode == "concat":
        assert found.notes == ()
    else:
        assert found.notes[-1].startswith(f"merge_mode={mode!r}: Keras gives ")


def test_stacks_of_layers_and_of_cells(keras: Any) -> None:
    layers = keras.layers
    lower, upper = (layers.Bidirectional(layers.GRU(H, return_sequences=True)) for _ in range(2))
    expected = given(upper, given(lower))
    found = convert.from_keras([lower, upper])
    np.testing.assert_allclose(outputs(found), expected, atol=2e-6)
    configs = [keras.layers.serialize(layer) for layer in (lower, upper)]
    again = convert.from_keras(configs, [lower.get_weights(), upper.get_weights()])
    assert all(np.array_equal(again.params[name], found.params[name]) for name in found.params)
    cells = [layers.LSTMCell(H, recurrent_activation="hard_sigmoid") for _ in range(2)]
    layer = layers.RNN(layers.StackedRNNCells(cells), return_sequences=True)
    expected = given(layer)
    np.testing.assert_allclose(outputs(convert.from_keras(layer)), expected, atol=2e-6)
    one = layers.RNN(layers.SimpleRNNCell(H), return_sequences=True)
    expected = given(one)
    np.testing.assert_allclose(outputs(convert.from_keras(one)), expected, atol=2e-6)


def test_what_a_layer_does_beside_its_weights_is_said(keras: Any) -> None:
    layer = keras.layers.LSTM(H, stateful=True, dropout=0.25, recurrent_dropout=0.5)
    layer.build((B, T, I))
    notes = convert.from_keras(layer).notes
    assert [note.split(":")[0] for note in notes] == [
        "return_sequences=False",
        "stateful=True",
        "dropout=0.25, recurrent_dropout=0.5",
    ]


@pytest.fixture
def saved(keras: Any, tmp_path: Path) -> tuple[Any, Path]:
    pytest.importorskip("h5py")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((T, I)),
            layers.LSTM(H, return_sequences=True, recurrent_activation="hard_sigmoid", name="first"),
            layers.Bidirectional(layers.LSTM(H, return_sequences=True), name="second"),
            layers.RNN(layers.StackedRNNCells([layers.GRUCell(H), layers.GRUCell(H)]), name="third"),
            layers.Dense(1),
        ]
    )
    rng = np.random.default_rng(2)
    model.set_weights([0.5 * rng.standard_normal(w.shape).astype(np.float32) for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "model.h5")
    model.save_weights(tmp_path / "model.weights.h5")
    return model, tmp_path


def test_files_of_keras_3(saved: tuple[Any, Path]) -> None:
    h5py = pytest.importorskip("h5py")
    model, folder = saved
    for name in ("first", "second", "third"):
        wanted = convert.from_keras(model.get_layer(name))
        found = [convert.from_keras(folder / file, layer=name) for file in ("model.keras", "model.h5")]
        found.append(convert.from_keras(str(folder / "model.keras"), layer=name))
        with h5py.File(folder / "model.h5") as file:
            found.append(convert.from_keras(file["model_weights"][name]))
            found.append(convert.from_keras(file, layer=name))
            config = model.get_layer(name).get_config()
            found.append(convert.from_keras(config, file["model_weights"][name]))
        for each in found:
            assert each[:1] + each[2:] == wanted[:1] + wanted[2:]
            assert all(np.array_equal(each.params[n], wanted.params[n]) for n in wanted.params)
    with h5py.File(folder / "model.weights.h5") as file:  # weights alone: which layer's version is not written there
        config, group = model.get_layer("first").get_config(), file["layers/lstm"]
        with pytest.raises(ValueError, match="keras_version: expected the version of the layer's Keras, for hard_sig"):
            convert.from_keras(config, group)
        found_there = convert.from_keras(config, group, keras_version="3")
        wanted = convert.from_keras(model.get_layer("first"))
        assert found_there.cell == wanted.cell
        assert all(np.array_equal(found_there.params[n], wanted.params[n]) for n in wanted.params)
        with pytest.raises(ValueError, match="cell: expected a group of a file that has the model's config"):
            convert.from_keras(group)
        with pytest.raises(ValueError, match="weights: expected a layer's group, with its arrays in it"):
            convert.from_keras(config, file["layers/lstm/vars"])


def test_a_keras_file_whose_groups_have_no_names(saved: tuple[Any, Path]) -> None:
    """The first Keras 3 called layers by class and number alone, and Keras 2.12 had another name for all of them."""
    h5py = pytest.importorskip("h5py")
    model, folder = saved
    with zipfile.ZipFile(folder / "model.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (folder / "w").write_bytes(parts["model.weights.h5"])
    with h5py.File(folder / "w", "r+") as file:
        file.visititems(lambda _, each: each.attrs.pop("name", None) and None)
        file.move("layers", "_layer_checkpoint_dependencies")
    with zipfile.ZipFile(folder / "old.keras", "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, (folder / "w").read_bytes() if name == "model.weights.h5" else data)
    for name in ("first", "second", "third"):
        wanted, found = (convert.from_keras(folder / of, layer=name) for of in ("model.keras", "old.keras"))
        assert all(np.array_equal(found.params[n], wanted.params[n]) for n in wanted.params)
    del model


def test_what_a_file_has_not_is_refused(saved: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = saved
    (folder / "no.h5").write_bytes(b"no" * 64)
    with zipfile.ZipFile(folder / "no.keras", "w") as archive:
        archive.writestr("a", "b")
    cases: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((folder / "model.h5",), {}, "layer: expected a name, for the file has the recurrent layers first, second, th"),
        ((folder / "model.keras",), {"layer": "dense"}, "layer: expected one of the file's recurrent layers, first, s"),
        ((folder / "model.keras",), {"layer": "first", "keras_version": "2"}, "keras_version: expected 3.* as is writ"),
        ((folder / "model.keras", []), {"layer": "first"}, "weights: expected None beside .*, which has its own"),
        ((folder / "none.h5",), {}, "cell: expected a file, found none at "),
        ((folder / "no.h5",), {}, "cell: no HDF5 file: "),
        ((folder / "no.keras",), {}, "cell: expected a .keras file, got an archive of a"),
        ((folder / "model.weights.h5",), {}, "cell: expected a group of a file that has the model's config"),
    ]
    for arguments, options, words in cases:
        with pytest.raises(ValueError, match=words):
            convert.from_keras(*arguments, **options)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"from_keras reads model\.h5 with h5py: pip install h5py"):
        convert.from_keras(folder / "model.h5", layer="first")


# ---- Keras 2


def hard_sigmoid(a: Array) -> Array:
    return np.clip(0.2 * a + 0.5, 0.0, 1.0)


def keras_2(kind: str, w: list[Array]) -> Array:
    """Keras 2's layers with hard_sigmoid, (B, T, H), in float64, from keras/layers/recurrent.py of 2.2.4."""
    kernel, recurrent, *bias = (each.astype(np.float64) for each in w)
    h = c = np.zeros((B, H))
    found = []
    for x in X.astype(np.float64).swapaxes(0, 1):
        a, u = x @ kernel, h @ recurrent
        if kind == "LSTM":
            i, f, g, o = np.split(a + u + bias[0], 4, axis=1)
            c = hard_sigmoid(f) * c + hard_sigmoid(i) * np.tanh(g)
            h = hard_sigmoid(o) * np.tanh(c)
        else:
            (a_z, a_r, a_h), (u_z, u_r, _) = np.split(a + bias[0], 3, axis=1), np.split(u, 3, axis=1)
            z, r = hard_sigmoid(a_z + u_z), hard_sigmoid(a_r + u_r)
            h = z * h + (1 - z) * np.tanh(a_h + (r * h) @ recurrent[:, 2 * H :])
        found.append(h)
    return np.stack(found, axis=1)


CONFIGS: dict[str, dict[str, Any]] = {  # what decides; the first Keras 2 has no reset_after
    "LSTM": {"activation": "tanh", "recurrent_activation": "hard_sigmoid", "unit_forget_bias": True},
    "GRU": {"activation": "tanh", "recurrent_activation": "hard_sigmoid", "implementation": 1},
}


def config_of(kind: str, name: str = "mine", **more: Any) -> dict[str, Any]:
    settings = {"name": name, "units": H, "use_bias": True, "return_sequences": True, "go_backwards": False}
    return {"class_name": kind, "config": settings | CONFIGS.get(kind, {}) | more}


def write_keras_2(path: Path, layers: list[tuple[dict[str, Any], list[tuple[str, Array]]]], version: str) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        model = {"class_name": "Sequential", "config": {"name": "model", "layers": [config for config, _ in layers]}}
        said = {"keras_version": version, "backend": "tensorflow", "model_config": json.dumps(model)}
        top = file.create_group("model_weights")
        for name, value in said.items():
            file.attrs[name] = value.encode()
        top.attrs["keras_version"] = version.encode()
        top.attrs["layer_names"] = [config["config"]["name"].encode() for config, _ in layers]
        for config, arrays in layers:
            group = top.create_group(config["config"]["name"])
            group.attrs["weight_names"] = [name.encode() for name, _ in arrays]
            for name, array in arrays:
                group.create_dataset(name, data=array)


def named(weights: list[Array], before: str) -> list[tuple[str, Array]]:
    names = [f"{before}/{part}:0" for part in ("kernel", "recurrent_kernel", "bias")]
    return list(zip(names, weights, strict=True))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_files_of_keras_2_have_its_hard_sigmoid(tmp_path: Path, kind: str) -> None:
    weights = weights_of(4 if kind == "LSTM" else 3)
    write_keras_2(tmp_path / "m.h5", [(config_of(kind), named(weights, "mine"))], "2.2.4")
    found = convert.from_keras(tmp_path / "m.h5")
    assert found.cell[:] == f"keras_{'lstm' if kind == 'LSTM' else 'gru_reset_before'}(hard_sigmoid(0.2, 0.5), tanh)"
    np.testing.assert_allclose(outputs(found), keras_2(kind, weights), atol=2e-6)
    other = convert.from_keras(config_of(kind), weights, keras_version="3.1")
    assert np.abs(outputs(other) - outputs(found)).max() > 0.01
    with pytest.raises(ValueError, match="keras_version: expected the version of the layer's Keras"):
        convert.from_keras(config_of(kind), weights)


def test_a_bidirectional_layer_of_keras_2(tmp_path: Path) -> None:
    """It writes one layer's config, and both directions' arrays."""
    pairs = [weights_of(4, seed=seed) for seed in (0, 1)]
    inner = config_of("LSTM", "lstm_1")
    config = {"class_name": "Bidirectional", "config": {"name": "both", "layer": inner, "merge_mode": "concat"}}
    arrays = named(pairs[0], "both/forward_lstm_1") + named(pairs[1], "both/backward_lstm_1")
    write_keras_2(tmp_path / "m.h5", [(config, arrays)], "2.3.1")
    found = convert.from_keras(tmp_path / "m.h5")
    np.testing.assert_allclose(outputs(found)[..., :H], keras_2("LSTM", pairs[0]), atol=2e-6)
    wanted = convert.from_keras(inner, pairs[1], keras_version="2").params
    assert all(np.array_equal(found.params[f"{name}_l0_reverse"], wanted[name]) for name in wanted)


def test_names_of_keras_2_may_have_slashes(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    layers = [(config_of("LSTM", f"top/{k}"), named(weights_of(4, seed=k), f"top/{k}")) for k in (0, 1)]
    write_keras_2(tmp_path / "m.h5", layers, "2.2.2")
    with h5py.File(tmp_path / "m.h5") as file:
        found = convert.from_keras(file["model_weights/top/1"])
        same = convert.from_keras(file["model_weights"], layer="top/1")
        with pytest.raises(
            ValueError, match="layer: expected a name, for the file has the recurrent layers top/0, top/1"
        ):
            convert.from_keras(file)
    for each in (found, same):
        np.testing.assert_allclose(outputs(each), keras_2("LSTM", weights_of(4, seed=1)), atol=2e-6)


def test_cudnn_layers_of_keras_2(tmp_path: Path) -> None:
    weights = [*weights_of(4, bias=0), np.arange(8 * H, dtype=np.float32)]
    config = {"class_name": "CuDNNLSTM", "config": {"name": "fast", "units": H, "return_sequences": True}}
    write_keras_2(tmp_path / "m.hdf5", [(config, named(weights, "fast"))], "2.2.4")
    found = convert.from_keras(str(tmp_path / "m.hdf5"))
    wanted = convert.from_keras_cudnn("lstm", weights)
    assert found.cell == "lstm"
    assert all(np.array_equal(found.params[name], wanted[name]) for name in wanted)


# ---- refusals

LSTM = weights_of(4)
PLAIN = config_of("SimpleRNN", activation="tanh")
REFUSED: dict[str, tuple[Any, Any, str]] = {
    "function": (
        config_of("LSTM", activation="selu"),
        LSTM,
        "cell: expected an activation that is served, elu, exponential, gelu, hard_sigmoid, .*; got 'selu'",
    ),
    "own function": (
        config_of("LSTM", activation={"class_name": "function", "config": "mine"}),
        LSTM,
        "cell: expected an activation that is served, .*; got 'function mine'",
    ),
    "number for a function": (config_of("LSTM", activation=3), LSTM, "cell: expected the name of a function for act"),
    "other class": ({"class_name": "ConvLSTM2D", "config": {}}, [], "cell: expected one of Keras' SimpleRNN, .*Conv"),
    "model": ({"class_name": "Sequential", "config": {}}, [], "cell: expected a layer, got the model Sequential"),
    "no settings": ({"class_name": "LSTM"}, LSTM, "cell: expected a config of a layer, got no settings of 'LSTM'"),
    "no config": ({"a": 1}, LSTM, "cell: expected the config of a recurrent layer, got one with the keys a"),
    "missing": (
        {"class_name": "LSTM", "config": {"units": H, "activation": "tanh"}},
        LSTM,
        "cell: expected 'recurrent_activation' in the config of LSTM, for it decides what is computed",
    ),
    "no weights": (config_of("LSTM"), None, "weights: expected the arrays of the layer beside its config"),
    "use_bias": (
        config_of("LSTM", recurrent_activation="sigmoid"),
        LSTM[:2],
        r"weights: expected 3 arrays, kernel, recurrent_kernel and bias of 1 cells \(use_bias=True\), got 2",
    ),
    "units": (config_of("LSTM", recurrent_activation="sigmoid", units=5), LSTM, "weights: expected those of units=5"),
    "shape": (config_of("LSTM", recurrent_activation="sigmoid"), weights_of(3), r"weights\[0\], weights\[1\]: expect"),
    "bias": (
        config_of("GRU", recurrent_activation="sigmoid", reset_after=True),
        weights_of(3),
        r"weights\[2\]: expected shape \(2, 3\*H\), got \(12,\)",
    ),
    "own cell": (
        {"class_name": "RNN", "config": {"cell": {"class_name": "MyCell", "config": {}}}},
        [],
        "cell: expected an RNN of Keras' own cells, got 'MyCell'",
    ),
    "no cell": ({"class_name": "RNN", "config": {}}, [], "cell: expected a config under 'cell', got None"),
    "merge_mode": (
        {
            "class_name": "Bidirectional",
            "config": {"layer": config_of("SimpleRNN", activation="tanh"), "merge_mode": 3},
        },
        [],
        "cell: expected merge_mode 'concat', 'sum', 'mul', 'ave', None, got 3",
    ),
    "backwards inside": (
        {
            "class_name": "Bidirectional",
            "config": {"layer": config_of("SimpleRNN", activation="tanh", go_backwards=True)},
        },
        [],
        "cell: expected a Bidirectional of a layer without go_backwards",
    ),
    "forwards inside": (
        {
            "class_name": "Bidirectional",
            "config": {"layer": PLAIN, "backward_layer": PLAIN},
        },
        [],
        "cell: expected a backward_layer with go_backwards=True, got one without",
    ),
    "empty": ([], None, "cell: expected a layer or more, got an empty list"),
    "counts": ([config_of("LSTM")], [], "weights: expected those of 1 layers, got 0"),
    "cells differ": (
        [config_of("LSTM", recurrent_activation="sigmoid"), config_of("LSTM")],
        [LSTM, weights_of(4, inputs=H)],
        "cell: expected one cell in all layers, as in a Stack, got keras_lstm.*, lstm",
    ),
    "last alone": (
        [config_of("LSTM", return_sequences=False)] * 2,
        [LSTM, weights_of(4, inputs=H)],
        "cell: expected return_sequences=True of a layer below another, got False",
    ),
    "backwards below": (
        [config_of("LSTM", go_backwards=True)] * 2,
        [LSTM, weights_of(4, inputs=H)],
        "cell: expected layers without go_backwards in a stack",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_served_is_refused(name: str) -> None:
    source, weights, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        convert.from_keras(source, weights, keras_version="2.15.0")


def test_a_sum_below_another_layer_is_refused() -> None:
    inner = config_of("SimpleRNN", activation="tanh")
    layer = {"class_name": "Bidirectional", "config": {"layer": inner, "merge_mode": "sum"}}
    weights = [[*weights_of(1), *weights_of(1, seed=1)], [*weights_of(1, inputs=H), *weights_of(1, inputs=H)]]
    with pytest.raises(ValueError, match="cell: expected merge_mode='concat' below another layer, got 'sum'"):
        convert.from_keras([layer, layer], weights)


def test_a_layer_that_is_not_keras_own_is_refused(keras: Any) -> None:
    class Mine(keras.layers.LSTM):  # type: ignore[misc]
        pass

    with pytest.raises(ValueError, match="cell: expected a layer of Keras' own, got Mine of "):
        convert.from_keras(Mine(H))
    with pytest.raises(ValueError, match="cell: expected a layer with weights, got one that is not built"):
        convert.from_keras(keras.layers.LSTM(H))
    with pytest.raises(ValueError, match=r"cell: expected one of Keras' .*, got 'Dense'"):
        convert.from_keras(keras.layers.Dense(3))


def test_what_stands_beside_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="keras_version: expected None beside the name of a cell, got '2'"):
        convert.from_keras("lstm", LSTM, keras_version="2")
    with pytest.raises(ValueError, match="layer: expected None beside the name of a cell, got 'a'"):
        convert.from_keras("lstm", LSTM, layer="a")
    with pytest.raises(ValueError, match="layer: expected None but for a group or a file"):
        convert.from_keras(config_of("LSTM"), LSTM, layer="a", keras_version="2")
    for version in ("1.2", "x", "4"):
        with pytest.raises(ValueError, match=r"keras_version: expected one of Keras 2 or 3, '2\.15\.0' say; got"):
            convert.from_keras(config_of("LSTM"), LSTM, keras_version=version)
