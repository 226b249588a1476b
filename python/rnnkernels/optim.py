"""Optimisers and gradient clipping for dictionaries of NumPy arrays.

What this is: SGD with momentum, Adagrad, RMSprop and Adam by PyTorch's formulas, and clipping by
global L2 norm and by value, for users without a framework. Everything works in place, array by
array and in a fixed order, so that a run gives the same bits again, also when it was interrupted:
`state_dict` holds all that a step depends on except the hyperparameters given at construction.

What this is not: parameter groups, weight decay, sparse gradients or learning-rate schedules;
a schedule is ``optimizer.lr = ...`` between steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._scalars import as_flag, as_number, check_mapping, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = npt.NDArray[Any]

__all__ = ["SGD", "Adagrad", "Adam", "Optimizer", "RMSprop", "clip_by_global_norm", "clip_by_value"]


class Optimizer(ABC):
    """What the optimisers share: checks, the step counter, saving and loading.

    Parameters
    ----------
    params : mapping of str to ndarray
        float32 or float64 arrays of any shapes. They are updated in place and never replaced, so
        whoever holds them sees the updates.
    lr : float
        Learning rate, at least 0; may be assigned between steps.

    Raises
    ------
    TypeError
        A value of `params` is not a float32 or float64 array; a hyperparameter is no number.
    ValueError
        `params` is empty or an array is read-only; a hyperparameter is out of its range.
    """

    def __init__(self, params: Mapping[str, Array], lr: float, slots: tuple[str, ...]) -> None:
        """`slots` names the arrays kept per parameter, in PyTorch's words."""
        _check_arrays("params", params)
        if not params:
            raise ValueError("params: expected at least one array, got none")
        self.lr = lr
        self._params = dict(params)
        self._step = 0
        self._slots = {slot: {name: np.zeros(p.shape, p.dtype) for name, p in params.items()} for slot in slots}
        size = max(p.nbytes for p in self._params.values())
        self._scratch = np.empty(size, np.uint8)  # the temporary of every update

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = _number("lr", value, 0, math.inf)

    def step(self, grads: Mapping[str, Array]) -> None:
        """Update every parameter in place.

        Parameters
        ----------
        grads : mapping of str to ndarray
            The keys, shapes and dtypes of the parameters. Not modified. A NaN or an infinity goes
            into its parameter and stays there: look at the norm that `clip_by_global_norm`
            returns before taking the step.

        Raises
        ------
        TypeError, ValueError
            Something differs; no parameter has been touched then.
        """
        _check_alike("grads", grads, self._params)
        self._step += 1
        for name, p in self._params.items():
            scratch = self._scratch[: p.nbytes].view(p.dtype).reshape(p.shape)
            self._update(p, grads[name], [kept[name] for kept in self._slots.values()], scratch)

    @abstractmethod
    def _update(self, p: Array, g: Array, slots: list[Array], scratch: Array) -> None:
        """Update `p` and `slots` in place; `scratch` is uninitialised and of p's shape."""

    def state_dict(self) -> dict[str, Array]:
        """Copy the state, so that it can be saved.

        Returns
        -------
        dict of str to ndarray
            "step" (int64, no axes), "lr" (float64, no axes), and "<slot>.<parameter>" for each
            array that is kept per parameter.
        """
        state = {"step": np.array(self._step, np.int64), "lr": np.array(self.lr, np.float64)}
        for slot, arrays in self._slots.items():
            state |= {f"{slot}.{name}": array.copy() for name, array in arrays.items()}
        return state

    def load_state_dict(self, state: Mapping[str, npt.ArrayLike]) -> None:
        """Continue from a state that `state_dict` gave; the next step is bit for bit the same.

        Parameters
        ----------
        state : mapping of str to array_like
            From an optimiser of the same class over parameters of the same names, shapes and
            dtypes. Copied.

        Raises
        ------
        TypeError, ValueError
            Something differs; nothing has been loaded then.
        """
        check_mapping("state", state)
        arrays = {name: _as_array(f"state[{name!r}]", value) for name, value in state.items()}
        _check_alike("state", arrays, self.state_dict())
        if arrays["step"] < 0:
            raise ValueError(f"state['step']: expected at least 0, got {arrays['step']}")
        self.lr = float(arrays["lr"])  # checks it, before anything is changed
        self._step = int(arrays["step"])
        for slot, kept in self._slots.items():
            for name, array in kept.items():
                array[...] = arrays[f"{slot}.{name}"]


