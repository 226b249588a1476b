"""One call of the kernels on PyTorch tensors: what autograd and the operators run. No gradients are recorded here.

Tensors are read where they lie, as NumPy arrays that share their memory or, on a GPU, as they are; results are fresh.
"""

from __future__ import annotations

import operator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from rnnkernels import _arrays, _cpu, _serve, cuda, functional
from rnnkernels._arguments import as_layer, as_settings
from rnnkernels._call import Ahead, Call, Rows, present
from rnnkernels.memory.states import States
from rnnkernels.parameters import NAMES, Layer, cell_info
from rnnkernels.prepared import Prepared
from rnnkernels.run import Run, Whole

from . import packed
from .spec import Spec

SCALE = "weight_ih_scale"  # which the weights of a layer have where they are integers
BEHIND = 64  # bytes behind a reserve of the CPU's that say whose it is; also its alignment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rnnkernels import run
    from rnnkernels._asked import Asked
    from rnnkernels.noise import Drawn

    from .spec import Walk

    Tensors = tuple[torch.Tensor, ...]


class Forward(NamedTuple):
    """What a forward gave."""

    output: torch.Tensor  # (T, B, H)
    final: Tensors  # each (B, H)
    sequences: Tensors  # the states after h, each (T, B, H), where they were asked for
    kept: Kept | None

    @property
    def tensors(self) -> Tensors:
        """All of them, one after another."""
        return (self.output, *self.final, *self.sequences)


class Backward(NamedTuple):
    """What a backward gave: dL/d(each tensor of the call), None where it has none."""

    x: torch.Tensor | None
    tensors: tuple[torch.Tensor | None, ...]  # as the call's after x


class Kept:
    """What a forward keeps for its backward, where the tensors of the call lay.

    Attributes
    ----------
    spec : Spec
    run : rnnkernels.run.Kept
    """

    def __init__(self, spec: Spec, run: run.Kept, given: Sequence[torch.Tensor]) -> None:
        self.spec = spec
        self.run = run
        self._places = _places(given)

    @property
    def reserve(self) -> Any:
        """The reserve of a direct call; None of another."""
        return self.run.reserve if self.spec.asked.direct and isinstance(self.run, Whole) else None

    def following(self, given: Sequence[torch.Tensor]) -> Kept:
        """Return this for tensors of a call that lie elsewhere by now: x and those after it, as autograd saved them.

        Sharded training frees a layer's weights after its forward and gathers them anew, at another place, for its
        backward; hooks on saved tensors may do so to any of them.
        """
        if self._places == _places(given):
            return self
        x, *tensors = given
        if self.spec.asked.direct and isinstance(self.run, Whole):
            call = _make_call(self.spec, array(x), list(map(array, tensors)))
            return Kept(self.spec, self.run._replace(call=call), given)
        return present(forward(self.spec, x, tuple(tensors), True).kept, "what a forward keeps")

    def backward(
        self,
        d_output: torch.Tensor | None,
        d_final: Sequence[torch.Tensor | None],
        d_sequences: Sequence[torch.Tensor | None],
        shapes: Sequence[Sequence[int]],
        need_x: bool,
    ) -> Backward:
        """Return the gradients; `shapes` of the final states."""
        if _profiler._is_profiler_enabled:
            with torch.profiler.record_function(f"rnnkernels.{self.spec.asked.cell} backward"):
                return self._backward(d_output, d_final, d_sequences, shapes, need_x)
        return self._backward(d_output, d_final, d_sequences, shapes, need_x)

    def _backward(self, d_output: Any, d_final: Any, d_sequences: Any, shapes: Any, need_x: bool) -> Backward:
        d_state = None
        known = next((d for d in d_final if d is not None), None)
        if known is not None:
            d_state = tuple(
                array(known.new_zeros(shape) if d is None else d) for d, shape in zip(d_final, shapes, strict=True)
            )
        ahead = Ahead(
            None if d_output is None else array(d_output),
            d_state,
            tuple(None if d is None else array(d) for d in d_sequences),
        )
        found = self.run.backward(ahead, need_x=need_x, norms=False)
        spec = self.spec
        grads: list[Any] = [found.params[name] for name in spec.names]
        if spec.states:
            grads += found.state
        if spec.reset_states:
            grads += present(found.reset_state, "gradients of the reset states")
        if spec.term:
            grads.append(found.term)
        return Backward(None if found.x is None else _tensor(found.x), _tensors(grads))


_on_gpu = operator.attrgetter("is_cuda")
_profiler = torch.autograd.profiler  # where it is on, calls have a name in it


def serves(device: torch.device) -> bool:
    """Whether there are kernels for tensors of a device; of a GPU, whether they were built and find it."""
    return device.type in ("cpu", "meta") or (device.type == "cuda" and cuda.available())


def no_kernels(device: torch.device) -> str:
    """Return why a device has no kernels."""
    why = f": {cuda.reason()}" if device.type == "cuda" else ""
    return f"there are no kernels for it here{why}"


