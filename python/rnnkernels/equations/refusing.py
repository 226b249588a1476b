"""What a cell's function cannot do with the things it is given, refused in words with the line.

`Traced` is the base of them all. Arrays, tensors and Python itself ask operands before they compute, and are told.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from rnnkernels._scalars import shown

from .places import refused

if TYPE_CHECKING:
    from .recording import Recording

_OVER_UNITS = """
    all amax amin any argmax argmin average cumsum dot einsum inner layer_norm log_softmax logsumexp matmul max mean
    median min nanmean nansum norm prod softmax std sum tensordot var vdot
"""
SUMS = frozenset(_OVER_UNITS.split())
SYNONYMS = {"absolute": "abs", "fabs": "abs", "expit": "sigmoid", "logsigmoid": "log_sigmoid", "fmax": "maximum"}
SYNONYMS |= {"fmin": "minimum", "hardsigmoid": "hard_sigmoid", "clamp": "clip", "max": "maximum", "min": "minimum"}
_FUNCTIONS = """
    abs clip elu erf exp expm1 fma gelu hard_sigmoid log log_sigmoid maximum minimum relu sigmoid silu softplus
    softsign sqrt tanh where
"""
NAMES = frozenset(_FUNCTIONS.split())  # of `functions`; a test compares them
_FLOW = (
    "Python asks here whether it is true (if, while, and, or, not, min, max, a < b < c), which differs from unit to "
    "unit: rk.where chooses, & | ~ join conditions, rk.maximum and rk.minimum compare"
)
# NumPy's functions that Python's operators stand for: a NumPy number on the left calls them.
_OPERATORS = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "less": operator.lt,
    "less_equal": operator.le,
    "equal": operator.eq,
    "not_equal": operator.ne,
}


class Traced:
    """What all that a cell's function is given refuses: to be a number, an array, a list or true.

    Arrays and tensors ask their operands before they compute: they are told as well.
    """

    __slots__ = ("_recording",)

    _recording: Recording

    def _said(self) -> str:
        """Say what this is, for an error."""
        raise NotImplementedError

    def _use(self) -> str:
        """Say what to do with it where a value is wanted."""
        raise NotImplementedError

    def __bool__(self) -> bool:
        raise refused(f"{self._said()}: {_FLOW}")

    def __iter__(self) -> NoReturn:
        raise refused(f"{self._said()} has no parts to go through: units and rows are the kernels', and sums over them")

    def __len__(self) -> int:
        raise refused(f"{self._said()} has no length: units and rows are the kernels'")

    def __getitem__(self, key: object) -> NoReturn:
        raise refused(f"{self._said()} has no parts by number: gates and weights have names, as x.i and w.i")

    def __contains__(self, item: object) -> bool:
        raise refused(f"{self._said()} has no parts to look among")

    def _number(self, *_: object) -> NoReturn:
        raise refused(
            f"{self._said()} is no number while the equations are written down: float(), int() and the functions of "
            f"math take numbers, rk.exp and the others take values"
        )

    __float__ = __int__ = __index__ = __complex__ = __round__ = __trunc__ = __floor__ = __ceil__ = _number

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise refused(f"{self._said()} is no array: a cell's function is written for one unit of one row in one step")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        same = _OPERATORS.get(ufunc.__name__)
        arrays = [each for each in inputs if not isinstance(each, Traced) and np.ndim(each)]
        if same and method == "__call__" and not options:
            if arrays:
                raise refused(
                    f"an array beside {self._said()}: arrays have no place in a cell's function, numbers have"
                )
            return same(*map(_plain, inputs))
        raise refused(_of_library("NumPy", ufunc.__name__))

    def __array_function__(self, function: Any, *_: object) -> NoReturn:
        raise refused(_of_library("NumPy", function.__name__))

    @classmethod
    def __torch_function__(cls, function: Any, *_: object, **__: object) -> NoReturn:
        raise refused(_of_library("PyTorch", getattr(function, "__name__", str(function))))

    def _no_operator(self, *_: object) -> NoReturn:
        raise refused(f"{self._said()} has no //, %, @, <<, >> and no divmod: rk.product(h) is the recurrent product")

    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __matmul__ = __rmatmul__ = _no_operator
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = __divmod__ = __rdivmod__ = _no_operator


def _plain(value: Any) -> Any:
    """Return a NumPy number as Python's; a value has no axes and stays."""
    if isinstance(value, Traced):
        return value
    return value.item() if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0 else value


def _of_library(library: str, name: str) -> str:
    """Say what to do in the place of a library's function."""
    name = name.strip("_")
    if name in SUMS - SYNONYMS.keys():
        return f"{library}'s {name} goes over the units: a cell's equations are element-wise, rk.product alone is not"
    own = SYNONYMS.get(name, name)
    instead = f"use rk.{own}" if own in NAMES else "use the functions of rk"
    return f"{library}'s {name} takes arrays, and a cell's function computes with values: {instead}"


def kind_of(value: object) -> str:
    """Return what an error says of a value that came in the place of another."""
    return value._said() if isinstance(value, Traced) else shown(value)
