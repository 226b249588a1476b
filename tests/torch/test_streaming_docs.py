"""The blocks of docs/streaming.md run, one after another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnkernels.torch.steps import KEPT

PAGE = Path(__file__).parents[2] / "docs" / "streaming.md"

if not PAGE.is_file():
    pytest.skip("the documentation is not here", allow_module_level=True)


def test_python() -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = list(re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    space: dict[str, Any] = {}
    packed = []
    for block in found:
        exec(compile("\n" * text[: block.start(1)].count("\n") + block[1], str(PAGE), "exec"), space)
        packed.append("model" in space and KEPT in space["model"].lstm.__dict__)
    assert packed == [False, False, True, False]
    assert space["model"].lstm.trust_versions
    output = space["stack"].forward(space["frames"], training=False).output
    assert np.array_equal(space["stepper"].state[-1][0], output[-1])


def test_links() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / link).exists(), link
