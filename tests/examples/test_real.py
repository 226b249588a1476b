"""examples/real/: what its programs pin and print, and, with RNNKERNELS_REAL=1 and a network, that they run.

A program installs a package of some hundred megabytes and what that needs, so an ordinary run only reads it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from examples.real import __main__ as command
from examples.real import compare, environment, ragged

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = command.programs()
PAGE = (command.FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("RNNKERNELS_REAL") != "1", reason="RNNKERNELS_REAL=1: installs packages")
@pytest.mark.parametrize("name", PROGRAMS)
def test_both_ways_agree(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert command.main([name]) == 0
    assert f"\n| {package_of(name)} |" in capfd.readouterr().out


def package_of(name: str) -> str:
    """As the table writes it."""
    return PROGRAMS[name].packages[0].replace("==", " ")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_compiles_and_pins_what_it_installs(name: str) -> None:
    text = (command.FOLDER / f"{name}.py").read_text(encoding="utf-8")
    compile(text, name, "exec", dont_inherit=True)
    program = PROGRAMS[name]
    packages = [package for package in program.packages if package != "--no-deps"]
    assert packages
    assert not [package for package in packages if package.count("==") != 1 or "*" in package]
    assert program.line.endswith(".")
    assert package_of(name) in text.replace('"', "").split("PACKAGES")[0]  # its docstring
    assert f'"{package_of(name)}", ' in text.replace("\n", " ")  # its row
    assert "compare.same(" in text or "compare.close(" in text


def test_the_page_has_a_row_for_each_program() -> None:
    rows = {line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| ") and "×" in line}
    assert rows == {package_of(name) for name in PROGRAMS}
    assert compare.HEAD in PAGE


# ---- what is printed -----------------------------------------------------------------------------


def test_what_is_not_equal_ends_a_program() -> None:
    assert compare.same("words", ["a"], ["a"]) == "words equal"
    with pytest.raises(SystemExit, match=r"words: expected \['a'\]\ngot \['b'\]"):
        compare.same("words", ["a"], ["b"])


def test_what_is_not_close_ends_a_program() -> None:
    one = np.ones((2, 3), np.float32)
    assert compare.close("outputs", one, one + np.float32(5e-6)) == "outputs within 5e-06"
    with pytest.raises(SystemExit, match=r"outputs: expected shape \(2, 3\), got \(3, 2\)"):
        compare.close("outputs", one, one.T)
    for wrong in (one + 1e-4, np.full_like(one, np.nan)):
        with pytest.raises(SystemExit, match="outputs: expected a difference of at most 1e-05"):
            compare.close("outputs", one, wrong)


def test_a_ratio_is_of_medians_of_calls_that_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    called, now = [], 0

    def takes(name: str, *seconds: int) -> Callable[[], None]:
        left = iter(seconds)

        def call() -> None:
            nonlocal now
            now += next(left)
            called.append(name)

        return call

    monkeypatch.setattr("time.perf_counter", lambda: now)
    theirs, ours = takes("theirs", 500, 6, 4, 90), takes("ours", 700, 2, 1, 50)  # the first of each is not counted
    assert compare.ratio(theirs, ours, rounds=3) == 3
    assert called == ["theirs", "ours"] * 4


def test_a_row_stands_under_the_head() -> None:
    row = compare.row("p 1.0", "words", 2.04, "words equal", "scores within 1e-06")
    assert row == "| p 1.0 | words | 2.0× | words equal, scores within 1e-06 |"
    assert row.count("|") == compare.HEAD.splitlines()[0].count("|")


def test_sequences_side_by_side_and_apart_again() -> None:
    rows = [np.arange(2 * n, dtype=np.float32).reshape(n, 2) + 1 for n in (3, 1, 2)]
    whole, lengths = ragged.together(rows)
    assert whole.shape == (3, 3, 2)
    assert lengths == [3, 1, 2]
    assert not whole[1:, 1].any()
    np.testing.assert_array_equal(ragged.one_after_another(whole, lengths), np.concatenate(rows))


# ---- the command line and the environment --------------------------------------------------------


def test_without_arguments_it_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PROGRAMS)


def test_a_wrong_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["nothing"])
    assert "NAME: expected one of beatnet_frames, " in capsys.readouterr().err


@pytest.mark.slow
def test_an_environment_lies_on_top_of_the_python_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below, made = tmp_path / "below", tmp_path / "made"
    below.mkdir()
    for name in ("one_below", "pip"):  # pip is in the environment too
        (below / f"{name}.py").write_text("", encoding="utf-8")
    monkeypatch.setattr("site.getsitepackages", lambda: [str(below)])
    python = environment.make(made, ("pip",))  # it is there: nothing is fetched
    show = "import one_below, pip, sys; print(sys.prefix, one_below.__file__, pip.__file__)"
    shown = subprocess.run([python, "-c", show], check=True, capture_output=True, text=True).stdout.split()
    assert shown[:2] == [str(made), str(below / "one_below.py")]
    assert shown[2].startswith(str(made))


def test_a_program_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*arguments: object) -> Path:
        raise subprocess.CalledProcessError(1, ["pip"])

    monkeypatch.setattr(environment, "make", fails)
    assert command.main(["g2p_en"]) == 1
    assert "g2p_en: Command '['pip']' returned non-zero exit status 1" in capsys.readouterr().err
