"""Layers whose weights are integers of 8 bits, for inference: `Quantized`, `QuantizedCell`, and `quantize`.

A quantised layer is a `Recurrent` whose parameters are buffers: int8 matrices, a scale for each of their rows, biases.
It takes what the layer took that it was made of. What is computed is `rnnkernels.Prepared`'s; docs/low_precision.md has
the arithmetic. Not here: `torch.ao.quantization`, which finds these classes in its table (`ao`).
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import PackedSequence

from rnnkernels._scalars import as_choice, as_flag, shown
from rnnkernels._swapped import Swapped
from rnnkernels.parameters import cell_info
from rnnkernels.quantized import quantize_params

from . import ao, kernels, layers
from .attention import AttentionRecurrent
from .recurrent import Recurrent, States, _Base
from .recurrent_cell import RecurrentCell
from .swapping import change, class_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Quantized", "QuantizedCell", "quantize"]

WEIGHTS = ("int8",)

# What layers keep that says nothing any more: of their parameters, and how these were to be multiplied.
_OF_TORCH = ("_flat_weights", "_flat_weights_names", "_flat_weight_refs", "allow_torch", "products", "qconfig")


class _Integers(_Base):
    """What both have in common; a mixin before the class whose calls they take."""

    _in_place_of: tuple[type, ...] = ()
    _scale: str  # the attribute with the scales of the first weight_ih

    def __init__(self, layer: torch.nn.Module) -> None:
        if not isinstance(layer, torch.nn.Module):
            raise TypeError(f"layer: expected a torch.nn.Module, got {shown(layer)}")
        why = why_not(layer)
        if why is None and _KINDS[class_of(layer)] is not type(self):
            why = f"it becomes a {_KINDS[class_of(layer)].__name__}"
        if why is not None:
            raise ValueError(f"layer: expected one that rnnkernels.torch.quantize takes, got {type(layer)}: {why}")
        super(_Base, self).__init__()
        twin = object.__new__(type(layer))
        for name, value in vars(layer).items():
            twin.__dict__[name] = copy.copy(value) if isinstance(value, dict) else value  # parameters, buffers, hooks
        _replace(twin)
        self.__dict__.update(twin.__dict__)

    @property
    def _like(self) -> torch.Tensor:
        scale: torch.Tensor = getattr(self, self._scale)
        return scale

    def reset_parameters(self) -> None:
        """Raise: integers are made of weights."""
        raise NotImplementedError(f"rnnkernels.torch.{type(self).__name__}: expected weights to be loaded, not drawn")

    def flatten_parameters(self) -> None:
        """Do nothing; models call it of torch.nn's layers."""

    def _refuse_gradients(self, *given: Any) -> None:
        """Raise where a result would have to have a gradient."""
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in _tensors(given)):
            raise NotImplementedError(
                f"rnnkernels.torch.{type(self).__name__}: int8 weights are for inference: expected tensors without "
                "gradients, or torch.no_grad(), got one that requires a gradient"
            )

    @classmethod
    def from_float(cls, mod: torch.nn.Module, use_precomputed_fake_quant: bool = False) -> _Integers:
        """Return a quantised layer of a layer of floats: what `torch.ao.quantization` calls.

        Parameters
        ----------
        mod : torch.nn.Module
            A layer that `quantize` takes; it stays as it is. PyTorch gives its hooks to what it gets.
        use_precomputed_fake_quant : bool
            Not read.

        Raises
        ------
        ValueError
            If there is no quantised form of the layer.
        """
        del use_precomputed_fake_quant
        made = cls(mod)
        made._forward_hooks, made._forward_pre_hooks = OrderedDict(), OrderedDict()
        return made


