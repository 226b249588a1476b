"""An environment of a program's own: the packages it pins, on top of the Python that makes it.

What the program pins, and what that needs, is installed there and nowhere else. What is there already is used from
below: rnnkernels, NumPy, and PyTorch where it is, since it is large.
"""

from __future__ import annotations

import os
import site
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = dict.fromkeys(
    ("RNNKERNELS_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


def make(folder: Path, packages: tuple[str, ...]) -> Path:
    """Make an environment in a folder, or take the one that is there, and return its Python.

    Raises
    ------
    subprocess.CalledProcessError
        If pip cannot install a package.
    """
    venv.create(folder, with_pip=True)
    scripts, python = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    inside = folder / scripts / python
    # A folder that a .pth file names comes behind the environment's own, so that what is pinned goes first.
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages_of = subprocess.run([inside, "-c", where], check=True, capture_output=True, text=True).stdout.strip()
    below = "; ".join(f"site.addsitedir({path!r})" for path in site.getsitepackages())
    (Path(packages_of) / "below.pth").write_text(f"import site; {below}\n", encoding="utf-8")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-warn-conflicts")
    subprocess.run([inside, "-m", "pip", "install", *quiet, *packages], check=True)
    return inside


def run(python: Path, name: str) -> str:
    """Run a program on one thread and return what it prints.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails; what it wrote to standard error has been seen then.
    """
    command = [str(python), "-W", "ignore", "-m", f"examples.real.{name}"]
    inherited = {**os.environ, **ONE_THREAD}
    done = subprocess.run(command, check=True, cwd=ROOT, env=inherited, stdout=subprocess.PIPE, text=True)
    return done.stdout
