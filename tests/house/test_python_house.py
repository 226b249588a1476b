"""The rules of python/rnnkernels: who may import whom, how often an option is written down, how a record is changed.

Each rule is a function that lists what breaks it. It is run over the sources here, and over a small wrong example:
a rule that cannot fail says nothing. The rules of csrc/ are in test_house.py.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rnnkernels import parameters, steps
from rnnkernels.noise import zonable_states

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python"

if not (PACKAGE / "rnnkernels").is_dir():
    pytest.skip("the sources are not here", allow_module_level=True)

# Imports that may close a cycle: the version is a name of the package itself, and asked for when a bug is reported.
ALLOWED = {("rnnkernels._runtime", "rnnkernels")}

# The words of options, and how many files of the sources may have them. Each more is one more that a reader of the
# option has to know: what a call is asked for is one record (rnnkernels._asked), not a list of words at every door.
OPTIONS = {
    "zoneout": {"csrc": 6, "python": 6, "benchmarks": 1, "examples": 0},
    "cell_clip": {"csrc": 1, "python": 20, "benchmarks": 0, "examples": 0},
}

Sources = dict[str, str]  # module → text


def sources() -> Sources:
    """Every module of the package; a package is what its ``__init__`` says."""
    found = {"rnnkernels._cpu": "", "rnnkernels._cuda": ""}  # compiled
    for file in sorted((PACKAGE / "rnnkernels").rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text(encoding="utf-8")
    return found


# ---- imports ------------------------------------------------------------------------------------


def imports(module: str, text: str, modules: Mapping[str, str]) -> set[str]:
    """Modules of the package that a module imports: anywhere in it, for types alone too.

    Of a package's part it imports the part, not the package, whose ``__init__`` only collects names.
    """
    is_package = any(name.startswith(f"{module}.") for name in modules)
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: None if not node.level else len(module.split(".")) - node.level + is_package]
            base = ".".join([*(above if node.level else []), *([node.module] if node.module else [])])
            inner = {f"{base}.{alias.name}" for alias in node.names}
            found |= inner & set(modules)
            if inner - set(modules):
                found.add(base)
    return found & set(modules) - {module}


def cycles(modules: Sources, allowed: set[tuple[str, str]]) -> list[str]:
    """Ways from a module back to itself, one for each module that has one: the shortest."""
    graph = {
        name: {to for to in imports(name, text, modules) if (name, to) not in allowed} for name, text in modules.items()
    }
    faults = []
    for start in graph:
        ways = [[start]]
        seen: set[str] = set()
        while ways:
            way = ways.pop(0)
            if start in graph[way[-1]]:
                faults.append(" → ".join([*way, start]))
                break
            ways += [[*way, to] for to in sorted(graph[way[-1]] - seen)]
            seen |= graph[way[-1]]
    return faults


def test_no_module_imports_itself_by_way_of_others() -> None:
    found = sources()
    assert len(found) > 60
    assert not cycles(found, ALLOWED)


def test_the_exceptions_are_needed() -> None:
    found = sources()
    assert {(name, to) for name, to in ALLOWED if to in imports(name, found[name], found)} == ALLOWED


def test_the_import_rule_can_fail() -> None:
    wrong = {
        "p": "from .a import f\n",
        "p.a": "def f():\n    from p.q import b\n",
        "p.q": "from . import b\n",
        "p.q.b": "if TYPE_CHECKING:\n    from ..c import C\n",
        "p.c": "import p.a\n",
        "p.d": "from p import __version__, a\n",
    }
    assert imports("p.d", wrong["p.d"], wrong) == {"p", "p.a"}
    assert cycles(wrong, set()) == [
        "p.a → p.q.b → p.c → p.a",
        "p.q.b → p.c → p.a → p.q.b",
        "p.c → p.a → p.q.b → p.c",
    ]
    assert not cycles(wrong, {("p.c", "p.a")})


# ---- options ------------------------------------------------------------------------------------


def files_with(word: str, files: Mapping[str, str]) -> list[str]:
    """The files that have a word, in any case."""
    return sorted(name for name, text in files.items() if word.casefold() in text.casefold())


def code(folder: str) -> dict[str, str]:
    """The sources of a folder: neither prose nor measurements."""
    kinds = {".py", ".pyi", ".h", ".cpp", ".cuh", ".cu"}
    files = (file for file in (ROOT / folder).rglob("*") if file.suffix in kinds)
    return {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files}


@pytest.mark.parametrize(
    ("word", "folder", "most"), [(word, *each) for word, limits in OPTIONS.items() for each in limits.items()]
)
def test_an_option_is_written_down_in_few_files(word: str, folder: str, most: int) -> None:
    found = files_with(word, code(folder))
    assert len(found) <= most, found


def test_the_option_rule_can_fail() -> None:
    assert files_with("zoneout", {"a": "d_Zoneout = 1", "b": "zone out", "c": "ZONEOUT"}) == ["a", "c"]


# ---- records ------------------------------------------------------------------------------------


def splices(text: str) -> list[str]:
    """Records that are taken apart and put together by numbers, ``(*r[:6], new, *r[7:])``: NamedTuples have _replace.

    Shapes have no names for their places.
    """
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Tuple, ast.List)):
            parts = node.elts
        elif isinstance(node, ast.Call):
            parts = node.args
        else:
            continue
        sliced = Counter(filter(None, map(_numbered, parts)))
        found += [f"line {node.lineno}: {name}" for name, count in sliced.items() if count > 1]
    return found


def _numbered(part: ast.expr) -> str | None:
    """Return what is sliced in ``*something[2:]``, with a number and no shape; None where it is not that."""
    if not (isinstance(part, ast.Starred) and isinstance(part.value, ast.Subscript)):
        return None
    place, whole = part.value.slice, part.value.value
    if not isinstance(place, ast.Slice) or (isinstance(whole, ast.Attribute) and whole.attr == "shape"):
        return None
    return ast.unparse(whole) if any(isinstance(bound, ast.Constant) for bound in (place.lower, place.upper)) else None


def test_records_are_changed_by_name() -> None:
    faults = [f"{module}: {fault}" for module, text in sources().items() for fault in splices(text)]
    assert not faults


def test_the_record_rule_can_fail() -> None:
    wrong = "a = (*noise[:6], places, *noise[7:])\nf(*options[1:5], *options[6:])\n"
    assert splices(wrong) == ["line 1: noise", "line 2: options"]
    assert not splices("b = (*a.shape[:1], n, *a.shape[2:])\nc = (*s[:k], t, *s[k + 1:])\nd = (*e[1:], 0)\n")


# ---- cells --------------------------------------------------------------------------------------


def lists_of_cells(text: str) -> list[str]:
    """Calls of ``cells()`` that are made when a module is imported: what they gave grows old when a cell is added."""
    waiting: list[ast.AST] = [ast.parse(text)]
    found = []
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "cells":
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        waiting += [
            inner
            for inner in ast.iter_child_nodes(node)
            if not isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        ]
    return found


def test_no_list_of_cells_is_made_when_a_module_is_imported() -> None:
    assert not [f"{module}: {fault}" for module, text in sources().items() for fault in lists_of_cells(text)]


def test_the_rule_of_cells_can_fail() -> None:
    wrong = "A = rk.cells()\nclass B:\n    c = tuple(cells())\ndef d():\n    return cells()\n"
    assert lists_of_cells(wrong) == ["line 1: rk.cells()", "line 3: cells()"]


def test_a_cell_without_a_step_in_python_is_refused() -> None:
    with pytest.raises(NotImplementedError, match=r"lstm_mine's step is written in the kernels alone.*one of rnn_tanh"):
        steps.step_of("lstm_mine")


def test_a_cell_that_comes_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    known = parameters.cells()
    assert "later" not in known
    table = {**parameters.cell_info("gru"), "name": "later"}
    monkeypatch.setattr(parameters, "_tables", dict(parameters._tables))
    monkeypatch.setattr("rnnkernels._cpu.cells", lambda: [table])
    assert parameters.cell_info("later") == table
    assert parameters.cells() == (*known, "later")
    assert zonable_states("later") == (True,)


# ---- asserts ------------------------------------------------------------------------------------


def asserts(text: str) -> list[str]:
    """Asserts of the product, which ``python -O`` leaves out: what has to be checked is checked by an `if`."""
    return [f"line {node.lineno}" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Assert)]


def test_no_check_is_an_assert() -> None:
    assert not [f"{module}: {fault}" for module, text in sources().items() for fault in asserts(text)]


def test_the_rule_of_asserts_can_fail() -> None:
    assert asserts("def f(x):\n    assert x\n") == ["line 2"]
