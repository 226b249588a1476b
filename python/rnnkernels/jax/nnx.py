"""flax's `nnx.RNN` on the kernels: the same modules, parameters and options, for LSTM, GRU and SimpleCell.

    from rnnkernels.jax import nnx as rkn

    layer = rkn.LSTM(64, 128, rngs=nnx.Rngs(0))  # nnx.RNN(nnx.OptimizedLSTMCell(64, 128, rngs=nnx.Rngs(0)))
    layer = rkn.from_flax(rnn)  # an nnx.RNN or nnx.Bidirectional, whose parameters it shares

A module holds flax's own cell and is an `nnx.RNN`: `nnx.state` of both has the same paths, so that checkpoints go
either way. docs/jax.md says where results differ: behind a row's length.

Not here: cells of linen (`rnnkernels.convert.from_flax` has their parameters), a cell of one step.
"""

from __future__ import annotations

from inspect import signature
from itertools import chain
from math import prod
from typing import TYPE_CHECKING, Any

try:
    from flax import nnx
except ImportError as error:
    raise ImportError("rnnkernels.jax.nnx needs flax: pip install 'rnnkernels[flax]'") from error

import jax
import jax.numpy as jnp
import numpy as np

from rnnkernels._arguments import PRODUCTS, kind_of
from rnnkernels._scalars import as_choice, as_flag, as_integer

from ._forward import _as_array, forward
from ._nnx_swapped import Swapped

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GRU", "LSTM", "RNN", "SimpleRNN", "Swapped", "from_flax", "swap"]

_SIGMOID = [(function, "sigmoid") for function in (nnx.sigmoid, jax.nn.sigmoid, jax.lax.logistic)]
_TANH = [(function, "tanh") for function in (nnx.tanh, jnp.tanh, jax.nn.tanh, jax.lax.tanh)]
_RELU = [(function, "relu") for function in (nnx.relu, jax.nn.relu)]

# A cell's class, exactly: a subclass may compute something else. What it is here; the functions that it may have.
_CELLS: dict[type, tuple[str, dict[str, list[tuple[Any, str]]]]] = {
    nnx.OptimizedLSTMCell: ("lstm", {"gate_fn": _SIGMOID, "activation_fn": _TANH}),
    nnx.LSTMCell: ("lstm", {"gate_fn": _SIGMOID, "activation_fn": _TANH}),
    nnx.GRUCell: ("gru", {"gate_fn": _SIGMOID, "activation_fn": _TANH}),
    nnx.SimpleCell: ("rnn", {"activation_fn": _TANH + _RELU}),
}
_STATES = {"lstm": ("h", "c"), "gru": ("h",), "rnn_tanh": ("h",), "rnn_relu": ("h",)}
# Options of nnx.Linear that a cell leaves as they are, unless somebody sets them later, and these values.
_AS_MADE = {
    option: parameter.default
    for option, parameter in signature(nnx.Linear.__init__).parameters.items()
    if option in ("precision", "dot_general", "promote_dtype", "preferred_element_type")
}


