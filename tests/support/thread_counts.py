"""Programs that say how many threads they use: in processes of their own, which users' limits hold for.

The tests' own process uses as many threads as a test sets (conftest.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rnnkernels import _cpus

needs_processors = pytest.mark.skipif(_cpus.affinity() < 2, reason="needs two processors")
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity on this system")


def said(code: str, *arguments: str, **environment: str) -> Any:
    """What a program prints as JSON; of the variables that limit threads it sees only these."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "RNNKERNELS_"))}
    clean["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", f"import json, os, sys\nimport rnnkernels as rk\n{code}", *arguments]
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
