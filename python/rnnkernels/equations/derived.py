"""Which cell of the kernels has another one's derivatives: its dual, or its linear cell; registered once.

A dual (`tangent`) is one run, for cells of one product; a linear cell (`linear`) is a second run behind the first, for
cells of any form. Not here: how either is made, and the calls (`rnnkernels.torch.duals`). What makes them is imported
when the first is asked for: most programs never do.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .cell import Cell, equations_of, registered

if TYPE_CHECKING:
    from .graph import Equations
    from .linear import Linear


class Variant(NamedTuple):
    """A cell with what a call may ask of its steps."""

    cell: str
    limit: float | None = None  # within which the state that may be held is held
    rates: tuple[float, ...] = ()  # by which each state keeps its value, where masks are expected

    @property
    def equations(self) -> Equations | None:
        """The equations of a step; None where a step is no equation of one unit."""
        from . import builtin
        from .zoned import zoned

        found = equations_of(self.cell)
        if found is None:
            found = builtin.equations_of(self.cell, self.limit)
            if found is not None and self.limit is not None:
                found = replace(found, name=f"{self.cell}(within {self.limit!r})")
        return None if found is None else zoned(found, self.rates)


class LinearCell(NamedTuple):
    """A linear cell that the kernels know."""

    cell: Cell
    of: Linear
    fed: Cell | None
    showing: Cell | None


Derived: TypeAlias = "Cell | LinearCell"

_found: dict[Variant, Derived | None] = {}  # None: it has neither


def derived(variant: Variant) -> Derived | None:
    """Return the dual of a cell, its linear cell where it has no dual, or None where it has neither.

    Where a user's cell has neither for its size alone, a UserWarning says so, once: derivatives then come from a loop
    in Python.
    """
    if variant not in _found:
        equations = variant.equations
        found, excess = None, None
        if equations is not None:
            found, excess = _of(equations)
        _found[variant] = found
        # A dual's own dual is asked for by derivatives of a higher order.
        if excess and not variant.cell.endswith("'") and equations_of(variant.cell) is not None:
            warnings.warn(
                f"{variant.cell:s}: its second derivatives and forward mode are taken through a loop over the steps in "
                f"PyTorch's operations, as the kernels have no room for the cell of its states and their tangents: "
                f"{excess}",
                UserWarning,
                stacklevel=2,
            )
    return _found[variant]


def _of(equations: Equations) -> tuple[Derived | None, str | None]:
    """Return what derives a cell, and in words what there is no room for."""
    from .linear import linear
    from .tangent import dual, find_excess, has_form

    excess = None
    if has_form(equations):
        excess = find_excess(equations)
        if excess is None:
            try:
                return registered(dual(equations)), None
            except ValueError as error:  # more gradient slots or kept values than the kernels have room for
                excess = str(error).partition(": ")[2]
    try:
        of = linear(equations)
        return LinearCell(registered(of.equations), of, _tried(of.fed), _tried(of.showing)), None
    except ValueError as error:
        return None, excess or str(error).partition(": ")[2]


def _tried(equations: Equations | None) -> Cell | None:
    """Return the cell of equations; None where there are none, or the kernels have no room for them."""
    try:
        return None if equations is None else registered(equations)
    except ValueError:
        return None


def dual_of(cell: str) -> Cell | None:
    """Return the dual of the cell of this name; None where it has none the kernels can run."""
    found = derived(Variant(cell))
    return found if isinstance(found, Cell) else None
