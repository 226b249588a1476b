"""NVIDIA GPUs: which there are, which kernels serve them, and why none does where that is so.

Arrays of a GPU are used where they lie: CUDA tensors of PyTorch, arrays of CuPy, and whatever else has
``__cuda_array_interface__`` or DLPack goes into `rnnkernels.forward` and `rnnkernels.backward` as NumPy's arrays do, on
the caller's current stream, and results are of the same library. Nothing waits for the GPU, and all memory comes from
the caller's library. NumPy's arrays are copied there and back where `rnnkernels.set_backend` says ``"cuda"``.

Not here: how a call is made (`rnnkernels.cuda.calls`), whose arrays there are (`rnnkernels._arrays`).
"""

from __future__ import annotations

from rnnkernels import _arrays as arrays

from . import extension
from .extension import (
    CallBytes,
    CudaError,
    CudaMemoryError,
    CudaUnavailableError,
    Device,
    GraphCounts,
    allow_tf32,
    available,
    best_kernel,
    call_bytes,
    devices,
    graph_counts,
    kernel,
    kernels,
    overlap_layers,
    reason,
    set_kernel,
    summary,
    tf32_allowed,
    use_graphs,
)

__all__ = [
    "CallBytes",
    "CudaError",
    "CudaMemoryError",
    "CudaUnavailableError",
    "Device",
    "GraphCounts",
    "allow_tf32",
    "arrays",
    "available",
    "best_kernel",
    "call_bytes",
    "devices",
    "extension",
    "graph_counts",
    "kernel",
    "kernels",
    "overlap_layers",
    "reason",
    "set_kernel",
    "summary",
    "tf32_allowed",
    "use_graphs",
]
