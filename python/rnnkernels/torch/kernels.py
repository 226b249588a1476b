"""One call of the kernels on PyTorch tensors: what autograd and the operators run. No gradients are recorded here.

Tensors are read where they lie, as NumPy arrays that share their memory or, on a GPU, as they are; results are fresh.
"""

from __future__ import annotations

import operator
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from rnnkernels import _cpu, cuda, functional
from rnnkernels._arguments import as_layer, as_settings
from rnnkernels._call import Call
from rnnkernels.parameters import NAMES, cell_info
from rnnkernels.rebuild import Rebuild

BEHIND = 64  # bytes behind a reserve of the CPU's that say whose it is; also its alignment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from rnnkernels.noise import Noise

    Tensors = tuple[torch.Tensor, ...]


class Spec(NamedTuple):
    """Everything of a call but its tensors. Of those it says which there are: x, then weights, states, term.

    A packed batch (`starts`, `places`) has x (N, 1, I), row after row as PyTorch packs them: `starts` (steps + 1,)
    says where the rows of each step begin among all, `places` (N,) where in x each stands, `masks` (N,) where its
    masks stand in the padded batch (T, S).
    """

    cell: str
    names: tuple[str, ...]  # of the weights, in the order they come
    states: bool = False  # whether there are initial states
    reset_states: bool = False  # whether there are reset states
    term: bool = False
    starts: npt.NDArray[np.int64] | None = None
    places: npt.NDArray[np.int64] | None = None
    masks: npt.NDArray[np.int64] | None = None
    lengths: npt.NDArray[np.int64] | None = None
    resets: npt.NDArray[np.bool_] | None = None
    reverse: bool = False  # not of a packed batch, whose places say so
    noise: Noise | None = None
    cell_clip: float | None = None
    all_states: bool = False
    memory: str = "all"

    @property
    def state_count(self) -> int:
        """States of the cell."""
        return len(cell_info(self.cell)["states"])

    def split(self, tensors: Sequence[Any]) -> Parts:
        """Return what `tensors`, all of a call after x, are."""
        count, at = self.state_count, len(self.names)
        weights = tensors[:at]
        state = tuple(tensors[at : at + count]) if self.states else None
        at += count if self.states else 0
        reset = tuple(tensors[at : at + count]) if self.reset_states else None
        return Parts(dict(zip(self.names, weights, strict=True)), state, reset, tensors[-1] if self.term else None)

    @property
    def direct(self) -> bool:
        """Whether the extension can be called as it is: nothing to put in order first."""
        return self.memory == "all" and not self.reverse and self.lengths is None and self.resets is None


class Parts(NamedTuple):
    """A call's tensors after x, or their arrays."""

    weights: dict[str, Any]
    state: tuple[Any, ...] | None
    reset_state: tuple[Any, ...] | None
    term: Any


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
    """What a forward keeps for its backward, and the backward itself.

    Attributes
    ----------
    spec : Spec
    reserve : object with a buffer, or None
        The bytes of a direct call.
    """

    def __init__(self, spec: Spec, back: Callable[..., Any], given: Sequence[torch.Tensor], reserve: Any) -> None:
        self.spec = spec
        self.reserve = reserve
        self._back = back
        self._places = _places(given)

    def following(self, given: Sequence[torch.Tensor], output: torch.Tensor) -> Kept:
        """Return this for tensors of a call that lie elsewhere by now: x and those after it, as autograd saved them.

        Sharded training frees a layer's weights after its forward and gathers them anew, at another place, for its
        backward; hooks on saved tensors may do so to any of them.
        """
        if self._places == _places(given):
            return self
        x, *tensors = given
        if self.reserve is not None:
            return kept_again(self.spec, x, tuple(tensors), output, bytes_of(self.reserve))
        again = forward(self.spec, x, tuple(tensors), True).kept
        assert again is not None
        return again

    def backward(
        self,
        d_output: torch.Tensor | None,
        d_final: Sequence[torch.Tensor | None],
        d_sequences: Sequence[torch.Tensor | None],
        like: Sequence[torch.Tensor],
        need_x: bool,
    ) -> Backward:
        """Return the gradients; `like`: tensors of the final states' shapes."""
        d_state = None
        if any(d is not None for d in d_final):
            d_state = tuple(array(torch.zeros_like(s) if d is None else d) for d, s in zip(d_final, like, strict=True))
        found = self._back(
            None if d_output is None else array(d_output),
            d_state,
            tuple(None if d is None else array(d) for d in d_sequences),
            need_x,
        )
        spec = self.spec
        grads = [found.params[name] for name in spec.names]
        if spec.states:
            grads += found.state
        if spec.reset_states:
            grads += found.reset_state
        if spec.term:
            grads.append(found.term)
        return Backward(None if found.x is None else _tensor(found.x), _tensors(grads))


