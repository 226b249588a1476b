"""`python -m examples.real [NAME ...] [--all] [--folder DIR]`; see README.md."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from . import compare, environment

FOLDER = Path(__file__).parent


class Program(NamedTuple):
    """A module of this folder with `PACKAGES`, which is read, not imported: what it imports is in its environment."""

    name: str
    line: str  # the first of its docstring
    packages: tuple[str, ...]  # pinned


def programs(folder: Path = FOLDER) -> dict[str, Program]:
    """Return the programs of a folder by their names, in the order of the alphabet."""
    found = {}
    for file in sorted(folder.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PACKAGES":
                line = (ast.get_docstring(tree) or "").partition("\n")[0]
                found[file.stem] = Program(file.stem, line, ast.literal_eval(node.value))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status: 1 where a program fails or its results differ, 2 where the command is wrong."""
    parser = argparse.ArgumentParser(prog="python -m examples.real", description="programs that people ship")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; without --all at least one")
    parser.add_argument("--all", action="store_true", help="all of them")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep their environments there")
    asked = parser.parse_args(arguments)
    known = programs()
    for name in asked.names:
        if name not in known:
            parser.error(f"NAME: expected one of {', '.join(known)}, got {name!r}")
    chosen = list(known.values()) if asked.all else [known[name] for name in asked.names]
    if not chosen:
        for program in known.values():
            print(f"{program.name:12}  {program.line}")
        return 0
    if importlib.util.find_spec("rnnkernels") is None:
        parser.error("rnnkernels: expected it to be installed where this command runs")
    with tempfile.TemporaryDirectory() as temporary:
        return max([_run(program, asked.folder or Path(temporary)) for program in chosen])


def _run(program: Program, folder: Path) -> int:
    try:
        python = environment.make((folder / program.name).resolve(), program.packages)
        printed = environment.run(python, program.name)
    except subprocess.CalledProcessError as error:
        print(f"{program.name}: {error}", file=sys.stderr)
        return 1
    print(f"{compare.HEAD}\n{printed}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
