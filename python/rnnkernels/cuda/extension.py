"""The compiled CUDA backend, loaded when it is first asked for: devices, kernels, and why there are none."""

from __future__ import annotations

import sysconfig
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from rnnkernels import _added
from rnnkernels._scalars import as_choice, as_flag, as_integer, as_text, shown
from rnnkernels.parameters import cell_info

DTYPES = ("float32", "float64", "bfloat16", "float16")  # in a GPU's memory
_MOST = 2**31


class CudaError(RuntimeError):
    """CUDA or cuBLAS refused a call: which, where it stands, the library's own sentence. The process can go on."""


class CudaMemoryError(CudaError, MemoryError):
    """Too little memory on a GPU."""


class CudaUnavailableError(CudaError):
    """The backend cannot serve: it was not built, there is no GPU or driver, or cuBLAS was not found."""


class Device(NamedTuple):
    """A GPU."""

    name: str
    capability: tuple[int, int]
    processors: int
    memory: int  # bytes


_tf32 = False
_overlapped: int | None = None  # steps


@cache
def _import() -> ModuleType | str:
    """Return the module, or why there is none."""
    try:
        from rnnkernels import _cuda  # noqa: PLC0415 - only where a GPU is asked for
    except ImportError as error:
        if "_cuda" in str(error) and "cannot import name" in str(error):
            return "not built: install rnnkernels where nvcc and a GPU are, or with -C cmake.define.RNNKERNELS_CUDA=ON"
        return f"cannot be loaded: {error}"
    _cuda.set_errors(CudaError, CudaMemoryError, CudaUnavailableError)
    _cuda.set_library_folders(_folders())
    module: ModuleType = _cuda
    _added.tell(module)
    return module


def _folders() -> list[str]:
    """Where pip puts NVIDIA's libraries."""
    roots = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return [str(Path(root, "nvidia", "cu13", "lib")) for root in sorted(roots)]


def load() -> ModuleType:
    """Return the extension; it may find no GPU.

    Raises
    ------
    CudaUnavailableError
        If it was not built, or cannot be loaded.
    """
    found = _import()
    if isinstance(found, str):
        raise CudaUnavailableError(f"rnnkernels' CUDA backend: {found}")
    return found


def reason() -> str | None:
    """Return why no GPU serves; None where one does."""
    found = _import()
    if isinstance(found, str):
        return found
    try:
        return None if devices() else "no GPU: CUDA finds no device"
    except CudaUnavailableError as error:
        return f"no GPU: {error}"


def available() -> bool:
    """Whether a GPU serves."""
    return reason() is None


def devices() -> tuple[Device, ...]:
    """Return the GPUs, in CUDA's order.

    Raises
    ------
    CudaUnavailableError
        If the backend was not built, or there is no GPU or driver.
    """
    return _devices(load())


@cache
def _devices(module: ModuleType) -> tuple[Device, ...]:
    """Ask once: every call of a layer wants to know whether there are any. What was refused is asked again."""
    return tuple(Device(d["name"], divmod(d["capability"], 10), d["processors"], d["memory"]) for d in module.devices())


def kernels() -> tuple[str, ...]:
    """Return the names of the kernels, slowest first; ``"auto"`` for `set_kernel` is whichever is best for a call.

    ``"reference"`` needs nothing but the card: plain products, one launch each. ``"products"`` has cuBLAS make them:
    that of the input for many steps at once, then per step one and one pass of the cell. ``"resident"`` does all steps
    of a forward in one kernel whose threads keep the recurrent weights; which calls it serves docs/cuda.md says, and it
    refuses all others. Of a backward it does so where it can, and else what ``"products"`` does. ``"grid"`` does the
    same over the whole card, for older cards and more units. Neither has been measured on a card yet, so ``"auto"``
    never takes them.
    """
    return tuple(load().kernels())


def kernel() -> str:
    """Return the kernel in use; ``"auto"``: the best of them for each call, see `best_kernel`."""
    return str(load().kernel())


def best_kernel(
    steps: int, batch: int, input_size: int, hidden_size: int, dtype: str = "float32", *, device: Device | None = None
) -> str:
    """Return which kernel ``"auto"`` takes for a problem on a card: a pure function of the two.

    Parameters
    ----------
    steps, batch, input_size, hidden_size : int
        T, B, I, H.
    dtype : {"float32", "float64", "bfloat16", "float16"}
    device : Device, optional
        The card; it need not be here. Default: the first one here.

    Raises
    ------
    TypeError, ValueError
        If the dtype is unknown, a size is out of range, or `device` is none.
    CudaUnavailableError
        If the backend was not built, or no `device` is given and there is none.
    """
    steps, batch, input_size, hidden_size, _ = _sizes(steps, batch, input_size, hidden_size, None)
    as_choice("dtype", dtype, DTYPES)
    if device is not None and not isinstance(device, Device):
        raise TypeError(f"device: expected a Device, got {shown(device)}")
    card = devices()[0] if device is None else device
    capability = card.capability[0] * 10 + card.capability[1]
    return str(load().choose_kernel(steps, batch, input_size, hidden_size, dtype, capability, card.processors))


def set_kernel(name: str) -> None:
    """Use another kernel from the next call on.

    Parameters
    ----------
    name : str
        One of `kernels`, or ``"auto"``, the default.

    Raises
    ------
    TypeError, ValueError
        If it is neither.
    """
    as_choice("name", as_text("name", name), (*kernels(), "auto"))
    load().set_kernel(name)


