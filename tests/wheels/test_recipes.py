"""The recipes of a release agree: what is built, what is promised, what is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.wheels import audit, installed

ROOT = audit.ROOT
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
CUDA = ROOT / ".github" / "cuda-wheels.toml"
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
PAGE = ROOT / "docs" / "releasing.md"

pytestmark = pytest.mark.skipif(not WORKFLOW.is_file(), reason="a source distribution has no workflow")


def built(text: str) -> list[str]:
    """Return the Pythons that wheels are built for, in order: ``["310", ..., "314t"]``."""
    return re.findall(r'"cp(\d+t?)-', re.findall(r"^build = \[.*\]", text, re.MULTILINE)[0])


def test_wheels_are_built_for_every_python_that_is_promised() -> None:
    (least,) = re.findall(r'requires-python = ">=3\.(\d+)"', PROJECT)
    pythons = [int(python[1:]) for python in built(PROJECT) if not python.endswith("t")]
    assert pythons == list(range(int(least), max(pythons) + 1))
    assert built(CUDA.read_text(encoding="utf-8")) == [python for python in built(PROJECT) if not python.endswith("t")]
    free = [f"3.{python[1:]}" for python in built(PROJECT) if python.endswith("t")]
    assert f"3.{least} to 3.{max(pythons)}, {', '.join(free)}" in PAGE.read_text(encoding="utf-8")


def test_files_that_are_named_are_there() -> None:
    texts = [PROJECT, *(file.read_text(encoding="utf-8") for file in (CUDA, WORKFLOW, PAGE))]
    named = {name for text in texts for name in re.findall(r"(?:tests/wheels|\.github|benchmarks)/[\w./-]+\.\w+", text)}
    assert len(named) > 6
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
    assert [name for name in installed.TESTS if not (ROOT / name).is_file()] == []


def test_one_version_of_cibuildwheel_is_named() -> None:
    texts = [file.read_text(encoding="utf-8") for file in (WORKFLOW, PAGE)]
    versions = [set(re.findall(r"cibuildwheel==([\d.]+)", text)) for text in texts]
    assert versions[0] == versions[1]
    assert len(versions[0]) == 1


def test_the_module_says_that_it_needs_no_gil() -> None:
    """A Python with a GIL does not tell; one without asks it (tests/python/test_shared_by_threads.py)."""
    source = (ROOT / "csrc" / "binding" / "host_module.cpp").read_text(encoding="utf-8")
    assert "PYBIND11_MODULE(RNNKERNELS_MODULE, m, pybind11::mod_gil_not_used())" in source


def test_every_module_exports_its_entry_alone() -> None:
    """What a wheel's module exports is looked at in the wheel; this one may be another build's."""
    script = (ROOT / "cmake" / "exports.map").read_text(encoding="utf-8")
    assert re.sub(r"/\*.*?\*/|\s", "", script, flags=re.DOTALL) == "{global:PyInit_*;emulated_*;local:*;};"
    modules = [Path("CMakeLists.txt"), Path("cmake/Cuda.cmake")]
    text = "\n".join((ROOT / file).read_text(encoding="utf-8") for file in modules)
    assert re.findall(r"pybind11_add_module\((\w+)", text) == re.findall(r"\n *rnnkernels_module\((\w+)\)", text)
