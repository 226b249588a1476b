"""How `auto` reads its table (csrc/cuda/plan.cpp), by tables made up here, and how the table is written."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from benchmarks import gpu_tables
from benchmarks.gpu_tables import Row, read, written

TABLE = [
    (90, "bfloat16", 16, 256, "resident"),
    (90, "bfloat16", 64, 256, "reference"),
    (90, "float16", 1, 1, "reference"),
]


def choose(module: Any, batch: int, hidden: int, rows: Any, dtype: str = "bfloat16", capability: int = 90) -> str:
    return str(module.choose_kernel(10, batch, 8, hidden, dtype, capability, 132, rows))


@pytest.mark.parametrize(
    ("batch", "hidden", "wanted"),
    [
        (16, 256, "resident"),
        (8, 128, "resident"),  # a factor of 2 in each
        (7, 256, "products"),
        (16, 513, "products"),
        (31, 256, "resident"),
        (32, 256, "resident"),  # as far from either: the first
        (33, 256, "reference"),
        (128, 512, "reference"),
        (129, 512, "products"),
        (0, 256, "products"),
    ],
)
def test_the_nearest_row(emulated: Any, batch: int, hidden: int, wanted: str) -> None:
    assert choose(emulated, batch, hidden, TABLE) == wanted


def test_other_cards_and_dtypes_are_not_near(emulated: Any) -> None:
    assert choose(emulated, 16, 256, TABLE, dtype="float32") == "products"
    assert choose(emulated, 16, 256, TABLE, capability=100) == "products"
    assert choose(emulated, 2, 2, TABLE, dtype="float16") == "reference"


def test_of_two_rows_the_nearer(emulated: Any) -> None:
    rows = [(90, "bfloat16", 16, 256, "reference"), (90, "bfloat16", 16, 512, "resident")]
    assert choose(emulated, 16, 300, rows) == "reference"
    assert choose(emulated, 16, 400, rows) == "resident"
    assert choose(emulated, 16, 400, rows[::-1]) == "resident"


def test_an_empty_table_is_products(emulated: Any) -> None:
    assert choose(emulated, 16, 256, []) == "products"


def test_the_builds_own_table_is_empty(emulated: Any) -> None:
    assert read(gpu_tables.FILE.read_text(encoding="utf-8")) == []
    for batch in (1, 16, 256):
        for hidden in (1, 256, 2048):
            assert choose(emulated, batch, hidden, None) == "products"


def test_rows_that_cannot_be(emulated: Any) -> None:
    with pytest.raises(ValueError, match="rows: expected B and H of 1 or more"):
        choose(emulated, 1, 1, [(90, "bfloat16", 0, 1, "products")])
    with pytest.raises(ValueError, match="got 'quick'"):
        choose(emulated, 1, 1, [(90, "bfloat16", 1, 1, "quick")])


def test_what_is_written_is_read_again() -> None:
    text = gpu_tables.FILE.read_text(encoding="utf-8")
    rows = [Row(90, "bfloat16", 16, 256, "resident"), Row(90, "float16", 1, 64, "products")]
    once = written(text, rows, 90)
    assert read(once) == rows
    assert written(once, rows, 90) == once
    other = [Row(100, "bfloat16", 16, 256, "products")]
    assert read(written(once, other, 100)) == sorted(rows + other)
    assert read(written(once, rows[:1], 90)) == rows[:1]
    assert written(once, [], 90) == text


def test_the_command(emulated: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: Any) -> None:
    file = tmp_path / "measured.h"
    file.write_text(gpu_tables.FILE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(gpu_tables, "FILE", file)
    monkeypatch.setattr(gpu_tables, "measure", lambda dtype, *_: "resident" if dtype != "float32" else None)
    assert gpu_tables.main([]) == 0
    assert read(file.read_text(encoding="utf-8")) == []
    assert gpu_tables.main(["--write"]) == 0
    assert len(read(file.read_text(encoding="utf-8"))) == 2 * len(gpu_tables.BATCHES) * len(gpu_tables.HIDDEN)
    assert "90 bfloat16 16 256 resident" in capsys.readouterr().out


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from rnnkernels.cuda import extension

    monkeypatch.setitem(sys.modules, "rnnkernels._cuda", None)
    extension._import.cache_clear()
    try:
        assert gpu_tables.main([]) == 2
    finally:
        extension._import.cache_clear()
    assert "gpu-tables: expected a GPU, got none" in capsys.readouterr().err
