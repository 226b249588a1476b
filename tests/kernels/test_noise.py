"""Random masks: the generator, the kernels against the reference with the same masks, and what the masks promise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from expected import expected
from problems import FORMS, Array, make, zoneout_of
from tolerances import assert_close, forward_length, gradient_length

import rnnkernels as rk
from rnnkernels import _cpu, reference
from rnnkernels.reference import masks

CELLS = rk.cells()
SHAPE = (6, 5, 4, 19)
NOISES = {
    "zoneout": rk.Noise(7, zoneout=0.3),
    "per sequence": rk.Noise(2**63 + 11, recurrent_dropout=0.4, layer=3),
    "per step": rk.Noise(7, recurrent_dropout=0.4, per_step=True, first_step=2**31 - 9),
    "weights": rk.Noise(7, weight_dropout=0.5),
    "all": rk.Noise(5, zoneout=0.2, recurrent_dropout=0.3, per_step=True, weight_dropout=0.1),
}


def of(cell: str, name: str) -> rk.Noise:
    """A noise, with zoneout of the states that may have it."""
    noise = NOISES[name]
    return replace(noise, zoneout=zoneout_of(cell, noise.zoneout)) if isinstance(noise.zoneout, float) else noise


# ---- the generator -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            0x299F31D0_A4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_words(counter: Any, key: int, expected: str) -> None:
    """The known answers that Random123 ships."""
    assert " ".join(f"{int(word):08x}" for word in masks.philox(key, counter)) == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (2, 5, 33), (0, 4), (4, 0), (9, 1000)])
def test_elements_are_dropped_as_the_reference_says(shape: tuple[int, ...], dtype: str, isa: str) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    for threads in (1, 2):
        rk.set_num_threads(threads)
        found = _cpu.drop(x, 0.3, 2**64 - 5, 2**24 - 1)
        factor = masks.elements(shape, 0.3, 2**64 - 5, (2**24 - 1) << 8 | masks.ELEMENTS)
        np.testing.assert_array_equal(found, x * factor.astype(dtype))


def test_rates_are_what_they_say() -> None:
    """Of 10⁶ elements, within five standard deviations; neighbours are independent."""
    for rate in (0.01, 0.5, 0.9):
        kept = _cpu.drop(np.ones((1000, 1000)), rate, 1, 0) > 0
        assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / kept.size)
        for a, b in ((kept[1:], kept[:-1]), (kept[:, 1:], kept[:, :-1])):
            both = (a & b).mean()
            assert abs(both - (1 - rate) ** 2) < 5 * np.sqrt(rate * (1 - rate) / kept.size)


# ---- against the reference -----------------------------------------------------------------------


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_under_every_mask(cell: str, name: str) -> None:
    noise = of(cell, name)
    for shape, dtype, tokens in (((3, 5, 4, 19), "float32", False), ((3, 4, 7, 9), "float64", True)):
        p = make(cell, shape, dtype, tokens=tokens)
        wanted, found = expected(p, noise), p.results(noise=noise)
        assert found.keys() == wanted.keys()
        steps, _batch, inputs, hidden = shape
        for what, value in found.items():
            gradient = what.startswith("d ")
            length = gradient_length(*shape) if gradient else forward_length(steps, inputs, hidden)
            # what is kept is scaled up, by at most 2 here
            assert_close(value, wanted[what], "gradient" if gradient else "output", 4 * length, what)


@pytest.mark.parametrize("cell", CELLS)
def test_inference_takes_the_expectation(cell: str) -> None:
    noise = of(cell, "all")
    p = make(cell, SHAPE, "float32")
    run = p.forward(noise=noise, training=False)
    exact = {name: value.astype(np.float64) for name, value in p.params.items()}
    output, state = reference.forward(cell, p.x, exact, p.state, noise=noise, training=False)
    assert_close(run.output, output, "output", forward_length(6, 4, 19))
    for mine, theirs in zip(run.state, state, strict=True):
        assert_close(mine, theirs, "state", forward_length(6, 4, 19))
    if rk.backend() != "cpu":  # prepared layers are the CPU's
        return
    layer = rk.Prepared(cell, p.params, noise=noise)
    assert layer.forward(p.x, p.state)[0].tobytes() == run.output.tobytes()
    stepper = layer.stepper(SHAPE[1], p.state)
    for t, x_t in enumerate(p.x):
        assert stepper(x_t).tobytes() == run.output[t].tobytes()


# ---- promises ------------------------------------------------------------------------------------


def same(one: dict[str, Array], two: dict[str, Array]) -> None:
    for name, value in one.items():
        assert value.tobytes() == two[name].tobytes(), name


@pytest.mark.parametrize("cell", FORMS)
def test_masks_belong_to_steps_and_rows(cell: str) -> None:
    """Any number of threads, any batch, one call or two, dense or ragged: the same masks, so the same bits."""
    noise = of(cell, "all")
    p = make(cell, (9, 12, 5, 37), "float32")
    rk.set_num_threads(1)
    alone = p.results(noise=noise)
    for threads in (2, 5):
        rk.set_num_threads(threads)
        same(p.results(noise=noise), alone)
    first_rows = p.rows(slice(0, 7)).results(noise=noise)
    assert first_rows["output"].tobytes() == np.ascontiguousarray(alone["output"][:, :7]).tobytes()
    assert first_rows["d x"].tobytes() == np.ascontiguousarray(alone["d x"][:, :7]).tobytes()

    first = rk.forward(cell, p.x[:4], p.params, p.state, noise=noise)
    second = rk.forward(cell, p.x[4:], p.params, first.state, noise=noise.after(4))
    assert np.concatenate([first.output, second.output]).tobytes() == alone["output"].tobytes()

    lengths = np.array([9, 3, 0, 9, 1, 9, 9, 2, 9, 9, 5, 4])
    ragged = p.forward(noise=noise, lengths=lengths)
    for b, length in enumerate(lengths):
        assert ragged.output[:length, b].tobytes() == alone["output"][:length, b].tobytes()


def test_every_mask_is_another() -> None:
    p = make("lstm", SHAPE)
    base: dict[str, Any] = {"zoneout": 0.3, "recurrent_dropout": 0.3, "weight_dropout": 0.3}
    noises = [rk.Noise(1, **base), rk.Noise(2, **base), rk.Noise(1, layer=1, **base), rk.Noise(1, first_step=1, **base)]
    outputs = [p.forward(noise=noise).output.tobytes() for noise in noises]
    assert len(set(outputs)) == len(outputs)
    assert p.forward(noise=rk.Noise(1)).output.tobytes() == p.forward().output.tobytes()


def test_rates_of_each_state() -> None:
    """Zoneout of c alone leaves h's own path; a rate of nearly 1 keeps the state as it was."""
    p = make("lstm", SHAPE)
    kept = p.forward(noise=rk.Noise(1, zoneout=(0.0, 1 - 2**-33)))
    np.testing.assert_array_equal(kept.state[1], p.state[1])
    assert (kept.state[0] != p.state[0]).all()


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"seed": -1}, ValueError, r"seed: expected an integer in \[0, 2\*\*64\), got -1"),
        ({"seed": 1.5}, TypeError, "seed: expected an integer, got 1.5"),
        ({"seed": 1, "zoneout": 1.0}, ValueError, r"zoneout: expected a number in \[0, 1\), got 1.0"),
        ({"seed": 1, "zoneout": "a"}, TypeError, "zoneout: expected a number"),
        ({"seed": 1, "recurrent_dropout": -0.1}, ValueError, "recurrent_dropout: expected"),
        ({"seed": 1, "weight_dropout": float("nan")}, ValueError, "weight_dropout: expected"),
        ({"seed": 1, "per_step": 1}, TypeError, "per_step: expected a bool, got 1"),
        ({"seed": 1, "layer": 2**24}, ValueError, "layer: expected"),
    ],
)
def test_noise_says_what_is_wrong(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rk.Noise(**arguments)


def test_forward_says_what_is_wrong() -> None:
    p = make("lstm", SHAPE)
    with pytest.raises(TypeError, match=r"noise: expected a rnnkernels.Noise, got float"):
        p.forward(noise=0.5)
    with pytest.raises(ValueError, match=r"zoneout: expected 2 rates \(h, c\), got 3"):
        p.forward(noise=rk.Noise(1, zoneout=(0.1, 0.1, 0.1)))
    with pytest.raises(ValueError, match="zoneout: lstm_projected's h is a product with no value to keep"):
        make("lstm_projected", SHAPE).forward(noise=rk.Noise(1, zoneout=0.1))
    with pytest.raises(ValueError, match=r"zoneout: slstm's c, n, m are one value in parts .* got 0.1, 0.1, 0.1"):
        make("slstm", SHAPE).forward(noise=rk.Noise(1, zoneout=0.1))
    with pytest.raises(TypeError, match="noise: expected"):
        rk.Prepared("lstm", p.params, noise=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [np.float32(0.25), np.float64(0.25), 0.25])
def test_one_rate_of_zoneout_is_any_number(number: Any) -> None:
    noise = rk.Noise(1, zoneout=number)
    assert noise.masks
    assert noise.rates("lstm") == [0.25, 0.25]
    with pytest.raises(ValueError, match="zoneout: expected 2 rates"):
        rk.Noise(1, zoneout=[number]).rates("lstm")


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "lstm_fgr", "lstm_layer_norm"])
def test_training_with_the_expectation_is_what_is_evaluated(cell: str) -> None:
    p = make(cell, (5, 3, 4, 6))
    noise = rk.Noise(1, zoneout_of(cell, 0.3), recurrent_dropout=0.2, weight_dropout=0.2, expected=True)
    run = p.forward(noise=noise)
    drawn = rk.Noise(1, noise.zoneout, recurrent_dropout=0.2, weight_dropout=0.2)
    evaluated = p.forward(noise=drawn, training=False)
    np.testing.assert_array_equal(run.output, evaluated.output)
    grads = rk.backward(run, p.d_output, p.d_state)
    rng = np.random.default_rng(0)
    for name, value in p.params.items():
        direction = rng.standard_normal(value.shape)

        def loss(step: float, name: str = name, direction: Array = direction) -> float:
            moved = {**p.params, name: p.params[name] + step * direction}
            there = rk.forward(cell, p.x, moved, p.state, noise=drawn, training=False)
            ends = sum(float((d * s).sum()) for d, s in zip(p.d_state, there.state, strict=True))
            return float((p.d_output * there.output).sum()) + ends

        slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
        assert float((grads.params[name] * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-7)
