"""What the recurrent layers of a PyTorch module compute in one call: each layer, each direction, a `Part`.

A hook on each layer of torch.nn and of `rnnkernels.torch` keeps what the layer was given and what it gave. Of several
layers in one module PyTorch gives the last one's outputs alone; those between are computed by our kernels from the
module's weights, and are left out where the kernels' last outputs are not the module's.

Not here: the file (check_model.py), and what is said of the two (check_causes.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import rnnkernels as rk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rnnkernels.parameters import Array, Params


@dataclass(frozen=True, eq=False)
class Part:
    """One direction of one layer in one call.

    Attributes
    ----------
    name : str
        ``"encoder.rnn, layer 1, reverse"``.
    cell : str
    params : dict of str to ndarray
        Under our names, float32 or float64.
    reverse : bool
    x : ndarray, (T, B, I)
    state : tuple of ndarray, (B, H) each, or None
        What the layer was given; None: nothing, which is zeros.
    lengths : ndarray, (B,), or None
    output : ndarray, (T, B, H), or None
        None where nobody can tell.
    final : tuple of ndarray, (B, H) each, or None
    projection : int
        The size of a projected h; 0: none.
    """

    name: str
    cell: str
    params: Params
    reverse: bool
    x: Array
    state: tuple[Array, ...] | None
    lengths: Array | None
    output: Array | None
    final: tuple[Array, ...] | None
    projection: int = 0


class Ran(NamedTuple):
    """A call of a module: its parts in the order in which they ran, and its outputs."""

    parts: list[Part]
    outputs: list[Array]
    layers: list[str]  # the names of all recurrent layers, those that did not run among them


class _Call(NamedTuple):
    """What a layer was called with, time first and with a batch, and what it gave."""

    x: Array  # (T, B, I)
    state: list[Array]  # each (layers * directions, B, H)
    lengths: Array | None
    output: Array  # (T, B, directions * H)
    final: list[Array]


def run_module(module: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Ran:
    """Call a module as evaluation does, and return what its recurrent layers did; its modes are put back.

    Raises
    ------
    ValueError
        If the module does not take the inputs, in the module's words.
    """
    import torch  # noqa: PLC0415 - of this check alone

    layers = {name: layer for name, layer in module.named_modules() if _is_recurrent(layer)}
    names = {id(layer): name or type(layer).__name__ for name, layer in layers.items()}
    parts: list[Part] = []

    def keep(layer: Any, given: tuple[Any, ...], named: dict[str, Any], result: Any) -> None:
        parts.extend(_parts(names[id(layer)], layer, given, named, result))

    modes = [(each, each.training) for each in module.modules()]
    hooks = [layer.register_forward_hook(keep, with_kwargs=True) for layer in layers.values()]
    try:
        module.eval()
        with torch.no_grad():
            outputs = module(*args, **kwargs)
    except Exception as error:
        raise ValueError(f"inputs: the module does not take them: {type(error).__name__}: {error!s:.300}") from error
    finally:
        for hook in hooks:
            hook.remove()
        for each, mode in modes:
            each.training = mode
    return Ran(parts, [as_array(t) for t in tensors(outputs)], list(names.values()))


def tensors(value: Any) -> Iterator[Any]:
    """Yield the tensors and arrays of nested tuples, lists and mappings, in order."""
    if hasattr(value, "detach") or isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors(each)
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from tensors(each)


def as_array(tensor: Any) -> Array:
    """Return a tensor as an array, halves as float32."""
    if isinstance(tensor, np.ndarray):
        return tensor
    tensor = tensor.detach().cpu()
    wide = tensor.is_floating_point() and tensor.element_size() < np.dtype(np.float32).itemsize
    return np.asarray((tensor.float() if wide else tensor).numpy())


def _is_recurrent(layer: Any) -> bool:
    import torch  # noqa: PLC0415

    theirs = (torch.nn.RNNBase, torch.nn.RNNCellBase)
    return isinstance(layer, theirs) or _is_ours(layer)


def _is_ours(layer: Any) -> bool:
    from rnnkernels.torch import Recurrent, RecurrentCell  # noqa: PLC0415 - needs PyTorch

    return isinstance(layer, (Recurrent, RecurrentCell))


def _parts(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> list[Part]:
    """Return the parts of one call of a layer, or of a cell, which is a layer of one step."""
    from rnnkernels.torch.layers import cell_name  # noqa: PLC0415 - needs PyTorch

    cell = layer.cell if _is_ours(layer) else cell_name(layer)
    weights = _weights(layer)
    call = _read(layer, args, kwargs, result)
    states = len(rk.cell_info(cell)["states"])
    projection = int(getattr(layer, "proj_size", 0))
    ways = len(weights[0])
    x, parts = call.x, list[Part]()
    for number, directions in enumerate(weights):
        here = []
        for way, params in enumerate(directions):
            at = number * ways + way
            state = tuple(each[at] for each in call.state) or None
            run = rk.forward(cell, x, params, state, reverse=bool(way), lengths=call.lengths, training=False)
            said = name + (f", layer {number}" if len(weights) > 1 else "") + (", reverse" if way else "")
            final = tuple(each[at] for each in call.final) if len(call.final) == states else None
            here.append(
                Part(said, cell, params, bool(way), x, state, call.lengths, np.asarray(run.output), final, projection)
            )
        parts += here
        x = np.concatenate([np.asarray(part.output) for part in here], axis=-1)
    last = np.split(call.output, ways, axis=-1)
    known = x.shape == call.output.shape and np.allclose(x, call.output, rtol=1e-3, atol=1e-3)
    for at, part in enumerate(parts):
        output = last[at - len(parts) + ways] if at >= len(parts) - ways else part.output if known else None
        parts[at] = _unprojected(replace(part, output=output)) if projection else replace(part, output=output)
    return parts


def _unprojected(part: Part) -> Part:
    """Return a projected part as ONNX can say it: W_hh W_hr for W_hh, and h as it is before the projection."""
    params, cell = dict(part.params), part.cell.removesuffix("_projected")
    if cell == part.cell:
        return part
    params["weight_hh"] = params["weight_hh"] @ params.pop("weight_hr")
    if part.state is not None and any(each.any() for each in part.state):
        return replace(part, cell=cell, params=params, state=None, output=None, final=None)
    run = rk.forward(cell, part.x, params, reverse=part.reverse, lengths=part.lengths, training=False)
    return replace(part, cell=cell, params=params, state=None, output=np.asarray(run.output), final=None)


def _weights(layer: Any) -> list[list[Params]]:
    """Return the parameters of each layer and direction under our names."""
    if hasattr(layer, "all_weights"):  # of torch.nn's layers
        names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if layer.bias else [])]
        names += ["weight_hr"] if layer.proj_size else []
        each = [dict(zip(names, weights, strict=True)) for weights in layer.all_weights]
    elif hasattr(layer, "_all_weights"):  # of `Recurrent`
        each = [{name: getattr(layer, of) for name, of in named.items()} for named in layer._all_weights]
    else:
        names = list(getattr(layer, "_names", ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))
        each = [{name: getattr(layer, name) for name in names if getattr(layer, name, None) is not None}]
    ways = 2 if getattr(layer, "bidirectional", False) else 1
    found = [{name: as_array(tensor) for name, tensor in of.items()} for of in each]
    return [found[at : at + ways] for at in range(0, len(found), ways)]


def _read(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> _Call:
    """Return what a layer was called with and what it gave, time first and with a batch."""
    import torch  # noqa: PLC0415

    given = dict(zip(("input", "state"), args, strict=False)) | kwargs
    x, state = given["input"], given.get("state", given.get("hx"))
    states = list(tensors(state))
    lengths = None if given.get("lengths") is None else np.asarray(as_array(torch.as_tensor(given["lengths"])))
    step = isinstance(layer, torch.nn.RNNCellBase) or not hasattr(layer, "num_layers")
    if step:
        final = [as_array(each) for each in tensors(result)]
        x, states = _vectors(layer, x), [as_array(each) for each in states]
        if not _is_batch(layer, x):
            x, states, final = x[None], [each[None] for each in states], [each[None] for each in final]
        return _Call(x[None], [each[None] for each in states], None, final[0][None], [each[None] for each in final])
    output, final = result[0], [as_array(each) for each in tensors(result[1])]
    if isinstance(x, torch.nn.utils.rnn.PackedSequence):
        x, lengths = _unpacked(x)
        order = given["input"].sorted_indices
        states = [each if order is None else each.index_select(1, order) for each in states]
        final = [each if order is None else each[:, order.numpy()] for each in final]
        return _Call(x, [as_array(each) for each in states], lengths, _unpacked(output)[0], final)
    x, output, states = _vectors(layer, x), as_array(output), [as_array(each) for each in states]
    if not _is_batch(layer, x):
        states, final = ([each[:, None] for each in of] for of in (states, final))
        x, output = x[:, None], output[:, None]
        lengths = None if lengths is None else lengths.reshape(1)
    elif layer.batch_first:
        x, output = x.swapaxes(0, 1), output.swapaxes(0, 1)
    return _Call(np.ascontiguousarray(x), states, lengths, np.ascontiguousarray(output), final)


def _vectors(layer: Any, x: Any) -> Array:
    """Return a layer's input as an array, tokens as the vectors that they stand for."""
    array = as_array(x)
    return array if array.dtype.kind == "f" else np.eye(layer.input_size, dtype=np.float32)[array]


def _is_batch(layer: Any, x: Array) -> bool:
    return x.ndim == (3 if hasattr(layer, "num_layers") else 2)


def _unpacked(packed: Any) -> tuple[Array, Array]:
    """Return a PackedSequence's steps (T, B, I) and lengths (B,), rows in its own order: that of an exported node."""
    import torch  # noqa: PLC0415

    sorted_ = torch.nn.utils.rnn.PackedSequence(packed.data, packed.batch_sizes)
    padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(sorted_)
    return as_array(padded), lengths.numpy()