class RNN(nnx.RNN):  # type: ignore[misc]
    """`flax.nnx.RNN` on the kernels: a cell of flax over whole sequences.

    An `nnx.RNN` in every respect but three: the layer runs in one call of the kernels, not in `nnx.scan`; outputs
    behind a row's length are zero; a call may have `resets`.

    Parameters
    ----------
    cell : nnx.OptimizedLSTMCell, nnx.LSTMCell, nnx.GRUCell or nnx.SimpleCell
        Not a subclass. With flax's own functions: sigmoid and tanh; a SimpleCell's may be relu.
    time_major, return_carry, reverse, keep_order : bool, default False
        As in `nnx.RNN`. `keep_order`: outputs of a reversed sequence stand where their inputs do.
    products : {"full", "bfloat16"}
        As in `rnnkernels.jax.forward`.
    rngs
        As in `nnx.RNN`; only asked where the cell has a ``carry_init``.

    Raises
    ------
    TypeError, ValueError
        If the cell is none of these, or does something that they do not: ``residual``, other functions, layers
        instead of its `nnx.Linear`, a ``promote_dtype`` of its own. What it does is named.

    Notes
    -----
    Results have the dtype that flax's have: of inputs, parameters and carry together, or of the cell's ``dtype`` and
    the carry. All of them are made that dtype before the first step; halves are computed in float32 and rounded once,
    at the end.
    """

    def __init__(
        self,
        cell: Any,
        *,
        time_major: bool = False,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
        products: str = "full",
        rngs: Any = True,
    ) -> None:
        _kind(cell)
        if not isinstance(rngs, (bool, nnx.Rngs)):
            raise TypeError(f"rngs: expected an nnx.Rngs, True or False, got {kind_of(rngs)}")
        super().__init__(
            cell,
            time_major=as_flag("time_major", time_major),
            return_carry=as_flag("return_carry", return_carry),
            reverse=as_flag("reverse", reverse),
            keep_order=as_flag("keep_order", keep_order),
            rngs=rngs,
        )
        as_choice("products", products, PRODUCTS)
        self.products = products

    def __call__(
        self,
        inputs: Any,
        *,
        initial_carry: Any = None,
        seq_lengths: Any = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        rngs: Any = None,
        resets: Any = None,
        reset_state: Any = None,
    ) -> Any:
        """Run over sequences.

        Parameters
        ----------
        inputs : array_like, (*batch, T, I), or (T, *batch, I) where `time_major`
            Of any number of batch dimensions, none among them.
        initial_carry : array_like (*batch, H), of an LSTM a pair (c, h) of them, optional
            Default: what the cell's ``carry_init`` gives; zeros where it has none.
        seq_lengths : array_like of int, (*batch), optional
            Steps of each row, 0 to T; it may be traced. Outputs behind them are zero.
        return_carry, time_major, reverse, keep_order : bool, optional
            Instead of the module's own.
        rngs : nnx.Rngs or nnx.RngStream, optional
            Instead of the module's own; only asked where the cell has a ``carry_init``.
        resets : array_like of bool, (*batch, T), or (T, *batch) where `time_major`, optional
            Before which steps a row's carry is replaced (an episode's end, say); it may be traced. A step is that of
            the input at its place, also where `reverse`.
        reset_state : array_like (*batch, H), of an LSTM a pair (c, h) of them, optional
            The carry that replaces it. Default: zeros, also where the cell has a ``carry_init``.

        Returns
        -------
        Array, (*batch, T, H) or (T, *batch, H)
            h after every step. Where `return_carry`: the carry after each row's last step, and this.

        Raises
        ------
        TypeError, ValueError
            If a shape or a dtype does not fit, a reset state comes without resets, or the cell is not served any more.
        jax.errors.JaxRuntimeError, ValueError
            When it runs: if a length is out of range.
        """
        return_carry = self._flag("return_carry", return_carry)
        time_major = self._flag("time_major", time_major)
        reverse = self._flag("reverse", reverse)
        keep_order = self._flag("keep_order", keep_order)
        if not isinstance(rngs, (nnx.Rngs, nnx.RngStream, type(None))):
            raise TypeError(f"rngs: expected an nnx.Rngs or an nnx.RngStream, got {kind_of(rngs)}")
        name, params = _kind(self.cell), _parameters(self.cell)
        x = _as_numbers("inputs", inputs)
        width = self.cell.in_features
        if x.ndim < 2 or x.shape[-1] != width:
            raise ValueError(f"inputs: expected shape (..., I) of at least two axes, I = {width}, got {x.shape}")
        time = 0 if time_major else x.ndim - 2
        batch = (*x.shape[:time], *x.shape[time + 1 : -1])
        if resets is None and reset_state is not None:
            raise ValueError("reset_state: expected resets with it, got none")
        carry = self._carry(name, initial_carry, batch, rngs)
        reset = None if reset_state is None else self._parts(name, "reset_state", reset_state, batch)
        # What flax's step computes in is the dtype of all that it adds up.
        of = [self.cell.dtype] if self.cell.dtype is not None else [x, *params.values()]
        dtype = jnp.result_type(*of, *(carry or [self.cell.param_dtype]), *(reset or []))
        if not jnp.issubdtype(dtype, jnp.floating):  # integers; flax makes them float32
            dtype = jnp.promote_types(jnp.float32, dtype)
        lengths = None if seq_lengths is None else _as_lengths(seq_lengths, batch)

        count, steps = prod(batch), x.shape[time]
        again = None if resets is None else _as_resets(resets, (*batch[:time], steps, *batch[time:]))

        def of_rows(states: list[Any] | None) -> list[Any] | None:
            return [part.reshape(count, -1).astype(dtype) for part in states] if states else None

        output, states = forward(
            name,
            jnp.moveaxis(x, time, 0).reshape(steps, count, width).astype(dtype),
            {key: value.astype(dtype) for key, value in params.items()},
            of_rows(carry),
            lengths=lengths,
            resets=None if again is None else jnp.moveaxis(again, time, 0).reshape(steps, count),
            reset_state=of_rows(reset),
            reverse=reverse,
            products=self.products,
        )
        if reverse and not keep_order:
            output = _flipped(output, lengths)
        output = jnp.moveaxis(output.reshape(steps, *batch, output.shape[-1]), 0, time)
        if not return_carry:
            return output
        final = tuple(part.reshape(*batch, part.shape[-1]) for part in reversed(states))
        return (final if name == "lstm" else final[0]), output

    def _flag(self, name: str, value: bool | None) -> bool:
        return as_flag(name, getattr(self, name) if value is None else value)

    def _carry(self, name: str, given: Any, batch: tuple[int, ...], rngs: Any) -> list[Any] | None:
        """Return the states before the first step, h first; None: zeros."""
        if given is None:
            if self.cell.carry_init is None:
                return None
            rngs = self.rngs if rngs is None else rngs
            rngs = rngs.carry.fork() if isinstance(rngs, nnx.Rngs) else rngs
            given = self.cell.initialize_carry((*batch, self.cell.in_features), rngs)
        return self._parts(name, "initial_carry", given, batch)

    def _parts(self, name: str, what: str, given: Any, batch: tuple[int, ...]) -> list[Any]:
        """Return the states of a carry, h first; `what`: the argument."""
        if name != "lstm":
            given = (given,)
        elif not isinstance(given, (tuple, list)) or len(given) != 2:
            got = f"{len(given)}" if isinstance(given, (tuple, list)) else kind_of(given)
            raise TypeError(f"{what}: expected a pair of arrays (c, h), got {got}")
        parts = [_as_numbers(what, part) for part in reversed(given)]
        expected = (*batch, self.cell.hidden_features)
        for part, of in zip(parts, _STATES[name], strict=True):
            if part.shape != expected:
                raise ValueError(f"{what}: expected {of} of shape (*batch, H) = {expected}, got {part.shape}")
        return parts


