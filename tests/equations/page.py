"""The blocks of docs/cells-from-equations.md run, one after another; test_cells.py calls this in a process.

Its cells stay for as long as the process lives.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import rnnkernels as rk

PAGE = Path(__file__).parents[2] / "docs" / "cells-from-equations.md"

if not PAGE.is_file():
    pytest.skip("the documentation is not here", allow_module_level=True)


def test_python(capsys: pytest.CaptureFixture[str]) -> None:
    rk.set_num_threads(1)  # the calls are small
    text = PAGE.read_text(encoding="utf-8")
    space: dict[str, Any] = {}
    found = list(re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    for m in found:
        if "import torch" in m[1] and not find_spec("torch"):
            continue
        exec(compile("\n" * text[: m.start(1)].count("\n") + m[1], str(PAGE), "exec"), space)
    assert len(found) == 12
    said = capsys.readouterr().out
    line = text[: text.index("if u.a > 0:")].count("\n") + 1
    assert f"{PAGE.name}:{line}" in said
    errors = space["errors"]
    assert sum(errors[:20]) / 20 > 0.1
    assert sum(errors[-50:]) / 50 < 0.03
    (printed,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert printed.strip() == str(space["keeper"]).strip()


def test_what_the_page_lists_is_there() -> None:
    """Every function of the table is one of `rk`, and every one of those that trace stands in it."""
    from rnnkernels.equations import composites, functions

    (row,) = re.findall(r"^\| functions \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    listed = set(re.findall(r"`(\w+)`", row))
    assert listed == {*functions.__all__, *composites.__all__} - {"product", "direct"}
    assert all(hasattr(rk, name) for name in listed)


def test_links() -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGE.read_text(encoding="utf-8"))
    assert len(links) > 4
    for link in links:
        assert (PAGE.parent / link).exists(), link