class Quantized(_Integers, Recurrent):
    """Layers over sequences with weights of int8, for inference.

    It is called as the layer that it is made of: as `Recurrent`, or as torch.nn.LSTM, GRU and RNN. Its `state_dict`
    has the integers under the weights' names and ``<name>_scale`` of float32 for each matrix; it loads what another
    one of the same sizes has saved. A call under which something requires a gradient raises.

    Parameters
    ----------
    layer : torch.nn.Module
        A sequence layer that `quantize` takes. It stays as it is; `quantize` changes a model's layers in place.

    Raises
    ------
    TypeError, ValueError
        If it is none, or has no quantised form.
    """

    def forward(
        self,
        input: torch.Tensor | PackedSequence,
        state: States = None,
        *,
        hx: States = None,
        lengths: Any = None,
        resets: torch.Tensor | None = None,
        reset_state: States = None,
        term: Any = None,
        all_states: bool = False,
    ) -> Any:
        """Run the layers over a batch of sequences.

        Parameters
        ----------
        input, state, lengths, resets, reset_state, term
            As in `Recurrent.forward`.
        hx
            torch.nn's name of `state`.
        all_states : False
            There are none.

        Returns
        -------
        output, state
            As `Recurrent.forward`.

        Raises
        ------
        TypeError, ValueError
            As `Recurrent.forward`.
        NotImplementedError
            If a tensor requires a gradient, or masks would be drawn: a layer in training that has any.
        """
        state = _state_of(state, hx)
        self._refuse_gradients(input, state, reset_state, term)
        if self.training and self.dropout > 0 and self.num_layers > 1:
            raise NotImplementedError(
                "rnnkernels.torch.Quantized: int8 weights are for inference: expected evaluation, model.eval(), got "
                f"training with dropout {self.dropout}"
            )
        if as_flag("all_states", all_states):
            raise ValueError("all_states: expected False, as with int8 weights there are outputs and last states alone")
        options = {"lengths": lengths, "resets": resets, "reset_state": reset_state, "term": term}
        return super().forward(input, state, **options)


class QuantizedCell(_Integers, RecurrentCell):
    """One step with weights of int8, for inference; see `Quantized`.

    Parameters
    ----------
    layer : torch.nn.Module
        A cell that `quantize` takes.

    Raises
    ------
    TypeError, ValueError
        If it is none, or has no quantised form.
    """

    def forward(
        self, input: torch.Tensor, state: States = None, *, hx: States = None, term: torch.Tensor | None = None
    ) -> States:
        """Run one step.

        Parameters
        ----------
        input, state, term
            As in `RecurrentCell.forward`.
        hx
            torch.nn's name of `state`.

        Returns
        -------
        Tensor (B, H), or tuple of them
            The states after the step, h first.

        Raises
        ------
        TypeError, ValueError, NotImplementedError
            As `Quantized.forward`.
        """
        state = _state_of(state, hx)
        self._refuse_gradients(input, state, term)
        return super().forward(input, state, term=term)


def quantize(model: torch.nn.Module, weights: str = "int8") -> Swapped:
    """Give every recurrent layer of a model weights of int8, in place, for inference.

    Takes torch.nn's RNN, LSTM, GRU and their cells, those of `rnnkernels.torch`, `Recurrent` and `RecurrentCell`. A
    layer stays the same object with its hooks and attributes, and becomes a `Quantized` or a `QuantizedCell`; its
    parameters, which optimisers may hold, are gone from it. Other layers of the model are not touched:
    `torch.ao.quantization.quantize_dynamic` takes Linear ones, before or after.

    A layer packs its integers in its first call, and again when PyTorch has counted a change of them: by
    `load_state_dict`, or anything in place. Writes that PyTorch does not count (through ``.data``, NumPy or another
    process) have no effect.

    Parameters
    ----------
    model : torch.nn.Module
        Of whatever depth; may be such a layer itself. A model that is to load a `state_dict` of a quantised one is
        quantised first.
    weights : {"int8"}
        What the weights become; see `rnnkernels.quantize_params`.

    Returns
    -------
    Swapped
        What was replaced, what was left and why, and what had int8 weights already.

    Raises
    ------
    TypeError, ValueError
        If `model` is no module, or `weights` no choice.
    """
    as_choice("weights", weights, WEIGHTS)
    done = Swapped(engine="rnnkernels with int8 weights")
    change(model, done, lambda module: isinstance(module, _Integers), why_not, _replace)
    looking = [path for path, module in model.named_modules() if isinstance(module, AttentionRecurrent)]
    done.left |= dict.fromkeys(looking, "it looks at features")
    return done


