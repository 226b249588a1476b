"""Autocast: what torch.nn's layers return under `torch.autocast`. The arithmetic here is float32's, rounded at the end.

PyTorch runs the products of a layer in half precision there, and returns what its operations promote that to: another
dtype for each class. A layer that takes its place has to return the same.
"""

from __future__ import annotations

from typing import Any

import torch


def half(x: torch.Tensor) -> torch.dtype | None:
    """Return the dtype of the autocast region that a call with input `x` is in; None outside of one.

    float64 is left alone there.
    """
    if x.device.type == "cuda" and x.dtype != torch.float64 and torch.is_autocast_enabled("cuda"):
        raise NotImplementedError(
            "rnnkernels: torch.autocast is not served on a GPU: call the layer outside of it, with parameters and "
            "input in float32 or in half precision"
        )
    if not torch.is_autocast_enabled("cpu") or x.dtype == torch.float64 or x.device.type != "cpu":
        return None
    return torch.get_autocast_dtype("cpu")


def taken(x: torch.Tensor) -> tuple[torch.dtype, ...]:
    """Return the dtypes that the tensors of a call with input `x` may have: one, or in an autocast region two."""
    low = half(x)
    if low is None:
        return (x.dtype,)
    return (torch.float32, low) if x.dtype in (torch.float32, low) else ()


def result_dtypes(cell: str, low: torch.dtype, x: torch.Tensor, state: Any, plain: bool) -> tuple[torch.dtype, ...]:
    """Return the dtypes of h and of the other states; `plain`: of a cell or a packed batch."""
    kept = torch.promote_types(low, x.dtype if state is None else state[-1].dtype)  # of the state that is carried on
    if cell.startswith("rnn"):
        return (low,)
    if cell == "gru":
        return (kept,)
    training_float16 = x.dtype == torch.float16 and torch.is_grad_enabled()
    if cell == "lstm" and not plain and torch.backends.mkldnn.enabled and not training_float16:
        return low, low  # from oneDNN, which does not promote; it takes no cells and no packed batches
    return (low if cell == "lstm_projected" else kept), kept


def wide(tensors: Any) -> Any:
    """Return tensors in float32: of nested lists, tuples and dicts, None as it is."""
    if isinstance(tensors, dict):
        return {name: tensor.float() for name, tensor in tensors.items()}
    return tensors if tensors is None else [wide(t) if isinstance(t, dict) else t.float() for t in tensors]
