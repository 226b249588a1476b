"""The names x, u and w of a cell's function, whose attributes are its gates and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from .places import refused
from .refusing import Traced
from .values import Value, same_trace

if TYPE_CHECKING:
    from .graph import Node
    from .recording import Recording


class Names(Traced):
    """Leaves by name; a first look at a name makes it. What is not a name of one leaf is refused."""

    __slots__ = ()

    def _leaf(self, name: str) -> Node:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Value:
        if name.startswith("__"):  # a library asks what this is
            raise AttributeError(name)
        if name.startswith("_"):
            raise refused(f"{self._said()} has no {name}: names begin with a letter", kind=AttributeError)
        same_trace(self._recording, self)
        return Value(self._recording, self._leaf(name))

    def __setattr__(self, name: str, value: object) -> None:
        if name not in ("_recording", "_number_of"):
            raise refused(f"{self._said()} is read, not written: keep values in variables")
        object.__setattr__(self, name, value)

    def _arithmetic(self, *_: object) -> NoReturn:
        raise refused(f"{self._said()} {self._use()}")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _arithmetic
    __neg__ = __pos__ = __abs__ = __pow__ = __rpow__ = __lt__ = __le__ = __gt__ = __ge__ = _arithmetic
    __call__ = _arithmetic


class Inputs(Names):
    """x: what ``weight_ih`` gives, by gate."""

    __slots__ = ()

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def _said(self) -> str:
        return "x"

    def _use(self) -> str:
        return "has a value for each gate, x.i, x.f, ..., and is none; rk.direct(x) is x itself, without weights"

    def _leaf(self, name: str) -> Node:
        return self._recording.input(name)


class Rows(Names):
    """u: what a recurrent product gives, by gate."""

    __slots__ = ("_number_of",)

    _number_of: int

    def __init__(self, recording: Recording, number: int) -> None:
        self._recording, self._number_of = recording, number

    def _said(self) -> str:
        return "a product"

    def _use(self) -> str:
        return "has a value for each gate, u.i, u.f, ... after u = rk.product(h), and is none"

    def _leaf(self, name: str) -> Node:
        return self._recording.row(self._number_of, name)


class Weights(Names):
    """w: the element-wise weights, by name."""

    __slots__ = ()

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def _said(self) -> str:
        return "w"

    def _use(self) -> str:
        return "has a weight for each name, w.i, w.f, ..., and is none"

    def _leaf(self, name: str) -> Node:
        return self._recording.weight(name)
