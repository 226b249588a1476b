"""One step at a time without gradients: layers in torch.nn's place keep their weights packed, as a `Stepper` does.

A call of one step would pack all weights for it, and checks them in Python. Here the first such call of a layer packs
them, with a copy of what it packed; each later one compares the layer's weights with the copy, byte by byte, and packs
them again where they differ, whoever changed them. Large weights of one or two rows are multiplied where they lie
instead, and not compared. Values are those of any other call, bit for bit. What is not served here (another device,
autocast, what a mode or a transform is to see) goes the usual way, which is `layers`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from rnnkernels import _cpu
from rnnkernels.prepared import Prepared

from . import kernels, transforms

_TYPES = (torch.Tensor, torch.nn.Parameter)  # a subclass may stand for anything
_KINDS = (torch.float32, torch.float64)
KEPT = "_packed"  # an attribute

_EXCHANGES = hasattr(torch.Tensor, "__dlpack_c_exchange_api__")  # from PyTorch 2.10 on


class Packed(NamedTuple):
    """What a layer keeps for its steps, under the name `KEPT`; no copy and no pickle of the layer has it."""

    steps: Any  # _cpu.TensorSteps
    made_for: tuple[Any, ...]


def of_layers(layer: Any, x: Any, hx: Any) -> Any:
    """Return what a layer of torch.nn.RNN's kind gives for one step; None where this file does not serve the call."""
    if not _plain(x) or layer.bidirectional or (layer.training and layer.dropout > 0):
        return None
    several = layer.mode == "LSTM"
    kind = "batch_first" if layer.batch_first else "layers"
    done = _step(layer, x, _states(hx, several), kind, (layer.mode, layer.products, layer.trust_versions))
    if done is None:
        return None
    return done[0], done[1:] if several else done[1]


def of_cell(cell: Any, x: Any, hx: Any) -> Any:
    """Return what a cell of torch.nn.RNNCell's kind gives; None where this file does not serve the call."""
    if not _plain(x):
        return None
    several = isinstance(cell, torch.nn.LSTMCell)
    made_for = (getattr(cell, "nonlinearity", None), cell.products, cell.trust_versions)
    done = _step(cell, x, _states(hx, several), "cell", made_for)
    return done if done is None or several else done[0]


def _plain(x: Any) -> bool:
    """Whether nothing but the values of a call is asked for: no derivative, no recording, no other arithmetic."""
    return _EXCHANGES and not (
        torch.compiler.is_compiling()
        or torch.is_grad_enabled()
        or torch.autograd.forward_ad._current_level >= 0
        or type(x) not in _TYPES
        or x.dtype not in _KINDS
        or torch.is_autocast_enabled("cpu")
        or torch.jit.is_tracing()
        or transforms.at_work()
        or transforms.watched()
    )


def _states(hx: Any, several: bool) -> Any:
    return hx if hx is None or several else (hx,)


def _step(layer: Any, x: Any, state: Any, kind: str, made_for: tuple[Any, ...]) -> Any:
    if torch.autograd.profiler._is_profiler_enabled:
        with torch.profiler.record_function(f"rnnkernels.{layer._described()[0]} step"):
            return _steps(layer, x, state, kind, made_for)
    return _steps(layer, x, state, kind, made_for)


def _steps(layer: Any, x: Any, state: Any, kind: str, made_for: tuple[Any, ...]) -> Any:
    packed: Packed | None = layer.__dict__.get(KEPT)
    done: Any = False
    if packed is not None and packed.made_for == made_for:
        done = packed.steps.step(x, state, layer._parameters, kind)
    if done is False and x.dim() and (kind == "cell" or x.shape[int(kind == "batch_first" and x.dim() == 3)] == 1):
        packed = layer.__dict__[KEPT] = _pack(layer, x, made_for)
        done = packed is not None and packed.steps.step(x, state, layer._parameters, kind)
    return None if done is False else done


def _pack(layer: Any, x: Any, made_for: tuple[Any, ...]) -> Packed | None:
    """Return a layer's weights, packed; None where they are not plain tensors of the dtype of x, here."""
    cell, named = layer._described()
    parameters = [layer._parameters.get(path) for of in named for path in of.values()]
    if not all(type(p) in _TYPES and p.dtype == x.dtype and p.is_cpu for p in (x, *parameters)):
        return None
    # Counters first, copies next: what is packed is what later calls compare with, whoever changes it meanwhile.
    trusted = [(p, p.detach(), _version(p)) if layer.trust_versions else None for p in parameters]
    arrays = [kernels.array(p).copy() for p in parameters]
    rest = iter(arrays)
    try:
        layers = [Prepared(cell, {name: next(rest) for name in of}, products=layer.products)._layer for of in named]
    except (TypeError, ValueError):  # the usual way says so in its words
        return None
    names = [(path, name, layer) for layer, of in enumerate(named) for name, path in of.items()]
    weights = [(*name, array, origin) for name, array, origin in zip(names, arrays, trusted, strict=True)]
    return Packed(_cpu.tensor_steps(layers, weights, _TYPES), made_for)


def _version(tensor: torch.Tensor) -> int:
    return -2 if tensor.is_inference() else tensor._version  # -2: that of no tensor
