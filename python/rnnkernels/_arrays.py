"""Whose arrays a call has: their memory as the kernels see it, and fresh memory of the same library.

A frame stands for a library and a device of it. `frame_of` finds that of an array; `NUMPY` is that of NumPy's. The
rest of the package does with arrays what NumPy, PyTorch and CuPy spell alike (slices, indices, reshape, +) and asks
the frame for what they do not.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ._scalars import as_choice, as_text
from .cuda import extension

if TYPE_CHECKING:
    from collections.abc import Sequence

Shape = tuple[int, ...]

# Of memory that kernels read, in bytes.
ALIGNMENT = 16

# The dtypes of parameters on a GPU.
FLOATS = ("float32", "float64", "bfloat16", "float16")

INT64 = np.dtype(np.int64)


# ---- memory of the host --------------------------------------------------------------------------
#
# What the CPU's kernels read, whoever owns it (NumPy, PyTorch, an initializer of ONNX, JAX, whose own arrays are so):
# - in place: elements of the asked dtype in the machine's byte order, however the dtype spells the order ("<" of
#   h5py is "=" on most machines), aligned to their size, in C order; writeable or not.
# - copied, once its shape is known to fit: any other strides, 0 and negative ones too, and memory that is not aligned.
# - refused: another dtype, the other byte order among them. Integers (tokens, lengths) become int64.


def in_place(array: np.ndarray[Any, Any], dtype: Any) -> bool:
    """Whether the kernels can read an array of NumPy's where it lies, as `dtype`."""
    flags = array.flags
    return array.dtype is dtype and (flags.carray or (flags.c_contiguous and flags.aligned))


