"""`python -m tests.wheels [OPTIONS] WHEEL ...`: each wheel is looked through, then tried where nothing compiles.

Exits with 1, and a sentence for each fault, where something is wrong. On Linux auditwheel says which systems a wheel is
for; one for this system alone is a fault with --repaired, which a release gives.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from .audit import faults
from .bare import try_wheel


def main() -> int:
    """Check what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.wheels", description=__doc__)
    parser.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL")
    parser.add_argument("--only-audit", action="store_true", help="look through it, and install nothing")
    parser.add_argument("--repaired", action="store_true", help="expect a tag that the package index takes")
    parser.add_argument("--most-seconds", type=float, help="from `pip install` to the first line of a training")
    options = parser.parse_args()
    found = []
    for wheel in options.wheels:
        print(f"{wheel.name}: {wheel.stat().st_size} bytes", flush=True)
        found += faults(wheel)
        if options.repaired and "-linux_" in wheel.name:
            found.append(f"{wheel.name}: expected a manylinux or musllinux tag")
        if "linux" in wheel.name:
            subprocess.run([sys.executable, "-m", "auditwheel", "show", str(wheel)], check=True)
        if not options.only_audit:
            found += try_wheel(wheel, options.most_seconds)
    print(*found, sep="\n", file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
