"""`cell`: makes a function a cell that is taken wherever a built-in name is, and `Cell`, the name it is taken by.

Not here: what the function may say (`tracing`), and what is made of its equations (`lowering`). These are imported
where a cell is defined: a program without cells of its own starts without them.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import math
import threading
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from rnnkernels import parameters
from rnnkernels._scalars import as_number, as_text, check_mapping, shown

from .places import here

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

    from .graph import Equations

    Function = Callable[..., Any]
    Initial = Mapping[str, float | None]

_lock = threading.RLock()  # of `_cells`, and of the extension's list as far as it is ours
_cells: dict[str, Cell] = {}


class Cell(str):
    """A registered cell: a string that is its name, and its equations.

    `rnnkernels.cell` makes one. ``print`` shows gates, states, shapes, what is kept and the derived backward. Called
    with settings it is the cell of other numbers: ``lstm_p(slope=3.0)``. A pickle carries the equations.

    Attributes
    ----------
    equations : Equations
        What was traced.
    """

    __slots__ = ("__weakref__", "_function", "_initial", "equations")

    equations: Equations
    _function: Function | None  # None of a cell that was loaded
    _initial: Initial | None

    def __new__(cls, *_: object, **__: object) -> Self:
        """Refuse: a name alone has no equations."""
        raise TypeError("Cell: made by rnnkernels.cell(function)")

    @classmethod
    def _made(cls, equations: Equations, function: Function | None, initial: Initial | None) -> Cell:
        made = str.__new__(cls, equations.name)
        made.equations, made._function, made._initial = equations, function, initial
        return made

    def __str__(self) -> str:
        from .showing import description

        return description(self.equations)

    def __repr__(self) -> str:
        return f"<cell {self:s}>"

    def __format__(self, spec: str) -> str:
        return format(str.__str__(self), spec)

    def __reduce__(self) -> tuple[Any, ...]:
        from .text import dumps

        return load, (dumps(self.equations),)

    def __call__(self, *arrays: object, **settings: float) -> Cell:
        """Return the cell of other settings, registered under its name and theirs.

        Parameters
        ----------
        **settings : float
            Keyword-only parameters of the cell's function; those that are not named stay.

        Returns
        -------
        Cell
            Itself, where no number differs.

        Raises
        ------
        TypeError, ValueError
            If the cell has no such setting, its function is not at hand, or a value is no number.
        """
        from .tracing import signature, trace

        if arrays:
            raise TypeError(f"{self:s}: expected settings by name; rnnkernels.forward({self:s}, x, params) runs a cell")
        mine = dict(self.equations.settings)
        for name, value in settings.items():
            if name not in mine:
                has = f"one of {', '.join(mine)}" if mine else "no settings, for it has none"
                raise TypeError(f"{name}: expected {has}; {self:s} has no setting of that name")
            mine[name] = as_number(name, value)
            if math.isnan(mine[name]):
                raise ValueError(f"{name}: expected a number, got nan")
        if mine == dict(self.equations.settings):
            return self
        if self._function is None:
            raise ValueError(
                f"{next(iter(settings))}: {self:s} was loaded from its equations, whose numbers are fixed; "
                f"its function, under rnnkernels.cell, takes others"
            )
        base = str.partition(self, "(")[0]
        defaults = signature(self._function).settings
        changed = ", ".join(f"{name}={value!r}" for name, value in mine.items() if value != defaults[name])
        name = f"{base}({changed})" if changed else base
        return _registered(trace(self._function, name, self._initial, mine), self._function, self._initial)


@overload
def cell(function: Function, *, name: str | None = None, initial: Initial | None = None) -> Cell: ...
@overload
def cell(
    function: None = None, *, name: str | None = None, initial: Initial | None = None
) -> Callable[[Function], Cell]: ...
def cell(
    function: Function | None = None, *, name: str | None = None, initial: Initial | None = None
) -> Cell | Callable[[Function], Cell]:
    """Make a cell of a function, and register it under a name; a decorator.

    The function is called once, with values that write down what it does: equations of one unit of one row in one
    step. They are differentiated, and the gradient is checked. From then on the cell is taken wherever a built-in name
    is, as this object or by its name.

    Parameters
    ----------
    function : callable
        ``def name(x, h, ..., w, *, setting=1.0)``, which returns the new states, in order. Its parameters:

        - the first, x: what ``weight_ih`` gives, by gate, ``x.i``; `rnnkernels.direct` is x itself;
        - the states, the first of which is the output;
        - one named ``w``, where it is there: element-wise weights, ``w.i``;
        - those annotated `rnnkernels.PerStep`: inputs of every step that act element by element, (T, B, H);
        - keyword-only: settings, numbers with defaults.

        ``u = rk.product(h)`` is the recurrent product, ``u.i`` a row of ``weight_hh``. Gates stand in the order of
        their first appearance, which is the order of rows in ``weight_ih`` and ``weight_hh``.
    name : str, optional
        What to register it under. Default: the function's name.
    initial : mapping of str to float, optional
        What `rnnkernels.init_params` makes of element-wise weights, 0 or 1: ``{"i": 0.0}``. Default: drawn, as
        matrices are.

    Returns
    -------
    Cell
        A string, its name. The same equations under the same name are the same object. Other equations under a name
        that is taken get one of their own, ``name_2``, with a warning.

    Raises
    ------
    TypeError, ValueError
        If the function says what no cell can do; the line is named. If `name` is no name, or that of a cell that was
        not made here.

    Examples
    --------
    >>> import rnnkernels as rk
    >>> @rk.cell
    ... def light(x, h):
    ...     u = rk.product(h)
    ...     z = rk.sigmoid(x.z + u.z)
    ...     return z * h + (1 - z) * rk.relu(x.n + u.n)
    >>> params = rk.init_params(light, input_size=3, hidden_size=4)
    """
    from .text import check_name
    from .tracing import trace

    if name is not None:
        check_name("name", as_text("name", name))
    if initial is not None:
        check_mapping("initial", initial, "names of weights to 0, 1 or None")
    if function is None:
        return lambda each: cell(each, name=name, initial=initial)
    if not callable(function):
        raise TypeError(f"function: expected a function of x and states, got {shown(function)}")
    called = getattr(function, "__name__", "") if name is None else str.__str__(name)
    if not called.isidentifier():
        raise ValueError(f"name: expected one beside a function without a name of its own, {called or function!r:.60}")
    return _registered(trace(function, called, initial), function, initial)


def named(function: Function, name: str) -> Cell:
    """Return the cell of a function under a name that may say its numbers, ``base(numbers)``; else as `cell`."""
    from .text import check_name
    from .tracing import trace

    check_name("name", name)
    return _registered(trace(function, name), function, None)


def load(text: str) -> Cell:
    """Return the cell that a pickle or a checkpoint carries, registered under its name as `cell` does."""
    from .text import loads

    return registered(loads(text))


def equations_of(name: str) -> Equations | None:
    """Return the equations of the cell of this name; None where it was not made here."""
    found = _cells.get(name)
    return None if found is None else found.equations


def with_settings(name: str, **settings: float) -> Cell:
    """Return the cell of this name with other settings, as calling it does."""
    return _cells[name](**settings)


def registered(equations: Equations) -> Cell:
    """Return the cell of equations that no function was traced for."""
    return _registered(equations, None, None)


def _registered(equations: Equations, function: Function | None, initial: Initial | None) -> Cell:
    """Return the cell of these equations, an old one where there is one of that name."""
    from .registering import register
    from .text import meaning

    wanted, says = equations.name, meaning(equations)
    with _lock:
        for number in range(1, len(_cells) + 2):
            name = _numbered(wanted, number)
            found = _cells.get(name)
            if found is None and name in parameters.cells():
                raise ValueError(f"name: expected one that no cell has, got {name!r}, a cell that was not made here")
            if found is None or meaning(found.equations) == says:
                break
        if name != wanted:
            line = here()
            told = f"{wanted} is a cell of other equations, which stays as it is: this one is registered as {name}"
            warnings.warn_explicit(told, UserWarning, line.path, line.number)
        if found is None:
            equations = replace(equations, name=name)
            register(equations)
            found = _cells[name] = Cell._made(equations, function, initial)
        elif found._function is None:
            found._function, found._initial = function, initial
        return found


def _numbered(name: str, number: int) -> str:
    """Return a name with a number, which stands before its settings: the first has none."""
    base, opened, settings = name.partition("(")
    return name if number == 1 else f"{base}_{number}{opened}{settings}"
