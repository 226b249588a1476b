"""The blocks of docs/low_precision.md run, one after another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "low_precision.md"

if not PAGE.is_file():
    pytest.skip("the documentation is not here", allow_module_level=True)


def test_python(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = list(re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    space: dict[str, Any] = {}
    for block in found:
        exec(compile("\n" * text[: block.start(1)].count("\n") + block[1], str(PAGE), "exec"), space)
    said = capsys.readouterr().out
    assert len(found) == 7
    assert "0: Quantized, on rnnkernels with int8 weights" in said
    assert re.search(r"^int8 rms \d\.\de-0[34], largest", said, re.MULTILINE)


def test_links() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / link).exists(), link
