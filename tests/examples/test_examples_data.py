"""The data that examples make: glyphs that differ, LaTeX that closes what it opens."""

from __future__ import annotations

from itertools import combinations

import pytest

from examples import glyphs
from examples.latex_writer import latex
from rnnkernels import charlm


def test_the_ten_digits_differ() -> None:
    digits = glyphs.digits()
    assert digits.shape == (10, glyphs.HEIGHT, glyphs.WIDTH)
    assert set(digits.ravel()) == {0.0, 1.0}
    assert min(abs(a - b).sum() for a, b in combinations(digits, 2)) >= 2  # pixels


@pytest.mark.parametrize("seed", range(3))
def test_the_written_latex_is_well_formed(seed: int) -> None:
    text = latex(seed, 30_000)
    assert charlm.line_shares(text, "latex").both == 1
    assert text == latex(seed, 30_000)
    assert text != latex(seed + 1, 30_000)
