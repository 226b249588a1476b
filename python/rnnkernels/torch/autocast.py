"""Autocast: what torch.nn's layers take and return under `torch.autocast`, which a layer in their place has to as well.

On the CPU PyTorch runs the products of a layer in half precision and returns what its operations promote that to:
another dtype for each class. Here a region of bfloat16 has products of bfloat16 operands, everything else is float32's,
rounded at the end; a region of float16 is float32's alone. On a GPU all tensors are cast to the
half, which is storage for these kernels: sums and states between steps are float32. There a region of bfloat16 gives
bfloat16; versions of PyTorch have had cuDNN's layers compute, and return, float16 in it all the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from rnnkernels._asked import Asked

_HALVES = (torch.bfloat16, torch.float16)


class Region(NamedTuple):
    """An autocast region that a call is in."""

    device: str  # "cpu" or "cuda"
    low: torch.dtype

    @property
    def taken(self) -> tuple[torch.dtype, ...]:
        """Dtypes that tensors of a call may have, mixed."""
        return (torch.float32, self.low) if self.device == "cpu" else (torch.float32, *_HALVES)

    def cast(self, tensors: Any) -> Any:
        """Return tensors as they are computed with."""
        return to(tensors, torch.float32 if self.device == "cpu" else self.low)

    def asked(self, asked: Any) -> Any:
        """Return what is asked of a call in the region; what an attending one asks has no products to choose."""
        rounds = self.device == "cpu" and self.low == torch.bfloat16 and isinstance(asked, Asked)
        return asked._replace(products="bfloat16") if rounds else asked

    def outside(self) -> Any:
        """Return a context without autocast."""
        return torch.autocast(self.device, enabled=False)

    def result_dtypes(self, cell: str, x: torch.Tensor, state: Any, plain: bool) -> tuple[torch.dtype, ...]:
        """Return the dtypes of h and of the other states; `plain`: of a cell or a packed batch."""
        low = self.low
        if self.device != "cpu":
            return (low, low) if cell.startswith("lstm") else (low,)
        kept = torch.promote_types(low, x.dtype if state is None else state[-1].dtype)  # of the state that is carried
        if cell.startswith("rnn"):
            return (low,)
        if cell == "gru":
            return (kept,)
        training_float16 = x.dtype == torch.float16 and torch.is_grad_enabled()
        if cell == "lstm" and not plain and _one_dnn_takes(low) and not training_float16:
            return low, low  # from oneDNN, which does not promote; it takes no cells and no packed batches
        return (low if cell == "lstm_projected" else kept), kept


def _one_dnn_takes(low: torch.dtype) -> bool:
    """Whether PyTorch gives an LSTM in this half to oneDNN: for float16 the processor must have its instructions."""
    if not torch.backends.mkldnn.enabled:
        return False
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", None) if low == torch.float16 else None
    return supported is None or bool(supported())


def region(x: torch.Tensor) -> Region | None:
    """Return the region that a call with input `x` is in; None outside of one, and for float64, which is left alone."""
    device = _device(x)
    if device not in ("cpu", "cuda") or x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return None
    return Region(device, torch.get_autocast_dtype(device))


def taken(x: torch.Tensor) -> tuple[torch.dtype, ...]:
    """Return the dtypes that the tensors of a call with input `x` may have: one, or in an autocast region several."""
    within = region(x)
    if within is None:
        return (x.dtype,)
    return within.taken if x.dtype in within.taken else ()


def to(tensors: Any, dtype: torch.dtype) -> Any:
    """Return tensors in a dtype: one, or lists, tuples and dicts of them; None and integers as they are."""
    if isinstance(tensors, torch.Tensor):
        return tensors.to(dtype) if tensors.is_floating_point() else tensors
    if isinstance(tensors, dict):
        return {name: to(tensor, dtype) for name, tensor in tensors.items()}
    return None if tensors is None else tuple(to(tensor, dtype) for tensor in tensors)


def _device(x: torch.Tensor) -> str:
    return str(x.device.type)
