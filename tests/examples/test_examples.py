"""examples/: each in quick form, how they are found and run, and the index page that is written from their figures."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples import __main__ as command
from examples import catalogue, index, results
from examples.catalogue import Example, Outcome, examples
from examples.figures import Figure
from examples.table import TABLE

GOOD, BAD = Figure("accuracy", 0.995, "> 0.99", True), Figure("error", 0.5, "< 0.1", False)


@pytest.mark.slow
@pytest.mark.parametrize("name", examples())
def test_quick_run(name: str, tmp_path: Path) -> None:
    """Each figure of a quick run is what is wanted. `./check examples` runs the same, and leaves this out elsewhere."""
    (example,) = catalogue.find([name])
    for package in example.needs:
        pytest.importorskip(package)
    outcome = example.run(quick=True, pictures=None)
    assert not outcome.error
    assert outcome.figures
    assert not [str(figure) for figure in outcome.figures if not figure.ok]


def test_a_figure_of_numpy_is_pythons() -> None:
    figure = Figure("error", np.float32(0.5), "< 1", np.float32(0.5) < 1)  # type: ignore[arg-type]
    assert type(figure.value) is float
    assert type(figure.ok) is bool


# ---- the table -----------------------------------------------------------------------------------


def test_the_table_has_the_rows_of_the_lecture() -> None:
    assert len(TABLE) == len({row.system for row in TABLE}) == 24


def test_every_example_shows_rows_that_are_there() -> None:
    assert not index.strays(list(examples().values()))
    assert not [example.name for example in examples().values() if not example.line.endswith(".")]


def test_a_row_that_is_not_there_is_found() -> None:
    example = Example("one", "One.", ("Adding Problem", "adding problems"), ())
    assert index.strays([example]) == ["one: adding problems"]


def row_of(words: str, found: list[Example], outcomes: dict[str, Outcome]) -> list[str]:
    lines = index.render(found, outcomes).splitlines()
    (line,) = [line for line in lines if line.startswith("| ") and words in line.split("|")[1]]
    return [cell.strip() for cell in line.split("|")[1:-1]]


ONE, TWO = Example("one", "One.", ("adding",), ()), Example("two", "Two.", ("adding", "copy task"), ())


def test_a_row_has_commands_figures_and_times_of_all_its_examples() -> None:
    cells = row_of("adding", [ONE, TWO], {"one": Outcome((GOOD,), 61.4), "two": Outcome((GOOD,), 12.0)})
    assert cells[2] == "`python -m examples one`<br>`python -m examples two`"
    assert cells[3] == "<br>".join(["accuracy: 0.995 (wanted > 0.99)"] * 2)
    assert cells[4:] == ["61 s + 12 s", "yes"]


@pytest.mark.parametrize(
    ("outcomes", "met"),
    [
        ({}, "not run"),
        ({"one": Outcome((GOOD,), 1)}, "not run"),  # the other one was not
        ({"one": Outcome((GOOD, BAD), 1)}, "**no**"),
        ({"one": Outcome((GOOD,), 1), "two": Outcome((), 1, "ValueError: it fell")}, "**no**"),
        ({"one": Outcome((), 1), "two": Outcome((), 1)}, "not run"),  # no figure shows nothing
    ],
)
def test_a_row_is_met_only_when_all_of_it_is(outcomes: dict[str, Outcome], met: str) -> None:
    cells = row_of("adding", [ONE, TWO], outcomes)
    assert cells[5] == met
    assert ("missed" in cells[3]) == (BAD in outcomes.get("one", Outcome((), 0)).figures)


def test_a_figure_may_belong_to_one_row_of_its_example() -> None:
    outcome = Outcome((Figure("a", 1, "> 0", True, row="adding"), Figure("b", 2, "> 3", False, row="copy")), 1)
    assert row_of("adding", [TWO], {"two": outcome})[3:] == ["a: 1 (wanted > 0)", "1 s", "yes"]
    assert row_of("copy", [TWO], {"two": outcome})[3:] == ["b: 2 (wanted > 3, **missed**)", "1 s", "**no**"]


def test_the_page_keeps_what_stands_around_the_table(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"above\n{index.BEGIN}\nold\n{index.END}\nbelow\n", encoding="utf-8")
    index.fill("new", page)
    index.fill("newer", page)
    assert page.read_text(encoding="utf-8") == f"above\n{index.BEGIN}\n\nnewer\n\n{index.END}\nbelow\n"
    page.write_text(f"{index.END}{index.BEGIN}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"README.md: expected the marks of the table, each once"):
        index.fill("new", page)


def test_the_page_is_that_of_the_results() -> None:
    table = index.render(list(examples().values()), results.read())
    assert f"{index.BEGIN}\n\n{table}\n\n{index.END}" in index.PAGE.read_text(encoding="utf-8")


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    outcomes = {"b": Outcome((GOOD, BAD), 1.5), "a": Outcome((), 0.5, "ValueError: it fell")}
    results.write(outcomes, tmp_path / "r.json")
    assert results.read(tmp_path / "r.json") == outcomes
    assert results.read(tmp_path / "other.json") == {}


# ---- the command line ----------------------------------------------------------------------------

PROGRAM = '''"""Counts to {value}.

