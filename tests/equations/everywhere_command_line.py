"""A cell of a file under `rnnkernels train`, and checkpoints that carry its equations: run by test_everywhere.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rnnkernels as rk
from rnnkernels import charlm, cli

pytest.importorskip("safetensors")
pytest.importorskip("tqdm")

from rnnkernels.charlm.digests import digests_of

TEXT = "".join(f"def f{i % 7}(x):\n    return x + {i % 5}\n\n\n" for i in range(300))
SMALL = ["--text", "text.py", "--hidden", "12", "--batch", "4", "--seq-length", "10", "--min-count", "1"]
CELLS = '''
"""Cells of one's own."""
from dataclasses import dataclass

import rnnkernels as rk
from neighbour import swish


@dataclass
class Choice:
    slope: float = 1.0


@rk.cell
def mine(x, h, c, w):
    """A light LSTM."""
    u = rk.product(h)
    f = rk.sigmoid(x.f + u.f + w.f * c)
    d = f * c + Choice().slope * (1 - f) * rk.tanh(x.n + u.n)
    return swish(x.o) * d, d


@rk.cell
def faded(x, h, gamma: rk.PerStep):
    return rk.tanh(x.n + rk.product(gamma * h).n)


renamed = rk.cell(lambda x, h: rk.tanh(x.n + rk.product(h).n), name="of_another_name")
plain = lambda x, h: h
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.py").write_text(TEXT, encoding="utf-8")
    (tmp_path / "neighbour.py").write_text("import rnnkernels as rk\nswish = rk.silu\n", encoding="utf-8")
    (tmp_path / "cells.py").write_text(CELLS, encoding="utf-8")
    return tmp_path


def run(capsys: Any, *arguments: str) -> tuple[int, str, str]:
    """Run a command in this process; return its exit code, output and errors."""
    capsys.readouterr()
    try:
        code = cli.main(list(arguments))
    except SystemExit as error:  # argparse's own
        code = int(error.code or 0)
    output = capsys.readouterr()
    return code, output.out, output.err