_on_gpu = operator.attrgetter("is_cuda")


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


_KINDS = {kind: np.dtype(str(kind)[6:]).str for kind in (torch.float32, torch.float64, torch.int64)}


def array(tensor: torch.Tensor) -> Any:
    """`tensor` as an array of its memory, copied only where it is not contiguous; on a GPU the tensor itself."""
    if _on_gpu(tensor):
        return tensor.detach().resolve_neg().contiguous()
    kind = _KINDS.get(tensor.dtype)
    if kind is None or tensor.is_neg():  # the kernels refuse the one; the other is a view that has yet to be negated
        return tensor.detach().resolve_neg().contiguous().numpy()
    memory = _Memory()
    memory.tensor = tensor = tensor if tensor.is_contiguous() else tensor.detach().contiguous()
    memory.__array_interface__ = {
        "shape": tensor.shape,
        "typestr": kind,
        "data": (tensor.data_ptr(), False),
        "version": 3,
    }
    return np.asarray(memory)


def forward(spec: Spec, x: torch.Tensor, tensors: Tensors, keep: bool) -> Forward:
    """Run a call; `keep` what its backward needs.

    Raises
    ------
    TypeError, ValueError
        As `rnnkernels.forward`.
    """
    inputs, arrays = array(x), list(map(array, tensors))
    reserve = None
    if spec.direct:
        call = _make_call(spec, inputs, arrays)
        output, final, reserve, sequences = call.forward(keep, spec.all_states)
        back = None if reserve is None else partial(_backward_of_call, call, output, reserve)
    elif spec.starts is not None:
        output, final, sequences, back = _rebuilt(spec, _make_call(spec, inputs, arrays), keep)
    else:
        output, final, sequences, back = _run(spec, inputs, spec.split(arrays), keep)
    kept = None if back is None else Kept(spec, back, (x, *tensors), reserve)
    return Forward(_tensor(output), _tensors(final), _tensors(sequences or ()), kept)


def kept_again(spec: Spec, x: torch.Tensor, tensors: Tensors, output: torch.Tensor, reserve: torch.Tensor) -> Kept:
    """Return what a forward of a direct call kept, from its output and the bytes of its reserve."""
    call = _make_call(spec, array(x), list(map(array, tensors)))
    if _on_gpu(reserve):
        held: Any = cuda.extension.load().Reserve(cuda.arrays.frame_of_tensor(reserve).view(reserve))
    else:
        held = _cpu.Reserve(reserve.numpy())
    return Kept(spec, partial(_backward_of_call, call, array(output), held), (x, *tensors), held)


def bytes_of(reserve: Any) -> torch.Tensor:
    """Return a reserve's memory."""
    if isinstance(reserve, _cpu.Reserve):
        return torch.frombuffer(reserve, dtype=torch.uint8)
    return reserve.view.owner


