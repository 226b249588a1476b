"""The parts of the fuzz command, by name: where each is, and what it needs beside the package.

A part's module has ``run(seconds: float, seed: int) -> list[str]``: it tries the cases seed, seed + 1, ... for so long
and returns what failed, one line each, with the seed of the case. It prints its figures itself.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

Run = Callable[[float, int], list[str]]


class Part(NamedTuple):
    """A part: its module in this folder, and the packages that it needs."""

    module: str
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """Packages that are not installed, and the module itself where it is not there."""
        module = f"{__package__}.{self.module}"
        return [name for name in (module, *self.needs) if importlib.util.find_spec(name) is None]

    def load(self) -> Any:
        return importlib.import_module(f"{__package__}.{self.module}")


PARTS = {
    "numpy": Part("numpy_calls"),
    "onnx": Part("onnx_fuzz", ("onnx", "onnxruntime")),
    "torch": Part("torch_fuzz", ("torch",)),
    "charlm": Part("charlm_fuzz", ("safetensors", "tqdm")),
}
