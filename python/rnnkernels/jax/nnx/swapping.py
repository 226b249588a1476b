"""Recurrent modules of flax's on the kernels: `from_flax` beside them, `swap` in their place."""

from __future__ import annotations

from typing import Any

from flax import nnx

from rnnkernels._arguments import PRODUCTS, kind_of
from rnnkernels._scalars import as_choice
from rnnkernels._swapped import Swapped

from .both_ways import Bidirectional
from .cells import kind_of_cell
from .layers import RNN

__all__ = ["from_flax", "swap"]


def from_flax(module: Any, *, products: str = "full") -> Any:
    """Return a recurrent module of flax's on the kernels, with the same cell: the parameters are shared, not copied.

    Parameters
    ----------
    module : nnx.RNN or nnx.Bidirectional
        Of cells as `RNN` takes them. A `RNN` or a `Bidirectional` is returned as it is.
    products : {"full", "bfloat16"}
        As in `RNN`.

    Returns
    -------
    RNN or Bidirectional
        With the options of the module. (`nnx.clone` of it has parameters of its own.)

    Raises
    ------
    TypeError, ValueError
        If the module is neither, or has what `RNN` does not serve: a cell, or ``state_axes``.
    """
    as_choice("products", products, PRODUCTS)
    if isinstance(module, (RNN, Bidirectional)):
        return module
    if type(module) is nnx.Bidirectional:
        made: Any = Bidirectional(
            from_flax(module.forward_rnn, products=products),
            from_flax(module.backward_rnn, products=products),
            merge_fn=module.merge_fn,
            time_major=module.time_major,
            return_carry=module.return_carry,
            rngs=module.rngs is not None,
        )
    else:
        _check_served(module)
        options = {name: getattr(module, name) for name in ("time_major", "return_carry", "reverse", "keep_order")}
        made = RNN(module.cell, **options, products=products, rngs=module.rngs is not None)
    if module.rngs is not None:
        made.rngs = module.rngs
    return made


def swap(model: Any, *, products: str = "full") -> Swapped:
    """Put every nnx.RNN of a model on the kernels, in place, those of an nnx.Bidirectional too.

    A layer stays the same object with its cell, parameters and options; only its class becomes `RNN`, a subclass. An
    nnx.Bidirectional becomes a `Bidirectional` likewise, where both of its layers are on the kernels then. What was
    split, cloned or jitted of the model before keeps the classes that it had. A layer that runs on the kernels already
    is left as it is.

    Parameters
    ----------
    model : nnx.Module
        Of whatever depth; may be such a layer itself.
    products : {"full", "bfloat16"}
        As in `RNN`; an attribute of the layers, which may be set there at any time.

    Returns
    -------
    Swapped
        What was replaced, what was left and why, and what ran on the kernels already.

    Raises
    ------
    TypeError, ValueError
        If `model` is no module, or `products` no choice.
    """
    as_choice("products", products, PRODUCTS)
    if not isinstance(model, nnx.Module):
        raise TypeError(f"model: expected an nnx.Module, got {kind_of(model)}")
    modules = [(".".join(map(str, path)), module) for path, module in nnx.iter_modules(model)]
    inside = {id(module.cell) for _, module in modules if isinstance(module, nnx.RNN)}
    done = Swapped()
    for path, module in modules:
        if isinstance(module, RNN):
            done.already[path] = type(module.cell).__name__
        elif isinstance(module, nnx.RNN):
            try:
                _check_served(module)
            except (TypeError, ValueError) as error:
                done.left[path] = str(error)
                continue
            module.__class__ = RNN
            module.products = products
            done.replaced[path] = type(module.cell).__name__
        elif isinstance(module, nnx.RNNCellBase) and id(module) not in inside:
            done.left[path] = f"a cell of one step, {type(module).__name__}: expected an nnx.RNN around it"
    for _, module in modules:
        if type(module) is nnx.Bidirectional and all(
            isinstance(layer, RNN) for layer in (module.forward_rnn, module.backward_rnn)
        ):
            module.__class__ = Bidirectional
    return done


def _check_served(module: Any) -> None:
    """Raise where an nnx.RNN, as it is now, cannot be a `RNN`."""
    if type(module) is not nnx.RNN:
        raise TypeError(f"module: expected an nnx.RNN or nnx.Bidirectional, got {kind_of(module)}")
    if (axes := dict(module.state_axes.items())) != {...: nnx.Carry}:
        raise ValueError(f"module: expected an nnx.RNN with state_axes as flax makes them, got {axes}")
    kind_of_cell(module.cell)
