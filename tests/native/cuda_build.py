"""What the scripts beside this one ask of a built `_cuda`: the module itself, and which architectures a release has."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def load(file: str) -> Any:
    """Return the module of a file, under the name that it was built with."""
    spec = importlib.util.spec_from_file_location(Path(file).name.partition(".")[0], file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"expected a module, got {file}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def release_architectures() -> list[str]:
    """Return those that a release has machine code for, as cmake/Cuda.cmake lists them."""
    text = (ROOT / "cmake/Cuda.cmake").read_text(encoding="utf-8")
    found = re.search(r"set\(rnnkernels_release_cubins ([\d ]+)\)", text)
    if found is None:
        raise SystemExit("expected rnnkernels_release_cubins in cmake/Cuda.cmake")
    return found[1].split()
