"""Whom we are measured with: one library in one file, and the list of them."""

from __future__ import annotations

from collections.abc import Sequence

from .absent import Absent
from .base import Peer
from .jax_scan import JaxScan
from .numpy_reference import NumpyReference
from .onnx_runtime import OnnxRuntime
from .ours import PackedPerCall, Prepared, PreparedFloat32
from .torch_cells import TorchCells
from .torch_compile import TorchCompile
from .torch_eager import TorchEager
from .torch_recurrent import TorchRecurrent

ABSENT = (
    Absent("haste", "GPU kernels only: on the CPU its layers are Python loops; frozen since 2023"),
    Absent("flashrnn", "GPU kernels only, compiled with nvcc at the first call"),
)


def peers(named: Sequence[str] | None = None, *, quick: bool = False) -> list[Peer]:
    """All, or those named. A quick run leaves torch.compile, which compiles for minutes, to be named."""
    everyone: list[Peer] = [
        Prepared(),
        PackedPerCall(),
        PreparedFloat32(),
        TorchEager(),
        TorchCompile(every_cell=named is not None),
        TorchCells(),
        TorchRecurrent(),
        OnnxRuntime(),
        JaxScan(),
        NumpyReference(),
        *ABSENT,
    ]
    if named is None:
        return [peer for peer in everyone if not (quick and isinstance(peer, TorchCompile))]
    unknown = set(named) - {peer.name for peer in everyone}
    if unknown:
        known = ", ".join(peer.name for peer in everyone)
        raise ValueError(f"peers: expected some of {known}; got {', '.join(sorted(unknown))}")
    return [peer for peer in everyone if peer.name in named]
