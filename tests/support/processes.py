"""Fresh Python processes, and packages hidden from them."""

from __future__ import annotations

import os
import subprocess
import sys

# Hides packages from the import system, as if they were not installed: HIDE.format(names=("torch",)).
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""


def sanitized() -> bool:
    """Whether a sanitizer's runtime is loaded before this process (`./check sanitizers`)."""
    return "asan" in os.environ.get("LD_PRELOAD", "")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
