"""What a break is: one text of one file replaced by another, and the tests that should notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

# What is built with the break in it. NATIVE: check_sets; RESIDENT: check_resident; GRID: check_grid; OVERLAP:
# check_overlap; STRESS and TSAN: stress_threads, threads held up at random, TSAN under ThreadSanitizer.
NOTHING, CPU, EMULATED, NATIVE, RESIDENT = "nothing", "cpu", "emulated", "native", "resident"
GRID, OVERLAP, STRESS, TSAN = "grid", "overlap", "stress", "tsan"


class Break(NamedTuple):
    """A break. Names say what is wrong with the code; they are what the runner is asked for."""

    name: str
    file: str  # from the root of the repository
    old: str  # stands there exactly once
    new: str
    tests: str  # pytest's arguments; of `NATIVE`, `RESIDENT`, `GRID` and `OVERLAP` none; of `STRESS` and `TSAN` stress_threads'
    builds: str = NOTHING

    def fault(self, root: Path) -> str | None:
        """What keeps the break from being applied; None where nothing does."""
        file = root / self.file
        if not file.is_file():
            return f"{self.name}: there is no {self.file}"
        count = file.read_text(encoding="utf-8").count(self.old)
        if count != 1:
            return f"{self.name}: expected its text once in {self.file}, found it {count} times"
        return f"{self.name}: changes nothing" if self.old == self.new else None

    def apply(self, root: Path) -> None:
        """Write the break into the file."""
        fault = self.fault(root)
        if fault is not None:
            raise ValueError(fault)
        file = root / self.file
        file.write_text(file.read_text(encoding="utf-8").replace(self.old, self.new), encoding="utf-8")
