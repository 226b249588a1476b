"""One call's work divided among threads, by rows and by units, and into chunks: right values, however it is divided.

The sizes are as large as that takes. Not here: that the bits stay the same (test_reproducible.py).
"""

from __future__ import annotations

import numpy as np
import pytest
from expected import check_slope
from problems import FORMS, make, zoneout_of
from separate_calls import check

import rnnkernels as rk


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("cell", FORMS)
def test_shared_among_threads(cell: str, threads: int) -> None:
    """Large enough that both cuts happen: rows among threads, and units among threads (few rows)."""
    rk.set_num_threads(threads)
    for shape in [(2, 40, 3, 50), (2, 3, 3, 150)]:
        check_slope(make(cell, shape))


@pytest.mark.parametrize("cell", FORMS)
def test_under_masks(cell: str) -> None:
    noise = rk.Noise(5, zoneout_of(cell, 0.2), recurrent_dropout=0.3, per_step=True, weight_dropout=0.1)
    for shape, threads in [((2, 40, 3, 50), 3), ((2, 3, 3, 150), 3), ((75, 90, 2, 3), 2)]:
        rk.set_num_threads(threads)
        check_slope(make(cell, shape), noise)


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "mut3", "lstm_fgr", "lstm_layer_norm"])
def test_ragged(cell: str) -> None:
    """Rows are divided among threads, and units (few rows); both kinds of chunks end inside."""
    rng = np.random.default_rng(0)
    for shape, threads in [((40, 40, 3, 50), 2), ((20, 3, 3, 150), 3), ((400, 3, 700, 24), 2)]:
        rk.set_num_threads(threads)
        p = make(cell, shape, "float64")
        check(p, lengths=rng.integers(0, shape[0] + 1, shape[1]), resets=rng.random(shape[:2]) < 0.05)
