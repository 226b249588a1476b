"""`python -m tests.breaks [--list] [NAME ...]`: applies breaks one at a time in a copy, and says what went red.

The copy is build/breaks/source. It keeps its builds, so that one break costs one incremental build. A name may be a
part of names. Prints a table in Markdown; exits with 1 where a break stayed green or could not be judged: it did not
compile, or a test that went red does so without the break as well.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import BREAKS
from .runner import Copy, table

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.breaks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of names; all breaks by default")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    options = parser.parse_args()
    chosen = [b for b in BREAKS if not options.names or any(name in b.name for name in options.names)]
    faults = [fault for b in chosen if (fault := b.fault(ROOT)) is not None]
    if faults or not chosen:
        print(*(faults or [f"no break's name has {' or '.join(options.names)} in it"]), sep="\n", file=sys.stderr)
        return 2
    if options.list:
        print(*(f"{b.name}  ({b.file})" for b in chosen), sep="\n")
        return 0
    copy = Copy(ROOT, ROOT / "build" / "breaks")
    outcomes = []
    for number, chosen_break in enumerate(chosen, 1):
        outcome = copy.run(chosen_break)
        outcomes.append(outcome)
        line = (
            f"[{number}/{len(chosen)}] {outcome.found}: {chosen_break.name} ({outcome.seconds:.0f} s) {outcome.first}"
        )
        print(line, file=sys.stderr, flush=True)
    copy.without_breaks(outcomes)
    print(*table(outcomes), sep="\n")
    return 0 if all(outcome.found == "red" for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
