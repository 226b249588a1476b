"""The table by which `auto` chooses kernels on a GPU (csrc/cuda/measured.h), measured on the card at hand.

`python -m benchmarks gpu-tables [--write] [--seconds 120]`

An LSTM's forward by `products` and by `resident`, in turn, at every B and H below. A row says which was quicker, where
both serve. `--write` puts the rows of this card into the file, in the place of those of the same capability; the
package is to be built anew then. The same rows are the same file.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).resolve().parent.parent / "csrc" / "cuda" / "measured.h"
BATCHES = (1, 4, 16, 64, 256)
HIDDEN = (64, 128, 256, 512, 1024, 2048)
DTYPES = ("bfloat16", "float16", "float32")
STEPS = 64
_ROW = re.compile(r"^    \{(\d+), Dtype::(\w+), (\d+), (\d+), static_cast<int>\(Kernel::(\w+)\)\},$", re.MULTILINE)


class Row(NamedTuple):
    """What was quickest."""

    capability: int  # major * 10 + minor
    dtype: str
    batch: int
    hidden: int
    kernel: str


def read(text: str) -> list[Row]:
    """Return the rows of the file."""
    return [Row(int(a), dtype, int(b), int(h), kernel) for a, dtype, b, h, kernel in _ROW.findall(text)]


def written(text: str, measured: list[Row], capability: int) -> str:
    """Return the file with these rows in the place of those of a capability."""
    rows = sorted([*(row for row in read(text) if row.capability != capability), *measured])
    lines = [f"    {{{a}, Dtype::{d}, {b}, {h}, static_cast<int>(Kernel::{kernel})}},\n" for a, d, b, h, kernel in rows]
    head, rest = _ROW.sub("", text).split("kMeasured[] = {\n", 1)
    return f"{head}kMeasured[] = {{\n{''.join(lines)}{rest.lstrip(chr(10))}"


def measure(dtype: str, batch: int, hidden: int) -> str | None:
    """Return the quicker kernel; None where only one serves."""
    import torch

    import rnnkernels as rk
    from rnnkernels import cuda

    from .gpu_timings import alternate

    kind = getattr(torch, dtype)
    params = {n: torch.from_numpy(w).cuda().to(kind) for n, w in rk.init_params("lstm", hidden, hidden, rng=0).items()}
    x = torch.randn(STEPS, batch, hidden, device="cuda").to(kind)

    def by(kernel: str) -> Any:
        def run() -> Any:
            cuda.set_kernel(kernel)
            return rk.forward("lstm", x, params, training=False).output

        return run

    try:
        by("resident")()
        found = alternate({kernel: by(kernel) for kernel in ("products", "resident")})
    except ValueError:
        return None
    finally:
        cuda.set_kernel("auto")
    return min(found, key=lambda kernel: found[kernel])


def main(arguments: list[str]) -> int:
    """Measure, print the rows and, if asked, write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"into {FILE.name}")
    parser.add_argument("--seconds", type=float, default=120, help="for all; what is not begun by then is left out")
    options = parser.parse_args(arguments)
    from rnnkernels import cuda

    try:
        major, minor = cuda.devices()[0].capability
    except (cuda.CudaUnavailableError, IndexError) as error:
        print(f"gpu-tables: expected a GPU, got none: {error}", file=sys.stderr)
        return 2
    end, rows = time.monotonic() + options.seconds, []
    for dtype in DTYPES:
        for hidden in HIDDEN:
            for batch in BATCHES:
                quickest = measure(dtype, batch, hidden) if time.monotonic() < end else None
                if quickest is not None:
                    rows.append(Row(major * 10 + minor, dtype, batch, hidden, quickest))
                    print(*rows[-1], flush=True)
    if options.write:
        FILE.write_text(written(FILE.read_text(encoding="utf-8"), rows, major * 10 + minor), encoding="utf-8")
    return 0
