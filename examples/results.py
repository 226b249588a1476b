"""The figures that full runs reached, in results.json: what the index page is made of."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from .catalogue import FOLDER, Outcome
from .figures import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["RESULTS", "read", "write"]

RESULTS = FOLDER / "results.json"


def read(file: Path = RESULTS) -> dict[str, Outcome]:
    """Return the outcome of each example that was run in full; empty where there is no file."""
    if not file.exists():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))
    return {
        name: Outcome(tuple(Figure(**figure) for figure in run["figures"]), run["seconds"], run["error"])
        for name, run in found.items()
    }


def write(outcomes: Mapping[str, Outcome], file: Path = RESULTS) -> None:
    """Write the file; a run that is stopped in between leaves the one before."""
    data = {name: dataclasses.asdict(outcomes[name]) for name in sorted(outcomes)}
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(file)