class CallBytes(NamedTuple):
    """What calls ask the caller's library for, beside their results."""

    inference: int  # scratch memory of a forward, given back when it has been put into the stream
    forward: int  # that of one for training
    reserve: int  # from a training forward to its backward
    backward: int  # scratch memory of the backward


def call_bytes(
    cell: str,
    steps: int,
    batch: int,
    input_size: int,
    hidden_size: int,
    dtype: str = "float32",
    *,
    proj_size: int | None = None,
    tokens: bool = False,
) -> CallBytes:
    """Return how much memory a call will take from the caller's library, beside its results.

    For a dense call with all parameters and without masks, by the kernel in use. A GPU is not needed to ask.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells`.
    steps, batch, input_size, hidden_size : int
        T, B, I, H.
    dtype : {"float32", "float64", "bfloat16", "float16"}
    proj_size : int, optional
        P, of a projected cell. Default: H.
    tokens : bool, default False
        Whether x is tokens.

    Raises
    ------
    TypeError, ValueError
        If the cell or the dtype is unknown, a size is out of range, or `tokens` is no flag.
    CudaUnavailableError
        If the backend was not built.
    """
    cell_info(cell)
    sizes = _sizes(steps, batch, input_size, hidden_size, proj_size)
    as_choice("dtype", dtype, DTYPES)
    tokens = as_flag("tokens", tokens)
    found = load().call_bytes(cell, *sizes, dtype, tokens)
    return CallBytes(found["inference"], found["forward"], found["reserve"], found["backward"])


def _sizes(steps: int, batch: int, inputs: int, hidden: int, proj_size: int | None) -> tuple[int, int, int, int, int]:
    """Return T, B, I, H and P, of a problem whose memory can be addressed."""
    steps, batch = as_integer("steps", steps, 0, _MOST), as_integer("batch", batch, 0, _MOST)
    inputs, hidden = as_integer("input_size", inputs, 1, _MOST), as_integer("hidden_size", hidden, 1, _MOST)
    width = hidden if proj_size is None else as_integer("proj_size", proj_size, 1, _MOST)
    if max(steps * batch, hidden, width) * (inputs + 16 * (hidden + width)) >= 2**58:
        raise ValueError(
            f"steps, batch, input_size, hidden_size: expected sizes whose memory can be addressed, "
            f"got {steps}, {batch}, {inputs} and {hidden}"
        )
    return steps, batch, inputs, hidden, width


class GraphCounts(NamedTuple):
    """What came of `use_graphs` since it was last called."""

    made: int  # graphs
    runs: int  # calls that were run as one


def use_graphs(used: bool) -> None:
    """Let calls that come again be run as CUDA graphs, or not, which is the default.

    A call on the same memory, of the same sizes, schedule and seeds as one before is recorded the second time and from
    then on put into its stream by one launch instead of several for every step. Loops whose arrays come from a caching
    allocator, as PyTorch's and CuPy's, give a call the same memory again and again; one with fresh masks (another seed)
    is another call each time. The results are the same bits. At most 64 calls are remembered, the latest.
    Graphs of the caller's own (``torch.cuda.graph``) need none of this: calls can be recorded in them as they are.

    Raises
    ------
    TypeError
        If `used` is no flag.
    CudaUnavailableError
        If the backend was not built.
    """
    used = as_flag("used", used)
    load().set_graphs(used)


def graph_counts() -> GraphCounts:
    """Return how many graphs were made, and how many calls run as one, since `use_graphs` was last called."""
    return GraphCounts(*load().graph_counts())


def overlap_layers(used: bool, *, steps: int = 64) -> None:
    """Let layers of a `Stack` on a GPU run side by side, or one after another, which is the default.

    A layer of a stack of one direction works on a piece of steps while the layer below it (in a backward: above it)
    works on the next piece, each in a stream beside the caller's. The two directions of a bidirectional layer run side
    by side; by the kernel ``"resident"``, where it can, in one launch. The caller's stream waits for all of them.
    docs/cuda.md says which calls that are, and which bits stay the same.

    Parameters
    ----------
    used : bool
    steps : int, default 64
        Of a piece, at least; a call has 64 pieces at most.

    Raises
    ------
    TypeError, ValueError
        If `used` is no flag, or `steps` no number of 1 or more.
    CudaUnavailableError
        If the backend was not built.
    """
    global _overlapped  # noqa: PLW0603 - a setting of the process
    used, steps = as_flag("used", used), as_integer("steps", steps, 1, _MOST)
    load()
    _overlapped = steps if used else None


def overlapped_steps() -> int | None:
    """Return the steps of a piece where `overlap_layers` is on; else None."""
    return _overlapped


def allow_tf32(allowed: bool) -> None:
    """Let products of float32 round their operands to TF32 (10 bits of mantissa), or not, which is the default.

    Raises
    ------
    TypeError
        If `allowed` is no flag.
    """
    global _tf32  # noqa: PLW0603 - a setting of the process
    _tf32 = as_flag("allowed", allowed)


def tf32_allowed() -> bool:
    """Whether products of float32 may use TF32."""
    return _tf32


def summary() -> str:
    """Return in a line what serves, or why nothing does."""
    why = reason()
    if why is not None:
        return why
    names = ", ".join(device.name for device in devices())
    try:
        file, version = load().cublas()
    except CudaUnavailableError as error:
        return f"{names}; reference kernels only: {error}"
    return f"{names}; {kernel()} kernels, cuBLAS {version} ({file})"