def elsewhere(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that knows no cell of the file."""
    command = [sys.executable, "-m", "rnnkernels", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def trained(capsys: Any, *arguments: str) -> None:
    code, _, err = run(capsys, "train", *SMALL, "--epochs", "0.5", "--cell", "cells.py:mine", *arguments)
    assert code == 0, err


def test_a_checkpoint_loads_without_the_file(folder: Path, capsys: Any) -> None:
    trained(capsys)
    (folder / "cells.py").unlink()
    (folder / "neighbour.py").unlink()
    ours = run(capsys, "sample", "charlm.safetensors", "--length", "40", "--seed", "1")[1]
    done = elsewhere("sample", "charlm.safetensors", "--length", "40", "--seed", "1")
    assert (done.returncode, done.stdout) == (0, ours), done.stderr
    done = elsewhere("evaluate", "charlm.safetensors", "--length", "300", "--order", "3")
    assert done.returncode == 0, done.stderr
    assert "held out" in done.stdout
    done = elsewhere("inspect", "charlm.safetensors", "--text", "text.py", "--limit", "500")
    assert done.returncode == 0, done.stderr
    assert "mine, 1 x 12 units" in done.stdout
    assert "mine" in (folder / "inspect.html").read_text(encoding="utf-8")
    done = elsewhere("diagnose", "charlm.safetensors", "--steps", "10")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("mine, 1 x 12 units")
    done = elsewhere("train", "--resume", "--epochs", "0.7")
    assert done.returncode == 0, done.stderr
    assert "mine, 1 x 12 units" in done.stderr
    model = charlm.load_model("charlm.safetensors")
    assert model.stack.cell == "mine"
    assert model.stack.cell in rk.cells()


def test_a_resumed_run_is_that_of_one_go(folder: Path, capsys: Any) -> None:
    options = ["train", *SMALL, "--cell", "cells.py:mine", "--sample-length", "0"]
    assert run(capsys, *options, "--epochs", "1", "--checkpoint", "whole")[0] == 0
    config = charlm.read_checkpoint("whole").config
    trainer = charlm.Trainer(None, config)
    for _ in zip(range(3), trainer.steps(), strict=False):
        pass
    charlm.write_checkpoint("piece", trainer.checkpoint())
    done = elsewhere("train", "--resume", "--checkpoint", "piece", "--sample-length", "0", "--cell", "cells.py:mine")
    assert done.returncode == 0, done.stderr
    whole, piece = (charlm.read_checkpoint(name).select("model.") for name in ("whole", "piece"))
    for name, array in whole.items():
        assert array.tobytes() == piece[name].tobytes(), name


def test_a_resumed_run_keeps_its_cell(folder: Path, capsys: Any) -> None:
    trained(capsys)
    text = (folder / "cells.py").read_text(encoding="utf-8").replace("1 - f", "2 - f")
    (folder / "cells.py").write_text(text, encoding="utf-8")
    done = elsewhere("train", "--resume", "--cell", "cells.py:mine")
    assert done.returncode == 2
    assert "--cell: a resumed run keeps" in done.stderr
    assert run(capsys, "train", "--resume", "--cell", "gru")[0] == 2


def test_what_stands_in_a_checkpoint(folder: Path, capsys: Any) -> None:
    trained(capsys)
    metadata = _metadata(folder / "charlm.safetensors")
    assert json.loads(metadata["equations"])["name"] == json.loads(metadata["config"])["cell"] == "mine"
    assert "equations" in json.loads(metadata["digests"])
    code, _, err = run(capsys, "train", *SMALL, "--epochs", "0.1", "--cell", "indrnn", "--checkpoint", "built-in")
    assert code == 0, err
    assert "equations" not in _metadata(folder / "built-in")
    assert charlm.load_model("built-in").stack.cell == "indrnn"


def _metadata(path: Path) -> dict[str, str]:
    import safetensors

    with safetensors.safe_open(path, framework="numpy") as file:
        return dict(file.metadata())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda text: text.replace('"sigmoid"', '"tanh"', 1), "equations"),
        (lambda text: text[:-20], "equations"),
        (lambda _: "{}", "equations"),
    ],
)
def test_changed_equations_are_refused(folder: Path, capsys: Any, change: Any, word: str) -> None:
    """By the digest; nothing of the text is registered."""
    import safetensors.numpy

    trained(capsys)
    path = folder / "charlm.safetensors"
    metadata = _metadata(path)
    changed = change(metadata["equations"])
    assert changed != metadata["equations"]
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, {**metadata, "equations": changed})
    code, _, err = run(capsys, "sample", str(path))
    assert code == 2
    assert word in err
    assert "damaged, or was altered" in err


@pytest.mark.parametrize("text", ["{}", "[]", "none", '{"name": "mine"}', '{"name": "other"}', "[" * 5000])
def test_equations_that_are_none_are_refused(folder: Path, capsys: Any, text: str) -> None:
    """Where the digest fits, as one that somebody has made anew: still one line, and no crash."""
    import safetensors.numpy

    trained(capsys)
    path = folder / "charlm.safetensors"
    tensors = safetensors.numpy.load_file(path)
    texts = {name: value for name, value in _metadata(path).items() if name != "digests"} | {"equations": text}
    digests = json.dumps(digests_of({**texts, **tensors}))
    safetensors.numpy.save_file(tensors, path, {**texts, "digests": digests})
    code, _, err = run(capsys, "sample", str(path))
    assert code == 2
    assert err.count("\n") == 1
    assert "expected a checkpoint, got one with a damaged header" in err


def test_two_checkpoints_of_one_name_and_different_equations(folder: Path, capsys: Any) -> None:
    trained(capsys, "--checkpoint", "one")
    text = (folder / "cells.py").read_text(encoding="utf-8").replace("1 - f", "2 - f")
    (folder / "cells.py").write_text(text, encoding="utf-8")
    assert (
        elsewhere("train", *SMALL, "--epochs", "0.1", "--cell", "cells.py:mine", "--checkpoint", "two").returncode == 0
    )
    assert charlm.load_model("one").stack.cell == "mine"
    with pytest.warns(UserWarning, match="mine is a cell of other equations"):
        assert charlm.load_model("two").stack.cell == "mine_2"


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        (
            "cells.py:no",
            "cells.py: expected a cell of the name 'no', found nothing of that name; its cells are mine, faded",
        ),
        ("cells.py:", "cells.py: expected a cell of the name '', found nothing of that name"),
        ("cells.py:plain", "cells.py: expected plain to be a cell, made by @rnnkernels.cell, got <function"),
        ("cells.py:faded", "expected a cell that reads characters alone, got faded, which reads gamma too"),
        ("none.py:mine", "expected FILE.py:NAME, found no such file as none.py"),
        ("wrong.py:mine", "wrong.py:3: "),
        ("fails.py:mine", "fails.py: cannot be run: ZeroDivisionError: division by zero"),
        ("leaves.py:mine", "leaves.py: cannot be run: SystemExit: 3"),
        ("refused.py:mine", "refused.py:5"),
        ("cells", "invalid choice: 'cells'"),
        ("gru_d", "expected a cell that reads characters alone, got gru_d"),
    ],
)
def test_what_is_no_cell_is_one_line(folder: Path, capsys: Any, cell: str, word: str) -> None:
    (folder / "wrong.py").write_text("import rnnkernels\n\ndef (:\n", encoding="utf-8")
    (folder / "fails.py").write_text("1 / 0\n", encoding="utf-8")
    (folder / "leaves.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    (folder / "refused.py").write_text(
        "import rnnkernels as rk\n\n@rk.cell\ndef mine(x, h):\n    return x.n if x.n > 0 else h\n", encoding="utf-8"
    )
    path_before = list(sys.path)
    for command in (("train", *SMALL), ("diagnose",)):
        code, out, err = run(capsys, *command, "--cell", cell)
        assert (code, out) == (2, "")
        assert err.startswith(f"rnnkernels {command[0]}: error: argument --cell: ")
        assert err.count("\n") == 1
        assert word in err
        assert len(err) < 500
    assert sys.path == path_before
    assert not (folder / "charlm.safetensors").exists()


def test_a_name_in_the_file_may_be_another_than_the_cells(folder: Path, capsys: Any) -> None:
    code, _, err = run(capsys, "train", *SMALL, "--epochs", "0.1", "--cell", "cells.py:renamed")
    assert code == 0, err
    assert charlm.load_model("charlm.safetensors").stack.cell == "of_another_name"


@pytest.mark.parametrize("cell", ["min_gru", "slstm_heads"])
def test_a_cell_of_the_zoo(folder: Path, capsys: Any, cell: str) -> None:
    code, _, err = run(capsys, "train", *SMALL, "--epochs", "0.1", "--cell", cell, "--layers", "2")
    assert code == 0, err
    ours = run(capsys, "sample", "charlm.safetensors", "--length", "40", "--seed", "0")[1]
    done = elsewhere("sample", "charlm.safetensors", "--length", "40", "--seed", "0")
    assert (done.returncode, done.stdout) == (0, ours), done.stderr


def test_another_cell_of_the_zoo_is_diagnosed(folder: Path, capsys: Any) -> None:
    code, out, err = run(capsys, "diagnose", "--cell", "para_gru", "--hidden", "6", "--steps", "5")
    assert code == 0, err
    assert out.startswith("para_gru, 1 x 6 units")
