"""Layers for inference whose weights are packed once: `Prepared`, and one step at a time on it, `Stepper`.

`rnnkernels.forward` packs the weights into the kernels' layout in every call, since training changes them between
calls. Where they stay the same, packing them once makes short calls several times faster. Training is not here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _cpu, _serve
from ._arguments import (
    DeviceKind,
    Kind,
    as_floats,
    as_input,
    as_layer,
    as_settings,
    as_states,
    as_step,
    check_products,
    fits_batch,
    fits_rows,
    fits_shape,
    of_step,
    settled,
)
from ._arrays import device_frame, frame_of
from ._asked import Asked
from ._on_gpu import WEIGHTS, check_on_gpu, device_layers
from ._pickled import check_version, version
from ._scalars import as_choice, as_flag, as_integer
from .noise import Noise, check_noise
from .parameters import Array, Layer, Params, cell_info, state_widths, x_width
from .quantized import check_finite, check_without_heads, opened
from .schedule import Like, begin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import SupportsIndex

    import numpy.typing as npt

    from .noise import Drawn

__all__ = ["Prepared", "Stepper"]

State = tuple[Array, ...]


class Prepared:
    """One layer with its weights packed, for inference.

    Parameters on a GPU stay there: so do calls, states and results (docs/cuda.md). It holds a copy: parameters that
    change later are not seen; prepare them again. Results are those of `rnnkernels.forward` on the same parameters, bit
    for bit, but for weights of ``"int8"``. It is never changed by a call, so several threads may use one at the same
    time, and copies share the weights. It keeps the instruction set it was made under: a pickle has the packed weights
    and is read where the same version of this package finds that set.

    Parameters
    ----------
    cell, params
        As in `rnnkernels.forward`; or what `quantize_params` gives, whose `weights` are then ``"int8"``.
    weights : {"full", "bfloat16", "int8"}
        How the packed weights are stored. ``"full"``: in the parameters' dtype. ``"bfloat16"`` (float32 parameters
        only): the weight matrices are rounded to the nearest bfloat16, 8 significant bits, a relative
        error of at most 2⁻⁹ each, in half the memory; biases, states and all sums stay float32. The results are,
        bit for bit, those of a float32 layer whose weights were rounded so. It pays where reading the weights
        takes the time: a batch of one or two and weights larger than the caches near the core. ``"int8"`` (float32
        parameters only): the matrices are integers of 8 bits with a scale for each row (`quantize_params`), in a
        quarter of the memory. What they multiply is made integers, too, row by row in every step, and the sums of a
        product are exact: a row's results depend on no other row and on no later step. docs/low_precision.md has the
        errors.
    products : {"full", "bfloat16"}
        What products multiply, as in `rnnkernels.forward`; ``"full"`` with ``"int8"``.
    tokens : bool, default False
        What the layer will be given: vectors, or tokens (integers). For tokens all columns of ``weight_ih`` are laid
        out as a table of (I, gates·H), biases added.
    cell_clip : float, optional
        As in `rnnkernels.forward`.
    noise : Noise, optional
        What the layer was trained with: its expectation is taken, as `rnnkernels.forward` does in inference.

    Attributes
    ----------
    cell : str
    input_size, hidden_size : int
    dtype : numpy.dtype
        Of inputs, states and results.
    weights, products : str
    tokens : bool
    noise : Noise or None

    Raises
    ------
    NotImplementedError
        If parameters are on a GPU and `weights` or `products` are not full.
    TypeError, ValueError
        As `rnnkernels.forward`; also where `weights` is unknown or is not full for float64 parameters, where int8 is
        asked of weights that are not finite, or together with other products than full.
    """

    __slots__ = (
        "_kind",
        "_layer",
        "_like",
        "_row",
        "_settings",
        "_shapes",
        "_states",
        "cell",
        "dtype",
        "hidden_size",
        "input_size",
        "noise",
        "products",
        "tokens",
        "weights",
    )

    def __init__(
        self,
        cell: str,
        params: Mapping[str, npt.ArrayLike],
        *,
        weights: str = "full",
        products: str = "full",
        tokens: bool = False,
        noise: Noise | None = None,
        cell_clip: float | None = None,
    ) -> None:
        cell, cell_clip = settled(cell, cell_clip)
        cell_info(cell)  # raises where there is no such cell
        tokens = as_flag("tokens", tokens)
        check_noise(noise)
        arrays, scales = opened(cell, params)
        if _serve.on_gpu(arrays["weight_ih"]):
            check_on_gpu(arrays["weight_ih"], weights, products, scales is not None)
        weights = _as_weights(cell, weights, arrays, scales is not None)
        check_products(products, arrays["weight_ih"].dtype)
        if weights == "int8" and products != "full":
            raise ValueError(f"products: expected 'full' with weights of int8, got {products!r}")
        layer = as_layer(cell, arrays)
        made_of = (weights, products, tokens, as_settings(cell, cell_clip), noise)
        self._take(cell, layer, *made_of, packed={"scales": scales})

    def _take(
        self,
        cell: str,
        layer: Layer,
        weights: str,
        products: str,
        tokens: bool,
        settings: tuple[float, ...],
        noise: Noise | None,
        packed: Mapping[str, Any],
    ) -> None:
        """Pack a layer.

        `packed`: the scales of quantised weights; or ``instruction_set`` and ``bytes`` of what has been packed, where
        the layer only has the shapes.
        """
        frame = device_frame(layer.weight_ih)
        self._layer: Any
        if frame is None:
            self._layer = _cpu.prepare(cell, layer, weights, tokens, settings, products=products, **packed)
        else:
            self._layer = device_layers().DeviceLayer(cell, layer, tokens, settings)
        self._shapes = tuple(None if array is None else array.shape for array in layer)
        self._settings = settings
        self._states = cell_info(cell)["states"]
        self.cell = cell
        self.dtype: np.dtype[Any] = layer.weight_ih.dtype
        self._kind: Kind = self.dtype if frame is None else DeviceKind(frame, layer.weight_ih.dtype)
        self.input_size = int(layer.weight_ih.shape[1])
        gates = len(layer.weight_ih)
        widths = state_widths(cell, layer.weight_ih, layer.weight_hh)
        self._like = Like(widths, gates, self.dtype, frame_of(layer.weight_ih))
        self.hidden_size = int(gates // cell_info(cell)["rows"][0])
        self._row = (x_width(cell, self.input_size, self.hidden_size),)
        self.weights = weights
        self.products = products
        self.tokens = tokens
        self.noise = noise

    def __copy__(self) -> Prepared:
        """Return another with the same packed weights, which nothing changes."""
        copied = object.__new__(type(self))
        for name in Prepared.__slots__:
            setattr(copied, name, getattr(self, name))
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Prepared:
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        if type(self._kind) is DeviceKind:  # weights as they are, by their own library
            as_made: Any = (self.weights, self.products, self.tokens, self._settings, self.noise, {})
            return _of_arrays, (type(self), self.cell, self._layer.arrays, as_made)
        packed = {"instruction_set": self._layer.instruction_set, "bytes": self._layer.bytes()}
        made_of = (self.weights, self.products, self.tokens, self._settings, self.noise, packed)
        return _unpickled, (type(self), version(), self.cell, self._shapes, self.dtype.name, made_of)

    def _expected(self, batch: int) -> Drawn | None:
        return None if self.noise is None else self.noise._drawn(self.cell, batch, expected=True)

    @property
    def nbytes(self) -> int:
        """Memory held by the packed weights, in bytes."""
        return int(self._layer.nbytes)

    def forward(
        self,
        x: npt.ArrayLike,
        state: Sequence[npt.ArrayLike] | None = None,
        *,
        lengths: npt.ArrayLike | None = None,
        resets: npt.ArrayLike | None = None,
        reset_state: Sequence[npt.ArrayLike] | None = None,
        reverse: bool = False,
        term: npt.ArrayLike | None = None,
    ) -> tuple[Array, State]:
        """Run the layer over a sequence, for inference.

        Parameters
        ----------
        x : array_like, (T, B, I) of `dtype`, or (T, B) of integers where `tokens`
        state : sequence of array_like, each (B, H), optional
            The states before the first step, h first. Default: zeros.
        lengths, resets, reset_state, reverse, term
            As in `rnnkernels.forward`.

        Returns
        -------
        output : ndarray, (T, B, H)
            h after every step.
        state : tuple of ndarray, each (B, H)
            The states after each row's last step.

        Raises
        ------
        TypeError, ValueError
            As `rnnkernels.forward`; also where vectors come instead of tokens, or the other way round.
        """
        inputs = as_input("x", x, self._kind, self._row)
        fits = partial(fits_batch, lambda: self._like.widths, inputs)
        initial = as_states("state", state, self._states, self._kind, fits)
        reset = as_states("reset_state", reset_state, self._states, self._kind, fits)
        added = None if term is None else self._term(term, inputs.shape[1:2])
        asked = Asked(self.cell, as_flag("reverse", reverse), None, lengths, resets)
        noise = self._expected(inputs.shape[1] if inputs.ndim > 1 else 0)
        return self._run(asked, inputs, initial, reset, added, noise)

    def _run(
        self,
        asked: Asked,
        x: Array,
        state: State | None,
        reset_state: State | None,
        term: Array | None,
        noise: Drawn | None,
    ) -> tuple[Array, State]:
        """Run a batch (T, B, ...) of arrays that the kernels can read."""
        begun = begin(asked, x, state, reset_state, term, self._like)
        output, ended = self._layer.forward(x, begun.state, begun.rows, begun.term, noise)
        return output, ended if begun.schedule is None else begun.schedule.end(ended, state)

    def _term(self, term: npt.ArrayLike, batch: tuple[int, ...]) -> Array:
        """Return a term as the kernels read it."""
        return as_floats("term", term, self._kind, fits_shape("(B, G*H)", (*batch, self._like.gates)))

    def step(
        self,
        x_t: npt.ArrayLike,
        state: Sequence[npt.ArrayLike] | None = None,
        *,
        term: npt.ArrayLike | None = None,
    ) -> State:
        """Run the layer for one step; a `stepper` is faster where many steps follow each other.

        Parameters
        ----------
        x_t : array_like, (B, I) of `dtype`, or (B,) of integers where `tokens`
        state : sequence of array_like, each (B, H), optional
        term : array_like, (B, Gx·H), optional
            As in `rnnkernels.forward`.

        Returns
        -------
        tuple of ndarray, each (B, H)
            The states after the step, h first.

        Raises
        ------
        TypeError, ValueError
            As `forward`.
        """
        try:
            x = as_step(x_t, self._kind, self._row, tokens=self.tokens)
            return self.forward(x, state, term=term)[1]
        except (TypeError, ValueError) as error:
            raise of_step(error) from None

    def stepper(
        self,
        batch_size: SupportsIndex = 1,
        state: Sequence[npt.ArrayLike] | None = None,
        *,
        term: npt.ArrayLike | None = None,
    ) -> Stepper:
        """Return a `Stepper`: the layer with states of its own, to run step by step.

        Parameters
        ----------
        batch_size : int, default 1
            B.
        state : sequence of array_like, each (B, H), optional
            The states to start from. Default: zeros.
        term : array_like, (B, Gx·H), optional
            Added in every step, as in `rnnkernels.forward`.
        """
        return Stepper(self, batch_size, state, term=term)

    def __repr__(self) -> str:
        kind = "tokens" if self.tokens else "vectors"
        products = "" if self.products == "full" else f", products={self.products!r}"
        return (
            f"Prepared({self.cell!r}, I={self.input_size}, H={self.hidden_size}, {self.dtype}, "
            f"weights={self.weights!r}{products}, {kind}, {self.nbytes} bytes)"
        )


def _unpickled(
    kind: type[Prepared], written: str, cell: str, shapes: Sequence[Any], dtype: str, made_of: tuple[Any, ...]
) -> Prepared:
    """Return a prepared layer again; it runs on the instruction set that it was packed for, or on none."""
    check_version("Prepared", written)
    layer = Layer._make([None if shape is None else np.zeros(shape, dtype) for shape in shapes])
    made = object.__new__(kind)
    made._take(cell, layer, *made_of)
    return made


def _of_arrays(kind: type[Prepared], cell: str, layer: Layer, made_of: tuple[Any, ...]) -> Prepared:
    """Return a prepared layer again, of weights on a GPU."""
    made = object.__new__(kind)
    made._take(cell, layer, *made_of)
    return made


def _as_weights(cell: str, weights: str, params: Params, quantized: bool) -> str:
    """Return how weights are stored; raise where they cannot be stored so."""
    as_choice("weights", weights, WEIGHTS)
    if quantized or weights == "int8":
        check_without_heads("weights", cell)
    if quantized:
        if weights == "bfloat16":
            raise ValueError(f"weights: expected 'int8' for parameters that are quantised, got {weights!r}")
        return "int8"
    if weights == "int8" and params["weight_ih"].dtype == np.float32:
        check_finite(params)
    return weights


class Stepper:
    """A prepared layer and its states: call it with one step's input after another.

    A step allocates nothing, and gives the bits that `Prepared.forward` gives for the whole sequence. One thread at a
    time may use it. A copy goes on by itself from the states of the moment. On a GPU a step runs as a CUDA graph, on
    the caller's current stream, and gives the bits of `Prepared.forward` for this one step.

    Parameters
    ----------
    layer : Prepared
    batch_size : int, default 1
        B.
    state : sequence of array_like, each (B, H), optional
        The states to start from. Default: zeros.
    term : array_like, (B, Gx·H), optional
        Added in every step, as in `rnnkernels.forward`. It is copied.

    Raises
    ------
    TypeError
        If `layer` is no `Prepared`, `batch_size` no integer, or an array of another dtype.
    ValueError
        If `batch_size` is negative, or the shape of a state or of the term does not fit.
    """

    __slots__ = ("_states", "_step", "_stepper", "batch_size", "layer")

    def __init__(
        self,
        layer: Prepared,
        batch_size: SupportsIndex = 1,
        state: Sequence[npt.ArrayLike] | None = None,
        *,
        term: npt.ArrayLike | None = None,
    ) -> None:
        if not isinstance(layer, Prepared):
            raise TypeError(f"layer: expected a Prepared, got {type(layer).__name__}")
        self.batch_size = as_integer("batch_size", batch_size, 0, 2**31 - 1)
        self.layer = layer
        noise = layer._expected(self.batch_size)
        self._stepper: Any
        if type(layer._kind) is DeviceKind:
            self._stepper = layer._layer.stepper(self.batch_size, noise)
        else:
            self._stepper = _cpu.stepper(layer._layer, self.batch_size, noise)
        self._step = self._stepper.step
        if state is not None or term is not None:
            self.reset(state, term=term)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), term=self._stepper.term()), (self.layer, self.batch_size, self.state)

    def __call__(self, x_t: npt.ArrayLike) -> Array:
        """Take one step.

        Parameters
        ----------
        x_t : array_like, (B, I) of the layer's dtype, or (B,) of integers where it takes tokens
            It may be the last step's result.

        Returns
        -------
        ndarray, (B, H)
            h after the step, in memory that the step after the next one overwrites: copy what is to be kept.

        Raises
        ------
        TypeError, ValueError
            If the dtype or the shape does not fit, or a token is out of range. The states are then as before.
        RuntimeError
            If another thread is in a step of this stepper.
        """
        try:
            h = self._step(x_t)
            return self._step_of_copy(x_t) if h is None else h
        except (TypeError, ValueError) as error:
            raise of_step(error) from None

    def _step_of_copy(self, x_t: npt.ArrayLike) -> Array:
        """Take a step on what is no array that can be read where it lies."""
        return read_step(self._step, self._readable(x_t), self.layer.dtype)

    def _readable(self, x_t: npt.ArrayLike) -> Array:
        """Return a copy of a step's input that the kernels can read."""
        return as_input("x_t", x_t, self.layer._kind, self.layer._row, steps=False)

    @property
    def state(self) -> State:
        """The states after the last step, h first, each (B, H): copies."""
        found: State = self._stepper.state()
        return found

    def reset(self, state: Sequence[npt.ArrayLike] | None = None, *, term: npt.ArrayLike | None = None) -> None:
        """Go on from other states, and with another term.

        Parameters
        ----------
        state : sequence of array_like, each (B, H), optional
            Default: zeros.
        term : array_like, (B, Gx·H), optional
            What is added from now on. Default: what was before.

        Raises
        ------
        TypeError, ValueError
            If they do not fit; nothing is changed then.
        """
        states = self._checked(state)
        self._stepper.reset(states, None if term is None else self.layer._term(term, (self.batch_size,)))

    def _checked(self, state: Sequence[npt.ArrayLike] | None) -> State | None:
        """Return states as the kernels read them; raise where they do not fit."""
        fits = partial(fits_rows, self.layer._like.widths, self.batch_size)
        return as_states("state", state, self.layer._states, self.layer._kind, fits)

    def __repr__(self) -> str:
        return f"Stepper({self.layer!r}, batch_size={self.batch_size})"


def read_step(step: Callable[[Array], Array | None], x_t: Array, dtype: np.dtype[Any]) -> Array:
    """Return h after a step on an array that is known to be readable."""
    h = step(x_t)
    if h is None:
        raise TypeError(f"x_t: expected an array of {dtype}, got one that cannot be read")
    return h
