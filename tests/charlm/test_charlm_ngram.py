"""The n-gram baseline against a second, slow statement of modified Kneser-Ney."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rnnkernels.charlm import NGram, ngram


def kneser_ney(text: list[int], size: int, order: int, context: list[int], token: int) -> float:
    """p(token | context), written with dictionaries from Chen and Goodman 1998."""
    counts = Counter(tuple(text[i : i + order]) for i in range(len(text) - order + 1))
    tables = {order: counts}
    for n in range(order - 1, 0, -1):
        tables[n] = Counter(gram[1:] for gram in tables[n + 1])

    def p(n: int) -> float:
        if n == 0:
            return 1 / size
        h = tuple(context[len(context) - n + 1 :])
        table = tables[n]
        following = {gram[-1]: c for gram, c in table.items() if gram[:-1] == h}
        if not following:
            return p(n - 1)
        of_counts = Counter(table.values())
        n1, n2, n3, n4 = (of_counts[i] for i in (1, 2, 3, 4))
        if n1 and n2 and n3:
            y = n1 / (n1 + 2 * n2)
            d = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
            d = [min(max(value, 0), i) for i, value in enumerate(d)]
        else:
            d = [0, 0.5, 0.5, 0.5]
        total = sum(following.values())
        gamma = sum(d[min(c, 3)] for c in following.values()) / total
        c = following.get(token, 0)
        return (c - d[min(c, 3)]) / total + gamma * p(n - 1)

    return p(min(order, len(context) + 1))


@pytest.fixture(scope="module")
def text() -> list[int]:
    rng = np.random.default_rng(0)
    words = [rng.integers(1, 6, rng.integers(2, 6)).tolist() for _ in range(12)]
    return [token for i in rng.zipf(1.6, 300) for token in words[i % 12]]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_distribution_is_modified_kneser_ney(text: list[int], order: int) -> None:
    model = NGram(text, 7, order)
    rng = np.random.default_rng(1)
    for length in (0, 1, order - 1, order + 3):
        for context in (text[40 : 40 + length], rng.integers(0, 7, length).tolist()):
            expected = [kneser_ney(text, 7, order, context, token) for token in range(7)]
            found = model.distribution(context)
            np.testing.assert_allclose(found, expected, rtol=1e-12)
            assert math.isclose(found.sum(), 1, rel_tol=1e-12)


def test_loss_is_the_mean_of_the_distributions(text: list[int]) -> None:
    model = NGram(text[:500], 7, 4)
    held_out = text[500:600]
    logs = [-math.log(model.distribution(held_out[:i])[held_out[i]]) for i in range(3, 100)]
    assert math.isclose(model.loss(held_out), sum(logs) / len(logs), rel_tol=1e-12)
    assert math.isclose(model.loss(held_out, chunk=7), model.loss(held_out), rel_tol=1e-12)


def test_sample_follows_the_text_and_never_draws_the_unknown() -> None:
    text = [1, 2, 3, 4] * 100 + [0, 0, 0]
    model = NGram(text, 6, 3)
    drawn = model.sample([1, 2], length=40, temperature=0.05, seed=0)
    assert drawn == ([3, 4, 1, 2] * 10)
    assert 0 not in model.sample([0, 0], length=200, temperature=5.0, seed=0)
    assert model.sample([1], length=30, seed=5) == model.sample([1], length=30, seed=5)
    for temperature in (1e-320, 0):
        assert model.sample([1, 2], length=40, temperature=temperature) == drawn


@pytest.mark.parametrize(
    ("tokens", "size", "order", "word"),
    [
        ([1, 2, 3], 5, 0, "order"),
        ([1, 2], 5, 3, "tokens: expected at least 3"),
        ([1, 5], 5, 1, "tokens: expected 0 to 4"),
        ([0.5], 5, 1, "tokens"),
        ([[1]], 5, 1, "tokens"),
        ([1], 10_000, 6, "order: expected at most 4 for a vocabulary of 10000, got 6"),
        ([1], 30, 10**9, "order: expected at most 12 "),
        ([1], 0, 1, "vocabulary_size"),
    ],
)
def test_bad_input(tokens: list[int], size: int, order: int, word: str) -> None:
    with pytest.raises((TypeError, ValueError), match=word):
        NGram(tokens, size, order)


def test_bad_input_to_loss_and_sample() -> None:
    model = NGram([1, 2, 3, 1], 5, 3)
    with pytest.raises(ValueError, match="at least 3"):
        model.loss([1, 2])
    with pytest.raises(ValueError, match="temperature"):
        model.sample([1], temperature=-1)
    with pytest.raises(ValueError, match="temperature"):
        model.sample([1], temperature=float("inf"))


def test_command_prints_a_loss(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("the cat sat on the mat. " * 200, encoding="utf-8")
    assert ngram.main(["--text", str(path), "--order", "2", "6", "--limit", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("6-gram, modified Kneser-Ney: 0.0")