def why_not(module: torch.nn.Module) -> str | None:
    """Return why a layer cannot have weights of int8; None where it can."""
    if isinstance(module, torch.jit.ScriptModule):
        return "it is compiled by TorchScript"
    if torch.nn.utils.parametrize.is_parametrized(module):
        return "it is parametrized: torch.nn.utils.parametrize.remove_parametrizations leaves its weights as they are"
    cls = class_of(module)
    if cls not in _KINDS:
        return f"{cls.__module__}.{cls.__qualname__} is a class of its own"
    if isinstance(module, torch.nn.RNNCell) and module.nonlinearity not in ("tanh", "relu"):
        return f"its nonlinearity is {module.nonlinearity}"
    if isinstance(cell := getattr(module, "cell", None), str) and cell_info(cell)["heads"] > 1:
        return "its recurrent weights have heads"
    made = [at for named in _names(_blank(module)) for at in named.values() if at not in module._parameters]
    if made:
        return f"its {made[0]} is no parameter: torch.nn.utils.prune.remove, or its like, makes it one"
    for name, parameter in module.named_parameters():
        if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
            return f"its {name} is {parameter.dtype} on {parameter.device}, where int8 is made of float32 on the cpu"
        if not torch.isfinite(parameter).all():
            return f"its {name} has numbers that are not finite"
    return None


def _replace(module: Any) -> None:
    """Make a layer that `why_not` has nothing against a quantised one."""
    blank, kind = _blank(module), _KINDS[class_of(module)]
    names = _names(blank)
    # Buffers of inference mode could not be loaded outside of it, nor be told from others when they change.
    with torch.inference_mode(False), torch.no_grad():
        made = [dict(_integers(blank.cell, named, module)) for named in names]
    for name in _OF_TORCH:
        module.__dict__.pop(name, None)
    for name, value in vars(blank).items():
        if name not in module.__dict__ or name in ("_all_weights", "_names"):
            module.__dict__[name] = value
    module.__class__ = kind
    renamed: list[dict[str, str]] = []
    for named, buffers in zip(names, made, strict=True):
        renamed.append({})
        for name, tensor in buffers.items():
            at = named.get(name) or f"{named[name.removesuffix('_scale')]}_scale"
            module._parameters.pop(at, None)
            module.register_buffer(at, tensor)
            renamed[-1][name] = at
    if kind is Quantized:
        module._all_weights = renamed
    else:
        module._names = tuple(renamed[0])
    module._scale = renamed[0]["weight_ih_scale"]


def _integers(cell: str, named: dict[str, str], module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield what a layer's parameters become, by the kernels' names; `named`: name → attribute."""
    arrays = {name: kernels.array(getattr(module, at).detach()) for name, at in named.items()}
    for name, array in quantize_params(cell, arrays).items():
        yield name, torch.from_numpy(array.copy())


def _blank(module: Any) -> Any:
    """Return a layer of ours without values, of the sizes and options of another."""
    if isinstance(module, (Recurrent, RecurrentCell)):
        return module
    several = isinstance(module, torch.nn.RNNBase)
    sizes = (layers.cell_name(module), module.input_size, module.hidden_size)
    if not several:
        return RecurrentCell(*sizes, module.bias, device="meta")
    options = (module.num_layers, module.bias, module.batch_first, module.dropout, module.bidirectional)
    return Recurrent(*sizes, *options, module.proj_size, device="meta")


def _names(layer: Any) -> list[dict[str, str]]:
    """Return the parameters of each layer and direction of a layer of ours: the kernels' name → the attribute."""
    named: list[dict[str, str]] | None = getattr(layer, "_all_weights", None)
    return [{name: name for name in layer._names}] if named is None else named


def _state_of(state: States, hx: States) -> States:
    if state is not None and hx is not None:
        raise TypeError("hx: expected None beside state, of which it is torch.nn's name")
    return hx if state is None else state


def _tensors(given: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in what a call is given."""
    if isinstance(given, torch.Tensor):
        yield given
    elif isinstance(given, (tuple, list)):
        for part in given:
            yield from _tensors(part)


_KINDS: dict[type, type] = {
    **dict.fromkeys((torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU, layers.RNN, layers.LSTM, layers.GRU), Quantized),
    **dict.fromkeys((torch.nn.RNNCell, torch.nn.LSTMCell, torch.nn.GRUCell), QuantizedCell),
    **dict.fromkeys((layers.RNNCell, layers.LSTMCell, layers.GRUCell), QuantizedCell),
    Recurrent: Quantized,
    RecurrentCell: QuantizedCell,
}

ao.register({cls: kind for cls, kind in _KINDS.items() if cls.__module__.startswith("rnnkernels")})
