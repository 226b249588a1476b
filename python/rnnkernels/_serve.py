"""Which backend serves a call: the compiled CPU kernels, or the CUDA kernels that `rnnkernels.cuda` reaches.

Not here: what a call is (`_call`), how the CUDA extension is given one (`cuda.calls`).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _cpu, _runtime
from ._call import Attended, AttentionFound, Found
from .parameters import NAMES

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ._call import Ahead, Attention, Call, Results
    from .parameters import Array


def on_gpu(array: Any) -> bool:
    """Whether a GPU serves a call with this array: it is not NumPy's, or `set_backend` has NumPy's copied there."""
    return type(array) is not np.ndarray or _runtime.on_cuda


def together(x: Any) -> AbstractContextManager[None]:
    """Return where calls with this array may be put side by side (`cuda.calls.together`)."""
    if type(x) is np.ndarray:
        return nullcontext()
    found: AbstractContextManager[None] = _cuda_calls().together(x)
    return found


def overlaps(x: Any) -> bool:
    """Whether calls with this array are put side by side where they can be."""
    return type(x) is not np.ndarray and _cuda_calls().extension.overlapped_steps() is not None


def forward(call: Call, keep: bool, all_states: bool = False) -> Results:
    """Run; `keep` what a backward needs."""
    cell, x, layer, state, rows, term, noise, settings, products = call
    if on_gpu(x):
        check_products_on_gpu(products)
        made: Results = _cuda_calls().forward(call, keep, all_states)
        return made
    return _cpu.forward(cell, x, layer, state, keep, rows, term, noise, all_states, settings, None, products)


def check_products_on_gpu(products: str) -> None:
    """Raise NotImplementedError where a GPU is asked for other products than those of its arrays' dtype."""
    if products != "full":
        raise NotImplementedError(
            f"products: expected 'full' on a GPU, where the arrays themselves may be bfloat16, got {products!r}"
        )


def backward(call: Call, output: Array, reserve: Any, ahead: Ahead, need_x: bool, norms: bool) -> Found:
    """Differentiate what `forward` gave: its output and its reserve."""
    if isinstance(reserve, _cpu.Reserve):
        cell, x, layer, state, rows, term, noise, settings, products = call
        d_output, d_state, d_sequences = ahead
        dx, d_layer, d_begun, d_term, readings = _cpu.backward(
            cell,
            x,
            layer,
            state,
            output,
            reserve,
            d_output,
            d_state,
            need_x,
            rows,
            term,
            noise,
            d_sequences,
            norms,
            settings,
            None,
            None,
            None,
            products,
        )
    else:
        dx, d_layer, d_begun, d_term, readings = _cuda_calls().backward(call, output, reserve, ahead, need_x, norms)
    return Found(dx, _named(d_layer), d_begun, d_term, readings)


def _named(d_layer: tuple[Array | None, ...]) -> dict[str, Array]:
    """Return the gradients of the parameters that there are; a cell without weight_hh is given an empty one."""
    return {name: grad for name, grad in zip(NAMES, d_layer, strict=True) if grad is not None and len(grad)}


def attend(call: Call, attention: Attention, keep: bool) -> tuple[Results, Attended]:
    """Run an attending recurrence; the keys are the caller's work."""
    if on_gpu(call.x):
        output, final, reserve, later, attended = _cuda_calls().attend(call, attention, keep)
    else:
        cell, x, layer, state, rows, term, noise, settings, _ = call
        output, final, reserve, later, attended = _cpu.forward(
            cell, x, layer, state, keep, rows, term, noise, False, settings, attention=attention
        )
    return (output, final, reserve, later), Attended(*attended)


def attend_back(
    call: Call,
    attention: Attention,
    output: Array,
    reserve: Any,
    ahead: Ahead,
    attended: tuple[Array, Array, Any],
    d_attended: tuple[Array | None, Array | None],
    need_x: bool = True,
) -> tuple[Found, AttentionFound]:
    """Differentiate what `attend` gave; `attended` and `d_attended`: weights, contexts (and places)."""
    if isinstance(reserve, _cpu.Reserve):
        cell, x, layer, state, rows, term, noise, settings, _ = call
        dx, d_layer, d_begun, d_term, _, d_attention = _cpu.backward(
            cell,
            x,
            layer,
            state,
            output,
            reserve,
            ahead.output,
            ahead.state,
            need_x,
            rows,
            term,
            noise,
            (),
            False,
            settings,
            attention=attention,
            attended=attended,
            d_attended=d_attended,
        )
    else:
        dx, d_layer, d_begun, d_term, _, d_attention = _cuda_calls().attend_back(
            call, attention, output, reserve, ahead, attended, d_attended, need_x
        )
    return Found(dx, _named(d_layer), d_begun, d_term, ()), AttentionFound(*d_attention)


def drop(x: Array, rate: float, seed: int, layer: int) -> Array:
    """Return a copy with elements dropped, where `x` lies; which ones, `seed` and `layer` say alone."""
    dropped: Array = _cuda_calls().drop(x, rate, seed, layer) if on_gpu(x) else _cpu.drop(x, rate, seed, layer)
    return dropped


def _cuda_calls() -> Any:
    """Return the module that makes calls of the CUDA extension, which only these import."""
    from .cuda import calls  # noqa: PLC0415

    return calls