def _places(tensors: Sequence[torch.Tensor]) -> tuple[int, ...]:
    return tuple(map(torch.Tensor.data_ptr, tensors))


class _Memory:
    """A tensor as NumPy reads it. Tensor.numpy would mark its storage, which none could resize any more: FSDP does."""

    __slots__ = ("__array_interface__", "tensor")
    __array_interface__: dict[str, Any]
    tensor: torch.Tensor


# What the kernels read in place: NumPy's name of each dtype, and the bytes that its elements are aligned to.
_KINDS = {
    kind: (np.dtype(str(kind)[6:]).str, np.dtype(str(kind)[6:]).itemsize)
    for kind in (torch.float32, torch.float64, torch.int64)
}


def array(tensor: torch.Tensor) -> Any:
    """`tensor` as an array of its memory, a copy where the kernels cannot read that; on a GPU the tensor itself."""
    if _on_gpu(tensor):
        return tensor.detach().resolve_neg().contiguous()
    kind = _KINDS.get(tensor.dtype)
    if kind is None or tensor.is_neg():  # the kernels refuse the one; the other is a view that has yet to be negated
        return tensor.detach().resolve_neg().contiguous().numpy()
    tensor = tensor if tensor.is_contiguous() else tensor.detach().contiguous()
    address = tensor.data_ptr()
    if address % kind[1]:  # the tensor of a file whose header is not padded, or of a packet
        tensor = tensor.detach().clone()
        address = tensor.data_ptr()
    memory = _Memory()
    memory.tensor = tensor
    memory.__array_interface__ = {
        "shape": tensor.shape,
        "typestr": kind[0],
        "data": (address, False),
        "version": 3,
    }
    return np.asarray(memory)


def forward(spec: Spec, x: torch.Tensor, tensors: Tensors, keep: bool) -> Forward:
    """Run a call; `keep` what its backward needs, where no change of the results in place can reach it.

    Raises
    ------
    TypeError, ValueError
        As `rnnkernels.forward`.
    """
    if _profiler._is_profiler_enabled:
        with torch.profiler.record_function(f"rnnkernels.{spec.asked.cell}"):
            return _forward(spec, x, tensors, keep)
    return _forward(spec, x, tensors, keep)


def _forward(spec: Spec, x: torch.Tensor, tensors: Tensors, keep: bool) -> Forward:
    if SCALE in spec.names:
        return _forward_packed(spec, x, tensors, keep)
    inputs, arrays = array(x), list(map(array, tensors))
    if spec.asked.direct or spec.walk is not None:
        output, final, sequences, run = _run_call(spec, _make_call(spec, inputs, arrays), keep)
    else:
        done = _run_layer(spec, inputs, arrays, keep)
        output, final, run = done.output, done.state, done._kept if keep else None
        sequences = None if done.states is None else done.states[1:]
    if run is None:
        return Forward(_tensor(output), _tensors(final), _tensors(sequences or ()), None)
    result, later = _tensor(output), _tensors(sequences or ())
    if spec.seen:
        result = result.clone()
        if spec.asked.memory != "all":  # then the backward reads these, too
            later = tuple(s.clone() for s in later)
    return Forward(result, _tensors(final), later, Kept(spec, run, (x, *tensors)))


def _forward_packed(spec: Spec, x: torch.Tensor, tensors: Tensors, keep: bool) -> Forward:
    """Run a call whose weights are integers, which has no backward."""
    asked, walk = spec.asked, spec.walk
    wrong = "gradients" if keep else "all_states" if asked.all_states else None
    if wrong is None and asked.noise is not None and not asked.noise.expected:
        wrong = "masks, which are drawn in training: expected evaluation, model.eval()"
    if wrong is not None:
        raise NotImplementedError(f"rnnkernels.torch: a layer with int8 weights is for inference, and has no {wrong}")
    parts = spec.split(tensors)
    layer = _packed_layer(asked, parts.weights, tokens=not x.is_floating_point())
    inputs, term = array(x), None if parts.term is None else array(parts.term)
    state, reset_state = (None if of is None else tuple(map(array, of)) for of in (parts.state, parts.reset_state))
    noise = _noise_of(asked, walk, inputs)
    if walk is None:
        output, final = layer._run(asked, inputs, state, reset_state, term, noise)
    else:
        output, final = layer._layer.forward(inputs, state, Rows(walk.starts, walk.places), term, noise)
    return Forward(_tensor(output), _tensors(final), (), None)


def _packed_layer(asked: Asked, weights: dict[str, torch.Tensor], *, tokens: bool) -> Prepared:
    """Return a layer of integers, packed once while its tensors stay what they are."""

    def make() -> Prepared:
        for name, tensor in weights.items():
            if _on_gpu(tensor) or tensor.dtype not in (torch.int8, torch.float32):
                raise TypeError(
                    f"{name}: expected int8 weights, float32 scales and biases, on the CPU, got {tensor.dtype} on "
                    f"{tensor.device}"
                )
        arrays = {name: array(tensor) for name, tensor in weights.items()}
        return Prepared(asked.cell, arrays, tokens=tokens, cell_clip=asked.cell_clip)

    return packed.layer_of((asked.cell, asked.cell_clip, tokens), tuple(weights.values()), make)


