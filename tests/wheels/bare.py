"""A wheel where nothing can be compiled: installed, timed until the first line of a training, tested.

A new virtual environment, and no other program in PATH: what it needs comes from the wheel, or from the registry as a
wheel. Not here: what is in the file (`audit`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from time import monotonic

from .audit import ROOT

_COMPILERS = ("c++", "cc", "clang", "clang++", "cl", "cmake", "g++", "gcc", "ld", "make", "ninja", "nvcc")
# Of pip's own settings, and those of the network.
_KEPT = ("PIP_", "SSL_", "HTTP_", "HTTPS_", "http_", "https_", "no_proxy", "NO_PROXY", "SYSTEMROOT", "TEMP", "TMP")


class Bare:
    """A virtual environment of its own, in a folder that goes away with it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        venv.create(folder / "venv", with_pip=True)
        self.programs = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
        kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
        self.environment = kept | {"HOME": str(self.home), "PATH": str(self.programs), "PYTHONNOUSERSITE": "1"}
        for name in _COMPILERS:
            if found := shutil.which(name, path=self.environment["PATH"]):
                raise RuntimeError(f"expected an environment without {name}, got {found}")

    def command(self, *arguments: str | Path) -> list[str]:
        """Return a command line: a program of the environment, and what it is given."""
        program, *rest = map(str, arguments)
        return [str(self.programs / program), *rest]

    def run(self, *arguments: str | Path) -> None:
        """Run a program of the environment to its end.

        Raises
        ------
        subprocess.CalledProcessError
            If it fails.
        """
        subprocess.run(self.command(*arguments), env=self.environment, cwd=self.home, check=True)

    def install(self, *what: str | Path) -> None:
        """Install packages, from wheels alone: nothing is compiled."""
        self.run("python", "-m", "pip", "install", "--quiet", "--no-cache-dir", "--only-binary=:all:", *what)

    def first_line_of_a_training(self) -> str:
        """Start to train the command line's model in small, and return the first line that says a loss."""
        options = ["--hidden", "128", "--limit", "200000", "--valid-every", "0.1", "--epochs", "0.2"]
        arguments = self.command("rnnkernels", "train", "--text", ROOT / "docs", "--pattern", "*.md", *options)
        with subprocess.Popen(
            arguments,
            env=self.environment,
            cwd=self.home,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as training:
            lines = []
            for line in training.stdout or ():
                lines.append(line)
                if line.startswith("epoch "):
                    training.kill()
                    return line.strip()
        raise RuntimeError("expected a training that says a loss, got\n" + "".join(lines))


def try_wheel(wheel: Path, most_seconds: float | None) -> list[str]:
    """Install a wheel in a bare environment, time it and run tests from it; return what is wrong, a sentence each.

    `most_seconds`: from the begin of ``pip install`` to the first line of a training, all downloads included. None: it
    is told and not judged.

    Raises
    ------
    subprocess.CalledProcessError
        If it cannot be installed, or a test fails.
    """
    with tempfile.TemporaryDirectory(prefix="rnnkernels-wheel-") as made:
        bare = Bare(Path(made))
        begin = monotonic()
        bare.install(f"rnnkernels[cli] @ {wheel.resolve().as_uri()}")
        installed = monotonic() - begin
        line = bare.first_line_of_a_training()
        seconds = monotonic() - begin
        print(f"{wheel.name}: installed in {installed:.1f} s, NumPy and the command line's packages from the registry")
        print(f"{wheel.name}: after {seconds:.1f} s the first line of a training: {line}", flush=True)
        bare.install(f"rnnkernels[test] @ {wheel.resolve().as_uri()}")
        bare.run("python", ROOT / "tests" / "wheels" / "installed.py")
    if most_seconds is not None and seconds > most_seconds:
        return [f"{wheel.name}: expected a training after {most_seconds:.0f} s at most, got {seconds:.1f} s"]
    return []
