"""`python -m examples [NAME ...] [--quick] [--pictures DIR] [--table] [--render]`; see README.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import index, results
from .catalogue import examples, find

if TYPE_CHECKING:
    from .catalogue import Example, Outcome


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status: 1 where a figure falls short, 2 where the command is wrong."""
    parser = argparse.ArgumentParser(prog="python -m examples", description="the lecture's systems, as programs")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; without --quick or --table at least one")
    parser.add_argument("--quick", action="store_true", help="in seconds, on smaller tasks; all where no NAME is given")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw pictures there")
    parser.add_argument("--table", action="store_true", help="run in full and write README.md's table")
    parser.add_argument("--render", action="store_true", help="write the table from results.json, without a run")
    asked = parser.parse_args(arguments)
    if asked.quick and (asked.table or asked.render):
        parser.error("--quick: the table is of full runs")
    try:
        chosen = find(asked.names)
    except ValueError as error:
        parser.error(str(error))
    if asked.render:
        return _write_table({})
    if not (asked.names or asked.quick or asked.table):
        _list(chosen)
        return 0
    if asked.pictures is not None:
        asked.pictures.mkdir(parents=True, exist_ok=True)
    outcomes = _run(chosen, quick=asked.quick, pictures=asked.pictures, table=asked.table)
    return 0 if all(outcome.ok for outcome in outcomes.values()) else 1


def _list(chosen: list[Example]) -> None:
    width = max(len(example.name) for example in chosen)
    for example in chosen:
        lacks = f"  (needs {', '.join(example.missing)})" if example.missing else ""
        print(f"{example.name:{width}}  {example.line}{lacks}")


def _run(chosen: list[Example], *, quick: bool, pictures: Path | None, table: bool) -> dict[str, Outcome]:
    """Run one after the other, with a line for each; after each full run of the table its row is written."""
    outcomes = {}
    width = max(len(example.name) for example in chosen)
    for example in chosen:
        if example.missing:
            print(f"{example.name:{width}}  left out: needs {', '.join(example.missing)}", flush=True)
            continue
        outcome = outcomes[example.name] = example.run(quick=quick, pictures=pictures)
        between = "; " if len(chosen) > 1 else f"\n{'':{width}}  "
        said = outcome.error or between.join(map(str, outcome.figures)) or "no figure"
        mark = "ok" if outcome.ok else "NOT OK"
        print(f"{example.name:{width}}  {said}  {mark}  {outcome.seconds:.1f} s", flush=True)
        if table:
            _write_table({example.name: outcome})
    return outcomes


def _write_table(fresh: dict[str, Outcome]) -> int:
    """Write results.json and the page; outcomes that are not fresh stay, those of examples that are gone do not."""
    known = examples()
    kept = {name: outcome for name, outcome in {**results.read(), **fresh}.items() if name in known}
    if fresh:
        results.write(kept)
    index.fill(index.render(list(known.values()), kept))
    return 0


if __name__ == "__main__":
    sys.exit(main())
