"""A build, and a child process that has imported it: a question in, an answer out, one JSON line each.

Nothing here knows what is asked; child.py answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import REPOSITORY


class BuildError(Exception):
    """There is no build where one was said to be, or its process ended."""


@dataclass(frozen=True)
class Build:
    """Where a package stands: which Python imports it, and from which folder (None: that Python's own packages)."""

    name: str
    python: str
    folder: Path | None

    @classmethod
    def at(cls, name: str, place: str | Path) -> Build:
        """A folder that holds `rnnkernels`, a virtual environment, or its Python."""
        path = Path(place).absolute()
        if (path / "rnnkernels" / "__init__.py").is_file():
            return cls(name, sys.executable, path)
        for python in (path / "bin" / "python", path):
            if python.is_file() and os.access(python, os.X_OK):
                return cls(name, str(python), None)
        raise BuildError(f"{place}: expected a folder that holds the package rnnkernels, or a virtual environment")


class Child:
    """A process that has imported one build, with one instruction set (None: the fastest), and answers questions.

    A class derived from this one may have another `module` answer, in another `environment`.
    """

    module = "benchmarks.builds.child"

    def __init__(self, build: Build, instruction_set: str | None = None) -> None:
        self.build = build
        environment = {**self.environment(), "PYTHONPATH": str(build.folder or "")}
        for name in ("RNNKERNELS_BACKEND", "RNNKERNELS_NUM_THREADS", "OMP_NUM_THREADS", "OMP_THREAD_LIMIT"):
            environment.pop(name, None)
        environment |= {"RNNKERNELS_ISA": instruction_set or "", "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            [build.python, "-m", self.module],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.about: dict[str, Any] = self.ask("about")
        home = build.folder or Path(self.about["prefix"])
        if not Path(self.about["file"]).is_relative_to(home):
            self.close()
            raise BuildError(f"{build.name}: expected the package in {home}, Python imported {self.about['file']}")

    def environment(self) -> dict[str, str]:
        """Variables of the process: NumPy, which only makes inputs, has one thread."""
        return {**os.environ, **dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")}

    def ask(self, what: str, **arguments: Any) -> Any:
        """Ask, and wait for the answer."""
        self.begin(what, **arguments)
        return self.answer()

    def begin(self, what: str, **arguments: Any) -> None:
        """Ask without waiting: `answer` has the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([what, arguments]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        return json.loads(line)

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()

    def __enter__(self) -> Child:  # noqa: PYI034 - Self came with Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ended(self) -> BuildError:
        self.close()
        return BuildError(
            f"{self.build.name}: the process of {self.build.python} ended with {self._process.returncode}"
        )
