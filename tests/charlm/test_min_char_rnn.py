"""min-char-rnn on the kernels against min-char-rnn on plain NumPy, 1,000 iterations in float64.

On a natural text training in this setting is chaotic (see the example): two programs can be held
together only window by window. On a calm one they are left alone and still agree.
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples import min_char_rnn as example

CALM = "".join(random.Random(0).choices("acgt", k=20_001))  # shorter than 1,000 windows: the state is reset once


def gaps(pairs: list[Any]) -> tuple[float, float]:
    """Largest differences of losses and of weights."""
    return max(abs(p.kernels.loss - p.plain.loss) for p in pairs), max(p.gap for p in pairs)


def test_the_setting() -> None:
    assert (example.UNITS, example.STEPS, example.RATE, example.CLIP) == (100, 25, 0.1, 5.0)
    assert example.OnKernels(7, seed=0).params["weight_hh"].dtype == np.float64


@pytest.mark.parametrize("seed", [1, 6])
def test_left_alone_on_a_calm_text_the_losses_agree(seed: int) -> None:
    pairs = list(example.race(CALM, 1000, apart=True, seed=seed))
    losses, weights = gaps(pairs)
    assert losses <= 1e-9
    assert weights <= 1e-9
    assert pairs[0].kernels.loss == pytest.approx(25 * math.log(4), abs=0.01)  # nothing is known yet
    assert np.mean([p.kernels.loss for p in pairs[-200:]]) < 1.05 * 25 * math.log(4)  # all there is to know


def test_window_by_window_on_natural_text_losses_and_steps_agree() -> None:
    text = Path(example.__file__).read_text(encoding="utf-8")  # read to its end several times
    pairs = list(example.race(text, 1000))
    losses, weights = gaps(pairs)
    assert losses <= 1e-9
    assert weights <= 1e-9
    first = 25 * math.log(len(set(text)))
    assert pairs[0].kernels.loss == pytest.approx(first, abs=0.01)
    assert np.mean([p.kernels.loss for p in pairs[-200:]]) < 0.75 * first


def test_a_wrong_gradient_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = example.OnKernels._backward

    def wrong(self: Any, d_h: np.ndarray) -> dict[str, np.ndarray]:
        gradient: dict[str, np.ndarray] = right(self, d_h)
        gradient["weight_hh"][3, 4] += 1e-6
        return gradient

    monkeypatch.setattr(example.OnKernels, "_backward", wrong)
    assert gaps(list(example.race(CALM, 20)))[1] > 1e-9


def test_a_sample_follows_from_the_state_by_the_equations() -> None:
    network = example.OnKernels(30, seed=0)
    p = network.params
    p["weight_hh"] *= 50
    p["weight_ho"] *= 1e6  # a draw takes the likeliest
    network.h = h = np.random.default_rng(1).standard_normal(100)
    token, expected = 3, []
    for _ in range(20):
        h = np.tanh(p["weight_ih"][:, token] + p["weight_hh"] @ h + p["bias_h"])
        token = int((p["weight_ho"] @ h + p["bias_o"]).argmax())
        expected.append(token)
    assert network.sample(3, 20, np.random.default_rng(0)) == expected
    assert len(set(expected)) > 3


def test_samples_come_to_look_like_the_text_and_leave_the_training_alone() -> None:
    text = "hello world\n" * 200
    pairs = list(example.race(text, 401, every=400, length=120))
    first, last = pairs[0].sample, pairs[400].sample
    assert first.count("hello world") == 0
    assert last.count("hello world") > 5
    assert [pair.kernels.loss for pair in example.race(text, 20)] == [pair.kernels.loss for pair in pairs[:20]]


def test_the_command_prints_losses_and_speeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text"
    text.write_text("hello world\n" * 20, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["min_char_rnn", "--text", str(text), "--iterations", "12"])
    example.main()
    printed = capsys.readouterr().out
    assert "240 characters, 9 different; 25 ln V = 54.93" in printed
    assert printed.count("times as fast") == 2
    samples = printed.split("----\n")[1::2]
    assert [len(sample) for sample in samples] == [201] * 12  # and a newline
    assert set("".join(samples)) <= set("hello world\n")
    text.write_text("too short", encoding="utf-8")
    with pytest.raises(SystemExit, match="expected at least 26 characters, got 9"):
        example.main()
    text.write_bytes(b"\xff" * 100)
    with pytest.raises(SystemExit, match="text: 'utf-8'"):
        example.main()
