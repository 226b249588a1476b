"""Functions of cells whose forms no built-in cell has: smooth, and bounded, so that rounding does not grow.

Whoever makes cells of them does so in a process of its own: a cell stays registered for as long as that lives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rnnkernels as rk

if TYPE_CHECKING:
    from collections.abc import Callable


def output_alone(x: Any, h: Any, c: Any, w: Any) -> Any:
    """h is read by nothing; x itself passes."""
    f, r = rk.sigmoid(x.f + w.f * c), rk.sigmoid(x.r + w.r * c)
    d = f * c + (1 - f) * x.n
    return r * rk.tanh(d) + (1 - r) * rk.direct(x), d


def one_value(x: Any, h: Any, c: Any) -> Any:
    """Both states are one value."""
    n = rk.tanh(x.n + rk.product(h).n + c)
    return n, n


def handed_on(x: Any, h: Any, c: Any) -> Any:
    """A product of the second state, which is the first of the step before."""
    return rk.tanh(x.n + rk.product(c).n), h


def weighted_product(x: Any, h: Any, w: Any) -> Any:
    """A product of what an element-wise weight scales."""
    return rk.tanh(x.n + rk.product(w.a * h).n)


def two_orders(x: Any, h: Any) -> Any:
    """A product of what another one gave."""
    u = rk.product(h)
    r, z = rk.sigmoid(x.r + u.r), rk.sigmoid(u.z)
    return rk.tanh(x.n + rk.product(r * h + x.k).n) * z + (1 - z) * h


def several_vectors(x: Any, h: Any, a: Any, b: Any) -> Any:
    """A product of two vectors side by side."""
    u, v = rk.product(h), rk.product(a, b * 0.5)
    return rk.tanh(x.n + u.n + v.m), rk.tanh(u.n), rk.tanh(v.m)


def without_products(x: Any, h: Any, c: Any, w: Any) -> Any:
    """Nothing recurrent but element by element."""
    f = rk.sigmoid(x.f + w.f * c)
    d = f * c + (1 - f) * x.n
    return rk.tanh(d), d


def several_heads(x: Any, h: Any, c: Any) -> Any:
    """A block-diagonal product."""
    u = rk.product(h, heads=2)
    f = rk.sigmoid(x.f + u.f)
    d = f * c + (1 - f) * rk.tanh(x.n + u.n)
    return rk.sigmoid(x.o) * rk.tanh(d), d


FORMS: tuple[Callable[..., Any], ...] = (
    output_alone,
    one_value,
    handed_on,
    weighted_product,
    two_orders,
    several_vectors,
    without_products,
    several_heads,
)