def kept_again(spec: Spec, x: torch.Tensor, tensors: Tensors, output: torch.Tensor, reserve: torch.Tensor) -> Kept:
    """Return what a forward of a direct call kept, from its output and the bytes of its reserve."""
    call = _make_call(spec, array(x), list(map(array, tensors)))
    return Kept(spec, Whole(call, array(output), reserve_of(reserve)), (x, *tensors))


def output_of(kept: Kept) -> torch.Tensor:
    """Return the output (T, B, H) that the backward of a direct call reads."""
    return _tensor(kept.run.output)  # type: ignore[attr-defined]


def bytes_of(reserve: Any) -> torch.Tensor:
    """Return a reserve's memory."""
    return torch.frombuffer(reserve, dtype=torch.uint8) if isinstance(reserve, _cpu.Reserve) else reserve.view.owner


def reserve_of(memory: torch.Tensor) -> Any:
    """Return the reserve of a memory: `bytes_of`, backwards."""
    if _on_gpu(memory):
        return cuda.extension.load().Reserve(_arrays.frame_of_tensor(memory).view(memory))
    return _cpu.Reserve(memory.numpy())


def reserve_size(cell: str, hidden: int, like: torch.Tensor, keeps_units: bool) -> tuple[int, int]:
    """Return the bytes of a reserve for each row of a step, and behind them all; `like`: a weight."""
    name = str(like.dtype)[6:]
    if _on_gpu(like):
        return cuda.extension.load().reserve_size(cell, hidden, name, keeps_units), 0
    return _cpu.reserve_size(cell, hidden, name, keeps_units), BEHIND


def _make_call(spec: Spec, x: Any, arrays: list[Any]) -> Call:
    """Return the call of the extension; `arrays` of a call's tensors after x."""
    asked, walk = spec.asked, spec.walk
    names, states = _layout(asked.cell, spec.names)
    if names[1] is None:  # no weight_hh
        layer = as_layer(asked.cell, spec.split(arrays).weights)
    else:
        layer = Layer._make([None if k is None else arrays[k] for k in names])
    first = len(spec.names)
    state = tuple(arrays[first : first + states]) if spec.states else None
    noise, rows = _noise_of(asked, walk, x), None if walk is None else Rows(walk.starts, walk.places)
    settings = () if asked.cell_clip is None else as_settings(asked.cell, asked.cell_clip)
    return Call(asked.cell, x, layer, state, rows, arrays[-1] if spec.term else None, noise, settings, asked.products)


def _noise_of(asked: Asked, walk: Walk | None, x: Any) -> Drawn | None:
    """Return a call's masks for the rows that it has."""
    noise = asked.noise
    if noise is None or walk is None:
        return None if noise is None else noise._replace(batch=x.shape[1])
    return noise._replace(batch=int(walk.starts[1]) if len(walk.starts) > 1 else 0, places=walk.masks)


@cache
def _layout(cell: str, names: tuple[str, ...]) -> tuple[tuple[int | None, ...], int]:
    """Return where each weight of a layer, in the extension's order, stands in `names`; and the cell's states."""
    return tuple(names.index(name) if name in names else None for name in NAMES), len(cell_info(cell)["states"])


def _run_call(spec: Spec, call: Call, keep: bool) -> tuple[Any, Any, Any, run.Kept | None]:
    """Run a call whose rows are in order: output, final states, the sequences of those after h, what is kept."""
    asked = spec.asked
    if asked.memory == "all":
        output, final, reserve, sequences = _serve.forward(call, keep, asked.all_states)
        return output, final, sequences, None if reserve is None else Whole(call, output, reserve)
    if asked.memory != "states":
        raise ValueError(f"memory: expected 'all' or 'states' for a packed sequence, got {asked.memory!r}")
    output, final, _, sequences = _serve.forward(call, False, keep or asked.all_states)
    kept = None if sequences is None or not keep else States(call, (output, *sequences))
    return output, final, sequences if asked.all_states else None, kept


def _run_layer(spec: Spec, x: Any, arrays: list[Any], keep: bool) -> Run:
    """Run a batch whose rows have to be put in order, or of which less is kept."""
    weights, state, reset_state, term = spec.split(arrays)
    drawn = spec.asked.noise is not None and not spec.asked.noise.expected
    return functional.run_layer(spec.asked, x, weights, state, reset_state, term, training=keep or drawn)


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(array) if type(array) is np.ndarray else array


def _tensors(arrays: Sequence[Any]) -> Tensors:
    return tuple(map(_tensor, arrays))