class _Sized(RNN):
    """A module that makes its cell."""

    _cell: Any

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        time_major: bool = False,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
        products: str = "full",
        rngs: Any,
        **of_cell: Any,
    ) -> None:
        in_features = as_integer("in_features", in_features, 1)
        hidden_features = as_integer("hidden_features", hidden_features, 1)
        if not isinstance(rngs, nnx.Rngs):
            raise TypeError(f"rngs: expected an nnx.Rngs, got {kind_of(rngs)}")
        super().__init__(
            self._cell(in_features, hidden_features, rngs=rngs, **of_cell),
            time_major=time_major,
            return_carry=return_carry,
            reverse=reverse,
            keep_order=keep_order,
            products=products,
        )


class LSTM(_Sized):
    """``nnx.RNN(nnx.OptimizedLSTMCell(in_features, hidden_features, ...))`` on the kernels.

    Parameters
    ----------
    in_features, hidden_features : int
        I and H.
    time_major, return_carry, reverse, keep_order, products
        As in `RNN`.
    rngs : nnx.Rngs
        Its stream ``params`` draws the parameters, the same that flax draws.
    **of_cell
        Other options of the cell: ``kernel_init``, ``dtype``, ``param_dtype`` and so on.

    Raises
    ------
    TypeError, ValueError
        As `RNN` does, of a size that is none, and as flax does of an option that the cell does not have.
    """

    _cell = nnx.OptimizedLSTMCell


class GRU(_Sized):
    """``nnx.RNN(nnx.GRUCell(in_features, hidden_features, ...))`` on the kernels; arguments are those of `LSTM`."""

    _cell = nnx.GRUCell


class SimpleRNN(_Sized):
    """``nnx.RNN(nnx.SimpleCell(in_features, hidden_features, ...))`` on the kernels; arguments are those of `LSTM`.

    ``activation_fn`` may be tanh or relu.
    """

    _cell = nnx.SimpleCell


