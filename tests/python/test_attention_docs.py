"""The blocks of docs/attention.md run, one after another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import rnnkernels as rk

PAGE = Path(__file__).parents[2] / "docs" / "attention.md"

if not PAGE.is_file():
    pytest.skip("the documentation is not here", allow_module_level=True)


def test_python() -> None:
    rk.set_num_threads(1)  # the calls are small
    text = PAGE.read_text(encoding="utf-8")
    space: dict[str, Any] = {}
    found = list(re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    for m in found:
        exec(compile("\n" * text[: m.start(1)].count("\n") + m[1], str(PAGE), "exec"), space)
    assert len(found) == 3
    assert space["looks_at_it"] > 0.8
    assert space["run"].places.shape == (space["T"], space["B"])
    assert space["where"].shape == (space["B"],)


def test_links() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(links) > 1
    for link in links:
        assert (PAGE.parent / link).exists(), link
