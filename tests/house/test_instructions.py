"""benchmarks/instructions: what counts as a slowdown. Counting itself needs valgrind: `./check instructions`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "instructions"

if not FOLDER.is_dir():
    pytest.skip("the benchmarks are not here", allow_module_level=True)


@pytest.fixture(scope="module")
def compare() -> Any:
    spec = importlib.util.spec_from_file_location("instructions_compare", FOLDER / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_rise_is_a_fault_and_a_fall_is_not(compare: Any) -> None:
    expected = {"a": 1000, "b": 1000, "c": 1000}
    assert compare.faults(expected, {"a": 1000, "b": 1020, "c": 500}) == []
    assert compare.faults(expected, {"a": 1000, "b": 1021, "c": 500}) == ["b: +2.10% instructions, allowed +2%"]


def test_both_sides_must_have_a_kernel(compare: Any) -> None:
    assert compare.faults({"gone": 1}, {"new": 1}) == ["new: is not in expected.json", "gone: is in expected.json only"]


def test_table(compare: Any) -> None:
    lines = compare.table({"same": 1000, "gone": 7}, {"new": 5, "same": 1010})
    assert [line.split() for line in lines] == [
        ["kernel", "expected", "now", "change"],
        ["new", "-", "5", "new"],
        ["same", "1,000", "1,010", "+1.00%"],
        ["gone", "7", "-", "gone"],
    ]


def test_expected_counts_are_of_this_file() -> None:
    expected = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
    source = (FOLDER / "count.cpp").read_text(encoding="utf-8")
    assert expected["compiler"]
    assert expected["counts"]
    assert all(f'{{"{kernel}", ' in source and count > 0 for kernel, count in expected["counts"].items())
