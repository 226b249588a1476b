"""torch.nn's layers and cells on these kernels: the same classes, with another engine.

Each is a subclass of PyTorch's own, which makes its parameters, names them and loads them. A call that the kernels
serve runs on them; any other is handed to PyTorch's class, so that what PyTorch refuses is refused in its words. What
it would take and these kernels do not (another device, say) raises, or runs there where `allow_torch` says so.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from rnnkernels._asked import Asked

from . import autocast, steps
from .graphs import Whole, leaf
from .kernels import no_kernels, serves
from .sequence import packed_batch, packed_rows_fit, run_layers, step

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def cell_name(layer: Any) -> str:
    """Return the cell of a layer, or of a cell, of torch.nn."""
    if isinstance(layer, torch.nn.RNNCellBase):
        if isinstance(layer, torch.nn.LSTMCell):
            return "lstm"
        return "gru" if isinstance(layer, torch.nn.GRUCell) else f"rnn_{layer.nonlinearity}"
    if layer.mode == "LSTM":
        return "lstm_projected" if layer.proj_size > 0 else "lstm"
    return str(layer.mode).lower()


# What a layer here has and torch.nn's has not: the attributes below, and what `steps` keeps.
OWN = ("allow_torch", "memory", "products", "trust_versions", steps.KEPT)


class _InPlace(Whole):
    """What layers and cells have in common; a mixin before PyTorch's class."""

    _theirs: type  # PyTorch's class
    # Whether a call that these kernels do not serve and PyTorch does is run by PyTorch.
    allow_torch: bool = False
    # What products multiply, "full" or "bfloat16": see rnnkernels.forward.
    products: str = "full"
    # Whether single steps believe PyTorch's counters of changes, and do not compare the weights: see swap.
    trust_versions: bool = False

    def __getstate__(self: Any) -> dict[str, Any]:
        theirs = getattr(super(), "__getstate__", None)  # not every release of Python and PyTorch has one
        state = self.__dict__ if theirs is None else theirs()
        return {name: value for name, value in state.items() if name != steps.KEPT}

    def __prepare_scriptable__(self) -> Any:
        """Return PyTorch's layer with these parameters where `allow_torch` says so; else raise."""
        theirs = type(self).__dict__.get("_theirs")  # a class of a user's own has another forward
        if theirs is None or not self.allow_torch:
            return super().__prepare_scriptable__()
        twin: Any = copy.copy(self)
        put_back(twin, theirs)
        warnings.warn(
            f"torch.jit.script: rnnkernels.torch.{type(self).__name__} is torch.nn.{theirs.__name__} now, in the model "
            "that is scripted, too; rnnkernels.torch.swap puts it back there",
            stacklevel=2,
        )
        return twin


def put_back(layer: Any, theirs: type) -> None:
    """Give a layer PyTorch's class; its parameters stay the same objects."""
    layer.__class__ = theirs
    for name in OWN:
        layer.__dict__.pop(name, None)


class _Layer(_InPlace):
    """What `RNN`, `LSTM` and `GRU` have in common."""

    # What a forward keeps for its backward, "all", "states" or "replay": see rnnkernels.forward.
    memory: str = "all"

    def _run(self: Any, theirs: Any, input: Any, hx: Any) -> Any:
        """Run a call, or hand it to `theirs`, PyTorch's forward."""
        done = steps.of_layers(self, input, hx)
        if done is not None:
            return done
        arranged = None if torch.jit.is_tracing() else _arrange(self, input, hx)
        if arranged is None:
            return _refuse(self, theirs, input, hx)
        x, batch_sizes, state = arranged
        weights = _weights(self)
        kinds = autocast.taken(x)
        if not all(_fits(w, x, kinds) for of in weights for w in of.values()):
            return _refuse(self, theirs, input, hx)
        asked = Asked(cell_name(self), batch_sizes=batch_sizes, memory=self.memory, products=self.products)
        region = autocast.region(x)
        if region is None:
            output, final = self._layers(asked, x, weights, state)
        else:
            dtypes = region.result_dtypes(asked.cell, x, state, batch_sizes is not None)
            with region.outside():
                output, final = self._layers(region.asked(asked), *map(region.cast, (x, weights, state)))
            output, final = output.to(dtypes[0]), tuple(s.to(d) for s, d in zip(final, dtypes, strict=True))
        if isinstance(input, PackedSequence):
            if input.unsorted_indices is not None:
                final = tuple(s.index_select(1, input.unsorted_indices) for s in final)
            output = PackedSequence(output.squeeze(1), *input[1:])
        elif input.dim() == 2:
            output, final = output.squeeze(1), tuple(s.squeeze(1) for s in final)
        elif self.batch_first:
            output = output.transpose(0, 1)
        return output, final if self.mode == "LSTM" else final[0]

    def _described(self: Any) -> tuple[str, list[dict[str, str]]]:
        """Return the cell, and where the weights of each layer and direction are, by name."""
        return cell_name(self), [dict(zip(_names(of), of, strict=True)) for of in self._all_weights]

    def _layers(self: Any, asked: Asked, x: Any, weights: Any, state: Any) -> tuple[Any, Any]:
        directions, dropout = 1 + self.bidirectional, self.dropout if self.training else 0.0
        done = run_layers(asked, x, weights, state, directions=directions, dropout=dropout)
        return done.output, done.final


