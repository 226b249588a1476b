"""Tools that would take a layer apart: torch.fx makes a leaf of it, TorchScript says why not.

Each leaves torch.nn's own classes whole and opens every other. Not here: `torch.compile` and `torch.export`, to which a
call is an operator (`operators`), quantisation (`ao`), and ONNX (`export`).
"""

from __future__ import annotations

from typing import Any

import torch

from .ao import Quantizable


class Whole(Quantizable):
    """A mixin before PyTorch's class: a layer that TorchScript refuses in words."""

    def __prepare_scriptable__(self) -> Any:
        """Raise; `torch.jit.script` asks every module of a model for one that it can compile."""
        raise NotImplementedError(
            f"torch.jit.script: expected layers of torch.nn, got rnnkernels.torch.{type(self).__name__}; torch.export "
            "takes these layers, and rnnkernels.torch.unswap(model) puts torch.nn's classes in their places"
        )


def leaf(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Return a node of torch.fx that calls `layer`, where an argument is what torch.fx traces with; None where none is.

    Raises
    ------
    NotImplementedError
        If `layer` is the whole model, or has hooks: they have run before this, and would run in the graph again.
    """
    proxy = _proxy((*args, *kwargs.values()))
    if proxy is None:
        return None
    name = f"rnnkernels.torch.{type(layer).__name__}"
    path = proxy.tracer.path_of_module(layer)
    if not path:
        raise NotImplementedError(f"torch.fx: expected a model around a layer, got {name} itself")
    if any(_changes_calls(hook) for hook in (*layer._forward_pre_hooks.values(), *layer._forward_hooks.values())):
        raise NotImplementedError(
            f"torch.fx: {path}, {name}: expected no forward hooks; a torch.fx.Tracer whose is_leaf_module is true for "
            "this layer takes it with its hooks"
        )
    return proxy.tracer.create_proxy("call_module", path, args, kwargs)


def _proxy(given: Any) -> torch.fx.Proxy | None:
    if isinstance(given, torch.fx.Proxy):
        return given
    for part in given if isinstance(given, (tuple, list)) else ():
        found = _proxy(part)
        if found is not None:
            return found
    return None


def _changes_calls(hook: Any) -> bool:
    """Whether a hook may change what a layer takes or gives: those of torch.nn.utils make a weight, again and again."""
    return not type(hook).__module__.startswith("torch.nn.utils.")
