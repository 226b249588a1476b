"""The blocks of pages that need nothing but NumPy run, one after another; every page's links lead somewhere."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnkernels as rk

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

if not (DOCS / "numpy.md").is_file():
    pytest.skip("the documentation is not here", allow_module_level=True)


def run(name: str, blocks: int, **given: Any) -> dict[str, Any]:
    """The names that the blocks of a page leave, of which there are so many; PyTorch's are run elsewhere."""
    rk.set_num_threads(1)  # the calls are small
    page = DOCS / name
    text = page.read_text(encoding="utf-8")
    found = [
        block
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        if "rnnkernels.torch" not in block[1]
    ]
    assert len(found) == blocks
    for block in found:
        exec(compile("\n" * text[: block.start(1)].count("\n") + block[1], str(page), "exec"), given)
    return given


def test_numpy() -> None:
    found = run("numpy.md", 9)
    losses = found["losses"]
    assert losses[-1] < 0.3 * losses[0]
    tune = [int(found["motif"][0]), *found["written"]]
    follows = dict(zip(found["motif"].tolist(), np.roll(found["motif"], -1).tolist(), strict=True))
    assert sum(follows.get(a) == b for a, b in itertools.pairwise(tune)) > 15
    assert set(found["grads"]) == {*found["stack"].params, "readout.weight", "readout.bias"}
    assert all(np.isfinite(array).all() for array in found["params"].values())


def test_first_layer() -> None:
    found = run("first_layer.md", 4)
    np.testing.assert_array_equal(found["h"], found["output"][-1])


def test_readme() -> None:
    found = run("../README.md", 3, tokens=np.random.default_rng(0).integers(0, 96, (101, 4)))
    assert found["token"].shape == (4,)
    assert found["part"].start == 50


def test_memory() -> None:
    found = run("memory.md", 1)
    sizes = found["sizes"]
    assert sizes["all"] > sizes["states"] > sizes["replay"]


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_links(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
        assert ":" in link or (page.parent / link).exists(), link
