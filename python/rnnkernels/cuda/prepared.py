"""Prepared layers and steppers in a GPU's memory: what `rnnkernels.Prepared` and `rnnkernels.Stepper` stand on there.

The kernels read weights as they lie: a layer keeps a copy of them, checked once. Not here: what a call is given and
what is checked of it (`rnnkernels.prepared`), graphs and scratch memory (csrc/binding/device_prepared.cpp).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from rnnkernels._arrays import CupyFrame, TorchFrame, device_frame
from rnnkernels._call import Call
from rnnkernels.parameters import Layer

from . import extension
from .calls import _place, _take, _view, _views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rnnkernels._call import Rows, State
    from rnnkernels.noise import Drawn
    from rnnkernels.parameters import Array

__all__ = ["DeviceLayer", "DeviceStackStepper", "DeviceStepper"]


class DeviceLayer:
    """A layer's weights on a GPU; the counterpart of what ``_cpu.prepare`` makes."""

    __slots__ = ("_cell", "_held", "arrays", "frame")

    def __init__(self, cell: str, layer: Layer, tokens: bool, settings: tuple[float, ...]) -> None:
        frame = device_frame(layer.weight_ih)
        if frame is None:
            raise TypeError(f"params: expected arrays on a GPU, got {type(layer.weight_ih).__name__}")
        self.frame: TorchFrame | CupyFrame = frame
        self.arrays = Layer._make([None if array is None else frame.copy(array) for array in layer])
        self._cell = cell
        self._held = extension.load().prepare(_place(frame), cell, _view(frame, self.arrays), tokens, settings)

    @property
    def nbytes(self) -> int:
        """Memory held by the weights, in bytes."""
        return int(self._held.nbytes)

    def forward(
        self, x: Array, state: State | None, rows: Rows | None, term: Array | None, noise: Drawn | None
    ) -> tuple[Array, State]:
        """Run a sequence; return the output and the states after it."""
        frame = self.frame
        of_call = Call(self._cell, x, cast("Layer", None), state, rows, term, noise)
        views = _views(frame, of_call)
        output, ended = self._held.forward(_place(frame), views.x, views.state, views.rows, views.term, views.noise)
        return _take(frame, output), _take(frame, ended)

    def stepper(self, batch_size: int, noise: Drawn | None) -> DeviceStepper:
        """Return the layer with states of its own."""
        return DeviceStepper(self, batch_size, noise)


class _Steps:
    """Steps that run as graphs; `_held` is the extension's, `_dtypes` are those of x."""

    __slots__ = ("_dtypes", "_frame", "_held")

    _dtypes: tuple[str, str]
    _frame: TorchFrame | CupyFrame
    _held: Any

    @property
    def graphs(self) -> int:
        """How many graphs its steps run as: 2 after some steps, one for each of the arrays that h takes turns in."""
        return int(self._held.graphs)

    def step(self, x: Any) -> Any:
        """Return h after a step; None, and nothing is done, where `x` is no array that can be read as it is."""
        frame = self._frame
        if device_frame(x) is not frame or frame.name(x.dtype) not in self._dtypes:
            return None
        return self._held.step(_place(frame), frame.view(x)).owner


class DeviceStackStepper(_Steps):
    """Steppers on a GPU, one above the other; the counterpart of what ``_cpu.stack_stepper`` makes.

    A step of all of them is one graph: a layer reads h of the one below where it lies.
    """

    __slots__ = ()

    def __init__(self, steppers: Sequence[DeviceStepper]) -> None:
        first = steppers[0]
        self._frame, self._dtypes = first._frame, first._dtypes
        held = [stepper._held for stepper in steppers]
        self._held = extension.load().stack_stepper(_place(self._frame), held)


class DeviceStepper(_Steps):
    """A layer's states on a GPU; the counterpart of what ``_cpu.stepper`` makes."""

    __slots__ = ()

    def __init__(self, layer: DeviceLayer, batch_size: int, noise: Drawn | None) -> None:
        self._frame = layer.frame
        self._dtypes = (self._frame.name(layer.arrays.weight_ih.dtype), "int64")
        self._held = extension.load().stepper(_place(self._frame), layer._held, batch_size, noise)

    def state(self) -> State:
        """Return copies of the states."""
        return cast("State", _take(self._frame, self._held.state(_place(self._frame))))

    def reset(self, state: State | None, term: Array | None) -> None:
        """Go on from other states, zeros where none are given, and with another term, where one is."""
        frame = self._frame
        self._held.reset(_place(frame), _view(frame, state), _view(frame, term))

    def term(self) -> Any:
        """Return a copy of the term, None where there is none."""
        found = self._held.term(_place(self._frame))
        return None if found is None else found.owner