def reserve_size(cell: str, hidden: int, like: torch.Tensor, zoneout: bool) -> tuple[int, int]:
    """Return the bytes of a reserve for each row of a step, and behind them all; `like`: a weight."""
    name = str(like.dtype)[6:]
    if _on_gpu(like):
        return cuda.extension.load().reserve_size(cell, hidden, name, zoneout), 0
    return _cpu.reserve_size(cell, hidden, name, zoneout), BEHIND


def _make_call(spec: Spec, x: Any, arrays: list[Any]) -> Call:
    """Return the call of the extension; `arrays` of a call's tensors after x."""
    names, states = _layout(spec.cell, spec.names)
    layer: Any = tuple(None if k is None else arrays[k] for k in names)
    if layer[1] is None:
        layer = as_layer(spec.cell, spec.split(arrays).weights)
    first = len(spec.names)
    state = tuple(arrays[first : first + states]) if spec.states else None
    drawn, rows = None, None
    if spec.starts is not None:
        rows = (spec.starts, spec.places)
    if spec.noise is not None:
        drawn = spec.noise._drawn(spec.cell, x.shape[1], expected=False)
        if spec.starts is not None:
            batch = int(spec.starts[1]) if len(spec.starts) > 1 else 0
            drawn = (*drawn[:5], batch, spec.masks, *drawn[7:])
    settings = () if spec.cell_clip is None else as_settings(spec.cell, spec.cell_clip)
    return Call(spec.cell, x, layer, state, rows, arrays[-1] if spec.term else None, drawn, settings)


@cache
def _layout(cell: str, names: tuple[str, ...]) -> tuple[tuple[int | None, ...], int]:
    """Return where each weight of a layer, in the extension's order, stands in `names`; and the cell's states."""
    return tuple(names.index(name) if name in names else None for name in NAMES), len(cell_info(cell)["states"])


def _backward_of_call(call: Call, output: Any, reserve: Any, d_output: Any, d_state: Any, rest: Any, need: bool) -> Any:
    return call.backward(output, reserve, d_output, d_state, rest, need_x=need, norms=False)


def _rebuilt(spec: Spec, call: Call, keep: bool) -> tuple[Any, Any, Any, Any]:
    """Run a packed batch of which the states are kept and no gates."""
    if spec.memory != "states":
        raise ValueError(f"memory: expected 'all' or 'states' for a packed sequence, got {spec.memory!r}")
    output, final, _, sequences = call.forward(False, keep or spec.all_states)
    if not keep or sequences is None:
        return output, final, sequences, None
    kept = Rebuild(call, (output, *sequences))

    def back(d_output: Any, d_state: Any, d_sequences: Any, need_x: bool) -> Any:
        return kept.backward(d_output, d_state, d_sequences, need_x=need_x, norms=False)

    return output, final, sequences if spec.all_states else None, back


def _run(spec: Spec, x: Any, parts: Parts, keep: bool) -> tuple[Any, Any, Any, Any]:
    """Run a batch whose rows have to be put in order, or of which less is kept."""
    drawn = spec.noise is not None and not spec.noise.expected
    run = functional.forward(
        spec.cell,
        x,
        parts.weights,
        parts.state,
        training=keep or drawn,
        lengths=spec.lengths,
        resets=spec.resets,
        reset_state=parts.reset_state,
        reverse=spec.reverse,
        term=parts.term,
        noise=spec.noise,
        cell_clip=spec.cell_clip,
        all_states=spec.all_states,
        memory=spec.memory,
    )

    def back(d_output: Any, d_state: Any, d_sequences: Any, need_x: bool) -> Any:
        rest = (None, *d_sequences) if d_sequences else None
        return functional.backward(run, d_output, d_state, d_states=rest, need_x=need_x)

    return run.output, run.state, None if run.states is None else run.states[1:], back if keep else None


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(array) if type(array) is np.ndarray else array


def _tensors(arrays: Sequence[Any]) -> Tensors:
    return tuple(map(_tensor, arrays))
