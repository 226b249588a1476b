"""`Bidirectional`, an nnx.Bidirectional of two layers on the kernels, whose calls may have resets."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from flax import nnx

from rnnkernels._arguments import kind_of
from rnnkernels._scalars import as_flag

from .layers import RNN

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Bidirectional"]

_CONCATENATE: Any = signature(nnx.Bidirectional.__init__).parameters["merge_fn"].default


class Bidirectional(nnx.Bidirectional):  # type: ignore[misc]
    """`flax.nnx.Bidirectional` of two layers on the kernels: one runs forward in time, one backward.

    An `nnx.Bidirectional`, but both layers are `RNN`, a call may have `resets`, and `merge_fn` is no class.

    Parameters
    ----------
    forward_rnn, backward_rnn : RNN
        Of any cells, each its own; `LSTM`, `GRU` and `SimpleRNN` are such layers. Their own ``time_major``,
        ``return_carry``, ``reverse`` and ``keep_order`` are not asked.
    merge_fn : callable, optional
        What makes the output of both layers' outputs. Default: they stand side by side, forward's first.
    time_major, return_carry : bool, default False
        As in `RNN`.
    rngs
        As in `nnx.Bidirectional`: an `nnx.Rngs` has a stream ``carry``.

    Raises
    ------
    TypeError, ValueError
        If a layer is no `RNN` (`from_flax` makes one), or an option is of a wrong type.
    """

    def __init__(
        self,
        forward_rnn: RNN,
        backward_rnn: RNN,
        *,
        merge_fn: Callable[[Any, Any], Any] = _CONCATENATE,
        time_major: bool = False,
        return_carry: bool = False,
        rngs: Any = True,
    ) -> None:
        for name, layer in (("forward_rnn", forward_rnn), ("backward_rnn", backward_rnn)):
            _check_layer(name, layer)
        if isinstance(merge_fn, type) or not callable(merge_fn):
            raise TypeError(f"merge_fn: expected a function of two arrays, got {kind_of(merge_fn)}")
        if not isinstance(rngs, (bool, nnx.Rngs, nnx.RngStream)):
            raise TypeError(f"rngs: expected an nnx.Rngs, an nnx.RngStream, True or False, got {kind_of(rngs)}")
        super().__init__(
            forward_rnn,
            backward_rnn,
            merge_fn=merge_fn,
            time_major=as_flag("time_major", time_major),
            return_carry=as_flag("return_carry", return_carry),
            rngs=rngs,
        )

    def __call__(
        self,
        inputs: Any,
        *,
        initial_carry: Any = None,
        rngs: Any = None,
        seq_lengths: Any = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        resets: Any = None,
        reset_state: Any = None,
    ) -> Any:
        """Run over sequences, both ways.

        Parameters
        ----------
        inputs : array_like, (*batch, T, I), or (T, *batch, I) where `time_major`
        initial_carry : pair, optional
            The carry of `forward_rnn` and that of `backward_rnn`, each as `RNN` takes it; None: that layer's default.
        rngs : nnx.Rngs or nnx.RngStream, optional
            Instead of the module's own.
        seq_lengths : array_like of int, (*batch), optional
            As in `RNN`: `backward_rnn` begins at each row's last step.
        return_carry, time_major : bool, optional
            Instead of the module's own.
        reverse, keep_order : bool, optional
            Of no effect, as in `nnx.Bidirectional`.
        resets : array_like of bool, (*batch, T), or (T, *batch) where `time_major`, optional
            Before which steps a row's carry is replaced, in both layers: `forward_rnn` sees nothing of what lies before
            such a step, `backward_rnn`, which comes to the step from the other side, nothing of what lies behind it.
        reset_state : pair, optional
            The carry that replaces it in `forward_rnn` and in `backward_rnn`; None: zeros.

        Returns
        -------
        Array, (*batch, T, ...) or (T, *batch, ...)
            What `merge_fn` makes of the outputs, both in the order of the inputs. Where `return_carry`: the pair of
            carries after each row's last step, and this.

        Raises
        ------
        TypeError, ValueError
            As `RNN` does, and if a pair is none.
        jax.errors.JaxRuntimeError, ValueError
            When it runs: if a length is out of range.
        """
        time_major = as_flag("time_major", self.time_major if time_major is None else time_major)
        return_carry = as_flag("return_carry", self.return_carry if return_carry is None else return_carry)
        for name, flag in (("reverse", reverse), ("keep_order", keep_order)):
            if flag is not None:
                as_flag(name, flag)
        if resets is None and reset_state is not None:
            raise ValueError("reset_state: expected resets with it, got none")
        begun, again = _as_pair("initial_carry", initial_carry), _as_pair("reset_state", reset_state)
        rngs = self.rngs if rngs is None else rngs
        rngs = rngs.carry if isinstance(rngs, nnx.Rngs) else rngs
        carries, outputs = [], []
        for at, name in enumerate(("forward_rnn", "backward_rnn")):
            layer = getattr(self, name)
            _check_layer(name, layer)
            carry, output = layer(
                inputs,
                initial_carry=begun[at],
                rngs=rngs,
                seq_lengths=seq_lengths,
                return_carry=True,
                time_major=time_major,
                reverse=bool(at),
                keep_order=True,
                resets=resets,
                reset_state=again[at],
            )
            carries.append(carry)
            outputs.append(output)
        merged = self.merge_fn(*outputs)
        return (tuple(carries), merged) if return_carry else merged


def _check_layer(name: str, layer: Any) -> None:
    if not isinstance(layer, RNN):
        raise TypeError(f"{name}: expected a RNN of rnnkernels.jax.nnx, got {kind_of(layer)}")


def _as_pair(name: str, value: Any) -> tuple[Any, Any]:
    if value is None:
        return None, None
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        got = f"{len(value)}" if isinstance(value, (tuple, list)) else kind_of(value)
        raise TypeError(f"{name}: expected a pair, forward_rnn's and backward_rnn's, got {got}")
    return value[0], value[1]
