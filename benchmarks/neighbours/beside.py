"""The neighbours: what somebody else does right before each call, or beside it all the time.

A neighbour is made in the victim's own process, with that library's default threads: its idle threads are what spins.
Where victim and neighbour are both PyTorch, they share PyTorch's one number of threads, the victim's. Busy processes
are children of the victim's process (busy.py).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

# What each needs to be installed.
PACKAGES: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "numpy": (),
    "torch": ("torch",),
    "onnxruntime": ("onnx", "onnxruntime"),
    "busy1": (),
    "busy2": (),
}
TEXTS = {
    "nothing": "beside nothing",
    "numpy": "after a NumPy product",
    "torch": "after a PyTorch product",
    "onnxruntime": "after an ONNX Runtime call",
    "busy1": "beside one busy process",
    "busy2": "beside two busy processes",
}
SIZE = 512  # of the products' square matrices: some milliseconds, on all threads
STARTED = 0.005  # seconds until a process that was told to spin does
ENDED = 5.0  # seconds that a process has to end by itself


def missing(name: str) -> str:
    """Why a neighbour cannot come; empty if it can."""
    absent = [package for package in PACKAGES[name] if not find_spec(package)]
    return f"{' and '.join(absent)} not installed" if absent else ""


class Busy(AbstractContextManager["Busy"]):
    """Processes that spin between `spin` and `rest`; they end with the `with` block, and with this process."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Busy:  # noqa: PYI034 - Self came with Python 3.11
        try:
            for _ in range(self.count):
                program = [sys.executable, "-I", "-S", str(Path(__file__).with_name("busy.py"))]
                self.processes.append(subprocess.Popen(program, stdin=subprocess.PIPE, bufsize=0))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            try:
                process.wait(ENDED)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def spin(self) -> None:
        self._tell(b"1")
        if self.processes:
            time.sleep(STARTED)

    def rest(self) -> None:
        self._tell(b"0")

    def _tell(self, word: bytes) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(word)


def busy(name: str) -> Busy:
    """The busy processes of a neighbour; none where it is of another kind."""
    return Busy({"busy1": 1, "busy2": 2}.get(name, 0))


def before(name: str) -> Callable[[], Any] | None:
    """What a neighbour does right before each call; None where it does nothing."""
    makers = {"numpy": _numpy, "torch": _torch, "onnxruntime": _onnxruntime}
    return makers[name]() if name in makers else None


def _matrix() -> Any:
    return np.random.default_rng(SIZE).standard_normal((SIZE, SIZE), dtype=np.float32)


def _numpy() -> Callable[[], Any]:
    a = _matrix()
    return lambda: a @ a


def _torch() -> Callable[[], Any]:
    import torch

    a = torch.from_numpy(_matrix())
    return lambda: torch.mm(a, a)


def _onnxruntime() -> Callable[[], Any]:
    import onnxruntime
    from onnx import TensorProto, helper

    a = _matrix()
    value = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, a.shape) for name in ("A", "B", "Y")}
    node = helper.make_node("MatMul", ["A", "B"], ["Y"])
    graph = helper.make_graph([node], "product", [value["A"], value["B"]], [value["Y"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda: session.run(["Y"], {"A": a, "B": a})
