"""Where a run's arrays live, and what computes on them there: NumPy's on the host, or PyTorch's on a GPU.

Here is `choose`, which says what serves. What a place is stands in `contract.py`, the host's in `on_host.py`, the GPU's
in `on_gpu.py`, imported only where it serves.
"""

from __future__ import annotations

from rnnkernels import _runtime

from .contract import Place, Softmax, Updates
from .on_host import HOST

__all__ = ["HOST", "Place", "Softmax", "Updates", "choose"]


def choose() -> tuple[Place, str | None]:
    """Return where to compute with the backend in use, and in a sentence what a person should know of it, if anything.

    With the backend ``"cpu"`` that is the host. With ``"cuda"`` it is the first GPU where PyTorch serves one; elsewhere
    the host again, whose arrays are copied to the GPU for the recurrent layers alone.
    """
    if _runtime.backend() != "cuda":
        return HOST, None
    from . import on_gpu  # noqa: PLC0415 - imports PyTorch

    why = on_gpu.reason()
    if why is None:
        return on_gpu.Gpu(0), None
    return HOST, f"softmax and optimiser run on the CPU, and the layers' arrays are copied to the GPU and back: {why}"
