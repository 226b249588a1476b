"""tests/support: which cells stand for their form, the reference's values in files, folders without their package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import expected as values
import numpy as np
import problems
import pytest
from problems import FORMS, make, traits

import rnnkernels as rk

ROOT = Path(__file__).resolve().parents[2]


# ---- one of each form ----------------------------------------------------------------------------


def test_each_form_is_represented() -> None:
    assert set().union(*map(traits, FORMS)) == set().union(*map(traits, rk.cells()))
    operands = {operand for cell in FORMS for *_, operand in rk.cell_info(cell)["gates"]}
    assert operands == {"none", "hidden", "gated", "feedback"}
    for key in ("normalisation", "direct", "projected", "settings"):
        assert {rk.cell_info(cell)[key] for cell in FORMS} == {rk.cell_info(cell)[key] for cell in rk.cells()}, key
    assert len(FORMS) < len(rk.cells()) * 2 / 3


@pytest.mark.parametrize(
    "change",
    [
        {"gates": (("a", "projected", "another"),)},
        {"gates": (("a", "another", "hidden"),)},
        {"normalisation": "another"},
        {"settings": ("another",)},
        {"states": ("h", "a", "b")},
    ],
    ids=str,
)
def test_a_new_form_is_picked_up(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {cell: rk.cell_info(cell) for cell in rk.cells()}
    tables["new"] = {**tables["rnn_tanh"], **change}
    monkeypatch.setattr(rk, "cells", lambda: list(tables))
    monkeypatch.setattr(rk, "cell_info", tables.__getitem__)
    assert problems.one_of_each_form() == [*FORMS, "new"]


# ---- the reference's values ----------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(values, "FOLDER", tmp_path / "reference")
    return tmp_path / "reference"


def same(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name])


def test_values_are_computed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    p = make("gru", (3, 2, 4, 5), "float32")
    first = values.expected(p)
    monkeypatch.setattr(values, "_compute", lambda *_: pytest.fail("computed again"))
    same(values.expected(p), first)
    same(values.expected(p.astype("float64")), first)  # the same values
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: data[:99] + b"x" + data[100:], lambda _: b""])
def test_a_spoilt_file_is_written_again(folder: Path, spoil: Any) -> None:
    p = make("gru", (3, 2, 4, 5), "float32")
    first = values.expected(p)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    same(values.expected(p), first)
    assert file.read_bytes()[:32] == whole[:32]


def test_what_the_values_follow_from_is_in_the_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    p = make("lstm", (3, 2, 4, 5), "float32")
    values.expected(p)
    values.expected(p, rk.Noise(1, recurrent_dropout=0.5))
    values.expected(p, rk.Noise(2, recurrent_dropout=0.5))
    values.expected(p, cell_clip=0.5)
    values.expected(make("lstm", (3, 2, 4, 5), "float32", seed=1))
    p.d_state[1][0, 0] += 1
    values.expected(p)
    monkeypatch.setattr(values, "_source", lambda: "another")
    values.expected(p)
    assert len(list(folder.iterdir())) == 7


def test_values_without_a_place_to_keep_them(folder: Path) -> None:
    folder.write_text("a file in its place", encoding="utf-8")
    assert values.expected(make("gru", (3, 2, 4, 5), "float32"))["output"].shape == (3, 2, 5)


# ---- folders without their package ---------------------------------------------------------------


def test_a_folder_without_its_package_is_skipped_and_says_so(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "test_other.py").write_text("def test_other(): pass", encoding="utf-8")
    (inner / "conftest.py").write_text(
        "from optional import needs\npytest_pycollect_makemodule = needs('not_a_package')", encoding="utf-8"
    )
    (inner / "test_it.py").write_text("import not_a_package", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-ra",
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
        "-c",
        "/dev/null",
    ]
    command += ["-o", f"pythonpath={ROOT / 'tests' / 'support'}", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert "1 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert "could not import 'not_a_package'" in done.stdout
