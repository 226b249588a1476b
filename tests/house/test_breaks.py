"""tests/breaks: its tables fit the sources, and its runner applies a break and takes it back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.breaks import BREAKS
from tests.breaks.record import Break
from tests.breaks.runner import Outcome, table

ROOT = Path(__file__).resolve().parents[2]

if not (ROOT / "csrc").is_dir():
    pytest.skip("the sources are not here", allow_module_level=True)


def test_every_break_can_be_applied() -> None:
    assert [fault for b in BREAKS if (fault := b.fault(ROOT)) is not None] == []
    assert len({b.name for b in BREAKS}) == len(BREAKS) >= 40


def test_every_break_names_tests_that_are_there() -> None:
    named = {word for b in BREAKS for word in b.tests.split() if word.startswith("tests/")}
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_a_text_that_is_not_there_once_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text("one two two", encoding="utf-8")
    for old, count in (("three", 0), ("two", 2)):
        with pytest.raises(ValueError, match=rf"name: expected its text once in a.h, found it {count} times"):
            Break("name", "a.h", old, "", "").apply(tmp_path)
    assert Break("name", "b.h", "one", "", "").fault(tmp_path) == "name: there is no b.h"
    assert Break("name", "a.h", "one", "one", "").fault(tmp_path) == "name: changes nothing"
    Break("name", "a.h", "one", "1", "").apply(tmp_path)
    assert (tmp_path / "a.h").read_text(encoding="utf-8") == "1 two two"


def test_the_table_counts() -> None:
    b = Break("name", "a.h", "one", "two", "")
    lines = table([Outcome(b, "red", "test_x[a|b]", 1.0), Outcome(b, "green", "", 2.0)])
    assert "| name | `a.h` | nothing | red | `test_x[a\\|b]` | 1 |" in lines
    assert lines[-1] == "1 green, 1 red"
