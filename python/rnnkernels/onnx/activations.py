"""The activation functions of RNN, GRU and LSTM: names, what alpha and beta are where a node does not say, equations.

The formulas are those of the operators' own texts, https://onnx.ai/onnx/operators/. Attributes of ONNX are float32: so
are the constants, where a node says them and where it does not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import rnnkernels as rk

if TYPE_CHECKING:
    from collections.abc import Callable


class Activation(NamedTuple):
    """A function and its constants: alpha, or alpha and beta, or none."""

    name: str
    constants: tuple[float, ...] = ()

    def __str__(self) -> str:
        said = ", ".join(str(np.float32(value)) for value in self.constants)
        return f"{self.name}({said})" if said else self.name


def _float32(number: float) -> float:
    return float(np.float32(number))


# By the name in small letters, as a node may write it: what alpha and beta are without a word of the node, which are
# those of the operator of that name. Affine was one up to ONNX 1.4. ScaledTanh was one as well, whose constants had no
# defaults: nan.
_KNOWN = {
    each.name.lower(): each
    for each in (
        Activation("Relu"),
        Activation("Tanh"),
        Activation("Sigmoid"),
        Activation("Affine", (1.0, 0.0)),
        Activation("LeakyRelu", (_float32(0.01),)),
        Activation("ThresholdedRelu", (1.0,)),
        Activation("ScaledTanh", (math.nan, math.nan)),
        Activation("HardSigmoid", (_float32(0.2), 0.5)),
        Activation("Elu", (1.0,)),
        Activation("Softsign"),
        Activation("Softplus"),
    )
}

# Functions whose constants make them another one.
_SAME = {
    Activation("ScaledTanh", (1.0, 1.0)): Activation("Tanh"),
    Activation("LeakyRelu", (0.0,)): Activation("Relu"),
    Activation("ThresholdedRelu", (0.0,)): Activation("Relu"),
    Activation("Elu", (0.0,)): Activation("Relu"),
}

# Of a value of a cell's equations and the constants.
_EQUATIONS: dict[str, Callable[..., Any]] = {
    "Relu": rk.relu,
    "Tanh": rk.tanh,
    "Sigmoid": rk.sigmoid,
    "Affine": lambda x, alpha, beta: alpha * x + beta,
    "LeakyRelu": lambda x, alpha: rk.where(x >= 0.0, x, alpha * x),
    "ThresholdedRelu": lambda x, alpha: rk.where(x >= alpha, x, 0.0),
    "ScaledTanh": lambda x, alpha, beta: alpha * rk.tanh(beta * x),
    "HardSigmoid": rk.hard_sigmoid,
    "Elu": rk.elu,
    "Softsign": rk.softsign,
    "Softplus": rk.softplus,
}


def apply(activation: Activation, x: Any, clip: float | None) -> Any:
    """Return the function of a value of a cell's equations, which is held inside [-clip, clip] before."""
    held = x if clip is None else rk.clip(x, -clip, clip)
    if activation == Activation("Affine", (1.0, 0.0)):
        return held
    return _EQUATIONS[activation.name](held, *activation.constants)


class Constants:
    """``activation_alpha`` or ``activation_beta``: functions that have such a constant take one, in their order."""

    def __init__(self, name: str, values: list[float]) -> None:
        self.name, self.values, self.taken = name, [_float32(value) for value in values], 0

    def take(self, function: str, default: float) -> float:
        """Return the next number, or the default where there is none."""
        at, self.taken = self.taken, self.taken + 1
        if at >= len(self.values):
            if math.isnan(default):
                raise ValueError(f"{self.name}: expected one for {function}, which has no default, got none")
            return default
        if not math.isfinite(self.values[at]):
            raise ValueError(f"{self.name}: expected finite numbers, got {self.values[at]}")
        return self.values[at]

    def check_end(self) -> None:
        """Raise where some are taken and some are left: whose they are cannot be known."""
        if 0 < self.taken < len(self.values):
            raise ValueError(
                f"{self.name}: expected at most {self.taken}, one for each function that has it, got {len(self.values)}"
            )


def read(name: str, alphas: Constants, betas: Constants) -> Activation:
    """Return the function of a name that a node writes, with its constants; one of `_SAME` as what it is.

    Raises
    ------
    ValueError
        If ONNX has no such function, or it has no default for a constant that is missing.
    """
    known = _KNOWN.get(name.lower())
    if known is None:
        raise ValueError(
            f"activations: ONNX has no function {name!r}; it has {', '.join(a.name for a in _KNOWN.values())}"
        )
    constants = tuple(
        source.take(known.name, default) for source, default in zip((alphas, betas), known.constants, strict=False)
    )
    found = Activation(known.name, constants)
    return _SAME.get(found, found)
