"""A call of the CUDA extension: as `rnnkernels._serve` makes one of the CPU's, on the memory of a GPU."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from rnnkernels._arrays import COPIES, CopyFrame, CupyFrame, TorchFrame, device_frame

from . import extension
from .copies import can_be_copied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rnnkernels._call import Ahead, Attention, Call

    DeviceFrame = TorchFrame | CupyFrame | CopyFrame


# Where calls wait to be put together; None: each is put at once.
_gathered: ContextVar[Any] = ContextVar("gathered", default=None)


@contextmanager
def together(x: Any) -> Iterator[None]:
    """Put the calls that are made inside side by side, where `overlap_layers` says so and `x` is an array of a GPU.

    Their results are there when all have been made: until then nothing but such a call may read one of them.
    """
    steps = extension.overlapped_steps()
    if steps is None or device_frame(x) is None:
        yield
        return
    gathered = extension.load().Gathered()
    token = _gathered.set(gathered)
    try:
        yield
    finally:
        _gathered.reset(token)
    gathered.put(steps)


def forward(call: Call, keep: bool, all_states: bool) -> tuple[Any, Any, Any, Any]:
    """Run; return what the CPU's extension does."""
    frame = device_frame(call.x) or COPIES
    cell, x, layer, state, rows, term, noise, settings, _ = _views(frame, call)
    module = extension.load()
    can_be_copied(module.Reserve)
    output, final, reserve, sequences = module.forward(
        _place(frame), cell, x, layer, state, keep, rows, term, noise, all_states, settings
    )
    return _take(frame, output), _take(frame, final), reserve, _take(frame, sequences)


def backward(call: Call, output: Any, reserve: Any, ahead: Ahead, need_x: bool, norms: bool) -> tuple[Any, ...]:
    """Differentiate; return what the CPU's extension does."""
    frame = device_frame(call.x) or COPIES
    cell, x, layer, state, rows, term, noise, settings, _ = _views(frame, call)
    d_output, d_state, d_sequences = (_view(frame, d) for d in ahead)
    found = extension.load().backward(
        *(_place(frame), cell, x, layer, state, frame.view(output), reserve, d_output, d_state, need_x),
        *(rows, term, noise, d_sequences, norms, settings),
    )
    return tuple(_take(frame, part) for part in found)


def attend(call: Call, attention: Attention, keep: bool) -> tuple[Any, ...]:
    """Run an attending recurrence; return what the CPU's extension does."""
    frame = device_frame(call.x) or COPIES
    cell, x, layer, state, rows, term, noise, settings, _ = _views(frame, call)
    module = extension.load()
    can_be_copied(module.Reserve)
    output, final, reserve, _, attended = module.forward(
        *(_place(frame), cell, x, layer, state, keep, rows, term, noise, False, settings),
        attention=_looked_at(frame, attention),
    )
    return _take(frame, output), _take(frame, final), reserve, None, _take(frame, attended)


def attend_back(
    call: Call,
    attention: Attention,
    output: Any,
    reserve: Any,
    ahead: Ahead,
    attended: Any,
    d_attended: Any,
    need_x: bool,
) -> tuple[Any, ...]:
    """Differentiate; return what the CPU's extension does."""
    frame = device_frame(call.x) or COPIES
    cell, x, layer, state, rows, term, noise, settings, _ = _views(frame, call)
    found = extension.load().backward(
        *(_place(frame), cell, x, layer, state, frame.view(output), reserve),
        *(_view(frame, ahead.output), _view(frame, ahead.state), need_x, rows, term, noise, (), False, settings),
        attention=_looked_at(frame, attention),
        attended=_view(frame, attended),
        d_attended=_view(frame, d_attended),
    )
    return tuple(_take(frame, part) for part in found)


def drop(x: Any, rate: float, seed: int, layer: int) -> Any:
    """Return a copy with elements dropped, bit for bit that of the CPU's extension."""
    frame = device_frame(x) or COPIES
    return _take(frame, extension.load().drop(_place(frame), frame.view(x), rate, seed, layer))


def _place(frame: DeviceFrame) -> Any:
    tf32 = extension.tf32_allowed()
    return extension.load().Place(frame.device, frame.stream(), frame.allocate, tf32, _gathered.get())


def _views(frame: DeviceFrame, call: Call) -> Call:
    """Return a call whose arrays are views; the starts of its rows stay on the host."""
    rows, noise = call.rows, call.noise
    if rows is not None and rows.places is not None:
        rows = rows._replace(places=frame.view(frame.integers(rows.places)))
    if noise is not None and noise.places is not None:
        noise = noise._replace(places=frame.view(frame.integers(noise.places)))
    x, layer, state, term = (_view(frame, part) for part in (call.x, call.layer, call.state, call.term))
    return call._replace(x=x, layer=layer, state=state, rows=rows, term=term, noise=noise)


def _looked_at(frame: DeviceFrame, attention: Attention) -> Attention:
    """Return what is looked at with views in the place of arrays."""
    arrays = {name: part for name, part in attention._asdict().items() if name not in ("scale", "hard")}
    return attention._replace(**{name: _view(frame, array) for name, array in arrays.items()})


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