def spelled(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return an array of an equal dtype as one of this very dtype: a view."""
    return array if array.dtype is dtype else array.view(dtype)


def readable(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return an array of an equal or of another integer dtype as the kernels read it: a view of it, or a copy."""
    return np.require(array, dtype, ["C", "A"])


# ---- libraries -----------------------------------------------------------------------------------


class Frame(ABC):
    """What differs from library to library."""

    device: int | None = None  # None: the host

    @abstractmethod
    def zeros(self, shape: Shape, dtype: Any) -> Any:
        """Return zeros."""

    @abstractmethod
    def empty(self, shape: Shape, dtype: Any) -> Any:
        """Return an array that is yet to be filled."""

    @abstractmethod
    def copy(self, array: Any) -> Any:
        """Return a copy."""

    @abstractmethod
    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        """Join along an axis."""

    @abstractmethod
    def contiguous(self, array: Any) -> Any:
        """Return the array in C order."""

    @abstractmethod
    def from_host(self, array: Any) -> Any:
        """Return a copy of one of NumPy's arrays."""

    @abstractmethod
    def to_host(self, array: Any) -> Any:
        """Return a copy as one of NumPy's arrays, which waits for the GPU; bfloat16 is none of NumPy's dtypes."""

    @abstractmethod
    def add_at(self, to: Any, rows: Any, values: Any) -> None:
        """Add to rows, each as often as it is named."""


class NumpyFrame(Frame):
    """NumPy's arrays."""

    def zeros(self, shape: Shape, dtype: Any) -> Any:
        """Return zeros."""
        return np.zeros(shape, dtype)

    def empty(self, shape: Shape, dtype: Any) -> Any:
        """Return an array that is yet to be filled."""
        return np.empty(shape, dtype)

    def copy(self, array: Any) -> Any:
        """Return a copy."""
        return array.copy()

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        """Join along an axis."""
        return np.concatenate(arrays, axis)

    def contiguous(self, array: Any) -> Any:
        """Return the array in C order."""
        return np.ascontiguousarray(array)

    def from_host(self, array: Any) -> Any:
        """Return a copy of one of NumPy's arrays."""
        return array.copy()

    def to_host(self, array: Any) -> Any:
        """Return a copy as one of NumPy's arrays."""
        return array.copy()

    def add_at(self, to: Any, rows: Any, values: Any) -> None:
        """Add to rows, each as often as it is named."""
        np.add.at(to, rows, values)


NUMPY = NumpyFrame()


class TorchFrame(Frame):
    """PyTorch's tensors on a GPU."""

    def __init__(self, device: int) -> None:
        import torch  # noqa: PLC0415 - only where tensors come

        self.torch = torch
        self.device = device
        self._names = {
            getattr(torch, name): name for name in ("float32", "float64", "bfloat16", "float16", "int64", "uint8")
        }
        self._dtypes = {name: dtype for dtype, name in self._names.items()}

    @property
    def where(self) -> Any:
        """PyTorch's device."""
        return self.torch.device("cuda", self.device)

    def zeros(self, shape: Shape, dtype: Any) -> Any:
        """Return zeros."""
        return self.torch.zeros(shape, dtype=dtype, device=self.where)

    def empty(self, shape: Shape, dtype: Any) -> Any:
        """Return an array that is yet to be filled."""
        return self.torch.empty(shape, dtype=dtype, device=self.where)

    def copy(self, array: Any) -> Any:
        """Return a copy."""
        return array.clone()

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        """Join along an axis."""
        return self.torch.cat(tuple(arrays), axis)

    def contiguous(self, array: Any) -> Any:
        """Return the array in C order; gradients are recorded by rnnkernels.torch, not here."""
        return array.detach().contiguous()

    def from_host(self, array: Any) -> Any:
        """Return a copy of one of NumPy's arrays."""
        return self.torch.tensor(array, device=self.where)

    def to_host(self, array: Any) -> Any:
        """Return a copy as one of NumPy's arrays."""
        return array.detach().cpu().numpy().copy()

    def add_at(self, to: Any, rows: Any, values: Any) -> None:
        """Add to rows, each as often as it is named."""
        # One row after another would be NumPy's order; index_put_ with accumulate sorts them, the same on every run.
        to.index_put_((self.torch.as_tensor(rows, device=self.where),), values, accumulate=True)

    def integers(self, array: Any) -> Any:
        """Return NumPy's int64 on the device."""
        return self.torch.from_numpy(np.ascontiguousarray(array)).to(self.where)

    def in_order(self, array: Any) -> bool:
        """Whether an array is in C order, so that `contiguous` copies nothing."""
        return bool(array.is_contiguous())

    def holds_integers(self, array: Any) -> bool:
        """Whether an array is one of integers."""
        return not (array.is_floating_point() or array.is_complex() or array.dtype == self.torch.bool)

    def as_int64(self, array: Any) -> Any:
        """Return integers as the kernels take them."""
        return array.to(self.torch.int64)

    def name(self, dtype: Any) -> str:
        """Return a dtype's name."""
        return self._names.get(dtype, str(dtype).removeprefix("torch."))

    def view(self, tensor: Any) -> Any:
        """Return a tensor's memory."""
        tensor = tensor.detach().resolve_neg().contiguous()
        if tensor.data_ptr() % ALIGNMENT:  # a piece of a tensor
            tensor = tensor.clone()
        return extension.load().View(
            tensor.data_ptr(), list(tensor.shape), self.name(tensor.dtype), _gpu_of(tensor), tensor
        )

    def allocate(self, shape: list[int], dtype: str) -> Any:
        """Return a view of fresh memory."""
        return self.view(self.empty(tuple(shape), self._dtypes[dtype]))

    def stream(self) -> int:
        """Return the current stream."""
        return int(self.torch.cuda.current_stream(self.device).cuda_stream)


def _gpu_of(tensor: Any) -> int | None:
    """Return the number of a tensor's GPU, None on another device."""
    return int(tensor.device.index) if tensor.is_cuda else None


class CupyFrame(Frame):
    """CuPy's arrays."""

    def __init__(self, device: int) -> None:
        import cupy  # noqa: PLC0415 - only where its arrays come

        self.cupy = cupy
        self.device = device

    def zeros(self, shape: Shape, dtype: Any) -> Any:
        """Return zeros."""
        with self.cupy.cuda.Device(self.device):
            return self.cupy.zeros(shape, dtype)

    def empty(self, shape: Shape, dtype: Any) -> Any:
        """Return an array that is yet to be filled."""
        with self.cupy.cuda.Device(self.device):
            return self.cupy.empty(shape, dtype)

    def copy(self, array: Any) -> Any:
        """Return a copy."""
        return array.copy()

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        """Join along an axis."""
        return self.cupy.concatenate(list(arrays), axis)

    def contiguous(self, array: Any) -> Any:
        """Return the array in C order."""
        return self.cupy.ascontiguousarray(array)

    def from_host(self, array: Any) -> Any:
        """Return a copy of one of NumPy's arrays."""
        with self.cupy.cuda.Device(self.device):
            return self.cupy.array(array)

    def to_host(self, array: Any) -> Any:
        """Return a copy as one of NumPy's arrays."""
        return array.get()

    def add_at(self, to: Any, rows: Any, values: Any) -> None:
        """Add to rows, each as often as it is named."""
        self.cupy.add.at(to, self.cupy.asarray(rows), values)

    def integers(self, array: Any) -> Any:
        """Return NumPy's int64 on the device."""
        with self.cupy.cuda.Device(self.device):
            return self.cupy.asarray(array)

    def in_order(self, array: Any) -> bool:
        """Whether an array is in C order, so that `contiguous` copies nothing."""
        return bool(array.flags.c_contiguous)

    def holds_integers(self, array: Any) -> bool:
        """Whether an array is one of integers."""
        return array.dtype.kind in "iu"

    def as_int64(self, array: Any) -> Any:
        """Return integers as the kernels take them."""
        return array.astype(np.int64, copy=False)

    def name(self, dtype: Any) -> str:
        """Return a dtype's name."""
        return str(dtype)

    def view(self, array: Any) -> Any:
        """Return an array's memory."""
        array = self.cupy.ascontiguousarray(array)
        if array.data.ptr % ALIGNMENT:  # a piece of an array
            array = array.copy()
        return extension.load().View(array.data.ptr, list(array.shape), str(array.dtype), array.device.id, array)

    def allocate(self, shape: list[int], dtype: str) -> Any:
        """Return a view of fresh memory."""
        return self.view(self.empty(tuple(shape), dtype))

    def stream(self) -> int:
        """Return the current stream."""
        return int(self.cupy.cuda.get_current_stream().ptr)


class CopyFrame:
    """NumPy's arrays on a GPU: copied there for a call, results copied back."""

    device = 0

    def integers(self, array: Any) -> Any:
        """Return the array as it is: `view` copies it."""
        return array

    def view(self, array: Any) -> Any:
        """Return a copy's memory."""
        module = extension.load()
        array = np.ascontiguousarray(array)
        memory = module.Memory(self.device, array.nbytes)
        view = module.View(memory.pointer, list(array.shape), str(array.dtype), self.device, memory)
        module.copy_in(array, view)
        return view

    def allocate(self, shape: list[int], dtype: str) -> Any:
        """Return a view of fresh memory."""
        module = extension.load()
        memory = module.Memory(self.device, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return module.View(memory.pointer, shape, dtype, self.device, memory)

    def take(self, view: Any) -> Any:
        """Return a result as an array."""
        array = np.empty(view.shape, view.dtype)
        extension.load().copy_out(view, array)
        return array

    def stream(self) -> int:
        """Return the default stream."""
        return 0


torch_frame = cache(TorchFrame)
cupy_frame = cache(CupyFrame)
COPIES = CopyFrame()


def frame_at(place: str, library: str) -> Frame:
    """Return the frame of a place, "cpu" (NumPy's), "cuda" (the first GPU) or "cuda:1", with arrays of a library there.

    Raises
    ------
    TypeError, ValueError, ImportError
        If there is no such place or library.
    """
    as_text("place", place)
    kind, colon, number = place.partition(":")
    if place != "cpu" and (kind != "cuda" or (colon and not (number.isascii() and number.isdecimal()))):
        raise ValueError(f"place: expected 'cpu', 'cuda', 'cuda:1', ..., got {place!r}")
    as_choice("library", library, ("torch", "cupy"))
    if place == "cpu":
        return NUMPY
    return (torch_frame if library == "torch" else cupy_frame)(int(number or 0))


def frame_of_tensor(tensor: Any) -> TorchFrame:
    """Return the frame of a tensor on a GPU."""
    frame = device_frame(tensor)
    if not isinstance(frame, TorchFrame):
        raise TypeError(f"tensor: expected one on a GPU, got {type(tensor).__name__}")
    return frame


def device_frame(array: Any) -> TorchFrame | CupyFrame | None:
    """Return the frame of an array on a GPU; None for what is on the host, or no array."""
    if isinstance(array, np.ndarray):
        return None
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and isinstance(array, torch.Tensor):
        gpu = _gpu_of(array)
        return None if gpu is None else torch_frame(gpu)
    if cupy is not None and isinstance(array, cupy.ndarray):
        return cupy_frame(array.device.id)
    return None


def frame_of(array: Any) -> Frame:
    """Return the frame of an array."""
    return device_frame(array) or NUMPY


def adopt(name: str, array: Any) -> Any:
    """Return an array of another library's on a GPU (Numba, JAX, …) as one of CuPy's or PyTorch's, of the same memory.

    Raises
    ------
    TypeError
        If neither is installed.
    """
    if isinstance(array, np.ndarray) or device_frame(array) is not None or not _on_gpu(array):
        return array
    try:
        import cupy  # noqa: PLC0415

        return cupy.asarray(array) if hasattr(array, "__cuda_array_interface__") else cupy.from_dlpack(array)
    except ImportError:
        pass
    try:
        import torch  # noqa: PLC0415
    except ImportError:
        raise TypeError(
            f"{name}: expected an array of NumPy's, PyTorch's or CuPy's, or one of these two installed, which can read "
            f"a {type(array).__name__} where it lies"
        ) from None
    return (
        torch.as_tensor(array, device="cuda")
        if hasattr(array, "__cuda_array_interface__")
        else torch.from_dlpack(array)
    )


def _on_gpu(array: Any) -> bool:
    if hasattr(array, "__cuda_array_interface__"):
        return True
    device = getattr(type(array), "__dlpack_device__", None)
    return device is not None and int(device(array)[0]) == 2  # kDLCUDA
