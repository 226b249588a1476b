"""The blocks of docs/torch.md run, one after another."""

from __future__ import annotations

import functools
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "torch.md"

if not PAGE.is_file():
    pytest.skip("the documentation is not here", allow_module_level=True)


def blocks(language: str) -> list[tuple[int, str]]:
    """The line of each block, and its text."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: m.start(1)].count("\n"), m[1]) for m in found]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import torch._dynamo.config as dynamo

    monkeypatch.chdir(tmp_path)
    # Whether the C++ that Inductor writes compiles here is another question.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    space: dict[str, Any] = {}
    found = blocks("python")
    with dynamo.patch(allow_rnn=False):  # a block sets it
        for line, text in found:
            if "torch.onnx" in text and not find_spec("onnxscript"):
                continue
            exec(compile("\n" * line + text, str(PAGE), "exec"), space)
    torch._dynamo.reset()
    assert len(found) == 10
    assert capsys.readouterr().out.strip() == "1: GRU, on rnnkernels"
    assert torch.equal(space["scores"], space["model"](space["x"][:, :5], torch.full((5,), 100)))
    assert space["per_sample"]["weight_ih_l0"].shape == (4, 48, 8)


def test_commands_name_files_that_are_there() -> None:
    commands = [shlex.split(text) for _, text in blocks("sh")]
    assert commands == [["torchrun", "--nproc-per-node", "2", "examples/torch_distributed.py"]]  # run by its own test
    assert (ROOT / commands[0][-1]).is_file()


def test_links() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(links) > 2
    for link in links:
        assert (PAGE.parent / link).exists(), link
