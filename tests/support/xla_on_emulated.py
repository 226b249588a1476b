"""XLA's programs on the CPU that call the emulated CUDA backend as XLA calls a GPU's functions.

XLA calls a function of ours here, with a call frame of its own. It goes on to the backend with what XLA offers for a
GPU beside the rest: a stream, and scratch memory, which is counted. So the backend sees frames that XLA made.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_int, c_size_t, c_void_p, cast
from typing import Any

import jax

_POISON = 0xFF


class _StreamArguments(Structure):
    _fields_ = (("size", c_size_t), ("extension", c_void_p), ("context", c_void_p), ("stream", c_void_p))


class _MemoryArguments(Structure):
    _fields_ = (
        ("size", c_size_t),
        ("extension", c_void_p),
        ("context", c_void_p),
        ("bytes", c_size_t),
        ("alignment", c_size_t),
        ("data", c_void_p),
    )


class _FreeArguments(Structure):
    _fields_ = (
        ("size", c_size_t),
        ("extension", c_void_p),
        ("context", c_void_p),
        ("bytes", c_size_t),
        ("data", c_void_p),
    )


class _ErrorArguments(Structure):
    _fields_ = (("size", c_size_t), ("extension", c_void_p), ("message", c_char_p), ("code", c_int))


class _Frame(Structure):
    _fields_ = (("size", c_size_t), ("extension", c_void_p), ("api", c_void_p))


# Where functions stand among what XLA offers; tests/native/check_xla_ffi_abi.cpp has them from XLA's header.
_CREATE_ERROR, _GET_STREAM, _TAKE_MEMORY, _FREE_MEMORY, _API_BYTES = 48, 80, 120, 128, 136
_Function = ctypes.CFUNCTYPE(c_void_p, c_void_p)


class Xla:
    """What stands between XLA and the backend, and what it saw.

    Attributes
    ----------
    calls : int
        Of the backend, by XLA.
    given : dict of int to int
        Bytes of the scratch memory that is out, by address.
    most : int
        The most bytes that were out at once.
    limit : int
        How many may be.
    """

    def __init__(self, module: Any) -> None:
        self.calls = 0
        self.given: dict[int, int] = {}
        self.most = 0
        self.limit = 1 << 40
        self.api_bytes = _API_BYTES
        self._memory: dict[int, Any] = {}
        self._api: Any = None
        self._create_error: Any = None
        self._offered = {
            _GET_STREAM: _Function(self._get_stream),
            _TAKE_MEMORY: _Function(self._take_memory),
            _FREE_MEMORY: _Function(self._free_memory),
        }
        self._targets = {name: self._between(capsule) for name, capsule in module.xla_ffi_handlers().items()}

    def register(self, forward: str, backward: str) -> None:
        """Let XLA know both under these names."""
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [c_void_p, c_char_p, c_void_p]
        for name, which in ((forward, "forward"), (backward, "backward")):
            capsule = new(cast(self._targets[which], c_void_p), None, None)
            jax.ffi.register_ffi_target(name, capsule, platform="cpu")

    def _between(self, capsule: Any) -> Any:
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = c_void_p, [ctypes.py_object, c_char_p]
        handler = _Function(pointer(capsule, None))

        def call(address: int) -> int | None:
            frame = cast(address, POINTER(_Frame)).contents
            if frame.extension:  # asked for its version
                answered: int | None = handler(address)
                return answered
            own = frame.api
            frame.api = self._with_offers(own)
            try:
                self.calls += 1
                result: int | None = handler(address)
            finally:
                frame.api = own
            return result

        return _Function(call)

    def _with_offers(self, api: int) -> int:
        copied = ctypes.create_string_buffer(ctypes.string_at(api, _API_BYTES), _API_BYTES)
        for at, function in self._offered.items():
            c_void_p.from_buffer(copied, at).value = cast(function, c_void_p).value
        c_size_t.from_buffer(copied).value = self.api_bytes
        self._create_error = _Function(c_void_p.from_buffer(copied, _CREATE_ERROR).value or 0)
        self._api = copied
        return ctypes.addressof(copied)

    def _get_stream(self, address: int) -> int | None:
        cast(address, POINTER(_StreamArguments)).contents.stream = None
        return None

    def _take_memory(self, address: int) -> int | None:
        asked = cast(address, POINTER(_MemoryArguments)).contents
        if asked.alignment > 16 or sum(self.given.values()) + asked.bytes > self.limit:
            return self._error(f"out of memory: {asked.bytes} bytes asked for")
        block = ctypes.create_string_buffer(asked.bytes + 16)
        begin = (ctypes.addressof(block) + 15) // 16 * 16
        ctypes.memset(begin, _POISON, asked.bytes)
        asked.data = begin
        self._memory[begin], self.given[begin] = block, asked.bytes
        self.most = max(self.most, sum(self.given.values()))
        return None

    def _free_memory(self, address: int) -> int | None:
        given = cast(address, POINTER(_FreeArguments)).contents
        if self.given.pop(given.data, None) != given.bytes:
            return self._error("memory given back that was not taken")
        ctypes.memset(given.data, _POISON, given.bytes)
        del self._memory[given.data]
        return None

    def _error(self, text: str) -> int:
        arguments = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, text.encode(), 8)
        made: int = self._create_error(ctypes.addressof(arguments))
        return made
