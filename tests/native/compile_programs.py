"""Compile the source that the CUDA backend makes of programs, by nvcc, for every release architecture.

    python compile_programs.py _cuda*.so FOLDER

No GPU is needed. The built-in cells as programs, in both dtypes: what spills registers, or gives a warning, is an
error, as for the kernels that are compiled when the backend is built.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cuda_build import ROOT, load, release_architectures

sys.path.append(str(ROOT / "tests/support"))

from hand_programs import CELLS


def architectures() -> str:
    """Return the release's, as nvcc has them."""
    numbers = release_architectures()
    cubins = ",".join(f"sm_{number}" for number in numbers)
    return f"--generate-code=arch=compute_{numbers[0]},code=[compute_{numbers[0]},{cubins}]"


def main(file: str, folder: str) -> None:
    """Write the source and compile it."""
    module = load(file)
    text: list[str] = []
    for number, (name, record) in enumerate(CELLS.items()):
        module.add_program(**{"name": f"{name}_program", **record})
        for dtype in ("float32", "float64"):
            prelude, source = module.program_source(f"{name}_program", dtype, f"{dtype}_{number}_")
            text += [source] if text else [prelude, source]
    to = Path(folder, "programs.cu")
    to.write_text("\n".join(text), encoding="utf-8")
    warnings = ["-Werror", "all-warnings", "-Xptxas", "--warn-on-spills,--warn-on-local-memory-usage"]
    flags = ["-std=c++20", "--fmad=false", *warnings, architectures(), "--threads", "0"]
    subprocess.run(["nvcc", *flags, "-c", "-o", str(to.with_suffix(".o")), str(to)], check=True)
    print(f"{len(CELLS)} programs compiled for every release architecture")


if __name__ == "__main__":
    main(*sys.argv[1:])