def from_flax(module: Any, *, products: str = "full") -> Any:
    """Return a recurrent module of flax's on the kernels, with the same cell: the parameters are shared, not copied.

    Parameters
    ----------
    module : nnx.RNN or nnx.Bidirectional
        Of cells as `RNN` takes them. A `RNN` is returned as it is.
    products : {"full", "bfloat16"}
        As in `RNN`.

    Returns
    -------
    RNN, or nnx.Bidirectional of two
        With the options of the module. (`nnx.clone` of it has parameters of its own.)

    Raises
    ------
    TypeError, ValueError
        If the module is neither, or has what `RNN` does not serve: a cell, or ``state_axes``.
    """
    as_choice("products", products, PRODUCTS)
    if isinstance(module, RNN):
        return module
    if type(module) is nnx.Bidirectional:
        made = nnx.Bidirectional(
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

    A layer stays the same object with its cell, parameters and options; only its class becomes `RNN`, a subclass. What
    was split, cloned or jitted of the model before keeps the classes that it had. A layer that runs on the kernels
    already is left as it is.

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
    return done


def _check_served(module: Any) -> None:
    """Raise where an nnx.RNN, as it is now, cannot be a `RNN`."""
    if type(module) is not nnx.RNN:
        raise TypeError(f"module: expected an nnx.RNN or nnx.Bidirectional, got {kind_of(module)}")
    if (axes := dict(module.state_axes.items())) != {...: nnx.Carry}:
        raise ValueError(f"module: expected an nnx.RNN with state_axes as flax makes them, got {axes}")
    _kind(module.cell)


# ---- cells ----------------------------------------------------------------------------------------


def _kind(cell: Any) -> str:
    """Return what a cell of flax is called here, or refuse it: what it is may change until it is called."""
    if type(cell) not in _CELLS:
        names = ", ".join(f"nnx.{each.__name__}" for each in _CELLS)
        raise TypeError(f"cell: expected one of {names}, got {kind_of(cell)}")
    name, functions = _CELLS[type(cell)]
    if getattr(cell, "residual", False):
        raise ValueError("cell: expected a SimpleCell without residual, got one with it")
    for option, known in functions.items():
        function = getattr(cell, option)
        found = next((what for each, what in known if each is function), None)
        if found is None:
            expected = " or ".join(dict.fromkeys(what for _, what in known))
            raise ValueError(f"cell: expected {option} to be {expected}, got {_named(function)}")
    for linear in chain(*_linears(cell).values()):
        _check_linear(linear)
    return f"rnn_{found}" if name == "rnn" else name


def _linears(cell: Any) -> dict[str, list[Any]]:
    """Return the layers that make x's part and h's, in the order of their gates, which is ours."""
    if type(cell) is nnx.LSTMCell:
        return {"ih": [cell.ii, cell.if_, cell.ig, cell.io], "hh": [cell.hi, cell.hf, cell.hg, cell.ho]}
    return {"ih": [cell.dense_i], "hh": [cell.dense_h]}


def _parameters(cell: Any) -> dict[str, Any]:
    """Return a cell's parameters under our names."""
    params = {}
    for side, linears in _linears(cell).items():
        params[f"weight_{side}"] = _joined([linear.kernel[...] for linear in linears]).T
        if linears[0].bias is not None:
            params[f"bias_{side}"] = _joined([linear.bias[...] for linear in linears])
    return params


def _check_linear(linear: Any) -> None:
    if type(linear) is not nnx.Linear:
        raise TypeError(f"cell: expected products that are nnx.Linear, got {kind_of(linear)}")
    for option, default in _AS_MADE.items():
        value = getattr(linear, option)
        if value is not default:
            raise ValueError(f"cell: expected {option} as flax makes it, got {_named(value)}")


def _named(function: Any) -> str:
    return getattr(function, "__name__", None) or kind_of(function)


def _joined(arrays: Sequence[Any]) -> Any:
    return arrays[0] if len(arrays) == 1 else jnp.concatenate(arrays, axis=-1)


# ---- arrays ---------------------------------------------------------------------------------------


def _as_numbers(name: str, value: Any) -> Any:
    """Return an array of JAX's, as flax makes one: float64 is rounded to float32 unless jax_enable_x64 is on."""
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        value = jnp.asarray(value)
    array = _as_array(name, value)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise TypeError(f"{name}: expected an array of real numbers, got {array.dtype}")
    return jnp.asarray(array)


def _as_lengths(lengths: Any, batch: tuple[int, ...]) -> Any:
    array = _as_array("seq_lengths", lengths)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"seq_lengths: expected integers, got {array.dtype}")
    if array.shape != batch:
        raise ValueError(f"seq_lengths: expected shape (*batch) = {batch}, got {array.shape}")
    return array.reshape(-1)


def _as_resets(resets: Any, shape: tuple[int, ...]) -> Any:
    array = _as_array("resets", resets)
    if array.dtype != np.bool_:
        raise TypeError(f"resets: expected booleans, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"resets: expected the shape of inputs without its last axis, {shape}, got {array.shape}")
    return jnp.asarray(array)


def _flipped(output: Any, lengths: Any) -> Any:
    """Turn each row's steps around: output (T, B, H)."""
    if lengths is None:
        return jnp.flip(output, 0)
    steps = jnp.arange(output.shape[0], dtype=jnp.int32)[:, None]
    ends = jnp.asarray(lengths).astype(jnp.int32)
    places = jnp.where(steps < ends, ends - 1 - steps, steps)
    return jnp.take_along_axis(output, places[:, :, None], axis=0)
