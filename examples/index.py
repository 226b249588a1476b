"""The index page: the lecture's table, each row with its commands, the figures reached, their time, met or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .catalogue import FOLDER, Example, Outcome
from .table import TABLE, Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .figures import Figure

__all__ = ["BEGIN", "END", "PAGE", "belongs", "fill", "render", "strays"]

PAGE = FOLDER / "README.md"
BEGIN = "<!-- table: written by `python -m examples --render`; text outside the two marks stays -->"
END = "<!-- end of the table -->"

HEAD = ("| system | works when | command | figures reached | time | met |", "|---|---|---|---|---:|---|")


def belongs(words: str, row: Row) -> bool:
    """Whether words of an example's ROWS, or of a figure's row, mean this row."""
    return words.casefold() in row.system.casefold()


def strays(examples: Sequence[Example]) -> list[str]:
    """Words of ROWS that are in no row of the table."""
    return [
        f"{example.name}: {words}"
        for example in examples
        for words in example.rows
        if not any(belongs(words, row) for row in TABLE)
    ]


def render(examples: Sequence[Example], outcomes: Mapping[str, Outcome]) -> str:
    """Return the table and, below it, the examples that show no row."""
    lines = [*HEAD, *(_line(row, examples, outcomes) for row in TABLE)]
    others = [example for example in examples if not example.rows]
    if others:
        lines += ["", "Beside the table:", ""]
        lines += [f"- `python -m examples {example.name}`: {_without_end(example.line)}." for example in others]
    return "\n".join(lines)


def _line(row: Row, examples: Sequence[Example], outcomes: Mapping[str, Outcome]) -> str:
    """Return a row as a line of Markdown."""
    here = [example for example in examples if any(belongs(words, row) for words in example.rows)]
    runs = [(example, outcomes[example.name]) for example in here if example.name in outcomes]
    commands = [f"`python -m examples {example.name}`" for example in here] + [f"`{c}`" for c in row.commands]
    figures = [figure for _, run in runs for figure in run.figures if not figure.row or belongs(figure.row, row)]
    reached = [_shown(figure) for figure in figures]
    reached += [f"`{example.name}`: {run.error}" for example, run in runs if run.error]
    seconds = " + ".join(f"{run.seconds:.0f} s" for _, run in runs)
    cells = [row.system, row.works, "<br>".join(commands), "<br>".join(reached), seconds, _met(figures, here, runs)]
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _met(figures: list[Figure], here: list[Example], runs: list[tuple[Example, Outcome]]) -> str:
    """Return whether a row is met, as far as its examples have been run."""
    if any(run.error for _, run in runs) or not all(figure.ok for figure in figures):
        return "**no**"
    if not figures or len(runs) < len(here):
        return "not run"
    return "yes"


def _shown(figure: Figure) -> str:
    return f"{figure.name}: {figure.value:.4g} (wanted {figure.wanted}{'' if figure.ok else ', **missed**'})"


def _without_end(line: str) -> str:
    return line.removesuffix(".")


def fill(table: str, page: Path = PAGE) -> None:
    """Put the table between the page's two marks.

    Raises
    ------
    ValueError
        The page has not both marks, once and in their order.
    """
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{page.name}: expected the marks of the table, each once:\n{BEGIN}\n{END}")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")
