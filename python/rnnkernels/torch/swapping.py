"""`swap`: the recurrent layers of a model on these kernels, in place; `unswap`: back on PyTorch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from rnnkernels._arguments import PRODUCTS
from rnnkernels._scalars import as_choice, as_flag
from rnnkernels._swapped import Swapped
from rnnkernels.memory import check_memory

from . import kernels, layers
from .recurrent import Recurrent
from .recurrent_cell import RecurrentCell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OURS: dict[type, type] = {
    ours._theirs: ours
    for ours in (layers.RNN, layers.LSTM, layers.GRU, layers.RNNCell, layers.LSTMCell, layers.GRUCell)
}
_THEIRS = {ours: theirs for theirs, ours in _OURS.items()}


def swap(
    model: torch.nn.Module,
    *,
    allow_torch: bool = False,
    products: str = "full",
    memory: str = "all",
    trust_versions: bool = False,
) -> Swapped:
    """Put every torch.nn.RNN, LSTM, GRU and cell of a model on these kernels, in place.

    A layer stays the same object: its parameters, hooks, parametrizations, training mode and the optimisers that hold
    its parameters are not touched. Only its class becomes the one of `rnnkernels.torch`, a subclass. A layer that runs
    on these kernels already is left as it is. The arguments are attributes of the layers, too: they may be set there at
    any time.

    Parameters
    ----------
    model : torch.nn.Module
        Of whatever depth; may be such a layer itself.
    allow_torch : bool, default False
        Whether what these kernels do not serve (tensors on another device, say) is run by PyTorch then. False: it
        raises.
    products : {"full", "bfloat16"}
        What products of the layers multiply, in training too; see `rnnkernels.forward`.
    memory : {"all", "states", "replay"}
        What the layers keep for their backward; see `rnnkernels.forward`. Cells keep all.
    trust_versions : bool, default False
        Single steps without gradients use weights that are packed already. False: each step compares all weights with
        those that were packed, or multiplies them where they lie, so that every change is seen. True: a weight whose
        memory and `_version` are as they were is used as it was packed, which takes a third off the time of a step of
        layers that a cache holds. Then what PyTorch does not count (its fused optimisers, writes through ``.data``,
        NumPy or another process) may have no effect on steps.

    Returns
    -------
    Swapped
        What was replaced, what was left and why, and what ran on these kernels already.

    Raises
    ------
    TypeError, ValueError
        If `model` is no module, a flag neither True nor False, or `products` or `memory` no choice.
    """
    allow_torch = as_flag("allow_torch", allow_torch)
    as_choice("products", products, PRODUCTS)
    check_memory(memory)
    trust_versions = as_flag("trust_versions", trust_versions)

    def replace(module: Any) -> None:
        module.__class__ = _on(_OURS, type(module))
        module.allow_torch, module.products, module.trust_versions = allow_torch, products, trust_versions
        if isinstance(module, torch.nn.RNNBase):
            module.memory = memory

    return change(model, Swapped(), _is_ours, lambda module: _why_not(module, allow_torch), replace)


def unswap(model: torch.nn.Module) -> Swapped:
    """Give every `rnnkernels.torch.RNN`, LSTM, GRU and cell of a model the class of torch.nn, in place.

    `swap` the other way, for layers that were never swapped, too: a layer stays the same object. What knows torch.nn's
    classes alone, TorchScript and `torch.ao.quantization` say, takes the model then.

    Parameters
    ----------
    model : torch.nn.Module
        Of whatever depth; may be such a layer itself.

    Returns
    -------
    Swapped
        What was replaced, what was left and why (a `Recurrent`, say), and what PyTorch ran already.

    Raises
    ------
    TypeError
        If `model` is no module.
    """

    def replace(module: Any) -> None:
        layers.put_back(module, _on(_THEIRS, type(module)))

    return change(model, Swapped(engine="torch.nn"), lambda module: not _is_ours(module), _why_not_back, replace)


def change(
    model: torch.nn.Module,
    done: Swapped,
    is_there: Callable[[torch.nn.Module], bool],
    why_not: Callable[[torch.nn.Module], str | None],
    replace: Callable[[torch.nn.Module], None],
) -> Swapped:
    """Replace the recurrent layers of a model, but for those that the engine runs already or cannot run."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    for path, module in model.named_modules():
        if not _is_recurrent(module):
            continue
        if is_there(module):
            done.already[path] = class_of(module).__name__
            continue
        why = why_not(module)
        if why is not None:
            done.left[path] = why
            continue
        replace(module)
        done.replaced[path] = class_of(module).__name__
    return done


def _is_recurrent(module: torch.nn.Module) -> bool:
    if isinstance(module, torch.jit.ScriptModule):
        return getattr(module, "original_name", None) in {cls.__name__ for cls in _OURS}
    return isinstance(module, (torch.nn.RNNBase, torch.nn.RNNCellBase, Recurrent, RecurrentCell))


def _is_ours(module: torch.nn.Module) -> bool:
    return isinstance(module, (*_THEIRS, Recurrent, RecurrentCell))


def class_of(module: torch.nn.Module) -> type:
    """Return the class of a layer; a parametrization has put one of its own below it."""
    cls = type(module)
    return cls.__mro__[1] if torch.nn.utils.parametrize.is_parametrized(module) else cls


def _why_not(module: torch.nn.Module, allow_torch: bool) -> str | None:
    """Return why a layer cannot be replaced by one of ours; None where it can."""
    if isinstance(module, torch.jit.ScriptModule):
        return "it is compiled by TorchScript"
    cls = class_of(module)
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


def _why_not_back(module: torch.nn.Module) -> str | None:
    """Return why a layer of ours cannot be replaced by one of torch.nn; None where it can."""
    cls = class_of(module)
    if cls in _THEIRS:
        return None
    if issubclass(cls, (Recurrent, RecurrentCell)):
        return f"torch.nn has no class in the place of {cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__} is a class of its own"


def _on(bases: Mapping[type, type], cls: type) -> type:
    """Return the other engine's class for `cls`, or for what a parametrization made of it."""
    if cls in bases:
        return bases[cls]
    made: Any = type(cls.__name__, (bases[cls.__mro__[1]],), dict(cls.__dict__))
    return made  # type: ignore[no-any-return]
