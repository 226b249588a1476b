"""`python tests/wheels/cuda_imports.py`: a wheel that has CUDA's module can load it, and says why it cannot serve.

For machines without a GPU. What the module answers there is tests/native/import_cuda.py's.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Load it."""
    import rnnkernels

    said = rnnkernels.backends()["cuda"]
    print("cuda:", said)
    return 1 if said.startswith("not built") else 0


if __name__ == "__main__":
    sys.exit(main())
