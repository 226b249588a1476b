"""Flags, numbers, choices and mappings that callers pass: returned as Python's own, or an error that names them.

Not here: arrays (`_arguments`), and what a value means where it is read.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN = 60  # characters of a value in an error


def shown(value: object) -> str:
    """Return what an error says of a value: a scalar or a text itself, shortened; of anything else its type."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:  # its text may not be made
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        text = repr(value)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def as_flag(name: str, value: Any) -> bool:
    """Return True or False; NumPy's two, and 1 and 0, are taken for them.

    Raises
    ------
    TypeError
        If it is anything else: what an array or a text is true of is a guess.
    """
    if value is True or value is False:
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.bool_) or (isinstance(value, (int, np.integer)) and value in (0, 1)):
        return bool(value)
    raise TypeError(f"{name}: expected True or False, got {shown(value)}")


def as_integer(name: str, value: Any, low: float, high: float = 2**63 - 1) -> int:
    """Return an integer in [low, high].

    Raises
    ------
    TypeError, ValueError
        If it is no integer, or out of range.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {shown(value)}") from None
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected an integer, got {shown(value)}")
    if number < low:
        raise ValueError(f"{name}: expected at least {low}, got {shown(number)}")
    if number > high:
        raise ValueError(f"{name}: expected at most {shown(high)}, got {shown(number)}")
    return number


def as_number(name: str, value: Any) -> float:
    """Return a real number, NaN and the infinities among them; an array without axes is one.

    Raises
    ------
    TypeError, ValueError
        If it is no number, or none that a float can be.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    scalar = not isinstance(value, (bool, np.bool_, np.ndarray)) and hasattr(type(value), "__float__")
    if not (scalar or isinstance(value, (int, np.integer))):
        raise TypeError(f"{name}: expected a number, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}: expected a number below {math.floor(1e308):.0e}, got {shown(value)}") from None
    except (TypeError, ValueError, RuntimeError):  # a tensor of several numbers, say
        raise TypeError(f"{name}: expected a number, got {shown(value)}") from None


def as_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return a text that is one of `choices`.

    Raises
    ------
    TypeError, ValueError
        If it is no text, or another one.
    """
    if isinstance(value, str) and value in choices:
        return value
    error = ValueError if isinstance(value, str) else TypeError
    raise error(f"{name}: expected one of {', '.join(choices)}, got {shown(value)}")


def as_text(name: str, value: Any) -> str:
    """Return a text, or raise TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {shown(value)}")
    return value


def is_mapping(value: object) -> bool:
    """Whether something is a mapping, by what it can do: those of flax and of safetensors derive from nothing."""
    return isinstance(value, dict) or (hasattr(value, "keys") and not isinstance(value, type))


def check_mapping(name: str, value: Any, of: str = "names to arrays") -> None:
    """Raise TypeError where something is no mapping; who passes a `Stack` or gradients means what they hold."""
    if not is_mapping(value):
        hint = "; its attribute params is one" if is_mapping(getattr(value, "params", None)) else ""
        raise TypeError(f"{name}: expected a mapping of {of}, got {shown(value)}{hint}")


def as_items(name: str, value: Any, wanted: str) -> tuple[Any, ...]:
    """Return what a tuple, a list or another sequence holds.

    Raises
    ------
    TypeError
        If it is none: an array is one value, and a mapping or a text is no list of them.
    """
    if isinstance(value, (tuple, list)):
        return tuple(value)
    sequence = hasattr(type(value), "__len__") and hasattr(type(value), "__getitem__")
    if not sequence or isinstance(value, (str, bytes, np.ndarray)) or is_mapping(value):
        raise TypeError(f"{name}: expected {wanted}, got {shown(value)}")
    return tuple(value[k] for k in range(len(value)))
