"""`import rnnkernels` needs NumPy and nothing else, and loads nothing else."""

from __future__ import annotations

import sys

import pytest
from processes import HIDE, python

OPTIONAL = ("torch", "safetensors", "tqdm", "jax", "hypothesis", "pytest", "matplotlib", "onnx")
# Of the standard library: what would make a program that only wants a kernel start slowly.
HEAVY = ("asyncio", "concurrent.futures", "http", "multiprocessing", "unittest", "xml", "tkinter")


def test_core_imports_without_the_extras() -> None:
    done = python(HIDE.format(names=OPTIONAL) + "import rnnkernels")
    assert done.returncode == 0, done.stderr
    assert not done.stdout
    assert not done.stderr


def test_hiding_hides() -> None:
    done = python(HIDE.format(names=("json",)) + "import json")
    assert done.returncode == 1
    assert "No module named 'json'" in done.stderr


def test_import_loads_nothing_heavy() -> None:
    code = """
import numpy, sys
before = set(sys.modules)
import rnnkernels
print(*sorted(set(sys.modules) - before))
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "rnnkernels._cpu" in loaded
    packages = {name.partition(".")[0] for name in loaded}
    assert not packages & set(OPTIONAL)
    assert not loaded & set(HEAVY)
    third_party = packages - set(sys.stdlib_module_names) - {"rnnkernels", "numpy"}
    assert not third_party, "the core depends on NumPy only"


def test_import_writes_nothing_and_changes_no_numpy_state() -> None:
    code = """
import numpy as np
before = np.geterr(), np.get_printoptions(), np.random.get_state()[1].tolist()
import rnnkernels
after = np.geterr(), np.get_printoptions(), np.random.get_state()[1].tolist()
assert before == after
"""
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("missing", [("safetensors",), ("tqdm",), ("safetensors", "tqdm")])
def test_train_without_its_extra_says_which_to_install(missing: tuple[str, ...]) -> None:
    code = HIDE.format(names=missing) + "from rnnkernels.cli import main; sys.exit(main())"
    done = python(code, "train", "--text", __file__)
    assert done.returncode not in (0, None)
    assert "rnnkernels[cli]" in done.stderr
    assert "Traceback" not in done.stderr


def test_info_works_without_the_extras() -> None:
    code = HIDE.format(names=OPTIONAL) + "from rnnkernels.cli import main; sys.exit(main())"
    done = python(code, "info")
    assert done.returncode == 0, done.stderr
    assert "rnnkernels" in done.stdout
