"""`rnnkernels bench`: shapes as they are written, what is printed, and answers that are compared first."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import rnnkernels as rk
from rnnkernels import _cli_bench, cli
from rnnkernels._cli_bench import Shape, shape_named


@pytest.fixture(autouse=True)
def one_thread() -> None:
    rk.set_num_threads(1)  # the calls are small


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        code = cli.main(["bench", "--seconds", "0.01", *arguments])
    except SystemExit as error:  # argparse's own
        code = int(error.code or 0)
    output = capsys.readouterr()
    return code, output.out, output.err


def test_a_shape_is_four_numbers() -> None:
    assert shape_named("200x16x80x256") == shape_named("200X16×80x256") == (200, 16, 80, 256)
    assert str(Shape(1, 2, 3, 4)) == "1x2x3x4"
    wrong = "3 1x2x3 1x2x3x4x5 1x2x3xH 1x0x3x4 -1x2x3x4 1.5x2x3x4 1x2x3x"
    for text in ("", *wrong.split(), f"1x1x1x{9**99}"):
        with pytest.raises(ArgumentTypeError, match=r"^expected TxBxIxH, .* such as 200x16x80x256, got "):
            shape_named(text)
    with pytest.raises(ArgumentTypeError, match="got 1x1x1x9999999, whose arrays fit into no memory"):
        shape_named("1x1x1x9999999")


@pytest.mark.parametrize("cell", ["rnn_relu", "lstm", "gru", "mut3"])
def test_a_line_for_every_shape_and_mode(capsys: pytest.CaptureFixture[str], cell: str) -> None:
    code, out, err = run(capsys, "--cell", cell, "--shape", "5x2x3x4", "--shape", "1x1x8x8")
    assert (code, err) == (0, "")
    first, _, *lines = out.splitlines()
    assert first.startswith(f"{cell}, float32, {rk.instruction_set()}, 1 thread (")
    assert [line.split()[:2] for line in lines] == [
        [shape, mode] for shape in ("5x2x3x4", "1x1x8x8") for mode in ("inference", "training")
    ]
    beside = find_spec("torch") is not None and cell != "mut3"
    assert all(bool(re.search(r" [0-9.]+x$", line)) == beside for line in lines)


def test_what_is_wrong_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, word in (
        (["--shape", "20x4"], "--shape: expected TxBxIxH"),
        (["--cell", "mut1", "--shape", "5x2x3x4"], "--shape 5x2x3x4: mut1 adds x itself"),
        (["--seconds", "0"], "--seconds: expected a number above 0, got 0"),
        (["--threads", "0"], "--threads: expected"),
    ):
        code, _, err = run(capsys, *arguments)
        assert code == 2
        assert word in err
        assert len(err.splitlines()) == 1


def test_answers_that_differ_have_no_time(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    theirs = _cli_bench._Problem.theirs

    def other(problem: Any, torch: Any, mode: str) -> Any:
        call = theirs(problem, torch, mode)
        return lambda: np.asarray(call()) * 1.01

    monkeypatch.setattr(_cli_bench._Problem, "theirs", other)
    code, out, err = run(capsys, "--shape", "5x2x3x4")
    assert code == 1
    assert "inference differs from PyTorch's by" in err
    assert "5x2x3x4" not in out