def _weights(layer: Any) -> list[dict[str, Any]]:
    """Return the weights of each layer and direction by name; None for one that is missing."""
    if "parametrizations" in layer._modules:  # each reading of one makes it, or changes it: as often as PyTorch
        layer._update_flat_weights()
        flat = dict(zip(layer._flat_weights_names, layer._flat_weights, strict=True))
        return [dict(zip(_names(of), [flat[n] for n in of], strict=True)) for of in layer._all_weights]
    return [dict(zip(_names(of), [getattr(layer, n, None) for n in of], strict=True)) for of in layer._all_weights]


def _names(of: list[str]) -> list[str]:
    """weight_ih_l0_reverse → weight_ih."""
    return [name[: name.rindex("_l")] for name in of]


def _fits(tensor: Any, x: Any, kinds: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.dtype in kinds and tensor.device == x.device


def _arrange(layer: Any, input: Any, hx: Any) -> tuple[Any, Any, Any] | None:
    """Return x (T, B, I) or (N, 1, I), batch sizes, states (L·D, B, H); None where something does not fit."""
    batch_sizes: Any = None
    packed = isinstance(input, PackedSequence)
    x = input.data if packed else input
    if not isinstance(x, torch.Tensor) or x.dtype not in FLOATS or x.layout != torch.strided:
        return None
    if not isinstance(layer.bidirectional, bool) or isinstance(layer.num_layers, bool):
        # PyTorch takes these when it makes a layer, and refuses them when it runs it.
        return None
    if not serves(x.device) or x.dim() not in ((2,) if packed else (2, 3)) or x.shape[-1] != layer.input_size:
        return None
    batched = packed or x.dim() == 3
    if packed:
        batch_sizes = input.batch_sizes
        x = x.unsqueeze(1)
        batch = packed_batch(input, hx)
    else:
        x = x.unsqueeze(1) if not batched else x.transpose(0, 1) if layer.batch_first else x
        batch = x.shape[1]
    if x.shape[0] == 0 or (packed and not packed_rows_fit(input)):
        return None
    if hx is None:
        return x, batch_sizes, None

    state = tuple(hx) if layer.mode == "LSTM" and isinstance(hx, (tuple, list)) else (hx,)
    kinds = autocast.taken(x)
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    widths = [layer.proj_size or layer.hidden_size] + [layer.hidden_size] * (layer.mode == "LSTM")
    if len(state) != len(widths) or not all(_fits(s, x, kinds) for s in state):
        return None
    if not batched:
        if any(s.dim() != 2 for s in state):
            return None
        state = tuple(s.unsqueeze(1) for s in state)
    elif packed and input.sorted_indices is not None:
        if any(s.dim() != 3 or s.shape[1] != batch for s in state):
            return None
        state = tuple(s.index_select(1, input.sorted_indices) for s in state)
    if any(s.shape != (count, batch, width) for s, width in zip(state, widths, strict=True)):
        return None
    return x, batch_sizes, state


def _refuse(layer: Any, theirs: Any, *arguments: Any) -> Any:
    """Let PyTorch refuse a call in its own words; raise where it does not. Where torch.fx traces: a node."""
    node = leaf(layer, *arguments)
    if node is not None:
        return node
    first = arguments[0].data if isinstance(arguments[0], PackedSequence) else arguments[0]
    if isinstance(first, torch.Tensor) and not serves(first.device) and not layer.allow_torch:
        raise NotImplementedError(
            f"rnnkernels.torch.{type(layer).__name__}: expected tensors on the CPU, got {first.device}: "
            f"{no_kernels(first.device)}; allow_torch = True on the layer lets PyTorch run it"
        )
    if isinstance(layer, torch.nn.LSTM) and isinstance(arguments[0], PackedSequence):
        _check_packed(layer, *arguments)
    if isinstance(layer, torch.nn.LSTMCell):
        _check_unbatched(layer, *arguments)
    result = theirs(*arguments)
    if layer.allow_torch:
        return result
    if torch.jit.is_tracing():
        raise NotImplementedError(
            f"rnnkernels.torch.{type(layer).__name__}: torch.jit.trace cannot hold these kernels; torch.export and "
            "torch.onnx.export(dynamo=True) can; allow_torch = True on the layer puts PyTorch's in the trace"
        )
    raise NotImplementedError(
        f"rnnkernels.torch.{type(layer).__name__}: PyTorch takes this call, these kernels do not: they take dense "
        "float32, float64, bfloat16 and float16 tensors on the CPU, all of one dtype, and as many states of the shape "
        "that torch.nn documents; allow_torch = True on the layer lets PyTorch run it"
    )


def _check_packed(layer: Any, input: Any, hx: Any) -> None:
    """Raise as PyTorch's other layers do: its LSTM does not check a packed batch, and reads past the end of it."""
    if hx is None:
        layer.check_input(input.data, input.batch_sizes)
    elif isinstance(hx, (tuple, list, torch.Tensor)) and all(isinstance(s, torch.Tensor) for s in hx) and len(hx) > 1:
        layer.check_forward_args(input.data, hx, input.batch_sizes)


def _check_unbatched(cell: Any, input: Any, hx: Any) -> None:
    """Raise as PyTorch's layers do: its LSTMCell takes as many rows as the cell is wide for one, and crashes."""
    rows = [s for s in hx if getattr(s, "ndim", 0) == 2] if isinstance(hx, (tuple, list)) else []
    if getattr(input, "ndim", 0) == 1 and any(s.shape[0] == cell.hidden_size for s in rows):
        raise RuntimeError("For unbatched 1-D input, hx and cx should also be 1-D but got 2-D tensors")


_RECURRENTS = ("lengths", "resets", "reset_state", "term", "all_states")


def _check_no_other(layer: Any, other: dict[str, Any]) -> None:
    """Raise as Python does of torch.nn's layers; of what `Recurrent` takes the sentence goes on, and names it."""
    if type(other) is not dict or not other:  # torch.fx traces with something else
        return
    name = next(iter(other))
    said = f"{type(layer).__name__}.forward() got an unexpected keyword argument {name!r}"
    if name in _RECURRENTS:
        made = f"{cell_name(layer)!r}, {layer.input_size}, {layer.hidden_size}, ..."
        takes = f"{', '.join(_RECURRENTS[:-1])} and {_RECURRENTS[-1]}"
        said += f"; rnnkernels.torch.Recurrent({made}) takes {takes}, and loads this layer's state_dict"
    raise TypeError(said)


class RNN(_Layer, torch.nn.RNN):  # type: ignore[misc]
    """torch.nn.RNN on these kernels: the same arguments, parameters, results and errors."""

    _theirs = torch.nn.RNN
    _in_place_of = (torch.nn.RNN, torch.nn.GRU)

    def forward(self, input: Any, hx: Any = None, **other: Any) -> Any:
        """As torch.nn.RNN's."""
        _check_no_other(self, other)
        return self._run(super().forward, input, hx)


class LSTM(_Layer, torch.nn.LSTM):  # type: ignore[misc]
    """torch.nn.LSTM on these kernels: the same arguments, parameters, results and errors."""

    _theirs = torch.nn.LSTM
    _in_place_of = (torch.nn.LSTM,)

    def forward(self, input: Any, hx: Any = None, **other: Any) -> Any:
        """As torch.nn.LSTM's."""
        _check_no_other(self, other)
        return self._run(super().forward, input, hx)


class GRU(_Layer, torch.nn.GRU):  # type: ignore[misc]
    """torch.nn.GRU on these kernels: the same arguments, parameters, results and errors."""

    _theirs = torch.nn.GRU
    _in_place_of = (torch.nn.GRU,)

    def forward(self, input: Any, hx: Any = None, **other: Any) -> Any:
        """As torch.nn.GRU's."""
        _check_no_other(self, other)
        return self._run(super().forward, input, hx)


# ---- cells -------------------------------------------------------------------------------------------


class _Cell(_InPlace):
    """What `RNNCell`, `LSTMCell` and `GRUCell` have in common."""

    def _run(self: Any, theirs: Any, input: Any, hx: Any) -> Any:
        """Run a call, or hand it to `theirs`, PyTorch's forward."""
        done = steps.of_cell(self, input, hx)
        if done is not None:
            return done
        several = isinstance(self, torch.nn.LSTMCell)
        state = None if hx is None else tuple(hx) if several and isinstance(hx, (tuple, list)) else (hx,)
        names = _NAMES if self.bias_ih is not None else _NAMES[:2]
        weights = {name: getattr(self, name) for name in names}
        if torch.jit.is_tracing() or not _served(self, input, state, weights):
            return _refuse(self, theirs, input, hx)
        batched = input.dim() == 2
        x = input.unsqueeze(0) if batched else input.view(1, 1, -1)
        if state is not None and not batched:
            state = tuple(s.unsqueeze(0) for s in state)
        cell = cell_name(self)
        region, asked = autocast.region(x), Asked(cell, products=self.products)
        if region is None:
            final = step(asked, x, weights, state).final
        else:
            with region.outside():
                final = step(region.asked(asked), *map(region.cast, (x, weights, state))).final
            dtypes = region.result_dtypes(cell, x, state, True)
            final = tuple(s.to(d) for s, d in zip(final, dtypes, strict=True))
        if not batched:
            final = tuple(s.squeeze(0) for s in final)
        return final if several else final[0]

    def _described(self: Any) -> tuple[str, list[dict[str, str]]]:
        """Return the cell, and where its weights are, by name."""
        names = _NAMES if self.bias_ih is not None else _NAMES[:2]
        return cell_name(self), [dict(zip(names, names, strict=True))]


def _served(cell: Any, input: Any, state: Any, weights: dict[str, Any]) -> bool:
    if not isinstance(input, torch.Tensor) or input.dtype not in FLOATS or input.layout != torch.strided:
        return False
    if not serves(input.device) or input.dim() not in (1, 2) or input.shape[-1] != cell.input_size:
        return False
    if isinstance(cell, torch.nn.RNNCell) and cell.nonlinearity not in ("tanh", "relu"):
        return False
    if cell.input_size < 1 or cell.hidden_size < 1:
        return False
    shape = (*input.shape[:-1], cell.hidden_size)
    kinds = autocast.taken(input)
    count = 2 if isinstance(cell, torch.nn.LSTMCell) else 1
    if state is not None and (
        len(state) != count or any(not _fits(s, input, kinds) or s.shape != shape for s in state)
    ):
        return False
    return all(_fits(w, input, kinds) for w in weights.values())


class RNNCell(_Cell, torch.nn.RNNCell):  # type: ignore[misc]
    """torch.nn.RNNCell on these kernels: the same arguments, parameters, results and errors."""

    _theirs = torch.nn.RNNCell
    _in_place_of = (torch.nn.RNNCell,)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As torch.nn.RNNCell's."""
        return self._run(super().forward, input, hx)


class LSTMCell(_Cell, torch.nn.LSTMCell):  # type: ignore[misc]
    """torch.nn.LSTMCell on these kernels: the same arguments, parameters, results and errors."""

    _theirs = torch.nn.LSTMCell
    _in_place_of = (torch.nn.LSTMCell,)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As torch.nn.LSTMCell's."""
        return self._run(super().forward, input, hx)


class GRUCell(_Cell, torch.nn.GRUCell):  # type: ignore[misc]
    """torch.nn.GRUCell on these kernels: the same arguments, parameters, results and errors."""

    _theirs = torch.nn.GRUCell
    _in_place_of = (torch.nn.GRUCell,)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As torch.nn.GRUCell's."""
        return self._run(super().forward, input, hx)
