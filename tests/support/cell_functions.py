"""The functions that a cell is written with, each beside what NumPy makes of the same numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import rnnkernels as rk


def erf(x: Any) -> Any:
    return np.vectorize(math.erf)(x)


def gelu(x: Any) -> Any:
    return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))


FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "exp": (rk.exp, np.exp),
    "expm1": (rk.expm1, np.expm1),
    "log": (lambda x: rk.log(x * x + 0.5), lambda x: np.log(x * x + 0.5)),
    "sqrt": (lambda x: rk.sqrt(x * x + 0.5), lambda x: np.sqrt(x * x + 0.5)),
    "sigmoid": (rk.sigmoid, lambda x: 0.5 * (1.0 + np.tanh(0.5 * x))),
    "tanh": (rk.tanh, np.tanh),
    "log_sigmoid": (rk.log_sigmoid, lambda x: -np.logaddexp(0.0, -x)),
    "erf": (rk.erf, erf),
    "relu": (rk.relu, lambda x: np.maximum(x, 0.0)),
    "maximum": (lambda x: rk.maximum(x, 0.3), lambda x: np.maximum(x, 0.3)),
    "minimum": (lambda x: rk.minimum(0.3, x), lambda x: np.minimum(x, 0.3)),
    "fma": (lambda x: rk.fma(x, 2.0, 1.0), lambda x: x * 2.0 + 1.0),
    "division": (lambda x: 1.0 / (x * x + 1.0) - x / 3.0, lambda x: 1.0 / (x * x + 1.0) - x / 3.0),
    "softplus": (rk.softplus, lambda x: np.logaddexp(0.0, x)),
    "silu": (rk.silu, lambda x: x / (1.0 + np.exp(-x))),
    "softsign": (rk.softsign, lambda x: x / (1.0 + np.abs(x))),
    "hard_sigmoid": (rk.hard_sigmoid, lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0)),
    "hard_sigmoid of 0.2": (
        lambda x: rk.hard_sigmoid(x, slope=0.2, offset=0.4),
        lambda x: np.clip(0.2 * x + 0.4, 0, 1),
    ),
    "elu": (rk.elu, lambda x: np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0)))),
    "elu of 0.3": (lambda x: rk.elu(x, 0.3), lambda x: np.where(x > 0.0, x, 0.3 * np.expm1(np.minimum(x, 0.0)))),
    "gelu": (rk.gelu, gelu),
    "gelu by tanh": (
        lambda x: rk.gelu(x, approximate="tanh"),
        lambda x: 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))),
    ),
    "clip": (lambda x: rk.clip(x, -1.0, 2.0), lambda x: np.clip(x, -1.0, 2.0)),
    "powers": (lambda x: x**2 + x**3 + x**4, lambda x: x**2 + x**3 + x**4),
    "abs()": (lambda x: abs(x) + +x, lambda x: np.abs(x) + x),
    "<": (lambda x: rk.where(x < 0.25, x, 7.0), lambda x: np.where(x < 0.25, x, 7.0)),
    "<=": (lambda x: rk.where(x <= 0.25, x, 7.0), lambda x: np.where(x <= 0.25, x, 7.0)),
    ">=": (lambda x: rk.where(x >= 0.25, x, 7.0), lambda x: np.where(x >= 0.25, x, 7.0)),
    "==": (lambda x: rk.where(x == 0.25, x, 7.0), lambda x: np.where(x == 0.25, x, 7.0)),
    "!=": (lambda x: rk.where(x != 0.25, x, 7.0), lambda x: np.where(x != 0.25, x, 7.0)),
    "number first": (lambda x: rk.where(0.25 > x, x, 7.0), lambda x: np.where(x < 0.25, x, 7.0)),
    "&": (lambda x: rk.where((x > -1.0) & (x < 1.0), x, 7.0), lambda x: np.where((x > -1) & (x < 1), x, 7.0)),
    "|": (lambda x: rk.where((x < -1.0) | (x > 1.0), x, 7.0), lambda x: np.where((x < -1) | (x > 1), x, 7.0)),
    "~": (lambda x: rk.where(~(x < -1.0) & (x > -2.0), x, 7.0), lambda x: np.where(x >= -1, x, 7.0)),
    "a flag": (lambda x: rk.where(True, x, 0.0) + rk.where(False, x, 1.0), lambda x: x + 1.0),
}
