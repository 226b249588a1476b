"""rnnkernels.zoo registers nothing before it is asked for a cell. Its cells are tested in zoo_cells.py."""

from __future__ import annotations

from processes import python


def test_a_family_is_registered_when_one_of_its_cells_is_asked_for() -> None:
    code = """
import sys
import rnnkernels as rk
from rnnkernels import zoo
before = set(rk.cells())
assert not before & set(zoo.cells())
assert not [name for name in sys.modules if name.startswith("rnnkernels.zoo.")]
dir(zoo)
assert set(rk.cells()) == before
cell = zoo.para_gru
print(*sorted(set(rk.cells()) - before))
assert rk.zoo.diagonal.para_gru is cell
assert f"{cell}" == "para_gru"
"""
    done = python(code)
    assert (done.returncode, done.stdout.split()) == (0, ["para_gru", "para_lstm"]), done.stderr
