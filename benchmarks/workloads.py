"""What is measured: a cell at a shape in a mode, its arrays, and the check of an answer.

An answer is compared with the float64 reference, which shares no code with any participant. Of a sequence all
outputs are compared. Of a training step it is each gradient's slope along a random direction, which the reference
has from one complex step at any size; a wrong element shows in it as it would in a norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk
from rnnkernels import reference

from .shapes import Shape

Array = npt.NDArray[Any]
Answer = dict[str, Array]

# Largest error allowed, norm over norm: float32 rounding over these lengths.
OUTPUT_TOLERANCE = 2e-4
# Of gradients: where a relu's input is a rounding away from 0, single elements of two right ones differ.
GRADIENT_TOLERANCE = 5e-3
# Of weights kept as bfloat16: eight bits of each weight.
BFLOAT16_TOLERANCE = 2e-2

# A stream's answer is its first steps.
STREAM_STEPS = 8


@dataclass(frozen=True, eq=False)
class Workload:
    """One cell at one shape in one mode, float32.

    A call of `inference` or `bfloat16` is a forward over the sequence, of `training` a forward and a backward to
    the inputs and all parameters, of `streaming` one step from the state the last call left.
    """

    cell: str
    mode: str
    shape: Shape

    @cached_property
    def params(self) -> Answer:
        _, _, inputs, hidden = self.shape
        proj_size = self.width if rk.cell_info(self.cell)["projected"] else None
        return rk.init_params(self.cell, inputs, hidden, rng=np.random.default_rng(self.shape), proj_size=proj_size)

    @property
    def width(self) -> int:
        """Units of h: H, and half of it where h is projected."""
        return self.shape[3] // 2 if rk.cell_info(self.cell)["projected"] else self.shape[3]

    @cached_property
    def x(self) -> Array:
        """(T, B, I); of a stream (STREAM_STEPS, B, I), each call's input in turn."""
        _, batch, inputs, _ = self.shape
        return self._normal(1, self.steps, batch, inputs)

    @cached_property
    def d_output(self) -> Array:
        return self._normal(2, self.steps, self.shape[1], self.width)

    @property
    def steps(self) -> int:
        """Steps of an answer."""
        return STREAM_STEPS if self.mode == "streaming" else self.shape[0]

    @property
    def flops(self) -> float:
        """Multiply-adds of one call's products, times two; a backward has twice the forward's."""
        steps, batch, _, _ = self.shape
        numbers = sum(value.size for value in self.params.values() if value.ndim == 2)
        return 2.0 * steps * batch * numbers * (3 if self.mode == "training" else 1)

    @property
    def weight_bytes(self) -> int:
        """Weights that every step must read: the recurrent ones, and in a call of one step also the input's.

        Over many steps the input's weights serve hundreds of rows at once and count for nothing.
        """
        once = "weight_ih" if self.shape[0] > 1 else ""
        size = sum(value.nbytes for name, value in self.params.items() if value.ndim == 2 and name != once)
        return size // 2 if self.mode == "bfloat16" else size

    @property
    def tolerance(self) -> float:
        return {"training": GRADIENT_TOLERANCE, "bfloat16": BFLOAT16_TOLERANCE}.get(self.mode, OUTPUT_TOLERANCE)

    def error(self, answer: Answer) -> float:
        """How far an answer is from the reference's; infinite if an array is missing or has another shape.

        An answer is ``output`` (T, B, H), or in training the gradients of ``x`` and of every parameter.
        """
        if self.mode != "training":
            found = answer.get("output")
            if found is None or found.shape != self._output.shape:
                return np.inf
            return _finite(np.linalg.norm(found - self._output) / np.linalg.norm(self._output))
        return max(self._slope_error(name, answer.get(name)) for name in ("x", *self.params))

    def _slope_error(self, name: str, found: Array | None) -> float:
        direction, slope = self._slopes[name]
        if found is None or found.shape != direction.shape:
            return np.inf
        exact = found.astype(np.float64)
        scale = float(np.linalg.norm(exact))
        if not scale:  # of recurrent weights where there is one step, from zeros
            return np.inf if slope else 0.0
        return _finite(abs(float((exact * direction).sum()) - slope) / scale)

    @cached_property
    def _output(self) -> Array:
        output, _ = reference.forward(self.cell, self.x, self.params)
        return output

    @cached_property
    def _slopes(self) -> dict[str, tuple[Array, float]]:
        """Of each array that has a gradient: a direction, and the loss's slope along it."""
        rng = np.random.default_rng(1)
        found = {}
        for name, array in {"x": self.x, **self.params}.items():
            direction = rng.choice([-1.0, 1.0], array.shape)  # sums errors as their norm does, but for luck
            slope = reference.directional_derivative(
                self.cell, self.x, self.params, None, self.d_output, None, {name: direction}
            )
            found[name] = direction, slope
        return found

    def _normal(self, seed: int, *size: int) -> Array:
        return np.random.default_rng([seed, *self.shape]).standard_normal(size, dtype=np.float32)


def _finite(error: Any) -> float:
    return float(error) if np.isfinite(error) else np.inf
