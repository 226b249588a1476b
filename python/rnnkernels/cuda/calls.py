"""A call of the CUDA extension: as `rnnkernels._call.Call` makes one of the CPU's, on the memory of a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import extension
from .arrays import COPIES, CopyFrame, CupyFrame, TorchFrame, device_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rnnkernels._call import Call

    DeviceFrame = TorchFrame | CupyFrame | CopyFrame


def forward(call: Call, keep: bool, all_states: bool) -> tuple[Any, Any, Any, Any]:
    """Run; return what `Call.forward` does."""
    frame = device_frame(call.x) or COPIES
    cell, x, layer, state, schedule, term, noise, settings = _given(frame, call)
    output, final, reserve, sequence = extension.load().forward(
        _place(frame), cell, x, layer, state, keep, schedule, term, noise, all_states, settings
    )
    return _take(frame, output), _take(frame, final), reserve, _take(frame, sequence)


def backward(
    call: Call,
    output: Any,
    reserve: Any,
    d_output: Any,
    d_state: Any,
    d_sequence: Sequence[Any],
    need_x: bool,
    norms: bool,
) -> tuple[Any, ...]:
    """Differentiate; return what the CPU's extension does."""
    frame = device_frame(call.x) or COPIES
    cell, x, layer, state, schedule, term, noise, settings = _given(frame, call)
    found = extension.load().backward(
        _place(frame),
        cell,
        x,
        layer,
        state,
        frame.view(output),
        reserve,
        _view(frame, d_output),
        _view(frame, d_state),
        need_x,
        schedule,
        term,
        noise,
        [_view(frame, d) for d in d_sequence],
        norms,
        settings,
    )
    return tuple(_take(frame, part) for part in found)


def drop(x: Any, rate: float, seed: int, layer: int) -> Any:
    """Return a copy with elements dropped, bit for bit that of the CPU's extension."""
    frame = device_frame(x) or COPIES
    return _take(frame, extension.load().drop(_place(frame), frame.view(x), rate, seed, layer))


def _place(frame: DeviceFrame) -> Any:
    return extension.load().Place(frame.device, frame.stream(), frame.allocate, extension.tf32_allowed())


def _given(frame: DeviceFrame, call: Call) -> tuple[Any, ...]:
    """Return a call's arguments, its arrays as views."""
    cell, x, layer, state, rows, term, noise, settings = call
    if rows is not None:
        starts, places = rows
        rows = (starts, None if places is None else frame.view(frame.integers(places)))
    if noise is not None and noise[6] is not None:
        noise = (*noise[:6], frame.view(frame.integers(noise[6])), *noise[7:])
    return (
        cell,
        frame.view(x),
        tuple(_view(frame, w) for w in layer),
        _view(frame, state),
        rows,
        _view(frame, term),
        noise,
        settings,
    )


def _view(frame: DeviceFrame, given: Any) -> Any:
    """Return the view of an array, those of a tuple of them, None of none."""
    if given is None:
        return None
    return tuple(_view(frame, part) for part in given) if isinstance(given, tuple) else frame.view(given)


def _take(frame: DeviceFrame, found: Any) -> Any:
    """Return the arrays of views."""
    if found is None:
        return None
    if isinstance(found, tuple):
        return tuple(_take(frame, part) for part in found)
    return frame.take(found) if isinstance(frame, CopyFrame) else found.owner
