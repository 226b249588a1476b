"""The last layer: an affine map of what the recurrent layers give, with a loss on it and its gradients.

    y = W h + b,    loss = sum or mean over rows of  -log softmax(y)[target]  or  |y - target|²

What this is: parameters, logits, probabilities, draws from them, losses, gradients; on NumPy's arrays, in the
parameters' dtype. A row is whatever has an output: a step of a sequence, a sequence, a row of a packed batch. What this
is not: a layer of the kernels. The two products are NumPy's; the one array of logits becomes the probabilities and then
the gradient.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arguments import as_floats, host_float
from ._draws import draw
from ._scalars import as_choice, as_flag, as_integer, as_number, as_text, shown
from ._targets import integers, rows_that_count, with_steps
from .parameters import as_generator, float_dtype

if TYPE_CHECKING:
    import numpy.typing as npt

    from .bptt import Loss
    from .parameters import Array

    Integers = npt.NDArray[np.int64]

__all__ = ["Readout"]

LOSSES = ("cross_entropy", "squared_error")
REDUCTIONS = ("mean", "sum")

_MOST_UNITS = 2**31


class Readout:
    """An affine map of outputs, y = W h + b, and a loss on it.

    Parameters
    ----------
    input_size : int
        H: numbers in an output; of a bidirectional `Stack` twice its `output_size`.
    output_size : int
        K: classes, tokens, or numbers to predict.
    loss : {"cross_entropy", "squared_error"}
        ``"cross_entropy"``: of softmax(y), in nats; targets are integers in [0, K). ``"squared_error"``: the sum over K
        of (y - target)²; targets are vectors.
    bias : bool, default True
    name : str, default "readout"
        What the names in `params`, and in every dict of gradients, begin with.
    reuse : bool, default False
        Keep the large arrays from call to call: d_output is then valid until the next call, and one thread at a time
        may use the readout.
    dtype : {"float32", "float64"}
    rng : int, numpy.random.Generator or None
        Draws W from U(-1/√H, 1/√H); b is 0.

    Attributes
    ----------
    weight : ndarray, (K, H)
    bias : ndarray, (K,), or None
        Both may be updated in place, or replaced by arrays of the same shape and dtype.
    kind : str
        The loss.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is said here.

    Notes
    -----
    Every method takes ``output`` of shape (..., H), the leading axes being (T, B) of a sequence, (B,) of one step or of
    final states, (N,) of packed rows. Targets and masks have the leading axes. With `lengths`, which belong to outputs
    (T, B, H), a row of the batch counts in its own steps only; with `mask` a row counts where it is True; with both,
    where both say so. Targets of rows that do not count are not read, and the gradient of such an output is 0.
    A mean is over the rows that count.

    Examples
    --------
    As the loss of a driver of `rnnkernels.bptt`:

    >>> import numpy as np
    >>> import rnnkernels as rk
    >>> stack, readout = rk.Stack("gru", 5, 8, rng=0), rk.Readout(8, 5, rng=1)
    >>> tokens = np.arange(14).reshape(7, 2) % 5
    >>> result = rk.bptt.full_bptt(stack, tokens[:-1], readout.against(tokens[1:]))
    >>> rk.optim.Adam(stack.params | readout.params).step(result.grads)
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        loss: str = "cross_entropy",
        bias: bool = True,
        name: str = "readout",
        reuse: bool = False,
        dtype: npt.DTypeLike = "float32",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        inputs = as_integer("input_size", input_size, 1, _MOST_UNITS)
        outputs = as_integer("output_size", output_size, 1, _MOST_UNITS)
        self._settle(loss, name, reuse)
        bias, kind = as_flag("bias", bias), float_dtype("dtype", dtype)
        bound = inputs**-0.5
        self.weight: Array = as_generator("rng", rng).uniform(-bound, bound, (outputs, inputs)).astype(kind)
        self.bias: Array | None = np.zeros(outputs, kind) if bias else None

    def _settle(self, loss: str, name: str, reuse: bool) -> None:
        self.kind = as_choice("loss", loss, LOSSES)
        self.name = as_text("name", name)
        self._reuse = as_flag("reuse", reuse)
        self._kept: dict[str, Array] = {}

    @classmethod
    def of(
        cls,
        weight: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        *,
        loss: str = "cross_entropy",
        name: str = "readout",
        reuse: bool = False,
    ) -> Readout:
        """Return one over parameters that exist; arrays in C order are taken, not copied.

        Parameters
        ----------
        weight : array_like, (K, H) of float32 or float64
        bias : array_like, (K,), optional
        loss, name, reuse
            As for the class.

        Raises
        ------
        TypeError, ValueError
            An argument is not what is said here.
        """
        kind = host_float(weight.dtype if isinstance(weight, np.ndarray) else np.dtype(np.float64))
        if kind is None:
            raise TypeError(f"weight: expected dtype float32 or float64, got {np.asarray(weight).dtype}")
        array = as_floats("weight", weight, kind)
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"weight: expected shape (K, H), both at least 1, got {array.shape}")
        made = cls.__new__(cls)
        made._settle(loss, name, reuse)
        made.weight = array
        made.bias = None if bias is None else as_floats("bias", bias, kind)
        if made.bias is not None and made.bias.shape != array.shape[:1]:
            raise ValueError(f"bias: expected shape (K,) = {array.shape[:1]}, got {made.bias.shape}")
        return made

    @property
    def params(self) -> dict[str, Array]:
        """The parameters, by the names that their gradients have: ``readout.weight`` and ``readout.bias``."""
        return self._named(self.weight, self.bias)

    @property
    def input_size(self) -> int:
        """H."""
        return int(self.weight.shape[1])

    @property
    def output_size(self) -> int:
        """K."""
        return int(self.weight.shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the parameters, and of every array."""
        return self.weight.dtype

    def __repr__(self) -> str:
        bias = "" if self.bias is not None else ", no bias"
        return f"Readout(H={self.input_size}, K={self.output_size}, {self.kind!r}, {self.dtype}{bias})"

    # ---- without a loss --------------------------------------------------------------------------

    def logits(self, output: npt.ArrayLike) -> Array:
        """Return y = W h + b, (..., K), of outputs (..., H): logits, or what is predicted.

        Raises
        ------
        TypeError, ValueError
            If the dtype is not the parameters', or the shape does not fit.
        """
        h = self._outputs(output)
        y: Array = h.reshape(-1, self.input_size) @ self.weight.T
        if self.bias is not None:
            y = y + self.bias
        return y.reshape(*h.shape[:-1], self.output_size)

    def backward(self, output: npt.ArrayLike, d_logits: npt.ArrayLike) -> tuple[Array, dict[str, Array]]:
        """Gradients of a loss of the caller's own on the logits.

        Parameters
        ----------
        output : array_like, (..., H)
            What `logits` was given.
        d_logits : array_like, (..., K)
            dL/d(logits).

        Returns
        -------
        d_output : ndarray, (..., H)
        grads : dict of str to ndarray
            Of the parameters.

        Raises
        ------
        TypeError, ValueError
            If a dtype is not the parameters', or a shape does not fit.
        """
        h = self._outputs(output)
        d = self._like("d_logits", d_logits, h.shape[:-1])
        d_rows, grads = self._gradients(h.reshape(-1, self.input_size), d.reshape(-1, self.output_size))
        return d_rows.reshape(h.shape), grads

    def probabilities(self, output: npt.ArrayLike) -> Array:
        """Return softmax(W h + b), (..., K), of outputs (..., H).

        Raises
        ------
        TypeError, ValueError
            As `logits`; if the loss is no cross entropy.
        """
        self._check_classes("probabilities")
        y = self.logits(output)
        _exponentials(y.reshape(-1, self.output_size))
        y /= y.sum(axis=-1, keepdims=True)
        return y

    def sample(
        self, output: npt.ArrayLike, *, temperature: float = 1.0, rng: int | np.random.Generator | None = None
    ) -> Integers:
        """Draw a class for each output from softmax((W h + b) / temperature).

        Parameters
        ----------
        output : array_like, (..., H)
        temperature : float, default 1
            At least 0. A low one follows the most likely class, a high one wanders; at 0 it is the most likely class,
            and nothing is drawn.
        rng : int, numpy.random.Generator or None
            A seed, a generator to draw from, or None for fresh randomness.

        Returns
        -------
        ndarray of int64, (...,)
            Tokens as `rnnkernels.step` takes them.

        Raises
        ------
        TypeError, ValueError
            As `logits`; if the temperature is negative or no number, or the logits are not finite.
        """
        self._check_classes("sample")
        heat = as_number("temperature", temperature)
        if not 0 <= heat < math.inf:
            raise ValueError(f"temperature: expected a number of at least 0, got {shown(temperature)}")
        generator = as_generator("rng", rng)
        y = self.logits(output).astype(np.float64)
        if not np.isfinite(y).all():
            raise ValueError("output: expected finite logits of it, got some that are not")
        return draw(y.reshape(-1, self.output_size), heat, generator).reshape(y.shape[:-1])

    # ---- with the loss ---------------------------------------------------------------------------

    def loss(
        self,
        output: npt.ArrayLike,
        targets: npt.ArrayLike,
        *,
        mask: npt.ArrayLike | None = None,
        lengths: npt.ArrayLike | None = None,
        reduction: str = "mean",
    ) -> float:
        """Return the loss alone.

        Parameters
        ----------
        output, targets, mask, lengths, reduction
            As for `loss_and_gradients`.

        Raises
        ------
        TypeError, ValueError
            As `loss_and_gradients`.
        """
        rows, wanted, _, count = self._counted(output, targets, mask, lengths, reduction)
        return self._on_logits(self._buffered_logits(rows), wanted, None) / count

    def loss_and_gradients(
        self,
        output: npt.ArrayLike,
        targets: npt.ArrayLike,
        *,
        mask: npt.ArrayLike | None = None,
        lengths: npt.ArrayLike | None = None,
        reduction: str = "mean",
    ) -> tuple[float, Array, dict[str, Array]]:
        """Return the loss, its gradient for the outputs, and its gradients for the parameters.

        Parameters
        ----------
        output : array_like, (..., H)
        targets : array_like of int, (...,), or for the squared error (..., K) of the parameters' dtype
        mask : array_like of bool, (...,), optional
            Which rows count.
        lengths : array_like of int, (B,), optional
            Steps of each row of outputs (T, B, H) that count, 0 to T.
        reduction : {"mean", "sum"}
            Over the rows that count.

        Returns
        -------
        loss : float
        d_output : ndarray, (..., H)
        grads : dict of str to ndarray
            Of the parameters, under the names of `params`.

        Raises
        ------
        TypeError, ValueError
            If a dtype or a shape does not fit, a target of a row that counts is no class, or there is no row to take
            the mean over.
        """
        rows, wanted, counts, count = self._counted(output, targets, mask, lengths, reduction)
        d_logits = self._buffered_logits(rows)
        loss = self._on_logits(d_logits, wanted, count)
        d_rows, grads = self._gradients(rows, d_logits)
        shape = np.shape(output)
        if counts is None:
            return loss / count, d_rows.reshape(shape), grads
        d_output = np.zeros(shape, self.dtype)
        d_output[counts] = d_rows
        return loss / count, d_output, grads

    def against(
        self,
        targets: npt.ArrayLike,
        *,
        mask: npt.ArrayLike | None = None,
        lengths: npt.ArrayLike | None = None,
        reduction: str = "mean",
    ) -> Loss:
        """Return the loss function that the drivers of `rnnkernels.bptt` take, for the targets of a whole sequence.

        Parameters
        ----------
        targets, mask, lengths, reduction
            As for `loss_and_gradients`, of all steps: (T, B), ... A mean is over the rows of a window; of a window in
            which none counts the loss is 0, and so are its gradients.

        Returns
        -------
        callable
            ``loss(output, start)``: what `loss_and_gradients` gives for the outputs (T', B, H) of the steps from
            `start` on. It reads the parameters when it is called.

        Raises
        ------
        TypeError, ValueError
            A dtype or a shape does not fit; when it is called, as `loss_and_gradients`, and for steps without targets.
        """
        as_choice("reduction", reduction, REDUCTIONS)
        whole = with_steps(targets)
        steps, lead = len(whole), whole.shape[:2]
        wanted = self._like("targets", whole, lead) if self.kind == "squared_error" else integers(whole, lead)
        counts = rows_that_count(lead, mask, lengths)

        def loss(output: Array, start: int) -> tuple[float, Array, dict[str, Array]]:
            stop = start + len(output)
            if stop > steps:
                raise ValueError(f"targets: expected those of {stop} steps at least, got {steps}")
            rows = None if counts is None else counts[start:stop]
            over = "sum" if rows is not None and not rows.any() else reduction
            return self.loss_and_gradients(output, wanted[start:stop], mask=rows, reduction=over)

        return loss

    def _on_logits(self, y: Array, targets: Array, count: int | None) -> float:
        """Return the summed loss of logits (N, K), which it uses up.

        Where there is a count, they become the gradient of the loss divided by it.
        """
        if self.kind == "squared_error":
            y -= targets
            loss = float(np.square(y).sum(dtype=np.float64))
            if count is not None:
                y *= 2 / count
            return loss
        picked = np.take_along_axis(y, targets[:, None], axis=1)
        picked = picked - _exponentials(y)
        totals = y.sum(axis=1, keepdims=True)
        loss = float((np.log(totals) - picked).sum(dtype=np.float64))
        if count is not None:
            y *= 1 / (totals * count)  # softmax / N ...
            y[np.arange(len(y)), targets] -= y.dtype.type(1 / count)  # ... - one-hot / N
        return loss

    def _buffered_logits(self, rows: Array) -> Array:
        y: Array = np.matmul(rows, self.weight.T, out=self._buffer("logits", (len(rows), self.output_size)))
        if self.bias is not None:
            y += self.bias
        return y

    def _gradients(self, rows: Array, d_logits: Array) -> tuple[Array, dict[str, Array]]:
        """Return dL/d(rows) (N, H) and the parameters' gradients, from dL/d(logits) (N, K)."""
        d_rows = np.matmul(d_logits, self.weight, out=self._buffer("d_output", rows.shape))
        d_bias = None if self.bias is None else d_logits.sum(axis=0)
        return d_rows, self._named(d_logits.T @ rows, d_bias)

    def _named(self, weight: Array, bias: Array | None) -> dict[str, Array]:
        named = {f"{self.name}.weight": weight}
        return named if bias is None else {**named, f"{self.name}.bias": bias}

    def _buffer(self, which: str, shape: tuple[int, ...]) -> Array:
        """Return an array to write to, with `reuse` a kept one: fresh pages can cost more than the sums in them."""
        if not self._reuse:
            return np.empty(shape, self.dtype)
        if which not in self._kept or self._kept[which].shape != shape:
            self._kept[which] = np.empty(shape, self.dtype)
        return self._kept[which]

    # ---- what callers pass -----------------------------------------------------------------------

    def _check_classes(self, what: str) -> None:
        if self.kind != "cross_entropy":
            raise ValueError(f"{what}: expected a readout of loss 'cross_entropy', got one of {self.kind!r}")

    def _outputs(self, output: npt.ArrayLike) -> Array:
        """Return outputs (..., H) in C order."""

        def fits(name: str, shape: tuple[int, ...]) -> None:
            if shape[-1:] != (self.input_size,):
                raise ValueError(f"{name}: expected shape (..., H = {self.input_size}), got {shape}")

        array = as_floats("output", output, self.dtype, fits)
        fits("output", array.shape)
        return array

    def _like(self, name: str, value: npt.ArrayLike, lead: tuple[int, ...]) -> Array:
        """Return an array of the parameters' dtype and of the logits' shape, (..., K)."""

        def fits(name: str, shape: tuple[int, ...]) -> None:
            if shape != (*lead, self.output_size):
                raise ValueError(f"{name}: expected shape (..., K) = {(*lead, self.output_size)}, got {shape}")

        array = as_floats(name, value, self.dtype, fits)
        fits(name, array.shape)
        return array

    def _counted(
        self,
        output: npt.ArrayLike,
        targets: npt.ArrayLike,
        mask: npt.ArrayLike | None,
        lengths: npt.ArrayLike | None,
        reduction: str,
    ) -> tuple[Array, Array, npt.NDArray[np.bool_] | None, int]:
        """Return the rows that count (N, H), their targets, where they stand (None: all), and what the loss is over."""
        as_choice("reduction", reduction, REDUCTIONS)
        h = self._outputs(output)
        lead = h.shape[:-1]
        counts = rows_that_count(lead, mask, lengths)
        wanted = self._like("targets", targets, lead) if self.kind == "squared_error" else integers(targets, lead)
        if counts is None:
            rows, wanted = h.reshape(-1, self.input_size), wanted.reshape(-1, *wanted.shape[len(lead) :])
        else:
            rows, wanted = h[counts], wanted[counts]
        if self.kind == "cross_entropy" and wanted.size:
            low, high = int(wanted.min()), int(wanted.max())
            if low < 0 or high >= self.output_size:
                raise ValueError(
                    f"targets: expected integers in [0, {self.output_size}), got {low if low < 0 else high}"
                )
            wanted = wanted.astype(np.int64, copy=False)
        if reduction == "sum":
            return rows, wanted, counts, 1
        if not len(rows):
            of = "output" if counts is None else "mask" if mask is not None else "lengths"
            raise ValueError(f"{of}: expected a row that counts, to take the mean over, got none")
        return rows, wanted, counts, len(rows)


def _exponentials(y: Array) -> Array:
    """Turn logits (N, K) into exp(y - their largest) in place; return the largest of each row, (N, 1)."""
    largest: Array = y.max(axis=1, keepdims=True)
    y -= largest  # the largest becomes 0: exp cannot overflow
    np.exp(y, out=y)
    return largest
