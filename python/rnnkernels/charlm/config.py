"""What a training run is asked to do: every choice that shapes its result, checked.

A `Config` is written into each checkpoint, and together with the text and the version of the package it determines a
run whose length is given in epochs. Choices that do not shape the result (threads, where to save) are not here.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from rnnkernels._scalars import as_integer, check_mapping, shown
from rnnkernels.parameters import cell_info, cells, check_heads

from . import on_host

__all__ = ["OPTIMIZERS", "Config", "model_cells"]

OPTIMIZERS = tuple(on_host.OPTIMIZERS)

# Far above what any machine holds or waits for, and below where sizes and numbers of windows overflow.
MOST = 2**31 - 1
MOST_HIDDEN = 2**24
MOST_LAYERS = 10_000
LONGEST = 1e12


def model_cells() -> tuple[str, ...]:
    """Return the cells that a model may have.

    A projected cell needs two numbers of units, and one with element-wise inputs more than a token.
    """
    infos = {cell: cell_info(cell) for cell in cells()}
    return tuple(cell for cell, info in infos.items() if not info["projected"] and not info["elements"])


@dataclass(frozen=True)
class Config:
    """The choices of a training run; the defaults are those of `rnnkernels train`.

    Parameters
    ----------
    text : str
        A text file or folder; empty for the Python standard library's own source.
    pattern : str
        Which files of a folder to read (`*.c`).
    limit : int, optional
        The most characters of training text to use.
    valid_fraction : float
        Share of the text held out for validation, in [0, 1).
    min_count : int
        Characters rarer than this in the training text become the unknown token.
    cell, layers, hidden, dropout, dtype
        The recurrent stack; dropout is applied between layers.
    seq_length : int
        Steps in a window of truncated backpropagation (k1 = k2).
    batch : int
        Streams of text that are read side by side.
    optimizer, lr, clip
        The optimiser, its highest learning rate, and the largest L2 norm of a gradient (0: no clipping).
    seed : int
        Fixes initial parameters, dropout masks and the shift of the streams in each epoch.
    epochs : float
        Passes over the training text after which the run ends.
    minutes : float, optional
        Wall-clock minutes after which it ends in any case. A run that the clock ends cannot be repeated bit by bit.
    valid_every : float
        Epochs from one validation to the next.

    Raises
    ------
    ValueError, TypeError
        If a value is out of range or of the wrong type: the message names it.
    """

    text: str = ""
    pattern: str = "*"
    limit: int | None = None
    valid_fraction: float = 0.05
    min_count: int = 10
    cell: str = "lstm"
    layers: int = 1
    hidden: int = 512
    dropout: float = 0.0
    dtype: str = "float32"
    seq_length: int = 64
    batch: int = 32
    optimizer: str = "adam"
    lr: float = 6e-3
    clip: float = 1.0
    seed: int = 0
    epochs: float = 1.5
    minutes: float | None = None
    valid_every: float = 0.25

    def __post_init__(self) -> None:
        for name in ("seq_length", "batch", "min_count"):
            self._check_int(name, 1, MOST)
        self._check_int("hidden", 1, MOST_HIDDEN)
        self._check_int("layers", 1, MOST_LAYERS)
        self._check_int("seed", 0)
        if self.limit is not None:
            self._check_int("limit", 1)
        for name in ("valid_fraction", "dropout"):
            self._check_float(name, "[0, 1)", lambda value: 0 <= value < 1)
        self._check_float("lr", "above 0", lambda value: 0 < value < math.inf)
        for name in ("epochs", "valid_every"):
            self._check_float(name, f"above 0 and at most {LONGEST:g}", lambda value: 0 < value <= LONGEST)
        self._check_float("clip", "at least 0", lambda value: 0 <= value < math.inf)
        if self.minutes is not None:
            self._check_float("minutes", f"above 0 and at most {LONGEST:g}", lambda value: 0 < value <= LONGEST)
        for name in ("text", "pattern"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name}: expected a str, got {shown(getattr(self, name))}")
        if not self.pattern:
            raise ValueError("pattern: expected at least one character, got an empty text")
        self._check_choice("cell", model_cells())
        check_heads("hidden", self.cell, self.hidden)
        self._check_choice("optimizer", OPTIMIZERS)
        self._check_choice("dtype", ("float32", "float64"))

    def _check_int(self, name: str, low: int, high: float = math.inf) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name}: expected an int, got {shown(value)}")
        as_integer(name, value, low, high)

    def _check_float(self, name: str, expected: str, valid: Any) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name}: expected a number, got {shown(value)}")
        try:
            fits = valid(float(value))
        except OverflowError:  # an int that no float holds
            fits = False
        if not fits:
            raise ValueError(f"{name}: expected a number {expected}, got {shown(value)}")

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {shown(value)}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """Return a configuration from `to_dict`'s result.

        Raises
        ------
        TypeError, ValueError
            If it is no mapping, or a field is missing, unknown or out of range.
        """
        check_mapping("values", values, "fields of Config to what they are")
        names = {field.name for field in dataclasses.fields(cls)}
        if set(values) != names:
            missing, extra = sorted(names - set(values)), sorted(map(str, set(values) - names))
            raise ValueError(f"values: expected the fields of Config; missing {missing}, unknown {extra}")
        return cls(**values)
