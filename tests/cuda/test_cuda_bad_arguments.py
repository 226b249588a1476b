"""Every public function of `rnnkernels.cuda` refuses what no argument can be, by its name, also where nothing serves.

The rows' own calls need the backend: they run where it is emulated.
"""

from __future__ import annotations

from typing import Any

import pytest
from bad_values import Row, cases, check_named, check_named_or_runs, check_runs, row

from rnnkernels import cuda

SIZES = {"steps": 5, "batch": 2, "input_size": 3, "hidden_size": 4, "dtype": "float32"}
CARD = cuda.Device("a card", (9, 0), 132, 1 << 36)

ROWS = [
    row("best_kernel", cuda.best_kernel, {"device": "none"}, **SIZES, device=CARD),
    row("call_bytes", cuda.call_bytes, {"proj_size": "none"}, cell="lstm", **SIZES, proj_size=2, tokens=False),
    row("set_kernel", cuda.set_kernel, {"name": "text"}, name="auto"),  # the module says which names there are
    row("use_graphs", cuda.use_graphs, used=False),
    row("overlap_layers", cuda.overlap_layers, used=False, steps=64),
    row("allow_tf32", cuda.allow_tf32, allowed=False),
]


@pytest.mark.parametrize("each", ROWS, ids=lambda each: each.name)
def test_the_call_of_each_row_runs(each: Row, emulated: Any) -> None:
    del emulated
    check_runs(each)


@pytest.mark.parametrize(("each", "argument"), cases(ROWS))
def test_a_bad_argument_is_named(each: Row, argument: str) -> None:
    check_named(each, argument)


@pytest.mark.parametrize(("each", "argument"), cases(ROWS))
def test_an_odd_argument_is_named_or_served(each: Row, argument: str, emulated: Any) -> None:
    del emulated
    check_named_or_runs(each, argument)
    cuda.use_graphs(False)
    cuda.overlap_layers(False)
    cuda.allow_tf32(False)


def test_sizes_that_nothing_can_address() -> None:
    with pytest.raises(ValueError, match=r"^steps, batch, .*: expected sizes whose memory can be addressed"):
        cuda.call_bytes("lstm", 2**31, 2**31, 3, 4)