More about it.
"""
ROWS = ("copy task",)
NEEDS = ({needs})
def run(*, quick=False, pictures=None):
    {body}
    return [Figure("quick" if quick else "full", {value}, "> 1", {value} > 1)]
from examples.figures import Figure
'''

numbers = itertools.count()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that puts examples into a folder of their own, which the command line then takes for examples/."""
    package = f"examples_{next(numbers)}"
    home = tmp_path / package
    home.mkdir()
    (home / "__init__.py").write_text("", encoding="utf-8")
    (home / "helpers.py").write_text("def runs(): pass\n", encoding="utf-8")
    (home / "README.md").write_text(f"{index.BEGIN}\n{index.END}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(catalogue, "__package__", package)
    monkeypatch.setattr(catalogue.examples, "__defaults__", (home,))
    monkeypatch.setattr(results.read, "__defaults__", (home / "results.json",))
    monkeypatch.setattr(results.write, "__defaults__", (home / "results.json",))
    monkeypatch.setattr(index.fill, "__defaults__", (home / "README.md",))

    def put(name: str, value: float = 2, body: str = "pass", needs: str = "") -> Path:
        text = PROGRAM.format(value=value, body=body, needs=needs)
        (home / f"{name}.py").write_text(text, encoding="utf-8")
        return home

    return put


def test_without_arguments_it_lists(folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder("two")
    folder("three", 3, needs='"not_a_package",')
    assert command.main([]) == 0
    assert capsys.readouterr().out == "three  Counts to 3.  (needs not_a_package)\ntwo    Counts to 2.\n"


def test_all_in_quick_form_fail_when_one_falls_short(folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder("left", needs='"not_a_package",')
    folder("two")
    assert command.main(["--quick"]) == 0
    left, two = capsys.readouterr().out.splitlines()
    assert left == "left  left out: needs not_a_package"
    assert two.startswith("two   quick 2 (> 1)  ok  0.0 s")
    folder("one", 1)
    folder("fallen", body='raise ValueError("it fell")')
    assert command.main(["--quick"]) == 1
    fallen, _, one, two = capsys.readouterr().out.splitlines()
    assert fallen.startswith("fallen  ValueError: it fell  NOT OK")
    assert one.startswith("one     quick 1 (> 1: NOT MET)  NOT OK")
    assert "  ok  " in two


def test_a_name_runs_in_full_with_pictures(folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder("two", body='(pictures / "a.txt").write_text("drawn")')
    assert command.main(["two", "--pictures", str(tmp_path / "new" / "pictures")]) == 0
    assert "full 2 (> 1)" in capsys.readouterr().out
    assert (tmp_path / "new" / "pictures" / "a.txt").read_text(encoding="utf-8") == "drawn"


def test_the_table_is_written_and_a_partial_run_keeps_the_others(folder: Any) -> None:
    folder("two")
    home = folder("three", 3)
    assert command.main(["--table"]) == 0
    assert list(results.read()) == ["three", "two"]
    page = (home / "README.md").read_text(encoding="utf-8")
    assert "full: 3 (wanted > 1)<br>full: 2 (wanted > 1)" in page
    folder("four", 4)
    assert command.main(["--table", "four"]) == 0
    assert list(results.read()) == ["four", "three", "two"]
    (home / "README.md").write_text(f"{index.BEGIN}{index.END}", encoding="utf-8")
    (home / "two.py").unlink()
    assert command.main(["--render"]) == 0
    page = (home / "README.md").read_text(encoding="utf-8")
    assert "full: 4 (wanted > 1)<br>full: 3 (wanted > 1)" in page
    assert "full: 2" not in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "NAME: expected one of two, got 'nothing'"),
        (["--quick", "--table"], "--quick: the table is of full runs"),
    ],
)
def test_a_wrong_command_is_refused(
    folder: Any, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder("two")
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert said in capsys.readouterr().err
