"""`RNN`, an nnx.RNN on the kernels, and the same with its cell made: `LSTM`, `GRU`, `SimpleRNN`."""

from __future__ import annotations

from math import prod
from typing import Any

import jax.numpy as jnp
from flax import nnx

from rnnkernels._arguments import PRODUCTS, kind_of
from rnnkernels._scalars import as_choice, as_flag, as_integer
from rnnkernels.jax._forward import forward

from .arrays import as_lengths, as_numbers, as_resets, flipped
from .cells import STATES, kind_of_cell, parameters_of

__all__ = ["GRU", "LSTM", "RNN", "SimpleRNN"]


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
    the carry. All of them are made that dtype before the first step. On the CPU halves are computed in float32 and
    rounded once, at the end; on a GPU what is multiplied is rounded in every step (docs/jax.md).
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
        kind_of_cell(cell)
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
        name, params = kind_of_cell(self.cell), parameters_of(self.cell)
        x = as_numbers("inputs", inputs)
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
        lengths = None if seq_lengths is None else as_lengths(seq_lengths, batch)

        count, steps = prod(batch), x.shape[time]
        again = None if resets is None else as_resets(resets, (*batch[:time], steps, *batch[time:]))

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
            output = flipped(output, lengths)
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
        parts = [as_numbers(what, part) for part in reversed(given)]
        expected = (*batch, self.cell.hidden_features)
        for part, of in zip(parts, STATES[name], strict=True):
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
