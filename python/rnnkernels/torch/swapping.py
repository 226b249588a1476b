"""`swap`: the recurrent layers of a model on these kernels, in place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from rnnkernels._scalars import as_flag

from . import kernels, layers

_OURS: dict[type, type] = {
    torch.nn.RNN: layers.RNN,
    torch.nn.LSTM: layers.LSTM,
    torch.nn.GRU: layers.GRU,
    torch.nn.RNNCell: layers.RNNCell,
    torch.nn.LSTMCell: layers.LSTMCell,
    torch.nn.GRUCell: layers.GRUCell,
}


@dataclass
class Swapped:
    """What `swap` did.

    Attributes
    ----------
    replaced : dict of str to str
        The path of each layer that runs on these kernels now, and its class.
    left : dict of str to str
        The path of each recurrent layer that was left as it is, and why.
    """

    replaced: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{path or '(the model itself)'}: {name}, on rnnkernels" for path, name in self.replaced.items()]
        lines += [f"{path or '(the model itself)'}: left, {why}" for path, why in self.left.items()]
        return "\n".join(lines) or "no recurrent layers"


def swap(model: torch.nn.Module, *, allow_torch: bool = False) -> Swapped:
    """Put every torch.nn.RNN, LSTM, GRU and cell of a model on these kernels, in place.

    A layer stays the same object: its parameters, hooks, parametrizations, training mode and the optimisers that hold
    its parameters are not touched. Only its class becomes the one of `rnnkernels.torch`, a subclass.

    Parameters
    ----------
    model : torch.nn.Module
        Of whatever depth; may be such a layer itself.
    allow_torch : bool, default False
        Whether what these kernels do not serve (tensors on another device, say) is run by PyTorch then. False: it
        raises.

    Returns
    -------
    Swapped
        What was replaced, and what was left and why.

    Raises
    ------
    TypeError
        If `model` is no module.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    allow_torch = as_flag("allow_torch", allow_torch)
    done = Swapped()
    for path, module in model.named_modules():
        if isinstance(module, tuple(_OURS.values())) or not _is_recurrent(module):
            continue
        why = _why_not(module, allow_torch)
        if why is not None:
            done.left[path] = why
            continue
        module.__class__ = _ours(type(module))
        module.allow_torch = allow_torch
        done.replaced[path] = str(next(name for base, name in _NAMES.items() if isinstance(module, base)))
    return done


_NAMES = {base: base.__name__ for base in _OURS}


def _is_recurrent(module: torch.nn.Module) -> bool:
    if isinstance(module, torch.jit.ScriptModule):
        return getattr(module, "original_name", None) in _NAMES.values()
    return isinstance(module, (torch.nn.RNNBase, torch.nn.RNNCellBase))


def _why_not(module: torch.nn.Module, allow_torch: bool) -> str | None:
    """Return why a layer cannot be replaced; None where it can."""
    cls = type(module)
    if torch.nn.utils.parametrize.is_parametrized(module):
        cls = cls.__mro__[1]
    if isinstance(module, torch.jit.ScriptModule):
        return "it is compiled by TorchScript"
    if cls not in _OURS:
        return f"{cls.__module__}.{cls.__qualname__} is a class of its own"
    wrong = {p.device for p in module.parameters() if not kernels.serves(p.device)}
    if wrong and not allow_torch:
        names, first = ", ".join(sorted(map(str, wrong))), min(wrong, key=str)
        return f"its parameters are on {names}, {kernels.no_kernels(first)}"
    kinds = {str(p.dtype) for p in module.parameters() if p.dtype not in layers.FLOATS}
    if kinds and not allow_torch:
        return f"its parameters are {', '.join(sorted(kinds))}"
    return None


def _ours(cls: type) -> type:
    """Return the class of ours for one of PyTorch's, or for what a parametrization made of it."""
    if cls in _OURS:
        return _OURS[cls]
    made: Any = type(cls.__name__, (_OURS[cls.__mro__[1]],), dict(cls.__dict__))
    return made  # type: ignore[no-any-return]
