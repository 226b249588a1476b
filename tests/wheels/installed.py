"""`python tests/wheels/installed.py`: a sensible part of the suite, on the package that is installed.

What the kernels give and promise, what is refused, what threads share, a training: a minute of one core, and nothing
that needs a compiler. cibuildwheel calls this for every wheel (pyproject.toml), and so does `bare`. It must run as a
file: the folder that it is called from is not this repository's.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TESTS = (
    "tests/kernels/test_parity.py",
    "tests/cpu/test_bad_input.py",
    "tests/cpu/test_prepared.py",
    "tests/python/test_bptt.py",
    "tests/python/test_import.py",
    "tests/python/test_shared_by_threads.py",
)


def main() -> int:
    """Run them from the root of the repository, which is not where the package comes from."""
    import pytest

    import rnnkernels

    file = Path(rnnkernels.__file__).resolve()
    if ROOT / "python" in file.parents:
        print(f"rnnkernels: expected the one that is installed, got {file}", file=sys.stderr)
        return 1
    gil = "without a GIL" if sysconfig.get_config_var("Py_GIL_DISABLED") else "with a GIL"
    print(f"{file.parent}: {rnnkernels.backends()['cpu']}, Python {sys.version.split()[0]} {gil}", flush=True)
    os.chdir(ROOT)
    return int(pytest.main(["-q", "-p", "no:cacheprovider", "-m", "not slow", *TESTS]))


if __name__ == "__main__":
    sys.exit(main())