class SGD(Optimizer):
    """Stochastic gradient descent, plain or with momentum.

    ``b = momentum * b + g;  p -= lr * b``, with Nesterov ``p -= lr * (g + momentum * b)``
    (Sutskever et al., ICML 2013, in the form of ``torch.optim.SGD``).

    Parameters
    ----------
    params, lr
        See `Optimizer`.
    momentum : float
        In [0, 1); 0 keeps no state.
    nesterov : bool
        Needs a momentum.
    """

    def __init__(
        self,
        params: Mapping[str, Array],
        lr: float = 1e-2,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        self._momentum = _number("momentum", momentum, 0, 1)
        self._nesterov = as_flag("nesterov", nesterov)
        if self._nesterov and not self._momentum:
            raise ValueError("nesterov: expected a momentum above 0 with it, got momentum=0")
        super().__init__(params, lr, ("momentum_buffer",) if self._momentum else ())

    def _update(self, p: Array, g: Array, slots: list[Array], scratch: Array) -> None:
        direction = g
        if slots:
            (buffer,) = slots
            buffer *= self._momentum
            buffer += g
            direction = buffer
            if self._nesterov:
                direction = np.multiply(buffer, self._momentum, out=scratch)
                direction += g
        p -= np.multiply(direction, self.lr, out=scratch)


class Adagrad(Optimizer):
    """Duchi, Hazan & Singer, JMLR 12, 2011: ``s += g * g;  p -= lr * g / (sqrt(s) + eps)``.

    Parameters
    ----------
    params, lr
        See `Optimizer`.
    eps : float
        At least 0.
    initial_accumulator_value : float
        What every s begins with, at least 0. With eps = 0 it is the constant that some programs
        keep under the root: ``sqrt(sum of squares + constant)``.
    """

    def __init__(
        self,
        params: Mapping[str, Array],
        lr: float = 1e-2,
        *,
        eps: float = 1e-10,
        initial_accumulator_value: float = 0.0,
    ) -> None:
        self._eps = _number("eps", eps, 0, math.inf)
        start = _number("initial_accumulator_value", initial_accumulator_value, 0, math.inf)
        super().__init__(params, lr, ("sum",))
        for total in self._slots["sum"].values():
            total[...] = start

    def _update(self, p: Array, g: Array, slots: list[Array], scratch: Array) -> None:
        (total,) = slots
        total += np.multiply(g, g, out=scratch)
        np.sqrt(total, out=scratch)
        scratch += self._eps
        np.divide(g, scratch, out=scratch)
        scratch *= self.lr
        p -= scratch


class RMSprop(Optimizer):
    """Tieleman & Hinton, Coursera lecture 6.5, 2012, in the form of ``torch.optim.RMSprop``.

    ``s = alpha * s + (1 - alpha) * g * g;  p -= lr * g / (sqrt(s) + eps)``; with momentum,
    ``b = momentum * b + g / (sqrt(s) + eps);  p -= lr * b``.

    Parameters
    ----------
    params, lr
        See `Optimizer`.
    alpha : float
        Decay of the mean square, in [0, 1).
    eps : float
        At least 0.
    momentum : float
        In [0, 1); 0 keeps no buffer.
    """

    def __init__(
        self,
        params: Mapping[str, Array],
        lr: float = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
    ) -> None:
        self._alpha = _number("alpha", alpha, 0, 1)
        self._eps = _number("eps", eps, 0, math.inf)
        self._momentum = _number("momentum", momentum, 0, 1)
        kept = ("square_avg", "momentum_buffer") if self._momentum else ("square_avg",)
        super().__init__(params, lr, kept)

    def _update(self, p: Array, g: Array, slots: list[Array], scratch: Array) -> None:
        square = slots[0]
        np.multiply(g, g, out=scratch)
        scratch *= 1 - self._alpha
        square *= self._alpha
        square += scratch
        np.sqrt(square, out=scratch)
        scratch += self._eps
        np.divide(g, scratch, out=scratch)
        if self._momentum:
            buffer = slots[1]
            buffer *= self._momentum
            buffer += scratch
            np.copyto(scratch, buffer)
        scratch *= self.lr
        p -= scratch


class Adam(Optimizer):
    """Kingma & Ba, ICLR 2015, algorithm 1, in the form of ``torch.optim.Adam``.

    ``m += (1 - beta1) * (g - m);  v = beta2 * v + (1 - beta2) * g * g``, then with the corrections
    c1 = 1 - beta1**step and c2 = 1 - beta2**step, ``p -= lr / c1 * m / (sqrt(v / c2) + eps)``.

    Parameters
    ----------
    params, lr
        See `Optimizer`.
    beta1, beta2 : float
        Decay of the mean and of the mean square, in [0, 1).
    eps : float
        At least 0.
    """

    def __init__(
        self,
        params: Mapping[str, Array],
        lr: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        self._beta1 = _number("beta1", beta1, 0, 1)
        self._beta2 = _number("beta2", beta2, 0, 1)
        self._eps = _number("eps", eps, 0, math.inf)
        super().__init__(params, lr, ("exp_avg", "exp_avg_sq"))

    def _update(self, p: Array, g: Array, slots: list[Array], scratch: Array) -> None:
        mean, square = slots
        correction1 = 1 - self._beta1**self._step
        correction2 = 1 - self._beta2**self._step
        np.subtract(g, mean, out=scratch)
        scratch *= 1 - self._beta1
        mean += scratch
        np.multiply(g, g, out=scratch)
        scratch *= 1 - self._beta2
        square *= self._beta2
        square += scratch
        np.sqrt(square, out=scratch)
        scratch /= math.sqrt(correction2)
        scratch += self._eps
        np.divide(mean, scratch, out=scratch)
        scratch *= self.lr / correction1
        p -= scratch


# --- clipping -------------------------------------------------------------------------------------


def clip_by_global_norm(grads: Mapping[str, Array], max_norm: float) -> float:
    """Scale all gradients by one factor so that their joint L2 norm is at most `max_norm`.

    Pascanu, Mikolov & Bengio, ICML 2013, with the norm itself, not its square.

    Parameters
    ----------
    grads : mapping of str to ndarray
        float32 or float64; scaled in place when their norm is above `max_norm`.
    max_norm : float
        Above 0; ``math.inf`` only measures.

    Returns
    -------
    float
        The norm before clipping, summed in float64 in a fixed order, without overflow. When a
        gradient holds a NaN or an infinity the norm is NaN or infinite and **nothing is scaled**:
        the gradients keep what they hold, no factor hides it, and the caller decides with
        ``math.isfinite``.

    Raises
    ------
    TypeError
        A gradient is not a float32 or float64 array.
    ValueError
        A gradient is read-only, or `max_norm` is not above 0.
    """
    _check_arrays("grads", grads)
    limit = _number("max_norm", max_norm, 0, math.inf, closed=True)
    if limit == 0:
        raise ValueError("max_norm: expected a number above 0, got 0")
    norm = _global_norm(grads)
    if limit < norm < math.inf:
        for g in grads.values():
            np.multiply(g, limit / norm, out=g)
    return norm


def clip_by_value(grads: Mapping[str, Array], limit: float) -> None:
    """Clip every element to [-limit, limit], in place.

    Parameters
    ----------
    grads : mapping of str to ndarray
        float32 or float64. An infinity becomes the limit; a NaN stays a NaN.
    limit : float
        At least 0.

    Raises
    ------
    TypeError
        A gradient is not a float32 or float64 array.
    ValueError
        A gradient is read-only, or `limit` is negative.
    """
    _check_arrays("grads", grads)
    limit = _number("limit", limit, 0, math.inf, closed=True)
    for g in grads.values():
        np.clip(g, -limit, limit, out=g)


def _global_norm(grads: Mapping[str, Array]) -> float:
    """Root of the sum of squares. NumPy's own sum, not BLAS's: its order is fixed."""
    with np.errstate(over="ignore"):
        total = sum(float(np.square(g, dtype=np.float64).sum()) for g in grads.values())
    if total != math.inf:
        return math.sqrt(total)
    largest = max(float(np.abs(g).max(initial=0)) for g in grads.values())
    if largest == math.inf:
        return math.inf
    scaled = (float(np.square(g / largest).sum()) for g in grads.values())  # float64 squares above
    return largest * math.sqrt(sum(scaled))


# --- checks ---------------------------------------------------------------------------------------


def _number(name: str, value: float, low: float, high: float, *, closed: bool = False) -> float:
    """`value` as a float in [low, high), or in [low, high] when closed."""
    number = as_number(name, value)
    if not (low <= number < high or (closed and number == high)):
        bracket = "]" if closed else ")"
        raise ValueError(f"{name}: expected a number in [{low:g}, {high:g}{bracket}, got {number}")
    return number


def _check_arrays(what: str, arrays: Mapping[str, Array]) -> None:
    """Refuse what cannot be updated in place."""
    check_mapping(what, arrays)
    for name, array in arrays.items():
        if _dtype(array) not in ("float32", "float64"):
            raise TypeError(f"{what}[{name!r}]: expected a float32 or float64 array, got {_dtype(array)}")
        if not array.flags.writeable:
            raise ValueError(f"{what}[{name!r}]: expected a writable array, got a read-only one")
        if not array.flags.c_contiguous and any(
            by == 0 and size > 1 for size, by in zip(array.shape, array.strides, strict=True)
        ):
            raise ValueError(f"{what}[{name!r}]: expected elements with memory of their own, got a broadcast array")


def _check_alike(what: str, given: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Compare keys, dtypes and shapes."""
    check_mapping(what, given)
    if given.keys() != expected.keys():
        missing = ", ".join(map(str, (k for k in expected if k not in given))) or "none"
        extra = ", ".join(map(str, (k for k in given if k not in expected))) or "none"
        known = extra == "none" or what != "grads"
        hint = "" if known else "; make the optimiser of all parameters, as of stack.params | readout.params"
        raise ValueError(f"{what}: expected the parameters' names; missing: {missing}; extra: {extra}{hint}")
    for name, array in expected.items():
        other = given[name]
        if _dtype(other) != _dtype(array):
            raise TypeError(f"{what}[{name!r}]: expected a {array.dtype} array, got {_dtype(other)}")
        if other.shape != array.shape:
            raise ValueError(f"{what}[{name!r}]: expected shape {array.shape}, got {other.shape}")


def _as_array(name: str, value: npt.ArrayLike) -> Array:
    try:
        return np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name}: expected an array, got {shown(value)}: {error}") from None


def _dtype(value: object) -> str:
    """Name of an array's dtype, or of the type of what is no array."""
    return str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__
