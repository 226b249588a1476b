"""The model: loss, evaluation, streams, and sampling from it."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from problems import FORMS, is_free
from tolerances import forward_length, gradient_length, tolerance

from rnnkernels import bptt, charlm
from rnnkernels.charlm import CharModel, Vocabulary
from rnnkernels.charlm.streams import Streams

Array = npt.NDArray[Any]


def log_softmax(logits: Array) -> Array:
    """In complex or real double precision, for the tests; the maximum is taken off by its real part."""
    shifted = logits - logits.real.max(axis=1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


# ---- streams ----


@pytest.mark.parametrize(("count", "batch", "offset"), [(101, 4, 0), (101, 4, 7), (20, 20, 0), (19, 20, 0), (2, 1, 0)])
def test_streams_read_on(count: int, batch: int, offset: int) -> None:
    tokens = np.arange(count, dtype=np.int32)
    streams = Streams(tokens, batch, offset)
    assert streams.steps == (count - 1 - offset) // batch
    inputs, targets = streams.inputs(0, streams.steps), streams.targets(0, streams.steps)
    assert inputs.shape == (streams.steps, batch)
    assert np.array_equal(targets, inputs + 1)
    assert np.array_equal(inputs.T.ravel(), tokens[offset : offset + batch * streams.steps])
    pieces = list(streams.windows(0, streams.steps // 3, 3))
    assert all(np.array_equal(piece, inputs[3 * i : 3 * i + 3]) for i, piece in enumerate(pieces))


# ---- model ----


@pytest.mark.parametrize("cell", [cell for cell in FORMS if is_free(cell)])
@pytest.mark.parametrize("layers", [1, 2])
def test_gradient_of_a_window_by_differences(cell: str, layers: int) -> None:
    """The pieces belong together: stack, readout and driver, against the loss itself."""
    vocabulary = Vocabulary("abcd")
    model = CharModel(vocabulary, cell=cell, hidden=6, layers=layers, dtype="float64", rng=0)
    streams = Streams(vocabulary.encode("abacadabbcdcadbbac" * 3), 2)

    def window() -> bptt.Result:
        def loss(output: Array, start: int) -> tuple[float, Array, dict[str, Array]]:
            return model.loss_and_gradients(output, streams.targets(start, len(output)))

        return next(bptt.windows(model.stack, [streams.inputs(0, 9)], loss, k1=9, k2=9))

    grads = window().grads
    assert set(grads) == set(model.params)
    rng = np.random.default_rng(1)
    step = 1e-6  # differences: the losses' rounding is divided by the step
    within = tolerance("float64", "gradient", gradient_length(9, 2, 6, 6)) / step
    for name, param in model.params.items():
        index = tuple(int(rng.integers(0, n)) for n in param.shape)
        if name == "weight_ih_l0":  # a column of a token that occurs
            index = (index[0], 1)
        kept = param[index]
        losses = []
        for sign in (1, -1):
            param[index] = kept + sign * step
            losses.append(window().loss)
        param[index] = kept
        difference = (losses[0] - losses[1]) / (2 * step)
        assert abs(difference - grads[name][index]) < within, name


def test_forget_gates_start_open() -> None:
    model = CharModel(Vocabulary("ab"), cell="lstm", hidden=8, layers=2, rng=0)
    other = CharModel(Vocabulary("ab"), cell="gru", hidden=8, rng=0)
    for layer in range(2):
        bias = model.params[f"bias_ih_l{layer}"]
        assert (bias[8:16] == 1).all()
        assert (np.abs(np.delete(bias, range(8, 16))) < 8**-0.5).all()
    assert (np.abs(other.params["bias_ih_l0"]) < 8**-0.5).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_evaluation_is_the_mean_over_streams_and_leaves_no_trace(dtype: str) -> None:
    vocabulary = Vocabulary("abc")
    model = CharModel(vocabulary, hidden=8, layers=2, dropout=0.5, dtype=dtype, rng=0)
    before = {name: array.copy() for name, array in model.params.items()}
    tokens = vocabulary.encode("abcabbacb" * 250)  # 2250 characters: two streams
    expected = 0.0
    for b in range(2):
        part = tokens[b * 1124 : (b + 1) * 1124 + 1]
        state = None
        for here, following in itertools.pairwise(part):
            logits, state = model.step(int(here), state)
            expected -= float(log_softmax(logits[None].astype(np.float64))[0, following])
    found = model.evaluate(tokens)
    within = tolerance(dtype, "output", forward_length(1124, 4, 8))
    assert abs(found - expected / 2248) < within
    assert abs(found - model.evaluate(tokens, length=50)) < within
    assert all(np.array_equal(model.params[name], before[name]) for name in before)


@pytest.mark.parametrize("count", [0, 1])
def test_evaluation_needs_two_tokens(count: int) -> None:
    with pytest.raises(ValueError, match="tokens: expected at least 2"):
        CharModel(Vocabulary("ab"), hidden=4, rng=0).evaluate(np.ones(count, np.int32))


@pytest.mark.parametrize(
    ("arguments", "word"), [({"cell": "nope"}, "nope"), ({"hidden": 0}, "hidden"), ({"layers": 0}, "layers")]
)
def test_bad_models(arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        CharModel(Vocabulary("ab"), rng=0, **arguments)


# ---- sampling ----


@pytest.fixture(scope="module")
def model() -> CharModel:
    config = charlm.Config(hidden=32, batch=4, seq_length=16, epochs=3, lr=0.01, min_count=1)
    return charlm.train("to be or not to be, that is the question. " * 100, config).model


def test_sample_continues_the_text(model: CharModel) -> None:
    assert charlm.sample(model, "to be or", temperature=0.2, length=20, seed=0) == " not to be, that is "


def test_sample_is_fixed_by_its_seed(model: CharModel) -> None:
    texts = [charlm.sample(model, "q", temperature=2.0, length=60, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0]) == 60


def test_sample_never_writes_the_unknown(model: CharModel) -> None:
    model = CharModel(model.vocabulary, hidden=4, rng=0)
    model.params["readout.bias"][0] = 100
    assert charlm.UNKNOWN not in charlm.sample(model, "t", temperature=1.0, length=50, seed=0)


def test_low_temperatures_take_the_most_likely(model: CharModel) -> None:
    tokens = model.vocabulary.encode("to be or n")
    best = model.read(tokens)[0][1:].argmax()
    for temperature in (1e-9, 1e-320, 0, 0.0):
        written = charlm.sample(model, "to be or n", temperature=temperature, length=1, seed=0)
        assert written == model.vocabulary.characters[best]


def test_temperature_0_needs_no_chance(model: CharModel) -> None:
    texts = {charlm.sample(model, "to be or n", temperature=0, length=60, seed=seed) for seed in range(5)}
    assert len(texts) == 1
    assert texts == {charlm.sample(model, "to be or n", temperature=1e-6, length=60, seed=0)}


@pytest.mark.parametrize(("known", "prime"), [("ab \n", "\n"), ("ab ", " "), ("ab", "a")])
def test_a_model_begins_with_what_it_knows(known: str, prime: str) -> None:
    model = CharModel(Vocabulary(known), hidden=4, rng=0)
    assert charlm.sample(model, length=20, seed=0) == charlm.sample(model, prime, length=20, seed=0)


def test_reading_is_stepping(model: CharModel) -> None:
    tokens = model.vocabulary.encode("that is the")
    read, state = model.read(tokens)
    stepped_state: Any = None
    for token in tokens:
        stepped, stepped_state = model.step(int(token), stepped_state)
    assert np.array_equal(read, stepped)
    assert np.array_equal(state[0][1], stepped_state[0][1])


@pytest.mark.parametrize("weights", ["full", "bfloat16", "int8"])
def test_a_prepared_model_computes_as_a_prepared_stack(model: CharModel, weights: str) -> None:
    tokens = model.vocabulary.encode("that is the question")
    stack = model.stack.prepare(weights=weights, tokens=True)
    output, ended = stack.forward(tokens[:, None])
    expected = model.readout.logits(output[-1])[0]
    before, loss = model.read(tokens)[0], model.evaluate(tokens)
    prepared = copy.deepcopy(model)
    prepared.prepare(weights=weights)
    read, state = prepared.read(tokens)
    stepped_state: Any = None
    for token in tokens:
        stepped, stepped_state = prepared.step(int(token), stepped_state)
    low = prepared.evaluate(tokens)
    assert np.array_equal(read, expected)
    assert np.array_equal(stepped, expected)
    assert np.array_equal(state[0][1], ended[0][1])
    assert np.array_equal(stepped_state[0][1], ended[0][1])
    assert np.array_equal(read, before) == (low == loss) == (weights == "full")
    assert abs(low - loss) < 0.1
    prepared.to(prepared.place)
    assert prepared.evaluate(tokens) == loss


def test_what_a_model_cannot_be_prepared_with() -> None:
    with pytest.raises(ValueError, match="weights: expected"):
        CharModel(Vocabulary("ab"), hidden=4, rng=0).prepare(weights="int4")
    with pytest.raises(TypeError, match=r"weights: .*float64"):
        CharModel(Vocabulary("ab"), hidden=4, dtype="float64", rng=0).prepare(weights="int8")


def test_sample_of_a_broken_model_is_an_error() -> None:
    model = CharModel(Vocabulary("ab"), hidden=4, rng=0)
    model.params["readout.bias"][1] = np.nan
    with pytest.raises(ValueError, match="model: expected finite"):
        charlm.sample(model, "a", length=5, seed=0)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"prime": ""}, "prime: expected at least one"),
        ({"prime": "tXo€"}, "prime: .*'X€'"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"length": -1}, "length"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
    ],
)
def test_bad_samples(model: CharModel, arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        charlm.sample(model, **{"prime": "to", **arguments})
